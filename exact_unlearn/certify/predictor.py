"""The predictor norm |A_1.T V|_F of a linear network, from the factors V and X that its Jacobian is stored as.

With W = A_1.T V, the constraint is X W = Y.  Where all of A_1 may move and nothing else is penalised, only W
matters: with a column basis V_B of V and V = V_B C, W = W* + U C for an arbitrary U, and the normal equations

    X X.T N = P C C.T + X W* C.T,      U = (X.T N - W* C.T) (C C.T)^-1,      P = X U = rhs on the columns B

give the exact minimiser W.  The drift of least norm that produces it is Delta = V_B (V_B.T V_B)^-1 U.T (Lemma 1).

Otherwise W becomes a variable of its own, with the rows W - A_1.T V = 0: a separable program in (A_1, W).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.certify.encode import Tree, vector
from exact_unlearn.certify.exact import optimum
from exact_unlearn.certify.exactlin import IntMatrix, Rationals, integer_rows, product, row_basis, solve
from exact_unlearn.certify.forms import NotExactError, Proof
from exact_unlearn.certify.image import Image, right_side, slack_columns
from exact_unlearn.certify.pieces import Separable, pieces
from exact_unlearn.certify.terms import Drift, difference, everywhere, roots, scaled, sum_squares
from exact_unlearn.certify.whiten import whiten
from exact_unlearn.jacobian import Array, ProductJacobian, to_rational
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.rational import matmul


def prove_predictor(problem: UnlearningProblem, drift: Drift, kept: list[int] | None) -> Proof:
    """The exact minimiser and the square of its value.  NotExactError with a drift penalty, or where it leaves
    the 2-ball.
    """
    if not drift.cone:
        raise NotExactError("the predictor norm plus a drift penalty has an irrational minimiser")
    jacobian: Any = problem.jacobian
    whole = bool(problem.free[jacobian.block].all()) and kept is None and not drift.pinned
    plain = whole and drift.box is None and not problem.at_least.any()
    proof = _reduced(problem, jacobian) if plain else _lifted(problem, drift, kept)
    moved = difference(proof.theta, to_rational(problem.theta_star))
    if drift.ball is not None and sum_squares(moved) > drift.ball**2:
        raise NotExactError("the optimum touches the trust region of norm 2")
    return proof


# ---------------------------------------------------------------- all of A_1 moves


def _reduced(problem: UnlearningProblem, jacobian: ProductJacobian) -> Proof:
    V, X = to_rational(jacobian.V), to_rational(jacobian.X)
    theta = to_rational(problem.theta_star)
    start = theta[jacobian.block].reshape(V.shape[0], X.shape[1])
    outputs = V.shape[1]
    columns = row_basis(integer_rows(V.T)[0])
    V_B = V[:, columns]
    C = _coordinates(V, V_B)
    W = matmul(start.T, V)
    P = to_rational(problem.rhs).reshape(X.shape[0], outputs)[:, columns]
    N = _normal_equations(jacobian.X, matmul(P, matmul(C, C.T)) + matmul(X, matmul(W, C.T)))
    U = _over(matmul(X.T, N) - matmul(W, C.T), matmul(C, C.T))
    step = matmul(V_B, _over(U, matmul(V_B.T, V_B)).T) if columns else np.full(start.shape, Fraction(0), dtype=object)
    new, W = start + step, W + matmul(U, C) if columns else W
    full = theta.copy()
    full[jacobian.block] = new.reshape(-1)
    nu = np.full((X.shape[0], outputs), Fraction(0), dtype=object)
    nu[:, columns] = N
    dual: Tree = {"nu": vector(_nonzero(nu))}
    if len(columns) < outputs:
        dual["B"] = vector(_nonzero(W))
    block = range(jacobian.block.start, jacobian.block.stop)
    moved = {j: full[j] for j, s in zip(block, step.reshape(-1), strict=True) if s}
    return _proof(Rationals.of(list(full)), {"base": "theta_star", "parts": vector(moved)}, dual, W)


def _nonzero(matrix: Array) -> dict[int, Fraction]:
    return {i: v for i, v in enumerate(matrix.reshape(-1).tolist()) if v}


def _coordinates(V: Array, V_B: Array) -> Array:
    """C with V = V_B C."""
    ints, scales = integer_rows(V_B)
    rows = row_basis(ints)
    square = ints.rows(rows)
    out = np.full((V_B.shape[1], V.shape[1]), Fraction(0), dtype=object)
    for o in range(V.shape[1]) if rows else ():
        right = Rationals.of([V[i, o] / scales[i] for i in rows])
        found = solve(square, right.nums)[0]
        out[:, o] = [Fraction(int(v), found.den * right.den) for v in found.nums]
    return out


def _over(M: Array, G: Array) -> Array:
    """M G^-1 for a symmetric nonsingular G."""
    if not G.size:
        return M
    ints, scales = integer_rows(G)
    out = np.empty_like(M)
    for i, row in enumerate(M):
        right = Rationals.of([v / s for v, s in zip(row, scales, strict=True)])
        found = solve(ints, right.nums)[0]
        out[i] = [Fraction(int(v), found.den * right.den) for v in found.nums]
    return out


def _normal_equations(X: Array, right: Array) -> Array:
    """N, zero on dependent rows of X, with X X.T N = right."""
    ints, scales = integer_rows(X)
    rows = row_basis(ints)
    basis = ints.rows(rows)
    gram = product(basis, basis.T)
    N = np.full(right.shape, Fraction(0), dtype=object)
    for o in range(right.shape[1]) if rows else ():
        goal = Rationals.of([right[i, o] / scales[i] for i in rows])
        found = solve(gram, goal.nums)[0]
        for k, i in enumerate(rows):
            N[i, o] = Fraction(int(found.nums[k]), found.den * goal.den) / scales[i]
    return N


def _proof(theta: Rationals, primal: Tree, dual: Tree, W: Array) -> Proof:
    entries = Rationals.of(list(W.reshape(-1))) if W.size else Rationals.of([])
    square = sum_squares(entries)
    return Proof(theta, primal, dual, *roots(square), square=square, unique=False)


# ---------------------------------------------------------------- W as a variable


@dataclass(frozen=True)
class Lifted:
    """The program in (A_1, W): image.free counts the columns; the first n are free coordinates of A_1, then W
    (m, l).
    """

    image: Image
    coordinates: Array
    n: int


def lift(problem: UnlearningProblem, kept: list[int] | None) -> Lifted:
    """Rows W[c, o] - sum_a V[a, o] A[a, c] = (frozen part), then X W = X W* + rhs on the kept rows, or >=."""
    jacobian: Any = problem.jacobian
    V, X = jacobian.V, jacobian.X
    (h, outputs), m = V.shape, X.shape[1]
    block = np.arange(jacobian.block.start, jacobian.block.stop)
    coordinates = block[problem.free[jacobian.block]]
    rows = list(range(problem.n_constraints)) if kept is None else kept
    n = coordinates.size
    matrix = np.zeros((m * outputs + len(rows), n + m * outputs), dtype=V.dtype)
    if V.dtype == object:
        matrix[:] = Fraction(0)
    unit, entry = np.divmod(coordinates - jacobian.block.start, m)
    for o in range(outputs):
        matrix[entry * outputs + o, np.arange(n)] = -V[unit, o]
    every = np.arange(m * outputs)
    matrix[every, n + every] = 1
    for k, row in enumerate(rows):
        i, o = divmod(row, outputs)
        matrix[m * outputs + k, n + np.arange(m) * outputs + o] = X[i]
    theta = to_rational(problem.theta_star)
    start = theta[jacobian.block].reshape(h, m)
    W = matmul(start.T, to_rational(V)).reshape(-1)
    A, scales = integer_rows(matrix)
    point = np.concatenate([theta[coordinates], W])
    rhs = [*([Fraction(0)] * (m * outputs)), *to_rational(problem.rhs)[rows]]
    q = right_side(A, scales, point, rhs)
    at_least = tuple((m * outputs + np.flatnonzero(problem.at_least[rows])).tolist())
    image = Image(point, np.arange(point.size), slack_columns(A, at_least), scales, q, at_least)
    return Lifted(image, coordinates, n)


def lifted_terms(lifted: Lifted, drift: Drift, squared: bool = True) -> Separable:
    """|W|^2 / 2 and the drift of A_1."""
    n, width = lifted.n, lifted.image.free.size - lifted.n
    zero = Fraction(0)
    return Separable(
        theta=lifted.image.theta_free,
        quadratic=[zero] * n + [Fraction(int(squared))] * width,
        kink=[zero] * (n + width),
        lam=[drift.lam] * n + [zero] * width,
        mu=[drift.mu] * n + [zero] * width,
        box=[drift.box] * n + [None] * width,
    )


def _lifted(problem: UnlearningProblem, drift: Drift, kept: list[int] | None) -> Proof:
    lifted = lift(problem, kept)
    program = pieces(lifted.image, lifted_terms(lifted, drift))
    found = optimum(program, whiten(lifted.image.basis))
    x = scaled(found.point.x, program.x_unit)
    y = {row: found.point.y[k] * program.y_units[k] for k, row in enumerate(lifted.image.rows)}
    return lifted_proof(problem, lifted, x, y)


def lifted_proof(problem: UnlearningProblem, lifted: Lifted, x: Rationals, y: dict[int, Fraction]) -> Proof:
    """theta, nu and B = W from a solution in (A_1, W)."""
    n, width = lifted.n, lifted.image.free.size - lifted.n
    own, W = Rationals(x.nums[:n], x.den), Rationals(x.nums[n : n + width], x.den)
    star = to_rational(problem.theta_star)
    theta = everywhere(star, lifted.coordinates, own)
    moved = {int(j): own[i] for i, j in enumerate(lifted.coordinates) if own[i] != star[j]}
    nu = {row - width: v for row, v in y.items() if row >= width and v}
    dual: Tree = {"nu": vector(nu), "B": vector({i: W[i] for i in range(width) if W.nums[i]})}
    square = sum_squares(W)
    return Proof(
        theta, {"base": "theta_star", "parts": vector(moved)}, dual, *roots(square), square=square, unique=False
    )


__all__ = ["IntMatrix", "Lifted", "lift", "lifted_proof", "lifted_terms", "prove_predictor"]
