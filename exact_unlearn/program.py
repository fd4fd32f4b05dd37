"""The explicit program of a problem: what a solver sees, matrix by matrix.

    minimise  1/2 z.T P z + q.T z + constant   subject to   A z + s = b,   s in K,   z_j in {0, 1} for j in `integer`

K is a product of cones in this order: zero (equations), nonneg, second-order cones, positive semidefinite cones
(upper triangle by columns, off-diagonal entries times sqrt 2) - the form of Clarabel, and up to that triangle
of SCS.  z starts with theta on the free coordinates, followed by epigraph variables.  Every term of the form
(`exact_unlearn.forms`) knows its epigraph, as in the table "explicit programs" of docs/theory.md; here is the assembly.

The first rows of A are the equations Q theta = c, an orthonormal basis of the row space of J
(`exact_unlearn.rowspace`), so a program is as well conditioned as the problem allows.  Rows that read >= are the first
inequalities, -u theta <= -c, every row u of J in a unit of its own.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from exact_unlearn import codec, formats
from exact_unlearn.errors import FileFormatError, ProblemError, needed_by
from exact_unlearn.forms import Part
from exact_unlearn.forms.epigraph import Epigraph
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

    >>> import exact_unlearn as xu
    >>> program = xu.explicit_program(xu.UnlearningProblem([3.0, 1.0], [[1.0, 2.0]], xu.SquaredL2()))
    >>> P, q, A, l, u = program.osqp()
    >>> P.toarray()
    array([[1., 0.],
           [0., 1.]])
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
class Placed:
    """A part of the objective and its epigraph in x = M theta - c; rows: those of A that it owns, with its E."""

    part: Part
    epigraph: Epigraph
    rows: tuple[tuple[slice, sp.csr_array], ...] = ()

    def subgradient(self, theta: Array, y: Array) -> Array:
        """(m,) of factor f at x, from multipliers y of the rows of A."""
        g = np.zeros(self.part.image(theta).size)
        if self.epigraph.curvature is not None:
            g += self.epigraph.curvature * self.part.at(theta)
        for where, E in self.rows:
            g += E.T @ y[where]
        return g


@dataclass(frozen=True, eq=False)
class Assembly:
    """An explicit program with what is needed to read subgradients off its multipliers.

    summands: per summand of R, then per drift penalty, its parts.  rows: of the equations; start:
    D = start - theta* satisfies these.
    """

    program: ExplicitProgram
    rows: RowSpace
    start: Array
    summands: list[list[Placed]]

    def subgradients(self, theta: Array, y: Array) -> list[Array]:
        """One subgradient per summand of R, in the space of its map, then one (d,) per drift penalty, from multipliers
        y of the rows of A.
        """
        return [
            sum((each.subgradient(theta, y) for each in placed[1:]), start=placed[0].subgradient(theta, y))
            if placed
            else np.zeros(theta.size)
            for placed in self.summands
        ]


def explicit_program(problem: UnlearningProblem) -> ExplicitProgram:
    """The program of the problem as it is stated.  Raises ProblemError if J is too large to be written out.

    `solve` hands it to a back end, in the problem's own unit, and first without regions that nothing is near.

    >>> import exact_unlearn as xu
    >>> program = xu.explicit_program(xu.UnlearningProblem([3.0, 1.0], [[1.0, 2.0]], xu.L1()))
    >>> program.kind, program.A.shape
    ('LP', (5, 4))
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
    groups = [list(summand.parts) for summand in problem.form.summands]
    groups += [list(form.parts) for form in problem.drift_forms]
    placed = [[_placed(part, theta_star, problem.free) for part in parts] for parts in groups]
    return _assemble(problem, free, theta_star, (rows, start, half), placed)


def _placed(part: Part, theta_star: Array, free: Array) -> Placed:
    """The epigraph of a part where it stands, times its factor."""
    moves = free if part.map is None else part.map.moves(free)
    epigraph = part.term.epigraph(part.at(theta_star), moves)
    if part.factor == 1:
        return Placed(part, epigraph)
    factor = float(part.factor)
    bend, curvature = (None if v is None else factor * v for v in (epigraph.bend, epigraph.curvature))
    cost, constant = factor * epigraph.cost, factor * epigraph.constant
    return Placed(part, replace(epigraph, cost=cost, bend=bend, curvature=curvature, constant=constant))


def _assemble(
    problem: UnlearningProblem,
    free: Array,
    theta_star: Array,
    stated: tuple[RowSpace, Array, tuple[Array, Array, Array]],
    summands: list[list[Placed]],
) -> Assembly:
    placed = [each for group in summands for each in group]
    epigraphs = [each.epigraph for each in placed]
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
            for name, E, F, b, own in epigraph.blocks:
                if name != cone or not b.size:
                    continue
                pad = sp.csr_array((b.size, int(aux[index]) - n_free)), sp.csr_array((b.size, n - int(aux[index + 1])))
                on_theta, right = _on_theta(placed[index].part, E, b)
                A_blocks.append(sp.hstack([on_theta[:, free], pad[0], F, pad[1]], format="csr"))
                b_blocks.append(right - on_theta @ fixed)
                owners[index].append((slice(at, at + b.size), E))
                sizes[cone].extend(own or [b.size])
                at += b.size
    P, q, constant = _objective(placed, free, fixed, aux)
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
    owned = iter(owners)
    owning = [[replace(each, rows=tuple(next(owned))) for each in group] for group in summands]
    return Assembly(program, rows, start, owning)


def _on_theta(part: Part, E: sp.csr_array, b: Array) -> tuple[sp.csr_array, Array]:
    """Rows b - E x in x = M theta - c as rows in theta."""
    if part.centre is not None:
        b = b + E @ to_float(part.centre)
    return (E if part.map is None else sp.csr_array(E @ part.map.sparse())), b


def _objective(placed: list[Placed], free: Array, fixed: Array, aux: Array) -> tuple[sp.csc_array, Array, float]:
    n = int(aux[-1])
    diagonal, q, constant = np.zeros(n), np.zeros(n), 0.0
    bent: list[sp.csr_array] = []  # 1/2 theta.T H theta of curvatures behind maps
    for index, each in enumerate(placed):
        e, part = each.epigraph, each.part
        q[aux[index] : aux[index + 1]] = e.cost
        constant += e.constant
        if e.bend is not None:
            diagonal[aux[index] : aux[index + 1]] = e.bend
        if e.curvature is None:
            continue
        c = None if part.centre is None else to_float(part.centre)
        if part.map is None:
            slope = np.zeros(fixed.size) if c is None else -e.curvature * c
            diagonal[: free.size] += e.curvature[free]
            constant += 0.5 * float(fixed @ (e.curvature * fixed))
        else:
            M = part.map.sparse()
            slope = -M.T @ (e.curvature * (0.0 if c is None else c))
            bent.append(sp.csr_array(M.T @ sp.diags_array(e.curvature) @ M))
            slope_fixed = bent[-1] @ fixed
            q[: free.size] += slope_fixed[free]
            constant += 0.5 * float(fixed @ slope_fixed)
        if c is not None:
            q[: free.size] += slope[free]
            constant += float(slope @ fixed) + 0.5 * float((e.curvature * c) @ c)
    P = sp.csc_array(sp.diags_array(diagonal, format="csc"))
    if bent:
        whole = sum(bent[1:], start=bent[0])[free][:, free]
        P = sp.csc_array(P + sp.block_diag([whole, sp.csr_array((n - free.size,) * 2)], format="csc"))
    P.eliminate_zeros()
    return P, q, constant


def _nu_map(rows: RowSpace, at_least: Array, exponents: Array) -> Array:
    """nu = nu_map @ y: the multipliers -y of Q theta = c, pulled through Q to rows of J, and y of rows that read >=."""
    rank, least = rows.Q.shape[0], np.flatnonzero(at_least)
    found = np.zeros((at_least.size, rank + least.size))
    found[~at_least, :rank] = rows.multipliers(-rows.Q.T)
    found[least, rank + np.arange(least.size)] = np.ldexp(1.0, -exponents)
    return found


def _order(size: int) -> int:
    return (math.isqrt(8 * size + 1) - 1) // 2
