"""Explicit programs as objects of other libraries, each imported only here and only when asked for."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import scipy.sparse as sp

from exact_unlearn.errors import ExactUnlearnError, ProblemError
from exact_unlearn.program import ExplicitProgram


def scipy_arguments(program: ExplicitProgram) -> dict[str, Any]:
    """The arguments of `scipy.optimize.milp` for an LP or MILP: `milp(**scipy_arguments(program))`.

    Its `fun` lacks `program.constant`; its `x` is z.  ProblemError for a program with curvature or cones.

    >>> import exact_unlearn as xu
    >>> program = xu.explicit_program(xu.UnlearningProblem([3.0, 1.0], [[1.0, 2.0]], xu.L1()))
    >>> from scipy.optimize import milp
    >>> from exact_unlearn.exports import scipy_arguments
    >>> program.theta(milp(**scipy_arguments(program)).x).round(9).tolist()
    [0.0, 2.5]
    """
    from scipy.optimize import Bounds, LinearConstraint

    if program.kind not in ("LP", "MILP") or program.P.nnz:
        raise ProblemError(f"program: scipy.optimize solves LPs and MILPs, and this is a {program.kind}")
    _, q, A, lower, upper = program.osqp()
    n = q.size
    integrality = np.zeros(n, dtype=int)
    integrality[program.integer] = 1
    return {
        "c": q,
        "constraints": LinearConstraint(A, lower, upper),
        "bounds": Bounds(np.full(n, -np.inf), np.full(n, np.inf)),
        "integrality": integrality,
    }


def qpsolvers_problem(program: ExplicitProgram) -> Any:
    """A `qpsolvers.Problem` of an LP or QP: minimise 1/2 x.T P x + q.T x, G x <= h, A x = b.

    The value lacks `program.constant`.  ProblemError for cones and integers; ExactUnlearnError without qpsolvers.

    >>> import exact_unlearn as xu
    >>> program = xu.explicit_program(xu.UnlearningProblem([3.0, 1.0], [[1.0, 2.0]], xu.L1()))
    >>> from exact_unlearn.exports import qpsolvers_problem
    >>> qpsolvers_problem(program).A.shape
    (1, 4)
    """
    if program.kind not in ("LP", "QP"):
        raise ProblemError(f"program: qpsolvers takes LPs and QPs, and this is a {program.kind}")
    qpsolvers = _library("qpsolvers")
    cut = program.cones.zero
    rows = sp.csc_array(program.A)
    A, G = rows[:cut], rows[cut:]
    return qpsolvers.Problem(
        sp.csc_matrix(program.P),
        np.array(program.q),
        sp.csc_matrix(G) if G.shape[0] else None,
        np.array(program.b[cut:]) if G.shape[0] else None,
        sp.csc_matrix(A) if cut else None,
        np.array(program.b[:cut]) if cut else None,
    )


def cvxpy_problem(program: ExplicitProgram) -> tuple[Any, Any]:
    """(problem, z): a `cvxpy.Problem` with the same matrices, constant included, and its variable of size n.

    After `problem.solve(...)`, `program.theta(z.value)` are the parameters.  The binary entries of z equal a boolean
    variable of their own.

    >>> import exact_unlearn as xu
    >>> program = xu.explicit_program(xu.UnlearningProblem([3.0, 1.0], [[1.0, 2.0]], xu.L1()))
    >>> from exact_unlearn.exports import cvxpy_problem
    >>> problem, z = cvxpy_problem(program)
    >>> round(float(problem.solve(solver="CLARABEL")), 6), program.theta(z.value).round(6).tolist()
    (2.5, [0.0, 2.5])
    """
    cp = _library("cvxpy")
    z = cp.Variable(program.q.size)
    objective = program.q @ z + program.constant
    if program.P.nnz:
        objective = objective + 0.5 * cp.quad_form(z, cp.psd_wrap(program.P))
    cones, slack = program.cones, program.b - sp.csr_array(program.A) @ z
    constraints: list[Any] = []
    if program.integer.size:
        constraints.append(z[program.integer] == cp.Variable(program.integer.size, boolean=True))
    at = 0
    for kind, sizes in (("zero", [cones.zero]), ("nonneg", [cones.nonneg]), ("soc", cones.soc)):
        for size in sizes:
            part = slack[at : at + size]
            at += size
            if not size:
                continue
            if kind == "soc":
                constraints.append(cp.SOC(part[0], part[1:]))
            else:
                constraints.append(part == 0 if kind == "zero" else part >= 0)
    for order in cones.psd:
        size = order * (order + 1) // 2
        constraints.append(_matrix(slack[at : at + size], order) >> 0)
        at += size
    return cp.Problem(cp.Minimize(objective), constraints), z


def _matrix(part: Any, order: int) -> Any:
    """The symmetric matrix of an upper triangle by columns, whose off-diagonal entries are scaled by sqrt 2."""
    cp = _library("cvxpy")
    entries = [(i, j) for j in range(order) for i in range(j + 1)]
    at = {pair: k for k, pair in enumerate(entries)}
    places = [at[min(i, j), max(i, j)] for j in range(order) for i in range(order)]
    scale = [1.0 if i == j else np.sqrt(0.5) for j in range(order) for i in range(order)]
    spread = sp.csr_array((scale, (np.arange(order * order), places)), shape=(order * order, len(entries)))
    return cp.reshape(spread @ part, (order, order), order="F")


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ExactUnlearnError(f"this needs {name}: pip install {name}") from None
