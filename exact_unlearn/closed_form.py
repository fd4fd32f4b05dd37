"""Closed forms of the theory: formulas only, no solver.

Arithmetic follows the data: float64 with rank-revealing factorisations, or exact on object arrays of
`fractions.Fraction` (exact wherever the result is rational; Theorem 4 takes roots and answers in floats).
Floats count as dependent below the numerical rank tolerance max(k, d) eps sigma_1 of a (k, d) matrix; rows of
equations are scaled to entries near 1 before, as in `rowspace`, for an equation says the same at every scale.

Names follow the paper (NeurIPS numbering): `lemma_3_min_norm` is Lemma 3.  S_r is the span of the retain
inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn import rational
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, dimensions, real_array, to_float
from exact_unlearn.models import LinearModel, LinearNetwork, Perceptron
from exact_unlearn.models.layout import inputs, parameters, unify, zeros
from exact_unlearn.rowspace import in_row_units
from exact_unlearn.vectors import as_number

# ---------------------------------------------------------------- projections


def project_onto_span(rows: Any, vectors: Any) -> Array:
    """P_S v, the Euclidean projection of each column of `vectors` onto S = span of `rows`.

    rows: (k, d), dependent and zero rows welcome, k = 0 gives 0; vectors: (d,) or (d, p).  Same shape as
    `vectors`.
    """
    rows, vectors = _compatible(rows, vectors)
    if rows.dtype == object:
        return rational.project_onto_rows(rows, vectors)[0]
    basis = row_space_basis(rows)
    return np.asarray(basis.T @ (basis @ vectors))


def project_off_span(rows: Any, vectors: Any) -> Array:
    """P_{S^perp} v = v - P_S v, orthogonal to `rows` to rounding (the projection is applied twice) or
    exactly.

    rows: (k, d); vectors: (d,) or (d, p).  Same shape as `vectors`.
    """
    rows, vectors = _compatible(rows, vectors)
    if rows.dtype == object:
        return np.asarray(vectors - rational.project_onto_rows(rows, vectors)[0])
    basis = row_space_basis(rows)
    rest = vectors - basis.T @ (basis @ vectors)
    return np.asarray(rest - basis.T @ (basis @ rest))


def row_space_basis(rows: Any) -> Array:
    """An orthonormal basis, (r, d), of the row space of a float matrix (k, d), r its numerical rank, whatever the
    scale of its rows.
    """
    rows, _ = in_row_units(to_float(real_array("rows", rows, 2)))
    _, sigma, Vt = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(Vt[: _numerical_rank(sigma, rows.shape)])


# ---------------------------------------------------------------- linear models


@dataclass(frozen=True, eq=False)
class MinNormSolution:
    """theta with X theta = y and theta = X^T nu; theta (m,) or (m, l), nu (k,) or (k, l), rank of X."""

    theta: Array
    nu: Array
    rank: int


def lemma_3_min_norm(X: Any, y: Any, tolerance: float = 1e-9) -> MinNormSolution:
    """The solution of X theta = y of minimal Euclidean norm, with the multipliers that prove it (Lemma 3).

    theta = X^+ y is the only feasible point in row(X).  X: (k, m); y: (k,) or (k, l). Raises ProblemError if
    the system is inconsistent: exactly for Fractions; for floats if max |X theta - y| exceeds `tolerance` *
    max |y| and the rounding of the product.
    """
    X = real_array("X", X, 2)
    y = real_array("y", y, 1 if dimensions(y) == 1 else 2)
    if len(y) != len(X):
        raise ProblemError(f"y: expected {len(X)} rows, one per row of X, got shape {y.shape}")
    X, y = unify(X, y)
    if X.dtype == object:
        pair = rational.min_norm(X, y)
        if pair is None:
            raise ProblemError(f"y: X theta = y has no solution, X has rank {rational.rank(X)} and {len(X)} rows")
        return MinNormSolution(*pair, rank=rational.rank(X))
    unit, exponents = in_row_units(X)
    U, sigma, Vt = np.linalg.svd(unit, full_matrices=False)
    r = _numerical_rank(sigma, X.shape)
    coordinates = ((U[:, :r].T @ np.ldexp(y.T, -exponents).T).T / sigma[:r]).T
    theta = Vt[:r].T @ coordinates
    nu = np.ldexp((U[:, :r] @ (coordinates.T / sigma[:r]).T).T, -exponents).T
    residual = np.max(np.abs(X @ theta - y), initial=0.0)
    rounding = 100 * np.finfo(np.float64).eps * np.max(np.abs(X) @ np.abs(theta), initial=0.0)
    if not residual <= tolerance * np.max(np.abs(y), initial=0.0) + rounding:
        raise ProblemError(f"y: X theta = y has no solution, X has rank {r} and the least residual is {residual:.3g}")
    return MinNormSolution(theta, nu, r)


def theorem_2_solution(model: LinearModel, theta_star: Any, x_retain: Any) -> Array:
    """The exact unlearning solution of a linear model for R = |.|_2 (Theorem 2, Lemma 5): P_{S_r}(theta*).

    For any theta* that interpolates, not only the min-norm one; with several outputs every row of Theta is
    projected.  Flat (d,).
    """
    theta_star, x = _at(model, theta_star, x_retain)
    return model.join({"theta": project_onto_span(x, model.predictor(theta_star)).T})


# ---------------------------------------------------------------- linear networks


def lemma_1_drift(network: LinearNetwork, theta_star: Any, x_retain: Any) -> Array:
    """A drift of the first layer alone that solves the exact problem for R = |w(theta)|_2 (Lemma 1).

    Delta_{A_1} = -|v|^-2 v (P_{S_r^perp} w(theta*))^T, everything else 0; with several outputs (ours)
    Delta_{A_1} = -V (V^T V)^+ (P_{S_r^perp} W)^T.  Then J drift = 0 and w(theta* + drift) = P_{S_r} w(theta*).
    V = 0 makes W = 0 and the drift 0.  L = 1: V = I, the linear model (Theorem 2).  Flat (d,).
    """
    theta_star, x = _at(network, theta_star, x_retain)
    V = network.first_layer_factor(theta_star)
    removed = project_off_span(x, network.predictor(theta_star))
    # V (V^T V)^+ is the transpose of the pseudo-inverse of V
    if V.dtype == object:
        first = -rational.matmul(rational.pseudo_inverse(V).T, removed.T)
    else:
        first = -_pseudo_inverse(V).T @ removed.T
    drift = zeros(theta_star.shape, theta_star)
    drift[network.blocks[network.first_block]] = first.reshape(-1)
    return drift


def theorem_4_value(W: Any, depth: int) -> float:
    """The least |theta|_2^2 of a linear network of depth L with predictor W (Theorem 4).

    L sum_i sigma_i(W)^(2/L).  W: (m,), where this is L rho^(2/L) with rho = |w|_2, or (m, l) (ours: at
    fixed W).  W = w_r, the min-norm
    predictor of the retain data, gives the optimal value for one output.  L = 1: |W|_F^2.  The widths must
    let the rank of W pass.
    """
    _, sigma, _ = _singular_triplets(W)
    if isinstance(depth, bool) or not isinstance(depth, int | np.integer) or depth < 1:
        raise ProblemError(f"depth: expected an integer >= 1, got {depth!r}")
    return float(depth * np.sum(sigma ** (2.0 / depth)))


def theorem_4_parameters(
    network: LinearNetwork, W: Any, directions: Sequence[Any] | np.random.Generator | None = None
) -> Array:
    """Parameters of least norm among all with predictor W (Theorem 4). Flat (d,), float64.

    One output: A_1 = rho^((1-L)/L) v_1 w^T, A_i = rho^(1/L) v_i v_{i-1}^T, c = rho^(1/L) v_{L-1} with rho =
    |w|_2 and unit vectors v_i.  Several (ours): with the r singular triplets W = sum sigma_j p_j q_j^T, A_1 =
    sum sigma_j^(1/L) v_{1j} p_j^T and so on, the v_i now having r orthonormal columns.  W = 0 gives theta =
    0; L = 1 gives theta = W.

    W: (m,) or (m, l).  directions: v_1, ..., v_{L-1} of shape (h_i,) or (h_i, r); or a generator for random
    ones; None for unit vectors.  Raises ProblemError if a layer is narrower than the rank of W, or v_i is not
    orthonormal.
    """
    P, sigma, Q = _singular_triplets(W)
    m, l = network.n_inputs, network.n_outputs
    if (P.shape[0], Q.shape[0]) != (m, l):
        raise ProblemError(f"W: expected shape ({m}, {l}), got {np.shape(W)}")
    frames = [P, *_frames(network.widths[1:-1], sigma.size, directions), Q]
    share = sigma ** (1.0 / network.depth)
    layers = [(frames[i + 1] * share) @ frames[i].T for i in range(network.depth)]
    return network.join({"c": layers[-1]} | {f"A{i}": M for i, M in enumerate(layers[:-1], start=1)})


# ---------------------------------------------------------------- perceptrons


def lemma_6_sparse_drift(c: Any, rows: Any) -> Array:
    """A drift orthogonal to `rows` such that c + drift has at most s = rank(rows) non-zero entries (Lemma 6).

    The reduced column echelon form of a basis of the orthogonal complement is the unit matrix on its pivot
    entries; subtracting the columns, each times the entry of c at its pivot, makes exactly these entries
    zero.  Floats choose pivots by size and refit the others, so that rows @ drift is of the size of rounding.

    c: (h,), or (l, h) for several outputs, which then share their zeros (ours).  rows: (k, h) spanning G.
    Shape of c.
    """
    rows = real_array("rows", rows, 2)
    c = real_array("c", c, 1 if dimensions(c) == 1 else 2)
    if c.shape[-1] != rows.shape[1]:
        raise ProblemError(f"c: expected {rows.shape[1]} columns, one per column of rows, got shape {c.shape}")
    rows, c = unify(rows, c)
    if rows.dtype == object:
        N, pivots = rational.nullspace(rows)
        return np.asarray(-rational.matmul(c[..., list(pivots)], N.T))
    basis = row_space_basis(rows)
    kept = _well_conditioned_columns(basis)
    sparse = np.zeros_like(c)
    for _ in range(2):  # the second pass removes what the first one rounds
        missing = basis @ (c - sparse).T
        sparse[..., kept] += np.linalg.solve(basis[:, kept], missing).T
    return np.asarray(sparse - c)


def theorem_5_solution(perceptron: Perceptron, theta_star: Any, x_retain: Any) -> Array:
    """theta that predicts as theta* on the retain inputs, with A untouched and at most s = rank Phi active
    neurons (Theorem 5).

    Lemma 6 on C and the features Phi = phi(A* x_i).  A feasible point that meets the bound, not always the
    optimum.  Flat (d,).
    """
    theta_star, x = _at(perceptron, theta_star, x_retain)
    matrices = perceptron.split(theta_star)
    drift = lemma_6_sparse_drift(matrices["c"], perceptron.features(theta_star, x))
    return perceptron.join({"c": matrices["c"] + drift, "A": matrices["A"]})


def proposition_1_prune(perceptron: Perceptron, theta: Any) -> Array:
    """theta with row a_i set to zero wherever neuron i does not reach any output, c_i = 0 (Proposition 1).
    Flat (d,).

    The function and the number R of active neurons stay as they are.  Rows left non-zero: R of them.  A
    neuron with a_i = 0 but c_i != 0 is the constant c_i phi(0), a bias if phi(0) != 0: R does not count it,
    and it is kept.
    """
    matrices = perceptron.split(theta)
    silent = (matrices["c"] == 0).all(axis=0)
    matrices["A"][silent] = Fraction(0) if matrices["A"].dtype == object else 0.0
    return perceptron.join(matrices)


def corollary_1_solution(perceptron: Perceptron, theta_star: Any, x_retain: Any) -> Array:
    """Proposition 1 applied to `theorem_5_solution`: at most s non-zero rows of A as well (Corollary 1). Flat (d,)."""
    return proposition_1_prune(perceptron, theorem_5_solution(perceptron, theta_star, x_retain))


# ---------------------------------------------------------------- any model


def appendix_e_drift(jacobian: Any, theta_star: Any, lam: Any = 0) -> Array:
    """argmin_D |theta* + D|_2^2 + lam |D|_2^2 subject to J D = 0 (Appendix E).

    D = -(1 + lam)^-1 P_{G^perp}(theta*), G = row(J); equally the minimiser for SquaredL2() with SquaredDrift(lam).
    jacobian: a DenseJacobian or its matrix (k, d); theta_star: (d,); lam >= 0 (for Fractions a Fraction, or a float
    taken exactly).  Shape (d,).
    """
    theta_star = real_array("theta_star", theta_star, 1)
    matrix = real_array("jacobian", getattr(jacobian, "matrix", jacobian), 2)
    if matrix.shape[1] != theta_star.size:
        raise ProblemError(f"jacobian: expected {theta_star.size} columns, one per parameter, got shape {matrix.shape}")
    removed = project_off_span(matrix, theta_star)
    factor = as_number("lam", lam)
    return np.asarray(-removed / (1 + (Fraction(factor) if removed.dtype == object else float(factor))))


@dataclass(frozen=True, eq=False)
class Counterexample:
    """A drift that solves the *relaxed* problem of a linear network and destroys it (D.4.1). All numbers are
    Fractions.

    network, theta_star: an interpolating network; x, y: the data; x_retain, y_retain: what stays; drift: J
    drift = 0 and the predictor of theta_star + drift is 0, so |w|_2 attains its least value 0 although the
    retain data demand 1.
    """

    network: LinearNetwork
    theta_star: Array
    x: Array
    y: Array
    x_retain: Array
    y_retain: Array
    drift: Array


def counterexample_d41(n_inputs: int = 3) -> Counterexample:
    """The counterexample of D.4.1: without a drift penalty, or freezing, Theorem 3 is false.

    m = n_inputs >= 3; theta*: c = e_1 + e_2, A = I_m; D = {(e_1, 1), (e_2, 1)}, D_r = {(e_1, 1)};
    Delta_c = -e_3, Delta_A = e_3 e_1^T - e_2 e_2^T - e_3 e_3^T.
    """
    if isinstance(n_inputs, bool) or not isinstance(n_inputs, int | np.integer) or n_inputs < 3:
        raise ProblemError(f"n_inputs: expected an integer >= 3, got {n_inputs!r}")
    network = LinearNetwork((n_inputs, n_inputs, 1))
    unit = rational.identity(n_inputs)
    drift_A = rational.zeros((n_inputs, n_inputs))
    drift_A[2, 0], drift_A[1, 1], drift_A[2, 2] = Fraction(1), Fraction(-1), Fraction(-1)
    x, y = unit[:2], rational.rationals([[1], [1]])
    theta_star = network.join({"c": unit[:1] + unit[1:2], "A1": unit})
    drift = network.join({"c": -unit[2:3], "A1": drift_A})
    return Counterexample(network, theta_star, x, y, x[:1], y[:1], drift)


# ---------------------------------------------------------------- parts


def _at(model: Any, theta_star: Any, x_retain: Any) -> tuple[Array, Array]:
    """theta* and the retain inputs, checked against the model, in one arithmetic."""
    theta = parameters(theta_star, model.n_parameters, "theta_star")
    theta, x = unify(theta, inputs(x_retain, model.n_inputs, "x_retain"))
    return theta, x


def _compatible(rows: Any, vectors: Any) -> tuple[Array, Array]:
    rows = real_array("rows", rows, 2)
    vectors = real_array("vectors", vectors, 1 if dimensions(vectors) == 1 else 2)
    if len(vectors) != rows.shape[1]:
        raise ProblemError(f"vectors: expected {rows.shape[1]} rows, one per column of rows, got shape {vectors.shape}")
    rows, vectors = unify(rows, vectors)
    return rows, vectors


def _numerical_rank(sigma: Array, shape: tuple[int, ...]) -> int:
    tolerance = max(shape) * np.finfo(np.float64).eps * sigma.max(initial=0.0)
    return int(np.sum(sigma > tolerance))


def _pseudo_inverse(V: Array) -> Array:
    U, sigma, Vt = np.linalg.svd(V, full_matrices=False)
    r = _numerical_rank(sigma, V.shape)
    return np.asarray((Vt[:r].T / sigma[:r]) @ U[:, :r].T)


def _singular_triplets(W: Any) -> tuple[Array, Array, Array]:
    """P (m, r), sigma (r,), Q (l, r) with W = P diag(sigma) Q^T, r the numerical rank.

    A singular value that is only rounding must not count: 1e-17 has the sixth root 1e-3.
    """
    W = to_float(real_array("W", W, 1 if dimensions(W) == 1 else 2))
    W = W[:, None] if W.ndim == 1 else W
    P, sigma, Qt = np.linalg.svd(W, full_matrices=False)
    r = _numerical_rank(sigma, W.shape)
    return P[:, :r], sigma[:r], Qt[:r].T


def _frames(hidden: Sequence[int], r: int, directions: Sequence[Any] | np.random.Generator | None) -> list[Array]:
    """v_1, ..., v_{L-1}: (h_i, r) with orthonormal columns."""
    if r > min(hidden, default=r):
        raise ProblemError(f"network: a layer of width {min(hidden)} does not pass a predictor of rank {r}")
    if directions is None:
        return [np.eye(width, r) for width in hidden]
    if isinstance(directions, np.random.Generator):
        return [np.linalg.qr(directions.standard_normal((width, r)))[0] for width in hidden]
    if len(directions) != len(hidden):
        raise ProblemError(f"directions: expected {len(hidden)} of them, one per hidden layer, got {len(directions)}")
    frames = []
    for i, (width, v) in enumerate(zip(hidden, directions, strict=True), start=1):
        frame = to_float(real_array(f"directions[{i - 1}]", v, 1 if dimensions(v) == 1 else 2))
        frame = frame[:, None] if frame.ndim == 1 else frame
        if r == 0 and len(frame) == width:
            frame = frame[:, :0]
        if frame.shape != (width, r) or not np.allclose(frame.T @ frame, np.eye(r), rtol=0, atol=1e-12):
            raise ProblemError(
                f"directions[{i - 1}]: expected {r} orthonormal columns of length {width}, got shape {frame.shape}"
            )
        frames.append(frame)
    return frames


def _well_conditioned_columns(basis: Array) -> Array:
    """Indices of s linearly independent columns of `basis` (s, h), found by pivoted Gram-Schmidt."""
    rest = basis.copy()
    kept: list[int] = []
    for _ in range(len(basis)):
        best = int(np.argmax(np.sum(rest * rest, axis=0)))
        direction = rest[:, best] / np.linalg.norm(rest[:, best])
        for _ in range(2):
            rest -= np.outer(direction, direction @ rest)
        rest[:, [*kept, best]] = 0.0
        kept.append(best)
    return np.sort(np.array(kept, dtype=np.int64))
