"""The strongest rivals by their own interfaces, each in the form that suits it best; no CVXPY between.

    minimise R(x) subject to J x = q,   q = J theta*

with R = |x|_1, sum_g |x_g|_2 (groups of equal size), |x|_inf or 1/2 |x|_2^2.  The dual of the first,
max <q, nu> subject to |J.T nu|_inf <= 1, has as many variables as J has rows: dense solvers are fastest there.  The
tolerances ask for what the tables promise, a relative gap of 1e-8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from exact_unlearn.jacobian import Array

TOLERANCE = 1e-9
"""Asked of solvers that measure in absolute terms: their gap of 1e-8 is then reached relatively, too."""


@dataclass(frozen=True)
class Rival:
    """needs: modules; norms: those it takes; call: (norm, size of a group, J, q) -> x."""

    needs: tuple[str, ...]
    norms: tuple[str, ...]
    call: Callable[[str, int, Array, Array], Array]


def _piqp_dual(norm: str, group: int, J: Array, q: Array) -> Array:
    import piqp

    solver, (k, d) = piqp.DenseSolver(), J.shape
    _tight(solver.settings)
    solver.setup(np.zeros((k, k)), -q, None, None, np.asfortranarray(J.T), -np.ones(d), np.ones(d))
    solver.solve()
    found: Array = np.asarray(solver.result.z_u) - np.asarray(solver.result.z_l)
    return found


def _piqp(norm: str, group: int, J: Array, q: Array) -> Array:
    import piqp

    solver = piqp.SparseSolver()
    _tight(solver.settings)
    c, A, G, _, _ = _conic(norm, group, J)
    solver.setup(sp.csc_matrix((c.size, c.size)), c, A, q, G, np.full(G.shape[0], -np.inf), np.zeros(G.shape[0]))
    solver.solve()
    return np.asarray(solver.result.x)[: J.shape[1]]


def _tight(settings: Any) -> None:
    for name in ("eps_abs", "eps_rel", "eps_duality_gap_abs", "eps_duality_gap_rel"):
        setattr(settings, name, TOLERANCE)


def _daqp_dual(norm: str, group: int, J: Array, q: Array) -> Array:
    import daqp

    k, d = J.shape
    rows = np.ascontiguousarray(J.T)
    _, _, flag, info = daqp.solve(
        np.zeros((k, k)), -q, rows, np.ones(d), -np.ones(d), np.zeros(d, dtype=np.intc), primal_tol=TOLERANCE
    )
    if flag != 1:
        raise SystemExit(f"daqp ended with {flag}")
    return np.asarray(info["lam"])


def _highs_dual(norm: str, group: int, J: Array, q: Array) -> Array:
    import highspy

    (k, d), A, solver, lp = J.shape, sp.csc_array(J.T), highspy.Highs(), highspy.HighsLp()
    solver.setOptionValue("output_flag", False)
    lp.num_col_, lp.num_row_, lp.col_cost_ = k, d, -q
    lp.col_lower_, lp.col_upper_, lp.row_lower_, lp.row_upper_ = (
        np.full(k, -np.inf),
        np.full(k, np.inf),
        -np.ones(d),
        np.ones(d),
    )
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = A.indptr, A.indices, A.data
    solver.passModel(lp)
    solver.run()
    return -np.asarray(solver.getSolution().row_dual)


def _lars(norm: str, group: int, J: Array, q: Array) -> Array:
    """The lasso path down to a penalty of 0, where it interpolates."""
    import warnings

    from sklearn.linear_model import lars_path

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, _, path = lars_path(J, q, method="lasso", alpha_min=0.0)
    return np.asarray(path[:, -1])


def _clarabel(norm: str, group: int, J: Array, q: Array) -> Array:
    import clarabel

    c, A, G, nonneg, cones = _conic(norm, group, J)
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = TOLERANCE
    sets = [clarabel.ZeroConeT(q.size)] + ([clarabel.NonnegativeConeT(nonneg)] if nonneg else [])
    sets += [clarabel.SecondOrderConeT(size) for size in cones]
    rows = sp.vstack([A, G], format="csc")
    right = np.concatenate([q, np.zeros(G.shape[0])])
    found = clarabel.DefaultSolver(sp.csc_matrix((c.size, c.size)), c, rows, right, sets, settings).solve()
    return np.asarray(found.x)[: J.shape[1]]


def _qoco(norm: str, group: int, J: Array, q: Array) -> Array:
    import qoco

    c, A, G, nonneg, cones = _conic(norm, group, J)
    solver = qoco.QOCO()
    solver.setup(
        c.size, G.shape[0], q.size, None, c, A, q, G, np.zeros(G.shape[0]), nonneg, len(cones),
        np.array(cones, dtype=np.int32) if cones else None, abstol=TOLERANCE, reltol=TOLERANCE, verbose=0,
    )  # fmt: skip
    return np.asarray(solver.solve().x)[: J.shape[1]]


def _cholesky(norm: str, group: int, J: Array, q: Array) -> Array:
    """J.T (J J.T)^-1 q with one step of refinement: five lines, right where J is well conditioned."""
    from scipy.linalg import cho_factor, cho_solve

    factor = cho_factor(J @ J.T)
    x = J.T @ cho_solve(factor, q)
    return np.asarray(x + J.T @ cho_solve(factor, q - J @ x))


def _conic(norm: str, group: int, J: Array) -> tuple[Array, sp.csc_matrix, sp.csc_matrix, int, tuple[int, ...]]:
    """(c, A, G, rows >= 0, cones): min c z subject to A z = q, -G z in the cones, z = (x, t)."""
    d = J.shape[1]
    eye = sp.eye_array(d)
    if norm == "group":
        n = d // group
        rows = np.concatenate(
            [np.arange(n) * (group + 1), np.delete(np.arange(n * (group + 1)), np.arange(n) * (group + 1))]
        )
        G = sp.csc_matrix((-np.ones(d + n), (rows, np.concatenate([d + np.arange(n), np.arange(d)]))))
        return _columns(d, n), _with(J, n), G, 0, (group + 1,) * n
    tops = eye if norm == "l1" else sp.csc_array(np.ones((d, 1)))
    G = sp.csc_matrix(sp.block_array([[eye, -tops], [-eye, -tops]]))
    return _columns(d, tops.shape[1]), _with(J, tops.shape[1]), G, 2 * d, ()


def _columns(d: int, n: int) -> Array:
    return np.concatenate([np.zeros(d), np.ones(n)])


def _with(J: Array, n: int) -> sp.csc_matrix:
    return sp.csc_matrix(sp.hstack([sp.csc_array(J), sp.csc_array((J.shape[0], n))]))


RIVALS = {
    "PIQP, dense dual": Rival(("piqp",), ("l1",), _piqp_dual),
    "PIQP": Rival(("piqp",), ("l1", "linf"), _piqp),
    "DAQP, dual": Rival(("daqp",), ("l1",), _daqp_dual),
    "HiGHS, dual": Rival(("highspy",), ("l1",), _highs_dual),
    "LARS (scikit-learn)": Rival(("sklearn",), ("l1",), _lars),
    "Clarabel": Rival(("clarabel",), ("l1", "linf", "group"), _clarabel),
    "QOCO": Rival(("qoco",), ("l1", "linf", "group"), _qoco),
    "Cholesky": Rival(("scipy",), ("squared l2",), _cholesky),
}
"""By name."""
