"""The explicit program of a problem: what a solver sees, matrix by matrix.

    minimise  1/2 z.T P z + q.T z + constant   subject to   A z + s = b,   s in K,   z_j in {0, 1} for j in `integer`

K is a product of cones in this order: zero (equations), nonneg, second-order cones, positive semidefinite cones
(upper triangle by columns, off-diagonal entries times sqrt 2) - the form of Clarabel, and up to that triangle
of SCS.  z starts with theta on the free coordinates, followed by epigraph variables.  One function per row of
the table "explicit programs" in docs/theory.md says which epigraph a regularizer or drift penalty has; the rest
is assembly.

The first rows of A are the equations Q theta = c, an orthonormal basis of the row space of J
(`exact_unlearn.rowspace`), so a program is as well conditioned as the problem allows.  Rows that read >= are the first
inequalities, -u theta <= -c, every row u of J in a unit of its own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from exact_unlearn import codec, formats
from exact_unlearn.errors import FileFormatError, ProblemError, needed_by
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.problem import UnlearningProblem, require_problem
from exact_unlearn.rowspace import RowSpace, half_spaces, row_space

with needed_by("exact_unlearn.program"):
    import scipy.sparse as sp

SCHEMA = "exact-unlearn/program"

ENTRY_LIMIT = 30_000_000
"""Largest number of entries of J on the free coordinates that the reference solver takes."""


@dataclass(frozen=True)
class Cones:
    """Sizes of the factors of K, in the order of the rows of A."""

    zero: int = 0
    nonneg: int = 0
    soc: tuple[int, ...] = ()
    psd: tuple[int, ...] = ()
    """Orders n of the semidefinite blocks; block n takes n(n+1)/2 rows."""

    @property
    def rows(self) -> int:
        return self.zero + self.nonneg + sum(self.soc) + sum(n * (n + 1) // 2 for n in self.psd)


@dataclass(frozen=True, eq=False)
class ExplicitProgram:
    """minimise 1/2 z.T P z + q.T z + constant subject to A z + s = b, s in K, z[integer] binary.

    P: (n, n) sparse, symmetric, both triangles.  q: (n,).  A: (m, n) sparse.  b: (m,).  integer: indices of
    binary variables.  Back to the parameters: theta = theta_offset + theta_map @ z, and nu = nu_map @ y for
    multipliers y of the rows (sign: P z + q + A.T y = 0, y in the dual cone).  exact_up_to: how large |theta_i|
    may be before a binary program cuts it off (inf for convex ones).
    """

    P: sp.csc_array
    q: Array
    A: sp.csc_array
    b: Array
    cones: Cones
    integer: Array
    constant: float
    theta_map: sp.csc_array
    theta_offset: Array
    nu_map: Array
    exact_up_to: float = math.inf

    @property
    def kind(self) -> str:
        """ "QP", "LP", "SOCP", "SDP" or "MILP"."""
        if self.integer.size:
            return "MILP"
        if self.cones.psd:
            return "SDP"
        if self.cones.soc:
            return "SOCP"
        return "QP" if self.P.nnz else "LP"

    def theta(self, z: Array) -> Array:
        """Parameters (d,) of a point z (n,)."""
        return np.asarray(self.theta_offset + self.theta_map @ z)

    def nu(self, y: Array) -> Array:
        """Multipliers (k,) of the caller's J from the multipliers y (m,) of A z + s = b.

        For a J of subnormal numbers they can lie beyond the range of floats; they are cut off there.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(np.nan_to_num(self.nu_map @ y[: self.nu_map.shape[1]]))

    def value(self, z: Array) -> float:
        """The objective at z, constant included: R + Rhat at theta(z) when the epigraphs are tight."""
        return float(0.5 * z @ (self.P @ z) + self.q @ z + self.constant)

    def osqp(self) -> tuple[sp.csc_array, Array, sp.csc_array, Array, Array]:
        """(P, q, A, l, u) of minimise 1/2 z.T P z + q.T z subject to l <= A z <= u; QP, LP and MILP only."""
        if self.cones.soc or self.cones.psd:
            raise ProblemError(
                f"osqp: a {self.kind} has cones that l <= A z <= u cannot express; use P, q, A, b, cones"
            )
        lower = np.concatenate([self.b[: self.cones.zero], np.full(self.cones.nonneg, -np.inf)])
        return self.P, self.q, self.A, lower, self.b

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to .npz or .safetensors without pickle: CSC arrays P.data, P.indices, P.indptr, ...
        (docs/formats.md).
        """
        tree: dict[str, Any] = {"schema": SCHEMA, "version": 1, "kind": self.kind, "constant": float(self.constant)}
        tree |= {name: codec.columns_tree(getattr(self, name)) for name in ("P", "A", "theta_map")}
        tree |= {name: getattr(self, name) for name in ("q", "b", "integer", "theta_offset", "nu_map")}
        cones = self.cones
        tree["cones"] = {"zero": cones.zero, "nonneg": cones.nonneg, "soc": list(cones.soc), "psd": list(cones.psd)}
        tree["exact_up_to"] = self.exact_up_to if math.isfinite(self.exact_up_to) else None
        codec.save_object(path, tree)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ExplicitProgram:
        """Read what `save` wrote; FileFormatError, one sentence, on a damaged or foreign file."""
        tree = codec.load_object(path, SCHEMA)
        formats.require(formats.PROGRAM, tree, str(path))
        try:
            limit = tree["exact_up_to"]
            cones = tree["cones"]
            program = cls(
                **{name: codec.columns(tree[name]) for name in ("P", "A", "theta_map")},
                **{name: np.asarray(tree[name], dtype=np.float64) for name in ("q", "b", "theta_offset", "nu_map")},
                integer=np.asarray(tree["integer"]).astype(np.int64),
                cones=Cones(cones["zero"], cones["nonneg"], tuple(cones["soc"]), tuple(cones["psd"])),
                constant=float(codec.number(tree["constant"])),
                exact_up_to=math.inf if limit is None else float(codec.number(limit)),
            )
        except (ValueError, OverflowError) as error:  # columns that contradict each other, numbers beyond floats
            raise FileFormatError(f"{path}: {error}") from None
        n, m, d = program.q.size, program.b.size, program.theta_offset.size
        found = (program.P.shape, program.A.shape, program.theta_map.shape, program.cones.rows)
        if found != ((n, n), (m, n), (d, n), m) or not np.isin(program.integer, np.arange(n)).all():
            raise FileFormatError(f"{path}: P, A, theta_map, cones and integer do not fit {n} variables and {m} rows")
        return program


@dataclass(frozen=True, eq=False)
class Epigraph:
    """One summand of the objective: cost.T t + 1/2 theta.T diag(curvature) theta + slope.T theta, with rows b -
    E theta - F t in a cone.

    blocks: (cone name, E (r, d), F (r, n_aux), b (r,)); cost: (n_aux,); curvature, slope: (d,) or None; binary:
    whether t is.
    """

    blocks: list[tuple[str, sp.csr_array, sp.csr_array, Array]] = field(default_factory=list)
    cost: Array = field(default_factory=lambda: np.zeros(0))
    curvature: Array | None = None
    slope: Array | None = None
    constant: float = 0.0
    binary: bool = False
    limit: float = math.inf


@dataclass(frozen=True, eq=False)
class Assembly:
    """An explicit program with what is needed to read subgradients off its multipliers.

    summands: per epigraph, the rows of A it owns with their coefficients on all d coordinates.  rows: of the equations;
    start: D = start - theta* satisfies these.
    """

    program: ExplicitProgram
    rows: RowSpace
    start: Array
    summands: list[tuple[Epigraph, list[tuple[slice, sp.csr_array]]]]

    def subgradients(self, theta: Array, y: Array) -> list[Array]:
        """One (d,) subgradient per summand (R first, then each drift term), from multipliers y of the rows of A."""
        out = []
        for epigraph, owned in self.summands:
            g = np.zeros(theta.size)
            if epigraph.curvature is not None:
                g += epigraph.curvature * theta
            if epigraph.slope is not None:
                g += epigraph.slope
            for where, coefficients in owned:
                g += coefficients.T @ y[where]
            out.append(g)
        return out


def explicit_program(problem: UnlearningProblem) -> ExplicitProgram:
    """The program of the problem as it is stated.  Raises ProblemError if J is too large to be written out.

    `solve` hands it to a back end, in the problem's own unit, and first without regions that nothing is near.
    """
    return assemble(require_problem(problem)).program


def assemble(problem: UnlearningProblem) -> Assembly:
    """`explicit_program` together with the origin of its rows."""
    free = np.flatnonzero(problem.free)
    if problem.n_constraints * free.size > ENTRY_LIMIT:
        raise ProblemError(
            f"jacobian: {problem.n_constraints} x {free.size} entries are more than the {ENTRY_LIMIT} that the "
            "reference solver takes; use exact_unlearn.scalable.solve"
        )
    matrix, rhs = to_float(problem.free_matrix()), to_float(problem.rhs)
    rows = row_space(matrix[problem.equations])
    theta_star = to_float(problem.theta_star)
    start = theta_star[free] + rows.particular(rhs[problem.equations])
    half = half_spaces(matrix[problem.at_least], rhs[problem.at_least], theta_star[free])
    epigraphs = [
        _regularizer_epigraph(problem, theta_star),
        *(_drift_epigraph(t, theta_star, problem.free) for t in problem.drifts),
    ]
    return _assemble(problem, free, theta_star, (rows, start, half), epigraphs)


def _assemble(
    problem: UnlearningProblem,
    free: Array,
    theta_star: Array,
    stated: tuple[RowSpace, Array, tuple[Array, Array, Array]],
    epigraphs: list[Epigraph],
) -> Assembly:
    (rows, start, (unit, least, exponents)), d, n_free = stated, theta_star.size, free.size
    aux = np.cumsum([n_free, *(e.cost.size for e in epigraphs)])
    n = int(aux[-1])
    fixed = np.where(problem.free, 0.0, theta_star)
    A_blocks: list[Any] = [sp.hstack([sp.csr_array(rows.Q), sp.csr_array((rows.Q.shape[0], n - n_free))], format="csr")]
    b_blocks: list[Array] = [rows.Q @ start]
    owners: list[list[tuple[slice, sp.csr_array]]] = [[] for _ in epigraphs]
    sizes: dict[str, list[int]] = {"nonneg": [], "soc": [], "psd": []}
    at = rows.Q.shape[0]
    if least.size:
        A_blocks.append(sp.hstack([sp.csr_array(-unit), sp.csr_array((least.size, n - n_free))], format="csr"))
        b_blocks.append(-least)
        sizes["nonneg"].append(least.size)
        at += least.size
    for cone in sizes:
        for index, epigraph in enumerate(epigraphs):
            for name, E, F, b in epigraph.blocks:
                if name != cone or not b.size:
                    continue
                pad = sp.csr_array((b.size, int(aux[index]) - n_free)), sp.csr_array((b.size, n - int(aux[index + 1])))
                A_blocks.append(sp.hstack([E[:, free], pad[0], F, pad[1]], format="csr"))
                b_blocks.append(b - E @ fixed)
                owners[index].append((slice(at, at + b.size), E))
                sizes[cone].append(b.size)
                at += b.size
    P, q, constant = _objective(epigraphs, free, fixed, aux)
    cones = Cones(
        rows.Q.shape[0], sum(sizes["nonneg"]), tuple(sizes["soc"]), tuple(_order(size) for size in sizes["psd"])
    )
    binary = [np.arange(aux[i], aux[i + 1]) for i, e in enumerate(epigraphs) if e.binary]
    identity = sp.csc_array((np.ones(n_free), (free, np.arange(n_free))), shape=(d, n))
    program = ExplicitProgram(
        P=P,
        q=q,
        A=sp.csc_array(sp.vstack(A_blocks, format="csc")),
        b=np.concatenate(b_blocks),
        cones=cones,
        integer=np.concatenate(binary) if binary else np.zeros(0, dtype=np.int64),
        constant=constant,
        theta_map=identity,
        theta_offset=fixed,
        nu_map=_nu_map(rows, problem.at_least, exponents),
        exact_up_to=min(e.limit for e in epigraphs),
    )
    return Assembly(program, rows, start, list(zip(epigraphs, owners, strict=True)))


def _objective(epigraphs: list[Epigraph], free: Array, fixed: Array, aux: Array) -> tuple[sp.csc_array, Array, float]:
    n = int(aux[-1])
    diagonal, q, constant = np.zeros(n), np.zeros(n), 0.0
    for index, e in enumerate(epigraphs):
        q[aux[index] : aux[index + 1]] = e.cost
        constant += e.constant
        if e.curvature is not None:
            diagonal[: free.size] += e.curvature[free]
            constant += 0.5 * float(fixed @ (e.curvature * fixed))
        if e.slope is not None:
            q[: free.size] += e.slope[free]
            constant += float(e.slope @ fixed)
    P = sp.csc_array(sp.diags_array(diagonal, format="csc"))
    P.eliminate_zeros()
    return P, q, constant


def _nu_map(rows: RowSpace, at_least: Array, exponents: Array) -> Array:
    """nu = nu_map @ y: the multipliers -y of Q theta = c, pulled through Q to rows of J, and y of rows that read >=."""
    rank, least = rows.Q.shape[0], np.flatnonzero(at_least)
    found = np.zeros((at_least.size, rank + least.size))
    found[~at_least, :rank] = rows.multipliers(-rows.Q.T)
    found[least, rank + np.arange(least.size)] = np.ldexp(1.0, -exponents)
    return found


# ---------------------------------------------------------------- one epigraph per row of the table


def _regularizer_epigraph(problem: UnlearningProblem, theta_star: Array) -> Epigraph:
    R = problem.regularizer
    return _EPIGRAPHS[R.name](R, theta_star, problem.free)


def _weights(R: Any, d: int) -> Array:
    return np.ones(d) if R.weights is None else to_float(np.asarray(R.weights))


def _pick(columns: Array, values: Array, d: int) -> sp.csr_array:
    """The matrix with rows values[r] * e_{columns[r]}."""
    return sp.csr_array((values, (np.arange(columns.size), columns)), shape=(columns.size, d))


def _absolute_values(d: int, where: Array, weights: Array, center: Array) -> Epigraph:
    """sum weights_i |theta_i - center_i| over i in `where`: t >= +-(theta - center)."""
    E, F = _pick(where, np.ones(where.size), d), sp.csr_array(-sp.eye_array(where.size))
    shift = center[where]
    return Epigraph([("nonneg", E, F, shift), ("nonneg", sp.csr_array(-E), F, -shift)], weights[where])


def _l1(R: Any, theta_star: Array, free: Array) -> Epigraph:
    w = _weights(R, theta_star.size)
    return _absolute_values(theta_star.size, np.flatnonzero(w > 0), w, np.zeros(theta_star.size))


def _squared_l2(R: Any, theta_star: Array, free: Array) -> Epigraph:
    return Epigraph(curvature=_weights(R, theta_star.size))


def _elastic_net(R: Any, theta_star: Array, free: Array) -> Epigraph:
    d = theta_star.size
    where = np.arange(d) if R.alpha else np.arange(0)
    absolute = _absolute_values(d, where, np.full(d, float(R.alpha)), np.zeros(d))
    return Epigraph(absolute.blocks, absolute.cost, np.full(d, float(R.beta)))


def _linf(R: Any, theta_star: Array, free: Array) -> Epigraph:
    """unit t >= w_i |theta_i|; of the frozen coordinates only the largest can matter.

    unit: 1, or the largest weight where that is far from 1: t then has the size of theta, as solvers like it.
    """
    d, w = theta_star.size, _weights(R, theta_star.size)
    peak = float(np.max(w, initial=0.0)) or 1.0
    unit = 1.0 if 2.0**-10 < peak < 2.0**10 else peak
    w, where = w / unit, np.flatnonzero(free & (w > 0))
    frozen = np.where(free, 0.0, w * np.abs(theta_star))
    if frozen.any():
        where = np.append(where, int(np.argmax(frozen)))
    E, F = _pick(where, w[where], d), sp.csr_array(-np.ones((where.size, 1)))
    zero = np.zeros(where.size)
    floor = ("nonneg", sp.csr_array((1, d)), sp.csr_array([[-1.0]]), np.zeros(1))  # t >= 0 when nothing else bounds it
    return Epigraph([("nonneg", E, F, zero), ("nonneg", sp.csr_array(-E), F, zero), floor], np.full(1, unit))


def _cone(rows: sp.csr_array, aux: int, n_aux: int) -> tuple[str, sp.csr_array, sp.csr_array, Array]:
    """(t_aux, rows @ theta) in a second-order cone."""
    m = rows.shape[0] + 1
    E = sp.vstack([sp.csr_array((1, rows.shape[1])), -rows], format="csr")
    return "soc", sp.csr_array(E), sp.csr_array(([-1.0], ([0], [aux])), shape=(m, n_aux)), np.zeros(m)


def _compressed(where: Array, scale: Array, theta_star: Array, free: Array) -> sp.csr_array:
    """Rows whose norm at theta is |scale * theta| over `where`: one per free coordinate, one for all frozen
    ones together.
    """
    d = theta_star.size
    moving, still = where[free[where]], where[~free[where]]
    rows = _pick(moving, scale[moving], d)
    constant = scale[still] * theta_star[still]
    peak = np.max(np.abs(constant), initial=0.0)
    if not peak:
        return rows
    unit = (constant / peak) / np.linalg.norm(constant / peak)
    frozen = sp.csr_array((unit * scale[still], (np.zeros(still.size, dtype=int), still)), shape=(1, d))
    return sp.csr_array(sp.vstack([rows, frozen], format="csr"))


def _l2(R: Any, theta_star: Array, free: Array) -> Epigraph:
    w = _weights(R, theta_star.size)
    rows = _compressed(np.flatnonzero(w > 0), np.sqrt(w), theta_star, free)
    return Epigraph([_cone(rows, 0, 1)], np.ones(1))


def _group_l2(R: Any, theta_star: Array, free: Array) -> Epigraph:
    labels = R.labels
    weights = _weights(R, int(labels.max(initial=-1)) + 1)
    order = np.argsort(labels, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if labels.size else []
    counted = [g for g in range(weights.size) if weights[g] > 0]
    ones = np.ones(theta_star.size)
    blocks = [_cone(_compressed(members[g], ones, theta_star, free), i, len(counted)) for i, g in enumerate(counted)]
    return Epigraph(blocks, weights[counted])


def _predictor_norm(R: Any, theta_star: Array, free: Array) -> Epigraph:
    """|A_1.T V|_F: row (j, o) is sum_p V[p, o] A_1[p, j]."""
    m = R.shape[1]
    block = sp.kron(sp.csr_array(to_float(np.asarray(R.V)).T), sp.eye_array(m), format="csr")
    rows = sp.csr_array(_embed(block, np.arange(R.block.start, R.block.stop), theta_star.size))
    return Epigraph([_cone(rows, 0, 1)], np.ones(1))


def _embed(matrix: sp.csr_array, columns: Array, d: int) -> sp.csr_array:
    coo = matrix.tocoo()
    return sp.csr_array((coo.data, (coo.row, columns[coo.col])), shape=(matrix.shape[0], d))


def _nuclear_norm(R: Any, theta_star: Array, free: Array) -> Epigraph:
    """min 1/2 (tr W_1 + tr W_2) subject to [[W_1, X], [X.T, W_2]] positive semidefinite."""
    p, q = R.shape
    n, d = p + q, theta_star.size
    row, column = _triangle(n)
    indices = np.asarray(R.indices).reshape(p, q)
    scale = np.where(row == column, 1.0, math.sqrt(2.0))
    cross = (row < p) & (column >= p)
    at = np.arange(row.size)
    E = sp.csr_array((-scale[cross], (at[cross], indices[row[cross], column[cross] - p])), shape=(row.size, d))
    inner = np.flatnonzero(~cross)
    F = sp.csr_array((-scale[inner], (inner, np.arange(inner.size))), shape=(row.size, inner.size))
    cost = np.where(row == column, 0.5, 0.0)[inner]
    return Epigraph([("psd", E, F, np.zeros(row.size))], cost)


def _triangle(n: int) -> tuple[Array, Array]:
    """Row and column of each entry of the upper triangle, column by column."""
    column = np.repeat(np.arange(n), np.arange(1, n + 1))
    row = np.concatenate([np.arange(j + 1) for j in range(n)]) if n else np.zeros(0, dtype=int)
    return row, column


def _order(size: int) -> int:
    return (math.isqrt(8 * size + 1) - 1) // 2


def _counting(R: Any, theta_star: Array, free: Array) -> Epigraph:
    """Number of groups in use: |theta_i| <= M b_g with binary b_g.

    M is ten times the largest entry of theta*; `exact_up_to` reports it, and nobody may trust the optimum of
    such a program without a proof (docs/certificates.md): solve() refits, and certify() proves without M.
    """
    labels = R.charge(theta_star)  # group of each coordinate, -1 for coordinates that cost nothing
    d = theta_star.size
    where = np.flatnonzero(free & (labels >= 0))
    groups, column = np.unique(labels[where], return_inverse=True)
    frozen = {int(g) for g in labels[~free & (theta_star != 0) & (labels >= 0)]}
    paid = np.array([int(g) in frozen for g in groups], dtype=bool)
    M = 10.0 * float(np.max(np.abs(theta_star), initial=0.0)) or 1.0
    E = _pick(where, np.ones(where.size), d)
    F = sp.csr_array((np.full(where.size, -M), (np.arange(where.size), column)), shape=(where.size, groups.size))
    zero = np.zeros(where.size)
    unit = sp.csr_array(sp.eye_array(groups.size))
    nothing = sp.csr_array((groups.size, d))
    box = [
        ("nonneg", nothing, unit, np.ones(groups.size)),
        ("nonneg", nothing, sp.csr_array(-unit), np.where(paid, -1.0, 0.0)),
    ]
    constant = float(len(frozen - {int(g) for g in groups}))
    blocks = [("nonneg", E, F, zero), ("nonneg", sp.csr_array(-E), F, zero), *box]
    return Epigraph(blocks, np.ones(groups.size), constant=constant, binary=True, limit=M)


_EPIGRAPHS: dict[str, Callable[[Any, Array, Array], Epigraph]] = {
    "squared_l2": _squared_l2,
    "elastic_net": _elastic_net,
    "l1": _l1,
    "l2": _l2,
    "linf": _linf,
    "group_l2": _group_l2,
    "predictor_norm": _predictor_norm,
    "nuclear_norm": _nuclear_norm,
    "l0": _counting,
    "active_neurons": _counting,
}


def _drift_epigraph(term: Any, theta_star: Array, free: Array) -> Epigraph:
    d = theta_star.size
    if term.name == "squared_drift":
        lam = np.full(d, float(term.lam))
        return Epigraph(
            curvature=lam, slope=-lam * theta_star, constant=0.5 * float(term.lam) * float(theta_star @ theta_star)
        )
    where = np.flatnonzero(free)
    if term.name == "l1_drift":
        return _absolute_values(d, where if term.lam else where[:0], np.full(d, float(term.lam)), theta_star)
    radius = float(term.radius)
    E, none = _pick(where, np.ones(where.size), d), sp.csr_array((where.size, 0))
    if term.norm == math.inf:
        upper, lower = theta_star[where] + radius, radius - theta_star[where]
        return Epigraph([("nonneg", E, none, upper), ("nonneg", sp.csr_array(-E), none, lower)])
    rows = sp.csr_array(sp.vstack([sp.csr_array((1, d)), -E], format="csr"))
    return Epigraph([("soc", rows, sp.csr_array((where.size + 1, 0)), np.concatenate([[radius], -theta_star[where]]))])
