"""Where one answer of the problem layer turns into another: tolerances, the last index, shapes, who is to blame."""

from __future__ import annotations

import dataclasses
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import exact_unlearn as xu
from exact_unlearn import jacobian as jacobian_module
from exact_unlearn import problem as problem_module
from exact_unlearn.errors import InterpolationWarning, ProblemError
from exact_unlearn.jacobian import DenseJacobian, ProductJacobian, to_float, to_rational
from exact_unlearn.problem import UnlearningProblem, exact_problem, interpolation_residual, surrogate_problem
from tests.cases import gaussian_problem

MODEL = xu.LinearModel(2)


def warned(theta: Any, x: Any, y: Any, model: Any = MODEL) -> bool:
    """Whether surrogate_problem says that theta does not interpolate."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        surrogate_problem(model, theta, x, xu.L2(), y_retain=y)
    return any(issubclass(each.category, InterpolationWarning) for each in said)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("sign", [1, -1])
def test_interpolation_is_decided_at_a_hundred_millionth_of_the_labels(size: float, sign: int) -> None:
    """max |f - y| against 1e-8 max(1, max |y|): the largest error decides, whatever its sign and its sample."""
    x = np.eye(2)
    y = np.array([size, -size / 2])
    allowed = 1e-8 * max(1.0, size)
    for at in (0, 1):
        error = np.zeros(2)
        error[at] = sign * allowed
        assert not warned(y + 0.5 * error, x, y)
        assert warned(y + 2 * error, x, y)


def test_fractions_interpolate_exactly_or_not_at_all() -> None:
    theta, x = [Fraction(1, 3), Fraction(0)], [[1, 5]]
    assert not warned(theta, x, [Fraction(1, 3)])
    assert warned(theta, x, [Fraction(1, 3) + Fraction(1, 10**30)])
    # the float is not a third, and the difference is not rounded away
    assert warned(theta, x, [1 / 3])
    problem = exact_problem(MODEL, theta, x, [1 / 3], xu.L2())
    assert problem.rhs.tolist() == [Fraction(1 / 3) - Fraction(1, 3)]


def test_nothing_retained_interpolates() -> None:
    assert not warned([1.0, 2.0], np.zeros((0, 2)), np.zeros(0))
    assert interpolation_residual(MODEL, np.ones(2), np.zeros((0, 2)), np.zeros((0, 1))) == 0.0
    assert surrogate_problem(MODEL, [1.0, 2.0], np.zeros((0, 2)), xu.L2()).n_constraints == 0


def test_the_residual_looks_at_every_output_of_every_sample() -> None:
    model = xu.LinearModel(2, 3)
    theta, x = np.arange(6.0), np.array([[1.0, 2.0], [3.0, -1.0]])
    y = model.predict(theta, x)
    for sample in range(2):
        for output in range(3):
            off = y.copy()
            off[sample, output] -= 0.25
            assert interpolation_residual(model, theta, x, off) == 0.25


def test_the_warning_points_at_the_caller() -> None:
    with pytest.warns(InterpolationWarning) as said:
        surrogate_problem(MODEL, [1.0, 0.0], [[1.0, 5.0]], xu.L2(), y_retain=[2.0])
    assert [each.filename for each in said] == [__file__]


def test_labels_come_one_row_per_sample() -> None:
    """A transposed matrix of labels has the right number of entries and is refused all the same."""
    model, x = xu.LinearModel(4, 3), np.arange(8.0).reshape(2, 4)
    theta = np.arange(12.0)
    right = model.predict(theta, x)
    assert right.shape == (2, 3)
    assert not exact_problem(model, theta, x, right, xu.L2()).rhs.any()
    for wrong in (right.T, right.reshape(-1), right.reshape(1, 6), right[:1], right.reshape(6, 1)):
        with pytest.raises(ProblemError, match=r"y_retain: expected shape \(2, 3\)"):
            exact_problem(model, theta, x, wrong, xu.L2())
    for wrong in (1.0, np.ones((2, 3, 1))):
        with pytest.raises(ProblemError, match="y_retain: expected 1 dimension"):
            exact_problem(model, theta, x, wrong, xu.L2())
    # one output: labels as a vector and as a column are the same
    for y in ([1.0, 2.0], [[1.0], [2.0]]):
        assert exact_problem(MODEL, np.zeros(2), np.eye(2), y, xu.L2()).rhs.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("exact", [False, True])
def test_right_hand_sides_go_sample_by_sample(exact: bool) -> None:
    """Row i l + o of J belongs to output o at sample i, and so does its entry of rhs: a feasible drift fits y."""
    model = xu.LinearModel(3, 2)
    x, y = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]]), np.array([[1.0, -2.0], [3.0, 0.5]])
    theta = np.arange(6.0)
    if exact:
        x, y, theta = map(to_rational, (x, y, theta))
    problem = exact_problem(model, theta, x, y, xu.SquaredL2())
    drift = np.linalg.lstsq(to_float(problem.free_matrix()), to_float(problem.rhs), rcond=None)[0]
    np.testing.assert_allclose(to_float(model.predict(theta + drift, x)), to_float(y), atol=1e-12)


@pytest.mark.parametrize("free", [[4], [0, 4], [-1, 0], slice(0, 0)])
def test_the_last_index_is_one_less_than_the_length(free: Any) -> None:
    make = lambda: UnlearningProblem(np.ones(4), np.eye(4), xu.L1(), free=free)  # noqa: E731
    if isinstance(free, slice):
        assert not make().free.any()
        return
    with pytest.raises(ProblemError, match="free: expected distinct indices from 0 to 3"):
        make()


def test_masks_and_indices_of_small_problems_are_not_confused() -> None:
    """[0, 1] are indices, [False, True] is a mask, also where d = 2; the caller's mask is not touched."""
    for free, expected in (([0, 1], [True, True]), ([1], [False, True]), ([False, True], [False, True])):
        assert UnlearningProblem(np.ones(2), np.eye(2), xu.L1(), free=free).free.tolist() == expected
    mask = np.array([True, False])
    problem = UnlearningProblem(np.ones(2), np.eye(2), xu.L1(), free=mask)
    mask[:] = True
    assert problem.free.tolist() == [True, False]
    assert not UnlearningProblem(np.ones(2), np.eye(2), xu.L1(), free=[]).free.any()


def test_regularizers_that_restrict_moves_name_the_range() -> None:
    model = xu.Perceptron(2, 3)
    with pytest.raises(ProblemError, match=r"moves of the coordinates 0 to 2 only, but coordinate 3 is free as well"):
        surrogate_problem(model, np.ones(9), np.ones((1, 2)), xu.ActiveNeurons(model), free=[2, 3, 8])
    assert surrogate_problem(model, np.ones(9), np.ones((1, 2)), xu.ActiveNeurons(model), free=[2]).free.sum() == 1


# ---------------------------------------------------------------- products


def product_problem(exact: bool = False, outputs: int = 2) -> tuple[xu.LinearNetwork, Any, Any, UnlearningProblem]:
    network = xu.LinearNetwork((2, 3, outputs))
    theta, x = np.arange(1.0, 1 + network.n_parameters) % 5, np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.25]])
    if exact:
        theta, x = to_rational(theta), to_rational(x)
    return network, theta, x, surrogate_problem(network, theta, x, xu.PredictorNorm(network, theta))


@pytest.mark.parametrize("entry", range(6))
def test_one_foreign_entry_of_v_is_enough(entry: int) -> None:
    """The norm and the Jacobian must have the same V, entry by entry."""
    _, _, _, problem = product_problem()
    J, R = problem.jacobian, problem.regularizer
    assert isinstance(J, ProductJacobian)
    V = np.array(R.V, dtype=float)
    V.reshape(-1)[entry] += 1.0
    other = xu.PredictorNorm.from_product(V, R.block, R.shape)
    with pytest.raises(ProblemError, match="different networks or parameters"):
        UnlearningProblem(problem.theta_star, J, other)
    with pytest.raises(ProblemError, match="different networks or parameters"):
        UnlearningProblem(problem.theta_star, ProductJacobian(V, J.X, J.block, J.n_parameters), R)


@pytest.mark.parametrize("exact", [False, True])
def test_written_out_rows_of_a_product_are_those_of_the_dense_jacobian(exact: bool) -> None:
    """Several samples and outputs, with J as a product of which only products with vectors are taken."""
    network, theta, x, problem = product_problem(exact)
    dense = network.jacobian(theta, x).matrix[:, problem.free]
    found = problem.free_matrix()
    assert found.shape == (6, problem.free.sum())
    assert found.dtype == dense.dtype
    np.testing.assert_allclose(to_float(found), to_float(dense), rtol=1e-14, atol=0)


def test_the_objective_adds_what_moving_costs() -> None:
    drift = xu.SquaredDrift(0.5) + xu.L1Drift(2.0)
    problem = gaussian_problem(xu.L1(), drift)
    theta = problem.theta_star + np.arange(12.0)
    cost = 0.25 * sum(i * i for i in range(12)) + 2.0 * sum(range(12))
    assert problem.objective(theta) == pytest.approx(np.abs(theta).sum() + cost)
    assert problem.n_parameters == 12
    assert problem.n_constraints == 5
    assert not problem.is_rational


def test_the_same_block_of_another_shape_is_another_product() -> None:
    """Equal blocks with V of other shapes, and equal V in other blocks."""
    V = np.ones((3, 1))
    J = ProductJacobian(V, np.ones((1, 2)), slice(0, 6), 9)
    for R in (
        xu.PredictorNorm.from_product(np.ones((2, 1)), slice(0, 6), (2, 3)),
        xu.PredictorNorm.from_product(np.ones((3, 2)), slice(0, 6), (3, 2)),
        xu.PredictorNorm.from_product(V, slice(3, 9), (3, 2)),
    ):
        with pytest.raises(ProblemError, match=r"different networks or parameters|nothing else may move"):
            UnlearningProblem(np.ones(9), J, R)
    assert UnlearningProblem(np.ones(9), J, xu.PredictorNorm.from_product(V, slice(0, 6), (3, 2))).free.sum() == 6


def test_jacobians_are_written_out_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many entries as the limit are taken, one more is refused, and the sentence says how many there are."""
    model, theta = xu.LinearModel(3, 2), np.ones(6)
    monkeypatch.setattr(problem_module, "DENSE_LIMIT", 24)
    assert surrogate_problem(model, theta, np.ones((2, 3)), xu.L1()).n_constraints == 4
    with pytest.raises(ProblemError, match="a jacobian of 36 entries is more than the 24"):
        surrogate_problem(model, theta, np.ones((3, 3)), xu.L1())
    # a product is written out on what may move only: 6 rows and 6 columns here
    problem = product_problem()[3]
    monkeypatch.setattr(problem_module, "DENSE_LIMIT", 36)
    assert problem.free_matrix().shape == (6, 6)
    monkeypatch.setattr(problem_module, "DENSE_LIMIT", 35)
    with pytest.raises(ProblemError, match="jacobian: 6 x 6 entries are more than the 35"):
        problem.free_matrix()


@pytest.mark.parametrize("free", ["c", ["c"], ("c",), {"c"}, frozenset({"c"}), "A", ["A", "c"], [], np.arange(3)])
def test_blocks_by_name_in_any_collection(free: Any) -> None:
    model = xu.Perceptron(2, 3)
    problem = surrogate_problem(model, np.ones(9), np.ones((1, 2)), xu.L1(), free=free)
    names = [free] if isinstance(free, str) else [name for name in free if isinstance(name, str)]
    expected = np.zeros(9, dtype=bool)
    for name in names:
        expected[model.blocks[name]] = True
    if isinstance(free, np.ndarray):
        expected[free] = True
    assert problem.free.tolist() == expected.tolist()


def test_problems_are_frozen_and_compared_by_identity() -> None:
    problem = gaussian_problem(xu.L1())
    for field in dataclasses.fields(problem):
        with pytest.raises(dataclasses.FrozenInstanceError):
            problem.__setattr__(field.name, None)
    assert len({problem, gaussian_problem(xu.L1())}) == 2


class Products:
    """A Jacobian of which only products are to be had."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix_behind, self.shape = matrix, matrix.shape

    def matvec(self, drift: np.ndarray) -> np.ndarray:
        return self.matrix_behind @ drift

    def rmatvec(self, nu: np.ndarray) -> np.ndarray:
        return self.matrix_behind.T @ nu


def test_files_hold_what_products_say_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries of many sizes come back bit by bit, on what is frozen too; one entry too many is refused."""
    matrix = np.array([[1.0, 1e-17, -3.0, 1e300], [0.1, 2.0, 1e-300, 0.0], [5.0, 0.7, 1.0 / 3.0, -1.0]])
    problem = UnlearningProblem(np.ones(4), Products(matrix), xu.L1(), free=[0, 3])
    assert (problem.free_matrix() == matrix[:, [0, 3]]).all()
    monkeypatch.setattr(jacobian_module, "DENSE_LIMIT", 12)
    problem.save(tmp_path / "p.npz")
    loaded = UnlearningProblem.load(tmp_path / "p.npz")
    assert (loaded.jacobian.matrix == matrix).all()  # type: ignore[attr-defined]
    monkeypatch.setattr(jacobian_module, "DENSE_LIMIT", 11)
    with pytest.raises(ProblemError, match="jacobian: 3 x 4 entries are more than the 11"):
        problem.save(tmp_path / "p.npz")


def test_jacobians_of_modules_are_written_out_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    module = torch.nn.Linear(3, 2).double()
    x = torch.ones(5, 3).double()
    for limit, dense in ((80, True), (79, False)):  # ten rows, eight parameters
        monkeypatch.setattr(problem_module, "MODULE_LIMIT", limit)
        problem = surrogate_problem(module, None, x, xu.L1())
        assert problem.jacobian.shape == (10, 8)
        assert isinstance(problem.jacobian, DenseJacobian) == dense
        expected = np.concatenate([module.weight.detach().numpy().ravel(), module.bias.detach().numpy()])
        assert problem.theta_star.tolist() == expected.tolist()


def test_names_and_indices_do_not_mix() -> None:
    model = xu.Perceptron(2, 3)
    for free in (["c", 3], [3, "c"], ("c", None)):
        with pytest.raises(ProblemError, match="free: expected a boolean mask, integer indices or block names"):
            surrogate_problem(model, np.ones(9), np.ones((1, 2)), xu.L1(), free=free)
