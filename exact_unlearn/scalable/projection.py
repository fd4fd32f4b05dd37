"""The answer of `project`: parameters, multipliers, and what is known about their accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exact_unlearn.drift import SquaredDrift
from exact_unlearn.errors import ProblemError
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.regularizers import SquaredL2
from exact_unlearn.scalable.factor import RowFactor
from exact_unlearn.scalable.jacobian_core import DenseTorchJacobian, ForeignJacobian, TorchJacobian
from exact_unlearn.scalable.quadratic import Quadratic
from exact_unlearn.solution import Solution, Status

INCONSISTENT = 1e-6
"""Right-hand sides that leave more than this of themselves on vanishing combinations of rows fit no parameters."""


@dataclass(frozen=True, eq=False)
class Projection:
    """theta minimises 1/2 sum w theta^2 + lam/2 |D|^2 subject to J D = b on the free coordinates; D = theta -
    theta*.

    theta, theta_star, drift: (d,); for plain calls theta is P_row(J) theta* and drift -P_ker(J) theta*.  nu:
    (k,) float64, J.T nu = w theta + lam D where free. rank: numerical rank of J.  error_estimate: estimated
    |theta - answer| / |theta|, everything included, and at least what differences of a module's outputs show of the
    error of its J; ambiguity: the part of it that stems from combinations of
    rows that count as zero without being zero (declare a rank_tolerance to settle it). inconsistency: how much
    of b no drift can reach, relatively.  steps: the routes tried, in order.  seconds: wall-clock.

    >>> from exact_unlearn.scalable import project
    >>> projection = project([[1.0, 2.0], [2.0, 4.0]], [3.0, 1.0])
    >>> projection.rank, projection.drift.round(12).tolist(), projection.error_estimate < 1e-12
    (1, [-2.0, 1.0], True)
    """

    theta: Any
    theta_star: Any
    nu: Any
    rank: int
    error_estimate: float
    ambiguity: float = 0.0
    inconsistency: float = 0.0
    late_drift: Callable[[], Any] | None = None
    steps: tuple[str, ...] = ()
    seconds: float = 0.0
    factor: RowFactor | None = None
    problem: tuple[TorchJacobian, Quadratic] | None = None

    @cached_property
    def drift(self) -> Any:
        """D, computed when first asked for, and not as theta - theta*: lam may make it small beside them."""
        return self.theta - self.theta_star if self.late_drift is None else self.late_drift()

    @property
    def route(self) -> str:
        """The last route taken, such as "gram32/float32": factor and arithmetic of the products ("none" without
        rows).
        """
        return self.steps[-1] if self.steps else "none"

    @property
    def condition(self) -> float:
        """sigma_1 / sigma_r of the unit-length rows; nan where no single factor was used."""
        return self.factor.condition if self.factor is not None else (1.0 if self.rank == 0 else float("nan"))

    def scaled(self, exponent: int) -> Projection:
        """The answer for theta* and b multiplied by 2^exponent."""
        half = 2.0 ** (exponent // 2), 2.0 ** (exponent - exponent // 2)
        return self._changed(lambda part: part * half[0] * half[1])

    def to_numpy(self) -> Projection:
        """The same with NumPy arrays for theta, drift and nu."""
        return self._changed(lambda part: part.detach().cpu().numpy())

    def _changed(self, change: Callable[[Any], Any]) -> Projection:
        drift = change(self.drift)
        return replace(
            self,
            theta=change(self.theta),
            theta_star=change(self.theta_star),
            nu=change(self.nu),
            late_drift=lambda: drift,
        )

    def solution(self, problem: UnlearningProblem | None = None) -> Solution:
        """The claim in the form that `certify` takes, in float64.

        problem: the UnlearningProblem that it answers (SquaredL2 with the weights, SquaredDrift(lam), free,
        rhs); built from the arguments of `project` when not given, with J itself if dense.  Multipliers pull
        theta* to theta once more, in float64, so a float32 projection is as good a claim as its nu is.
        """
        if self.problem is None:
            raise ProblemError("problem: this projection does not know its jacobian any more; call project() again")
        J, data = self.problem
        problem = problem or self._unlearning_problem()
        star, free = (
            torch.from_numpy(np.array(problem.theta_star, dtype=np.float64)),
            torch.from_numpy(problem.free.copy()),
        )
        nu = torch.as_tensor(self.nu, dtype=torch.float64, device=J.device)
        weights = torch.ones_like(star) if data.weights is None else data.weights.double().cpu()
        stiffness = weights + data.lam
        pull = J.rmatvec(nu).double().cpu()
        moved = torch.where(
            stiffness > 0, (pull - weights * star) / stiffness, torch.as_tensor(self.drift).double().cpu()
        )
        point = torch.where(stiffness > 0, (pull + data.lam * star) / stiffness, star + moved)
        theta = torch.where(free, point, star).numpy()
        status, message = (
            Status.OPTIMAL,
            f"estimated relative error {self.error_estimate:.1e} by {' > '.join(self.steps) or 'inspection'}",
        )
        if self.inconsistency > INCONSISTENT:
            status, nu = Status.INFEASIBLE, self._farkas(data)
        elif self.error_estimate > 1e-4:
            status = Status.INACCURATE
        drifts = (data.lam * (theta - star.numpy()),) if data.lam > 0 else ()
        return Solution(
            problem=problem,
            theta=theta,
            nu=nu.cpu().numpy(),
            status=status,
            solver=f"scalable.project ({self.route})",
            subgradient=weights.numpy() * theta,
            drift_subgradients=drifts,
            rank=None if self.factor is None else self.factor.report(J.shape[1]),
            unique=not bool((stiffness[free] == 0).any()),
            solve_seconds=self.seconds,
            message=message,
        )

    def _unlearning_problem(self) -> UnlearningProblem:
        assert self.problem is not None
        J, data = self.problem
        inner: Any = J
        if isinstance(J, DenseTorchJacobian):
            inner = J.matrix.double().cpu().numpy()
        elif isinstance(J, ForeignJacobian):
            inner = J.inner
        weights = None if data.weights is None else data.weights.double().cpu().numpy()
        free = None if data.free is None else data.free.cpu().numpy()
        rhs = None if data.rhs is None else data.rhs.cpu().numpy()
        penalty = SquaredDrift(data.lam) if data.lam > 0 else None
        return UnlearningProblem(data.theta_star.double().cpu().numpy(), inner, SquaredL2(weights), penalty, free, rhs)

    def _farkas(self, data: Quadratic) -> Tensor:
        """nu with J.T nu = 0 up to the rank tolerance and <nu, b> > 0: the proof that no drift fits b."""
        if self.factor is None or data.rhs is None:
            return torch.as_tensor(self.nu)
        lengths = torch.where(self.factor.scale > 0, self.factor.scale, 1.0)
        return lengths * (self.factor.null.T @ (self.factor.null @ (lengths * data.rhs)))
