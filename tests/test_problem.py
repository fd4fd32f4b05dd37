"""Problems: everything is checked once, at construction; files are bit-exact and never half written."""

from __future__ import annotations

import json
import os
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import codec
from exact_unlearn.errors import FileFormatError, InterpolationWarning, ProblemError
from exact_unlearn.jacobian import DenseJacobian, ProductJacobian, to_rational
from exact_unlearn.problem import UnlearningProblem, exact_problem, surrogate_problem
from tests.cases import drifts, gaussian_problem, regularizers

J, THETA = np.arange(8.0).reshape(2, 4), np.array([1.0, -2.0, 0.5, 3.0])

BAD_ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"theta_star": [1.0, np.nan, 0.0, 0.0]}, "theta_star: expected finite numbers, got nan at index 1"),
    ({"theta_star": [1.0, np.inf, 0.0, 0.0]}, "theta_star: expected finite numbers, got inf"),
    ({"theta_star": np.ones((4, 1))}, "theta_star: expected 1 dimension, got shape"),
    ({"theta_star": np.ones(4) * 1j}, "theta_star: expected real numbers"),
    ({"theta_star": ["a", "b", "c", "d"]}, "theta_star: expected real numbers"),
    ({"theta_star": np.ma.masked_less(THETA, 0)}, "theta_star: expected every entry, got a masked array"),
    ({"theta_star": np.ones(3)}, "jacobian: expected 3 columns"),
    ({"jacobian": np.ones((2, 5))}, "jacobian: expected 4 columns"),
    ({"jacobian": np.ones(4)}, "jacobian: expected 2 dimensions"),
    ({"jacobian": [[1.0, 2.0, 3.0, 4.0], [1.0]]}, "jacobian: expected an array of 2 dimensions, got something ragged"),
    ({"jacobian": np.array([[1.0, np.nan, 0, 0]])}, r"jacobian: expected finite numbers, got nan at index \(0, 1\)"),
    ({"jacobian": J * 1j}, "jacobian: expected real numbers"),
    ({"rhs": np.ones(3)}, "rhs: expected 2 entries"),
    ({"rhs": [np.nan, 0.0]}, "rhs: expected finite numbers"),
    ({"regularizer": xu.L1}, r"regularizer: expected an instance such as L1\(\)"),
    ({"regularizer": "l1"}, "regularizer: expected an instance"),
    ({"regularizer": xu.L1(np.ones(3))}, "weights"),
    ({"regularizer": xu.GroupL2([[0, 1], [2]])}, "groups"),
    ({"drift_penalty": 0.5}, "drift"),
    ({"free": [0, 9]}, "free: expected distinct indices from 0 to 3"),
    ({"free": [0, 0]}, "free: expected distinct indices"),
    ({"free": [-1]}, "free: expected distinct indices"),
    ({"free": np.ones(3, dtype=bool)}, "free: expected a mask of 4 entries"),
    ({"free": [0.5]}, "free: expected a boolean mask, integer indices or block names"),
    ({"free": [[0, 1]]}, "free: expected a mask or indices in one dimension"),
    ({"at_least": [True]}, r"at_least: expected a boolean mask of 2 entries, .*, got bool of shape \(1,\)"),
    ({"at_least": [0, 1]}, "at_least: expected a boolean mask of 2 entries, .*, got int64"),
    ({"at_least": [[True, False]]}, r"at_least: .* got bool of shape \(1, 2\)"),
    ({"at_least": True}, r"at_least: .* got bool of shape \(\)"),
    ({"at_least": [[True], []]}, "at_least: expected a boolean mask, got "),
    ({"at_least": np.ma.masked_less(np.array([1, 2]), 0) > 0}, "at_least: expected every entry, got a masked array"),
]


@pytest.mark.parametrize(("change", "sentence"), BAD_ARGUMENTS)
def test_bad_arguments_are_one_sentence_that_names_them(change: dict[str, Any], sentence: str) -> None:
    arguments: dict[str, Any] = {"theta_star": THETA, "jacobian": J, "regularizer": xu.L1()} | change
    with pytest.raises(ProblemError, match=sentence) as caught:
        UnlearningProblem(**arguments)
    assert "\n" not in str(caught.value)


def test_arrays_are_copied_and_read_only() -> None:
    theta = THETA.copy()
    problem = UnlearningProblem(theta, J, xu.L1())
    theta[0] = 99.0
    assert problem.theta_star[0] == 1.0
    for array in (problem.theta_star, problem.jacobian.matrix, problem.rhs, problem.free):  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.int64, bool])
def test_narrower_numbers_are_widened_exactly(dtype: Any) -> None:
    values = np.array([1, 0, 1, 1], dtype=dtype)
    problem = UnlearningProblem(values, values[None, :], xu.L1())
    assert problem.theta_star.dtype == np.float64
    assert (problem.theta_star == values).all()


def test_integers_beyond_floats_stay_exact() -> None:
    problem = UnlearningProblem(np.array([2**53 + 1, 0]), np.eye(2), xu.L1())
    assert problem.is_rational
    assert problem.theta_star[0] == 2**53 + 1


@pytest.mark.parametrize("free", [np.array([True, False, True, False]), [0, 2], (2, 0), slice(0, 4, 2)])
def test_ways_to_say_what_is_free(free: Any) -> None:
    assert UnlearningProblem(THETA, J, xu.L1(), free=free).free.tolist() == [True, False, True, False]


def test_fractions_make_the_whole_problem_rational() -> None:
    problem = UnlearningProblem([Fraction(1, 3), 0, 0, 0], J, xu.SquaredL2(), xu.SquaredDrift(Fraction(1, 7)))
    assert problem.is_rational
    assert isinstance(problem.jacobian, DenseJacobian)
    assert problem.jacobian.matrix.dtype == object
    theta = to_rational(np.zeros(4))
    assert problem.objective(theta) == Fraction(1, 7) * Fraction(1, 9) / 2


def test_a_network_that_does_not_interpolate_warns_with_the_residual() -> None:
    model = xu.LinearModel(2)
    with pytest.warns(InterpolationWarning, match=r"max \|f - y\| = 1"):
        surrogate_problem(model, [1.0, 0.0], [[1.0, 5.0]], xu.L2(), y_retain=[2.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        surrogate_problem(model, [1.0, 0.0], [[1.0, 5.0]], xu.L2(), y_retain=[1.0])


def test_block_names_and_their_errors() -> None:
    model = xu.Perceptron(2, 3)
    theta, x = np.ones(model.n_parameters), np.ones((1, 2))
    problem = surrogate_problem(model, theta, x, xu.L1(), free="c")
    assert problem.free.sum() == 3
    assert surrogate_problem(model, theta, x, xu.L1(), free=["c", "A"]).free.all()
    with pytest.raises(ProblemError, match="free: unknown block 'B'; the model has c, A"):
        surrogate_problem(model, theta, x, xu.L1(), free="B")
    with pytest.raises(ProblemError, match="theta_star: expected 9 parameters"):
        surrogate_problem(model, theta[:-1], x, xu.L1())
    with pytest.raises(ProblemError, match="x_retain: expected 2 columns"):
        surrogate_problem(model, theta, np.ones((1, 3)), xu.L1())
    with pytest.raises(ProblemError, match="x_retain: a jacobian of"):
        surrogate_problem(xu.Perceptron(1, 100_000), np.zeros(200_000), np.zeros((1_001, 1)), xu.L1())


def test_active_neurons_free_the_last_layer_only() -> None:
    model = xu.Perceptron(2, 3)
    theta, x = np.ones(model.n_parameters), np.ones((1, 2))
    assert surrogate_problem(model, theta, x, xu.ActiveNeurons(model)).free.tolist() == [True] * 3 + [False] * 6
    with pytest.raises(ProblemError, match="coordinate 3 is free as well"):
        surrogate_problem(model, theta, x, xu.ActiveNeurons(model), free="A")


def test_the_predictor_norm_refuses_a_dense_jacobian() -> None:
    network = xu.LinearNetwork((2, 3, 1))
    theta, x = np.arange(1.0, 1 + network.n_parameters), np.ones((1, 2))
    norm = xu.PredictorNorm(network, theta)
    problem = surrogate_problem(network, theta, x, norm)
    assert isinstance(problem.jacobian, ProductJacobian)
    dense = problem.free_matrix()
    assert np.allclose(dense, network.jacobian(theta, x).matrix[:, problem.free])  # type: ignore[attr-defined]
    with pytest.raises(ProblemError, match="needs a ProductJacobian"):
        UnlearningProblem(theta, network.jacobian(theta, x), norm)
    with pytest.raises(ProblemError, match="different networks or parameters"):
        UnlearningProblem(theta, network.product_jacobian(2 * theta, x), norm)
    with pytest.raises(ProblemError, match="nothing else may move"):
        UnlearningProblem(theta, problem.jacobian, xu.L1(), free=[0])


def test_the_exact_problem_needs_an_affine_model() -> None:
    model = xu.Perceptron(2, 3)
    theta, x, y = np.ones(model.n_parameters), np.ones((1, 2)), np.ones(1)
    with pytest.raises(ProblemError, match="affine in what moves"):
        exact_problem(model, theta, x, y, xu.L2())
    problem = exact_problem(model, theta, x, y, xu.L2(), free="c")
    assert problem.rhs.tolist() == [1.0 - 6.0]
    with pytest.raises(ProblemError, match=r"y_retain: expected shape \(1, 1\)"):
        exact_problem(model, theta, x, np.ones(2), xu.L2(), free="c")


def test_surrogate_and_exact_problem_coincide_when_theta_star_interpolates() -> None:
    model = xu.LinearModel(3, 2)
    theta, x = np.arange(6.0), np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    exact = exact_problem(model, theta, x, model.predict(theta, x), xu.L1())
    surrogate = surrogate_problem(model, theta, x, xu.L1())
    assert (exact.rhs == surrogate.rhs).all()
    assert (exact.free_matrix() == surrogate.free_matrix()).all()


def same(first: UnlearningProblem, second: UnlearningProblem) -> bool:
    """Equality of everything, bit for bit, through the logical object."""
    return json.dumps(codec.to_json(first.to_tree())) == json.dumps(codec.to_json(second.to_tree()))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".json"])
@pytest.mark.parametrize("regularizer", regularizers())
def test_files_keep_every_bit(suffix: str, regularizer: str, tmp_path: Path) -> None:
    problem = gaussian_problem(regularizers()[regularizer], drifts()["all"], np.arange(12) % 3 != 1)
    path = tmp_path / f"problem{suffix}"
    problem.save(path)
    loaded = UnlearningProblem.load(path)
    assert same(problem, loaded)
    assert loaded.theta_star.tobytes() == problem.theta_star.tobytes()
    problem.save(tmp_path / f"again{suffix}")
    assert path.read_bytes() == (tmp_path / f"again{suffix}").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, f"again{suffix}"])


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".json"])
def test_products_and_counts_are_saved_too(suffix: str, tmp_path: Path) -> None:
    network = xu.LinearNetwork((2, 3, 1))
    theta = np.arange(1.0, 1 + network.n_parameters)
    perceptron = xu.Perceptron(2, 3)
    for problem in (
        surrogate_problem(network, theta, np.ones((1, 2)), xu.PredictorNorm(network, theta), xu.SquaredDrift(0.1)),
        surrogate_problem(perceptron, np.ones(9), np.ones((1, 2)), xu.ActiveNeurons(perceptron)),
        surrogate_problem(perceptron, np.ones(9), np.ones((1, 2)), xu.L0(np.arange(9) // 3)),
    ):
        problem.save(tmp_path / f"p{suffix}")
        assert same(problem, UnlearningProblem.load(tmp_path / f"p{suffix}"))


def test_fractions_fit_into_json_only(tmp_path: Path) -> None:
    problem = UnlearningProblem([Fraction(1, 3), 0, 0, 0], J, xu.L1(), xu.L1Drift(Fraction(1, 7)))
    problem.save(tmp_path / "p.json")
    assert same(problem, UnlearningProblem.load(tmp_path / "p.json"))
    with pytest.raises(FileFormatError, match=r"rational arrays fit into a \.json file only"):
        problem.save(tmp_path / "p.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_strided_arrays_are_not_corrupted(suffix: str, tmp_path: Path) -> None:
    base = np.arange(24.0).reshape(4, 6)
    codec.save_arrays(tmp_path / f"a{suffix}", {"columns": base[:, ::2], "transposed": base.T})
    arrays = codec.load_arrays(tmp_path / f"a{suffix}")
    assert (arrays["columns"] == base[:, ::2]).all()
    assert (arrays["transposed"] == base.T).all()


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".json"])
def test_truncated_files_are_one_sentence(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"p{suffix}"
    gaussian_problem(xu.L1()).save(path)
    content = path.read_bytes()
    for length in [0, 1, 7, 8, 9, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        if suffix == ".json" and length == len(content) - 1:
            continue  # the last byte is a newline
        with pytest.raises(FileFormatError) as caught:
            UnlearningProblem.load(path)
        assert "\n" not in str(caught.value)


def test_foreign_files_are_one_sentence(tmp_path: Path) -> None:
    np.savez(tmp_path / "raw.npz", theta_star=np.ones(3))
    for name, content, sentence in [
        ("raw.npz", None, "holds no 'spec'"),
        ("p.txt", b"", "expected a name ending in"),
        ("missing.npz", None, "cannot be read"),
        ("list.json", b"[]", "expected a JSON object"),
        ("schema.json", b'{"schema": "else"}', "expected schema"),
        ("version.json", b'{"schema": "exact-unlearn/problem", "version": 3}', "version 3"),
        ("empty.json", b'{"schema": "exact-unlearn/problem", "version": 1}', "theta_star: missing"),
        ("deep.json", b"[" * 100_000, "not valid JSON"),
        ("deeper.json", b"[" * 900 + b"]" * 900, "nested more than 64 levels"),
    ]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(FileFormatError, match=sentence):
            UnlearningProblem.load(tmp_path / name)


def test_arrays_in_any_narrow_type(tmp_path: Path) -> None:
    """bfloat16, which NumPy does not have, is the upper half of a float32."""
    values = np.array([1.5, -2.0, 2.0**-130, 3e38], dtype=np.float32)
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)
    header = {"theta": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}}
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + upper.tobytes())
    expected = (upper.astype(np.uint32) << 16).view(np.float32).reshape(2, 2)
    assert (codec.load_arrays(tmp_path / "a.safetensors")["theta"] == expected).all()
    for kind in ("f2", "f4", "f8", "i1", "i4", "u8", "?"):
        array = np.arange(6).reshape(2, 3).astype(kind)
        codec.save_arrays(tmp_path / "b.safetensors", {"a": array})
        loaded = codec.load_arrays(tmp_path / "b.safetensors")["a"]
        assert loaded.dtype == array.dtype
        assert (loaded == array).all()
    text = text.replace(b"BF16", b"F8_E5M2")
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + upper.tobytes())
    with pytest.raises(FileFormatError, match="not a readable"):
        codec.load_arrays(tmp_path / "a.safetensors")


def test_what_is_no_archive_or_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy takes text for a pickle and a lone array for an archive; a pipe may never end; zeros pack well."""
    with (tmp_path / "lone.npz").open("wb") as file:
        np.save(file, THETA)
    (tmp_path / "text.npz").write_text("hello")
    os.mkfifo(tmp_path / "pipe.npz")
    np.savez_compressed(tmp_path / "bomb.npz", theta=np.zeros(1 << 17))
    monkeypatch.setattr(codec, "MAX_BYTES", 1 << 19)
    for name, sentence in {
        "lone": "it is no zip archive", "text": "it is no zip archive", "pipe": "not a regular file",
        "bomb": "unpacks to more",
    }.items():  # fmt: skip
        with pytest.raises(FileFormatError, match=sentence):
            codec.load_arrays(tmp_path / f"{name}.npz")


def test_a_file_with_bad_content_names_the_file_and_the_fault(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    gaussian_problem(xu.L1(np.ones(12))).save(path)
    tree = json.loads(path.read_text())
    tree["regularizer"]["weights"]["data"][3] = "-1"
    path.write_text(json.dumps(tree))
    with pytest.raises(FileFormatError, match=r"p\.json: weights"):
        UnlearningProblem.load(path)
    tree["regularizer"] = {"name": "l7"}
    path.write_text(json.dumps(tree))
    with pytest.raises(FileFormatError, match="l7"):
        UnlearningProblem.load(path)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.npz"
    gaussian_problem(xu.L1()).save(path)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(codec.os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        gaussian_problem(xu.L2()).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_rational_text_round_trips() -> None:
    for value in (0, -31, 0.75, 1e-300, 1e300, Fraction(-22, 7)):
        assert codec.parse_rational(codec.rational_text(value)) == Fraction(value)
    for text in ("", "g", "1/0", None, "1/2/3"):
        with pytest.raises(FileFormatError):
            codec.parse_rational(text)


class Pulled(xu.L1):
    """Another value under the name of a member."""

    def value(self, theta: Any) -> Any:
        return super().value(theta) + 1


class Documented(xu.L1):
    """A subclass that adds, and changes nothing."""

    def largest(self, theta: Any) -> float:
        return float(np.max(np.abs(theta)))


class Heavy(xu.SquaredDrift):
    def value(self, drift: Any) -> Any:
        return 3 * super().value(drift)


class Own:
    """Everything that the protocol asks for, and no formula that a proof could be made of."""

    name, is_norm, strictly_convex, unique_minimiser, integer, movable = "own", False, False, False, False, None

    def validate(self, n_parameters: int) -> None: ...

    def to_spec(self) -> dict[str, Any]:
        return {"name": self.name}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"regularizer": Pulled()}, "regularizer: Pulled changes value of L1, .* use it as it is"),
        ({"regularizer": Own()}, r"regularizer: expected an instance such as L1\(\), or .* form\(space\), got <.*Own"),
        ({"drift_penalty": Heavy(1.0)}, "drift_penalty: Heavy changes value of SquaredDrift"),
    ],
)
def test_formulas_that_no_proof_would_be_about_are_refused(change: dict[str, Any], sentence: str) -> None:
    arguments: dict[str, Any] = {"theta_star": THETA, "jacobian": J, "regularizer": xu.L1()}
    with pytest.raises(ProblemError, match=sentence):
        xu.UnlearningProblem(**(arguments | change))
    with pytest.raises(ProblemError, match="Heavy changes value"):
        Heavy(1.0) + xu.L1Drift(1.0)


def test_a_subclass_that_changes_no_formula_is_its_member() -> None:
    problem = xu.UnlearningProblem(THETA, J, Documented())
    assert problem.to_tree()["regularizer"] == {"name": "l1", "weights": None}
