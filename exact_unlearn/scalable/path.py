"""Problems one after the other, each started from the answer before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.scalable.solve import GAP, solve
from exact_unlearn.solution import Solution


def solve_path(
    problems: Iterable[UnlearningProblem], device: Any = None, dtype: torch.dtype | None = None, gap: float = GAP
) -> Iterator[Solution]:
    """Solve problems one after the other, each started from the answer before: a path of lambda, or a shrinking
    retain set.

    >>> import exact_unlearn as xu
    >>> from exact_unlearn import scalable
    >>> J = [[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]
    >>> problems = [xu.UnlearningProblem([3.0, 1.0, 2.0], J[:k], xu.L2()) for k in (2, 1)]
    >>> [round(solution.value**2, 6) for solution in scalable.solve_path(problems)]
    [5.833333, 5.0]
    """
    before: Solution | None = None
    for problem in problems:
        same = before is not None and before.problem.n_parameters == problem.n_parameters
        before = solve(problem, device, dtype, gap, start=before if same else None)
        yield before
