"""The closed forms of the paper: each against a route that does not contain its formula."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import null_space

from exact_unlearn import closed_form as cf
from exact_unlearn import rational
from exact_unlearn.activations import KNOWN
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import DenseJacobian, to_float, to_rational
from exact_unlearn.models import LinearModel, LinearNetwork, Perceptron

NETWORKS = [
    LinearNetwork((5, 1)),
    LinearNetwork((5, 2)),
    LinearNetwork((5, 4, 1)),
    LinearNetwork((5, 1, 1)),
    LinearNetwork((5, 1, 3)),
    LinearNetwork((5, 3, 2)),
    LinearNetwork((5, 2, 4, 3)),
    LinearNetwork((5, 3, 1, 4, 2)),
    LinearNetwork((5, 2, 3, 1, 2, 1)),
]
networks = pytest.mark.parametrize("network", NETWORKS, ids=repr)


def integers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return to_rational(rng.integers(-4, 5, shape))


def degenerate_rows(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Matrices with 7 columns and every kind of row space."""
    base = rng.integers(-4, 5, (4, 7)).astype(float)
    return {
        "full rank": base,
        "duplicated": np.concatenate([base, base[1:3]]),
        "dependent": np.concatenate([base, base[:1] - 2 * base[1:2]]),
        "zero row": np.concatenate([base, np.zeros((1, 7))]),
        "one row": base[:1],
        "only zeros": np.zeros((2, 7)),
        "no rows": base[:0],
        "rank = d": rng.integers(-4, 5, (7, 7)) + 20.0 * np.eye(7),
        "more rows than columns": rng.integers(-4, 5, (9, 7)).astype(float),
    }


ROW_CASES = list(degenerate_rows(np.random.default_rng(0)))
row_cases = pytest.mark.parametrize("case", ROW_CASES)

# ---------------------------------------------------------------- projections and Lemma 3


@row_cases
def test_projections(case: str, rng: np.random.Generator) -> None:
    rows, v = degenerate_rows(rng)[case], rng.standard_normal((7, 2))
    kernel = null_space(rows) if len(rows) else np.eye(7)
    np.testing.assert_allclose(cf.project_off_span(rows, v), kernel @ (kernel.T @ v), atol=1e-13)
    np.testing.assert_allclose(cf.project_onto_span(rows, v), v - kernel @ (kernel.T @ v), atol=1e-13)
    exact = cf.project_off_span(to_rational(rows), v)
    assert not rational.matmul(to_rational(rows), exact).any()
    np.testing.assert_allclose(cf.project_off_span(rows, v), to_float(exact), atol=1e-13)
    np.testing.assert_allclose(cf.project_off_span(rows, v[:, 0]), cf.project_off_span(rows, v)[:, 0], atol=1e-15)


def test_projection_of_ill_conditioned_rows(rng: np.random.Generator) -> None:
    """cond 1e9: the Gram matrix is singular in floats, the projection is right to eps * cond."""
    U, V = (np.linalg.qr(rng.standard_normal((n, 6)))[0] for n in (6, 30))
    rows, v = (U * np.logspace(0, -9, 6)) @ V.T, rng.standard_normal(30)
    exact = to_float(cf.project_off_span(to_rational(rows), v))
    np.testing.assert_allclose(cf.project_off_span(rows, v), exact, atol=1e-6)


@pytest.mark.parametrize("factor", [1e-300, 1e-150, 1e150, 1e300])
def test_projection_knows_no_scale(factor: float, rng: np.random.Generator) -> None:
    rows, v = rng.standard_normal((3, 6)), rng.standard_normal(6)
    np.testing.assert_allclose(cf.project_off_span(factor * rows, v), cf.project_off_span(rows, v), atol=1e-14)


@row_cases
@pytest.mark.parametrize("shape", [(7,), (7, 2)])
def test_lemma_3_is_the_only_feasible_point_of_the_row_space(
    case: str, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    X, theta = degenerate_rows(rng)[case], rng.integers(-4, 5, shape).astype(float)
    least = cf.lemma_3_min_norm(X, X @ theta)
    assert least.rank == rational.rank(X)
    np.testing.assert_allclose(X @ least.theta, X @ theta, atol=1e-11)
    np.testing.assert_allclose(X.T @ least.nu, least.theta, atol=1e-12)
    if len(X):
        np.testing.assert_allclose(least.theta, np.linalg.lstsq(X, X @ theta, rcond=None)[0], atol=1e-12)
    exact = cf.lemma_3_min_norm(to_rational(X), rational.matmul(to_rational(X), to_rational(theta)))
    assert exact.rank == least.rank
    assert (rational.matmul(to_rational(X.T), exact.nu) == exact.theta).all()
    np.testing.assert_allclose(least.theta, to_float(exact.theta), atol=1e-12)


def test_lemma_4_and_minimality(rng: np.random.Generator) -> None:
    X, theta = integers(rng, 3, 6), integers(rng, 6)
    y = X @ theta
    least = cf.lemma_3_min_norm(X, y).theta
    kernel, _ = rational.nullspace(X)
    for _ in range(20):
        other = least + kernel @ integers(rng, 3)
        assert (X @ other == y).all()
        assert least @ least <= other @ other


@pytest.mark.parametrize("wrap", [np.array, lambda a: to_rational(np.array(a))])
def test_lemma_3_refuses_inconsistent_systems(wrap: Callable[[Any], np.ndarray]) -> None:
    with pytest.raises(ProblemError, match="y: X theta = y has no solution, X has rank 1"):
        cf.lemma_3_min_norm(wrap([[1, 2], [2, 4]]), wrap([1, 3]))


# ---------------------------------------------------------------- Theorem 2 and Lemma 5


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("retained", [0, 1, 3, 5])
def test_theorem_2_is_retraining(outputs: int, retained: int, rng: np.random.Generator) -> None:
    """P_{S_r} of *any* interpolating theta* is the min-norm solution on the retain data, which never saw theta*."""
    model = LinearModel(8, outputs)
    x, y = integers(rng, 5, 8), integers(rng, 5, outputs)
    theta_star = model.interpolating_parameters(x, y, rng)
    solution = cf.theorem_2_solution(model, theta_star, x[:retained])
    retrained = cf.lemma_3_min_norm(x[:retained], y[:retained]).theta
    assert (model.predictor(solution) == retrained).all()
    floats = cf.theorem_2_solution(model, to_float(theta_star), to_float(x[:retained]))
    np.testing.assert_allclose(floats, to_float(solution), atol=1e-12)


# ---------------------------------------------------------------- Lemma 1


@networks
@pytest.mark.parametrize("retained", [0, 1, 2, 4])
def test_lemma_1_exactly(network: LinearNetwork, retained: int, rng: np.random.Generator) -> None:
    x, left = integers(rng, 4, 5), integers(rng, 4, 1)
    y = left * integers(rng, 1, network.n_outputs)  # rank 1, so that any bottleneck passes it
    theta_star = network.interpolating_parameters(x, y, rng)
    x_r, y_r = x[:retained], y[:retained]
    drift = cf.lemma_1_drift(network, theta_star, x_r)
    block = network.blocks[network.first_block]
    assert not np.delete(drift, np.r_[block]).any()
    assert not rational.matmul(network.jacobian(theta_star, x_r).matrix, drift).any()
    assert (network.predict(theta_star + drift, x_r) == y_r).all()
    # the predictor is that of retraining, computed from the retain data alone
    assert (network.predictor(theta_star + drift) == cf.lemma_3_min_norm(x_r, y_r).theta).all()
    floats = cf.lemma_1_drift(network, to_float(theta_star), to_float(x_r))
    np.testing.assert_allclose(floats, to_float(drift), rtol=1e-9, atol=1e-9 * float(abs(drift).max() or 1))


def test_lemma_1_for_one_output_is_the_formula_of_the_paper(rng: np.random.Generator) -> None:
    network = LinearNetwork((5, 4, 3, 1))
    theta, x = integers(rng, network.n_parameters), integers(rng, 2, 5)
    A1, A2, c = (network.split(theta)[name] for name in ("A1", "A2", "c"))
    v = A2.T @ c[0]
    w = A1.T @ v
    X_perp = w - x.T @ rational.solve(x @ x.T, x @ w)
    expected = -np.outer(v, X_perp) / (v @ v)
    assert (cf.lemma_1_drift(network, theta, x)[network.blocks["A1"]].reshape(4, 5) == expected).all()


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("network", [LinearNetwork((3, 2, 1)), LinearNetwork((3, 2, 2, 2))], ids=repr)
def test_lemma_1_without_a_signal(network: LinearNetwork, exact: bool) -> None:
    """v = 0 and theta = 0: the predictor is 0 already, the drift is 0, nothing divides by |v|."""
    x = np.array([[1.0, 2.0, 3.0]])
    dead = np.ones(network.n_parameters)
    dead[network.blocks["c"]] = 0
    for theta in (dead, 0 * dead):
        given = (to_rational(theta), to_rational(x)) if exact else (theta, x)
        assert not cf.lemma_1_drift(network, *given).any()


def test_lemma_1_with_a_rank_deficient_factor(rng: np.random.Generator) -> None:
    """V of rank 1 with 2 outputs, in floats: the pseudo-inverse must cut, not divide by rounding."""
    network = LinearNetwork((4, 3, 2))
    theta = network.join({"c": np.outer([1.0, 0.3], [0.1, 0.2, 0.7]), "A1": rng.standard_normal((3, 4))})
    x = rng.standard_normal((2, 4))
    drift = cf.lemma_1_drift(network, theta, x)
    assert np.abs(drift).max() < 100
    np.testing.assert_allclose(
        network.predictor(theta + drift), cf.project_onto_span(x, network.predictor(theta)), atol=1e-13
    )


# ---------------------------------------------------------------- Theorem 4


@networks
@pytest.mark.parametrize("frames", ["default", "random"])
def test_theorem_4_attains_its_value(network: LinearNetwork, frames: str, rng: np.random.Generator) -> None:
    rank = min(network.widths)
    W = rng.standard_normal((5, rank)) @ rng.standard_normal((rank, network.n_outputs))
    theta = cf.theorem_4_parameters(network, W, rng if frames == "random" else None)
    np.testing.assert_allclose(network.predictor(theta), W, atol=1e-12)
    assert theta @ theta == pytest.approx(cf.theorem_4_value(W, network.depth), rel=1e-12)
    if network.n_outputs == 1:
        rho = np.linalg.norm(W)
        assert theta @ theta == pytest.approx(network.depth * rho ** (2 / network.depth), rel=1e-12)


@networks
@pytest.mark.parametrize("size", [0.05, 1.0, 3.0])
def test_theorem_4_is_a_lower_bound(network: LinearNetwork, size: float, rng: np.random.Generator) -> None:
    """No parameters whatever have a smaller norm than the value at their own predictor."""
    for _ in range(200):
        theta = size * rng.standard_normal(network.n_parameters) * rng.choice([0.1, 1.0], network.n_parameters)
        assert theta @ theta >= cf.theorem_4_value(network.predictor(theta), network.depth) * (1 - 1e-12)


def test_theorem_4_value_at_two_layers_is_twice_the_nuclear_norm(rng: np.random.Generator) -> None:
    W = rng.standard_normal((5, 3))
    assert cf.theorem_4_value(W, 2) == pytest.approx(2 * np.linalg.norm(W, "nuc"), rel=1e-13)
    assert cf.theorem_4_value(W, 1) == pytest.approx(np.linalg.norm(W) ** 2, rel=1e-13)


def test_theorem_4_with_the_vectors_of_the_paper(rng: np.random.Generator) -> None:
    network, w = LinearNetwork((5, 3, 2, 1)), rng.standard_normal(5)
    v1, v2 = (v / np.linalg.norm(v) for v in (rng.standard_normal(3), rng.standard_normal(2)))
    rho, L = np.linalg.norm(w), 3
    matrices = network.split(cf.theorem_4_parameters(network, w, [v1, v2]))
    # the paper fixes v up to one common sign, since (-v_1, ..., -c) gives the same network
    sign = np.sign(matrices["c"][0] @ v2)
    np.testing.assert_allclose(matrices["A1"], sign * rho ** ((1 - L) / L) * np.outer(v1, w), atol=1e-13)
    np.testing.assert_allclose(matrices["A2"], rho ** (1 / L) * np.outer(v2, v1), atol=1e-13)
    np.testing.assert_allclose(matrices["c"][0], sign * rho ** (1 / L) * v2, atol=1e-13)


def test_theorem_4_degenerate_cases(rng: np.random.Generator) -> None:
    deep = LinearNetwork((4, 1, 3, 2))
    assert not cf.theorem_4_parameters(deep, np.zeros((4, 2))).any()
    assert not cf.theorem_4_parameters(deep, np.zeros((4, 2)), [np.ones((1, 0)), np.ones((3, 0))]).any()
    assert cf.theorem_4_value(np.zeros((4, 2)), 3) == 0.0
    w = rng.standard_normal(4)
    np.testing.assert_allclose(cf.theorem_4_parameters(LinearNetwork((4, 1)), w), w, atol=1e-14)
    # rounding is not rank: the third singular value of this matrix is 1e-17, and its 10th root is not small
    W = np.outer([0.1, 0.2, 0.3, 0.7], [1 / 3, 1 / 7])
    assert cf.theorem_4_value(W, 20) == pytest.approx(20 * np.linalg.norm(W) ** 0.1, rel=1e-12)
    assert cf.theorem_4_value(w * 1e-300, 4) == pytest.approx(4 * np.linalg.norm(w) ** 0.5 * 1e-150, rel=1e-12)
    assert cf.theorem_4_value([Fraction(3), Fraction(4)], 2) == pytest.approx(10.0, rel=1e-14)


# ---------------------------------------------------------------- Lemma 6, Theorem 5, Proposition 1, Corollary 1


@given(st.data())
def test_lemma_6_in_both_arithmetics(data: st.DataObject) -> None:
    h, k, inner = (data.draw(st.integers(low, 6)) for low in (1, 0, 0))
    outputs = data.draw(st.integers(1, 3))
    numbers = st.integers(-3, 3)

    def matrix(a: int, b: int) -> np.ndarray:
        return np.array(data.draw(st.lists(numbers, min_size=a * b, max_size=a * b)), dtype=float).reshape(a, b)

    rows, c = matrix(k, inner) @ matrix(inner, h), matrix(outputs, h)
    c = c[0] if outputs == 1 else c
    s = rational.rank(rows)
    exact = cf.lemma_6_sparse_drift(to_rational(c), to_rational(rows))
    floats = cf.lemma_6_sparse_drift(c, rows)
    for drift in (exact, to_rational(floats)):
        sparse = to_rational(c) + drift
        assert drift.shape == c.shape
        assert np.count_nonzero(np.atleast_2d(sparse != 0).any(axis=0)) <= s
    assert not rational.matmul(to_rational(rows), exact.T).any()
    np.testing.assert_allclose(rows @ floats.T, 0, atol=1e-11 * (1 + np.abs(rows).max(initial=0)))


def test_lemma_6_extremes(rng: np.random.Generator) -> None:
    c = rng.standard_normal(4)
    np.testing.assert_array_equal(c + cf.lemma_6_sparse_drift(c, np.zeros((2, 4))), 0)  # G = {0}: everything may go
    np.testing.assert_allclose(cf.lemma_6_sparse_drift(c, rng.standard_normal((4, 4))), 0, atol=1e-13)  # G = R^h
    assert not cf.lemma_6_sparse_drift(to_rational(c), np.eye(4)).any()


def test_lemma_6_chooses_its_support_with_care(rng: np.random.Generator) -> None:
    """The first s columns are nearly dependent: without pivoting the drift would be 1e12."""
    rows = rng.standard_normal((3, 8))
    rows[:, 1] = rows[:, 0] * (1 + 1e-13)
    drift = cf.lemma_6_sparse_drift(rng.standard_normal(8), rows)
    assert np.abs(drift).max() < 100
    assert np.abs(rows @ drift).max() < 1e-13


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("outputs", [1, 3])
def test_theorem_5_and_corollary_1(name: str, outputs: int, rng: np.random.Generator) -> None:
    model = Perceptron(4, 9, name, outputs)
    theta_star, x = rng.standard_normal(model.n_parameters), rng.standard_normal((5, 4))
    x_r, probe = x[:3], rng.standard_normal((20, 4))
    s = np.linalg.matrix_rank(model.features(theta_star, x_r))
    sparse = cf.theorem_5_solution(model, theta_star, x_r)
    pruned = cf.corollary_1_solution(model, theta_star, x_r)
    np.testing.assert_allclose(model.predict(sparse, x_r), model.predict(theta_star, x_r), atol=1e-11)
    np.testing.assert_array_equal(sparse[model.blocks["A"]], theta_star[model.blocks["A"]])
    assert model.active_neurons(sparse).sum() <= s < 9
    np.testing.assert_array_equal(model.predict(pruned, probe), model.predict(sparse, probe))
    assert (model.split(pruned)["A"] != 0).any(axis=1).sum() <= s


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "square", "identity"])
def test_theorem_5_exactly(name: str, rng: np.random.Generator) -> None:
    model = Perceptron(3, 7, name, 2)
    theta_star, x_r = integers(rng, model.n_parameters), integers(rng, 2, 3)
    pruned = cf.corollary_1_solution(model, theta_star, x_r)
    assert (model.predict(pruned, x_r) == model.predict(theta_star, x_r)).all()
    assert model.active_neurons(pruned).sum() <= rational.rank(model.features(theta_star, x_r))
    assert all(isinstance(entry, Fraction) for entry in pruned)


@pytest.mark.parametrize("name", KNOWN)
def test_proposition_1_changes_neither_function_nor_count(name: str, rng: np.random.Generator) -> None:
    model = Perceptron(3, 6, name, 2)
    matrices = model.split(rng.standard_normal(model.n_parameters))
    matrices["c"][:, [0, 2]] = 0.0  # unused neurons
    matrices["c"][0, 3] = 0.0  # used by the other output
    matrices["A"][5] = 0.0  # the constant c phi(0), a bias where phi(0) != 0
    theta = model.join(matrices)
    pruned, x = cf.proposition_1_prune(model, theta), rng.standard_normal((50, 3))
    np.testing.assert_array_equal(model.predict(pruned, x), model.predict(theta, x))
    np.testing.assert_array_equal(pruned[model.blocks["c"]], theta[model.blocks["c"]])
    rows = (model.split(pruned)["A"] != 0).any(axis=1)
    assert rows.tolist() == [False, True, False, True, True, False]
    assert rows.sum() == model.active_neurons(pruned).sum() == model.active_neurons(theta).sum()
    assert theta[model.blocks["A"]].reshape(6, 3)[0].all()  # the argument itself is untouched


# ---------------------------------------------------------------- Appendix E and D.4.1


@row_cases
@pytest.mark.parametrize("lam", [0, 2, 0.375, Fraction(3, 8)])
def test_appendix_e_satisfies_its_optimality_conditions(case: str, lam: Any, rng: np.random.Generator) -> None:
    """J D = 0 and theta* + D + lam D in row(J), exactly: necessary and sufficient for a strictly convex program."""
    J, theta_star = to_rational(degenerate_rows(rng)[case]), integers(rng, 7)
    D = cf.appendix_e_drift(J, theta_star, lam)
    assert not rational.matmul(J, D).any()
    gradient = theta_star + D + Fraction(lam) * D
    assert (cf.project_onto_span(J, gradient) == gradient).all()
    assert rational.solve(J.T, gradient) is not None
    floats = cf.appendix_e_drift(DenseJacobian(to_float(J)), to_float(theta_star), lam)
    np.testing.assert_allclose(floats, to_float(D), atol=1e-13)


def test_appendix_e_shrinks_with_lambda(rng: np.random.Generator) -> None:
    J, theta_star = rng.standard_normal((2, 5)), rng.standard_normal(5)
    free = cf.appendix_e_drift(J, theta_star)
    np.testing.assert_allclose(cf.appendix_e_drift(J, theta_star, 3), free / 4, rtol=1e-14)
    np.testing.assert_allclose(theta_star + free, J.T @ np.linalg.solve(J @ J.T, J @ theta_star), atol=1e-14)


@pytest.mark.parametrize("m", [3, 4, 6])
def test_counterexample_d41(m: int) -> None:
    case = cf.counterexample_d41(m)
    network, theta = case.network, case.theta_star + case.drift
    assert network.widths == (m, m, 1)
    assert (network.predict(case.theta_star, case.x) == case.y).all()
    assert not rational.matmul(network.jacobian(case.theta_star, case.x_retain).matrix, case.drift).any()
    assert not network.predictor(theta).any()  # |w|_2 = 0, the least there is
    assert (network.predict(theta, case.x_retain) != case.y_retain).all()
    drift = network.split(case.drift)
    assert drift["c"][0].tolist() == [0, 0, -1] + [0] * (m - 3)
    assert {(i, j): int(drift["A1"][i, j]) for i, j in np.argwhere(drift["A1"] != 0).tolist()} == {
        (2, 0): 1,
        (1, 1): -1,
        (2, 2): -1,
    }
    # what Theorem 3 adds, moving A_1 alone, repairs it
    repaired = case.theta_star + cf.lemma_1_drift(network, case.theta_star, case.x_retain)
    assert (network.predict(repaired, case.x_retain) == case.y_retain).all()
    assert (network.predictor(repaired) == cf.lemma_3_min_norm(case.x_retain, case.y_retain).theta).all()


# ---------------------------------------------------------------- bad input

NAN = float("nan")
NET, PERCEPTRON = LinearNetwork((2, 3, 2)), Perceptron(2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: cf.project_onto_span(np.eye(2), [1.0]),
            r"vectors: expected 2 rows, one per column of rows, got shape",
        ),
        (lambda: cf.project_off_span([[NAN]], [1.0]), "rows: expected finite numbers, got nan"),
        (lambda: cf.lemma_3_min_norm(np.eye(2), [1.0]), r"y: expected 2 rows, one per row of X, got shape \(1,\)"),
        (
            lambda: cf.theorem_2_solution(LinearModel(2), [1.0], [[1.0, 2.0]]),
            "theta_star: expected 2 parameters, got 1",
        ),
        (lambda: cf.lemma_1_drift(NET, np.ones(12), [[1.0]]), r"x_retain: expected shape \(n, 2\), got \(1, 1\)"),
        (lambda: cf.lemma_1_drift(NET, np.full(12, NAN), [[1.0, 1.0]]), "theta_star: expected finite numbers"),
        (lambda: cf.theorem_4_value([1.0], 0), "depth: expected an integer >= 1, got 0"),
        (lambda: cf.theorem_4_parameters(NET, np.eye(3)), r"W: expected shape \(2, 2\), got \(3, 3\)"),
        (
            lambda: cf.theorem_4_parameters(LinearNetwork((2, 1, 2)), np.eye(2)),
            "a layer of width 1 does not pass .* rank 2",
        ),
        (
            lambda: cf.theorem_4_parameters(NET, np.eye(2), []),
            "directions: expected 1 of them, one per hidden layer, got 0",
        ),
        (
            lambda: cf.theorem_4_parameters(NET, np.eye(2), [np.ones((3, 2))]),
            r"directions\[0\]: expected 2 orthonormal",
        ),
        (lambda: cf.lemma_6_sparse_drift([1.0, 2.0], np.eye(3)), "c: expected 3 columns, one per column of rows"),
        (
            lambda: cf.theorem_5_solution(PERCEPTRON, np.ones(8), [[1.0, 2.0]]),
            "theta_star: expected 9 parameters, got 8",
        ),
        (lambda: cf.proposition_1_prune(PERCEPTRON, np.ones(8)), "theta: expected 9 parameters, got 8"),
        (lambda: cf.appendix_e_drift(np.eye(2), np.ones(2), -1), "lam: expected one finite number >= 0, got -1"),
        (lambda: cf.appendix_e_drift(np.eye(2), np.ones(2), NAN), "lam: expected one finite number >= 0, got nan"),
        (lambda: cf.appendix_e_drift(np.eye(2), np.ones(3)), "jacobian: expected 3 columns, one per parameter"),
        (lambda: cf.counterexample_d41(2), "n_inputs: expected an integer >= 3, got 2"),
    ],
)
def test_bad_input_gets_one_sentence(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        call()
