"""One explicit program, any solver: points and multipliers with one sign convention.

By CVXPY, or by a back end's own interface (direct.py).  CVXPY's own canonicalisation is bypassed on purpose: the
program is already explicit, and stating it row by row gives the multipliers of exactly these rows from every solver.
The solver is always named; CVXPY never chooses.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import scipy.sparse as sp

from exact_unlearn.errors import ProblemError, needed_by
from exact_unlearn.jacobian import Array
from exact_unlearn.program import Cones, ExplicitProgram
from exact_unlearn.reference import direct
from exact_unlearn.reference.direct import is_direct
from exact_unlearn.reference.halves import halves
from exact_unlearn.vectors import largest
from exact_unlearn.watch import remaining

DEFAULTS = {
    "QP": ("OSQP", "CLARABEL"),
    "LP": ("HIGHS", "CLARABEL"),
    "SOCP": ("CLARABEL", "SCS"),
    "SDP": ("CLARABEL", "SCS"),
    "MILP": ("HIGHS",),
}
"""Back ends per class of program: the first is asked first, the next only if the answer misses the accuracy."""


@dataclass(frozen=True, eq=False)
class BackendAnswer:
    """What a back end said: its own status word, a point z and row multipliers y (None where it gave none), its time,
    and the limit of it.

    Sign: P z + q + A.T y = 0, y in the dual cone.
    """

    solver: str
    claim: str
    z: Array | None
    y: Array | None
    compile_seconds: float
    solve_seconds: float
    detail: str = ""
    limit: float = math.inf

    @property
    def timed_out(self) -> bool:
        """Whether its limit of time ended it: its word for that may be "user_limit", which is also that of a limit of
        iterations, or "optimal_inaccurate".
        """
        return self.claim != "optimal" and self.solve_seconds >= 0.8 * self.limit


@cache
def installed() -> tuple[str, ...]:
    """Names of the CVXPY solvers that can be used here.  MissingExtraError without CVXPY.

    Asked once: CVXPY looks through the whole import path for each.
    """
    with needed_by("exact_unlearn.solve"):
        import cvxpy as cp
    return tuple(cp.installed_solvers())


def default_solvers(program: ExplicitProgram) -> list[str]:
    """The installed back ends of DEFAULTS for this class of program, best first."""
    known = installed()
    names = [name for name in DEFAULTS[program.kind] if name in known]
    if not names:
        wanted = " or ".join(DEFAULTS[program.kind])
        raise ProblemError(f"solver: a {program.kind} needs {wanted}; pip install 'exact-unlearn[solve]'")
    return names


def asked(solver: str | None, program: ExplicitProgram, limited: bool) -> list[str]:
    """The back ends that `solver` stands for, in the order in which they are asked; ProblemError if there is none.

    limited: whether they have to keep a limit of time.
    """
    if solver is None:
        return default_solvers(program)
    return direct.names_for(program, solver, limited) if is_direct(solver) else [check_solver(solver, program)]


def check_solver(name: str, program: ExplicitProgram) -> str:
    """The canonical name of an installed solver that can handle the program, else ProblemError."""
    from cvxpy.reductions.solvers.defines import SOLVER_MAP_CONIC, SOLVER_MAP_QP

    known = installed()
    upper = str(name).upper()
    if upper not in known:
        raise ProblemError(f"solver: {name!r} is not installed; available: {', '.join(known)}")
    conic, quadratic = SOLVER_MAP_CONIC.get(upper), SOLVER_MAP_QP.get(upper)
    cones = {cone.__name__ for cone in conic.SUPPORTED_CONSTRAINTS} if conic else set()
    missing = {
        "LP": False,
        "QP": not quadratic and not conic.supports_quad_obj() and "SOC" not in cones,
        "SOCP": "SOC" not in cones,
        "SDP": not cones & {"PSD", "SvecPSD"},
        "MILP": not any(interface and interface.MIP_CAPABLE for interface in (conic, quadratic)),
    }[program.kind]
    if missing:
        raise ProblemError(f"solver: {upper} cannot solve a {program.kind}; try {', '.join(DEFAULTS[program.kind])}")
    return upper


def run(
    program: ExplicitProgram, solver: str, accuracy: float, time_limit: float | None, length: float = 1.0
) -> BackendAnswer:
    """Solve the program with the named solver; never raises for what the solver does.

    length: the size of the parameters; the solver sees them in that unit.  time_limit: seconds; what is left of a
    limit around the call (watch.py) holds as well, and without any time left no solver is called.
    """
    if not program.q.size:  # nothing may move and nothing has an epigraph; CVXPY before 1.8 knows no empty vectors
        return BackendAnswer("none", "optimal", np.zeros(0), np.zeros(program.b.size), 0.0, 0.0)
    began = time.perf_counter()
    limit = min(math.inf if time_limit is None else time_limit, remaining())
    if not limit:
        return BackendAnswer(solver, "not started", None, None, 0.0, 0.0, "no time was left", 0.0)
    scaled, length, cost = normalised(program, length)
    name = solver.rpartition(":")[2]
    options = _options(name, accuracy, limit, required=time_limit is not None, integer=program.integer.size > 0)
    ask = _directly if is_direct(solver) else _by_cvxpy
    claim, z, y, solving, compiling, detail = ask(scaled, name, options)
    elapsed = time.perf_counter() - began
    solving = min(elapsed, solving) if solving else max(0.0, elapsed - compiling)
    z = None if z is None or not np.isfinite(z).all() else z * length
    y = None if y is None or not np.isfinite(y).all() else y * (cost / length)
    return BackendAnswer(solver, claim, z, y, max(0.0, elapsed - solving), solving, detail, limit)


Answered = tuple[str, Array | None, Array | None, float, float, str]
"""Claim, z, y, seconds of solving and of compiling (0 where unknown), and what an error said."""


def _by_cvxpy(program: ExplicitProgram, solver: str, options: dict[str, Any]) -> Answered:
    import cvxpy as cp

    halved = halves(program) if solver == "HIGHS" else None
    stated = program if halved is None else halved.program
    problem, variables, constraints = _cvxpy_problem(stated, 0 if halved is None else 2 * halved.count)
    if solver == "CLARABEL":
        options = options | _unknown_accepted()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # inaccuracy is judged by residuals, not by warnings
            problem.solve(solver=solver, **options)
        claim, detail = str(problem.status), ""
    except (cp.error.SolverError, ArithmeticError, ValueError, AssertionError) as error:
        claim, detail = "solver_error", _first_line(error)
    stats = problem.solver_stats
    solving = float(stats.solve_time) if stats is not None and stats.solve_time else 0.0
    values = [variable.value for variable in variables]
    z = None if any(value is None for value in values) else np.concatenate(values).astype(float)
    y = _multipliers(stated.cones, constraints)
    if halved is not None:
        z, y = None if z is None else halved.point(z), None if y is None else halved.multipliers(y)
    return claim, z, y, solving, float(problem.compilation_time or 0), detail


def _directly(program: ExplicitProgram, solver: str, options: dict[str, Any]) -> Answered:
    try:
        claim, z, y = direct.ask(program, solver, options)
    except (ArithmeticError, ValueError, RuntimeError) as error:
        return "solver_error", None, None, 0.0, 0.0, _first_line(error)
    return claim, z, y, 0.0, 0.0, ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def normalised(program: ExplicitProgram, length: float) -> tuple[ExplicitProgram, float, float]:
    """The program in units in which parameters and objective have size 1, by powers of two; cones do not notice."""
    length = _power_of_two(length)
    P, q = program.P * length**2, program.q * length
    cost = _power_of_two(float(max(largest(P.data), largest(q))))
    b = program.b / length
    if program.integer.size:  # binary variables have their own unit
        return program, 1.0, 1.0
    return (
        ExplicitProgram(
            sp.csc_array(P / cost), q / cost, program.A, b, program.cones, program.integer, 0.0,
            program.theta_map, program.theta_offset, program.nu_map,
        ),
        length,
        cost,
    )  # fmt: skip


def _power_of_two(size: float) -> float:
    return float(np.ldexp(1.0, int(np.frexp(size)[1]))) if size else 1.0


def _cvxpy_problem(program: ExplicitProgram, positive: int = 0) -> tuple[Any, list[Any], list[Any]]:
    """The problem, its variables (the first `positive` entries of z, which are not negative, and the others), and its
    constraints by cones.
    """
    import cvxpy as cp

    n, cones, b = program.q.size, program.cones, program.b
    variables = [cp.Variable(positive, nonneg=True)] if positive else []
    variables += [cp.Variable(n - positive)] if n > positive else []
    z: Any = variables[0] if len(variables) == 1 else cp.hstack(variables)
    A = sp.csr_array(program.A)
    objective: Any = program.q @ z
    if program.P.nnz:
        objective = objective + 0.5 * cp.quad_form(z, cp.psd_wrap(program.P))
    constraints: list[Any] = []
    zero, end = cones.zero, cones.zero + cones.nonneg
    if zero:
        constraints.append(A[:zero] @ z == b[:zero])
    if cones.nonneg:
        constraints.append(A[zero:end] @ z <= b[zero:end])
    at = end
    for size, run in groupby(cones.soc):  # cones of one size are one constraint: CVXPY's time goes by constraints
        count = len(list(run))
        s = b[at : at + count * size] - A[at : at + count * size] @ z
        # a cone of one row is a half-line, and CVXPY before 1.8 knows no empty vectors
        if size > 1:
            s = cp.reshape(s, (count, size), order="C")
            constraints.append(cp.SOC(s[:, 0], s[:, 1:], axis=1))
        else:
            constraints.append(s >= 0)
        at += count * size
    for order in cones.psd:
        size = order * (order + 1) // 2
        s = b[at : at + size] - A[at : at + size] @ z
        constraints.append(cp.PSD(cp.reshape(_symmetric(order) @ s, (order, order), order="C")))
        at += size
    binary = [z[program.integer] == cp.Variable(program.integer.size, boolean=True)] if program.integer.size else []
    return cp.Problem(cp.Minimize(objective), constraints + binary), variables, constraints


def _symmetric(order: int) -> sp.csr_array:
    """The map from an upper triangle by columns (off-diagonal times sqrt 2) to the flat symmetric matrix."""
    rows, columns, values, at = [], [], [], 0
    for j in range(order):
        for i in range(j + 1):
            scale = 1.0 if i == j else 1.0 / math.sqrt(2.0)
            for position in {i * order + j, j * order + i}:
                rows.append(position)
                columns.append(at)
                values.append(scale)
            at += 1
    return sp.csr_array((values, (rows, columns)), shape=(order * order, at))


def _multipliers(cones: Cones, constraints: list[Any]) -> Array | None:
    """y in the order of the rows, or None if the back end gave none."""
    parts: list[Array] = []
    for constraint in constraints:
        value = constraint.dual_value
        if value is None:
            return None
        if isinstance(value, list):  # second-order cones: t (n,), x (n, size - 1)
            parts.append(np.column_stack(value).ravel())
        elif np.ndim(value) == 2:
            parts.append(_triangle(np.asarray(value)))
        else:
            parts.append(np.ravel(value))
    y = np.concatenate(parts) if parts else np.zeros(0)
    return y if y.size == cones.rows and np.isfinite(y).all() else None


def _triangle(matrix: Array) -> Array:
    """The upper triangle by columns, off-diagonal times sqrt 2: the adjoint scaling of `_symmetric`."""
    symmetric, order = (matrix + matrix.T) / 2, matrix.shape[0]
    scale = math.sqrt(2.0)
    return np.array([symmetric[i, j] * (1.0 if i == j else scale) for j in range(order) for i in range(j + 1)])


def _unknown_accepted() -> dict[str, Any]:
    """Clarabel's point even when it stalled, where CVXPY can ask for it (1.8); else the next back end is asked."""
    from cvxpy.reductions.solvers.conic_solvers.clarabel_conif import CLARABEL

    return {"accept_unknown": True} if hasattr(CLARABEL, "ACCEPT_UNKNOWN") else {}


def _options(solver: str, accuracy: float, limit: float, required: bool, integer: bool = False) -> dict[str, Any]:
    """Accuracy and time limit in each solver's own words; solvers not listed run with their defaults.

    required: ProblemError where the solver has no such limit.  integer: whether it is a program in integers.
    """
    fine = max(accuracy * 1e-4, 1e-14)
    known: dict[str, dict[str, Any]] = {
        "CLARABEL": {
            "tol_gap_abs": fine, "tol_gap_rel": fine, "tol_feas": fine, "max_iter": 200,
            # where it stalls: a point is better than none, for residuals judge it
            "reduced_tol_gap_abs": 1e-5, "reduced_tol_gap_rel": 1e-5, "reduced_tol_feas": 1e-5,
        },
        "OSQP": {"eps_abs": max(fine, 1e-11), "eps_rel": max(fine, 1e-11), "max_iter": 20_000, "polishing": False},
        "HIGHS": {
            "output_flag": False, "primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10,
            # by default entries up to 1e-9 are taken for 0, of which an orthonormal basis has many; and on dense rows
            # presolving gains nothing and makes one program in two fail
            "small_matrix_value": 1e-12, "presolve": "choose" if integer else "off",
        },
        "SCS": {"eps_abs": max(fine, 1e-10), "eps_rel": max(fine, 1e-10), "max_iters": 50_000},
        "PIQP": {
            "eps_abs": max(fine, 1e-11), "eps_rel": max(fine, 1e-11),
            "eps_duality_gap_abs": max(fine, 1e-11), "eps_duality_gap_rel": max(fine, 1e-11),
        },
        "ECOS": {"abstol": max(fine, 1e-12), "reltol": max(fine, 1e-12), "feastol": max(fine, 1e-12), "max_iters": 200},
    }  # fmt: skip
    options = known.get(solver, {})
    if limit < math.inf:
        name = {"CLARABEL": "time_limit", "OSQP": "time_limit", "HIGHS": "time_limit", "SCS": "time_limit_secs"}.get(
            solver
        )
        if name is not None:
            options[name] = float(limit)
        elif required:
            raise ProblemError(
                f"time_limit: {solver} has no time limit that CVXPY can set; leave it out or use another solver"
            )
    return options
