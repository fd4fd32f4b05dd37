"""Back ends by their own interfaces: the explicit program goes to them as it is, and CVXPY is not imported.

CVXPY is the reference, and what `solve` uses unless told otherwise.  For small programs most of the time goes into
building its expressions and taking them apart again; here the same matrices, in the same units and with the same
options, are handed over directly.  Every function returns the word of the back end, z and y with the one sign
convention P z + q + A.T y = 0, y in the dual cone.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array
from exact_unlearn.program import ExplicitProgram

PREFIX = "direct"

Said = tuple[str, Array | None, Array | None]
"""The status in the back end's words ("optimal" where it claims that), z and y."""


def _clarabel(program: ExplicitProgram, options: Mapping[str, Any]) -> Said:
    import clarabel

    settings = clarabel.DefaultSettings()
    settings.verbose = False
    for name, value in options.items():
        setattr(settings, name, value)
    rows = program.cones
    cones = [clarabel.ZeroConeT(rows.zero)] if rows.zero else []
    cones += [clarabel.NonnegativeConeT(rows.nonneg)] if rows.nonneg else []
    cones += [clarabel.SecondOrderConeT(size) for size in rows.soc]
    cones += [clarabel.PSDTriangleConeT(order) for order in rows.psd]
    upper = sp.csc_matrix(sp.triu(program.P))
    found = clarabel.DefaultSolver(upper, program.q, sp.csc_matrix(program.A), program.b, cones, settings).solve()
    claim = {"Solved": "optimal", "AlmostSolved": "optimal_inaccurate"}.get(str(found.status), str(found.status))
    return claim, np.array(found.x), np.array(found.z)


def _highs(program: ExplicitProgram, options: Mapping[str, Any]) -> Said:
    import highspy

    solver, n, m = highspy.Highs(), program.q.size, program.b.size
    for name, value in options.items():
        solver.setOptionValue(name, value)
    A = sp.csc_array(program.A)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_, lp.col_cost_ = n, m, program.q
    lp.col_lower_, lp.col_upper_ = np.full(n, -np.inf), np.full(n, np.inf)
    _, _, _, lp.row_lower_, lp.row_upper_ = program.osqp()
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = A.indptr, A.indices, A.data
    solver.passModel(lp)
    solver.run()
    said = solver.getModelStatus()
    claim = "optimal" if said == highspy.HighsModelStatus.kOptimal else solver.modelStatusToString(said)
    found = solver.getSolution()
    if not found.value_valid:
        return claim, None, None
    return claim, np.array(found.col_value), -np.array(found.row_dual) if found.dual_valid else None


def _osqp(program: ExplicitProgram, options: Mapping[str, Any]) -> Said:
    import osqp

    P, q, A, lower, upper = program.osqp()
    solver = osqp.OSQP()
    solver.setup(sp.csc_matrix(sp.triu(P)), q, sp.csc_matrix(A), lower, upper, verbose=False, **options)
    found = solver.solve(raise_error=False)
    claim = {"solved": "optimal", "solved inaccurate": "optimal_inaccurate"}.get(found.info.status, found.info.status)
    return claim, found.x, found.y


def _piqp(program: ExplicitProgram, options: Mapping[str, Any]) -> Said:
    import piqp

    solver = piqp.SparseSolver()
    for name, value in options.items():
        setattr(solver.settings, name, value)
    zero, A = program.cones.zero, sp.csr_array(program.A)
    E, G, b = sp.csc_matrix(A[:zero]), sp.csc_matrix(A[zero:]), program.b
    solver.setup(
        sp.csc_matrix(program.P), program.q, E, b[:zero], G, np.full(b.size - zero, -np.inf), b[zero:]
    )  # fmt: skip
    said, found = solver.solve(), solver.result
    claim = "optimal" if said == piqp.PIQP_SOLVED else str(said).rpartition(".")[2]
    return claim, np.array(found.x), np.concatenate([found.y, np.asarray(found.z_u) - np.asarray(found.z_l)])


BACKENDS: dict[str, tuple[str, Callable[[ExplicitProgram, Mapping[str, Any]], Said], str]] = {
    "PIQP": ("piqp", _piqp, "LP QP"),
    "CLARABEL": ("clarabel", _clarabel, "LP QP SOCP SDP"),
    "HIGHS": ("highspy", _highs, "LP"),
    "OSQP": ("osqp", _osqp, "QP"),
}
"""Name -> module, function, classes of programs; the order is that in which they are asked."""


def names_for(program: ExplicitProgram, solver: str, limited: bool = False) -> list[str]:
    """The back ends that "direct" or "direct:NAME" stands for, as "direct:NAME"; ProblemError if there is none.

    limited: whether they have to keep a limit of time, which PIQP cannot.
    """
    wanted = solver.upper().partition(":")[2]
    here = [name for name, (module, _, _) in BACKENDS.items() if importlib.util.find_spec(module)]
    able = [name for name in here if program.kind in BACKENDS[name][2].split()]
    if wanted:
        if wanted not in here:
            raise ProblemError(
                f"solver: {solver!r} is not installed; direct takes {', '.join(here) or 'none of its own'}"
            )
        if wanted not in able:
            raise ProblemError(f"solver: direct:{wanted} cannot solve a {program.kind}")
        return [f"{PREFIX}:{wanted}"]
    if limited:
        able = [name for name in able if name != "PIQP"]
    if not able:
        raise ProblemError(f"solver: no back end solves a {program.kind} directly; leave solver out")
    return [f"{PREFIX}:{name}" for name in able]


def is_direct(solver: str | None) -> bool:
    """Whether this names a back end by its own interface."""
    return solver is not None and solver.lower().partition(":")[0] == PREFIX


def ask(program: ExplicitProgram, name: str, options: Mapping[str, Any]) -> Said:
    """`BACKENDS[name]` on a program that it can solve."""
    return BACKENDS[name][1](program, options)
