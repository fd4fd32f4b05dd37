"""What objects say about themselves: short, true, and at any size."""

from __future__ import annotations

import copy
from fractions import Fraction as Q
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.certify.certificate import Number, _short
from exact_unlearn.errors import ProblemError


def solved(theta: Any, J: Any, R: Any, **more: Any) -> tuple[xu.UnlearningProblem, xu.Solution, xu.Certificate]:
    problem = xu.UnlearningProblem(theta, J, R, **more)
    solution = xu.solve(problem)
    return problem, solution, xu.certify(problem, solution)


def test_one_line_each() -> None:
    problem, solution, certificate = solved([1.0, 2.0, 3.0], [[1.0, 1.0, 0.0]], xu.L1())
    assert repr(problem) == "<UnlearningProblem: l1; 1 constraint, 3 parameters>"
    assert repr(solution) == f"<Solution: optimal ({solution.solver}), value 3>"
    assert repr(certificate) == "<Certificate: exact. The optimum is 3, exactly.>"


def test_numbers_of_thousands_of_digits_are_no_trouble() -> None:
    """CPython refuses to print integers of more than 4300 digits, and nobody wants to read them."""
    rng = np.random.default_rng(0)
    _, _, certificate = solved(rng.normal(size=300), rng.normal(size=(120, 300)), xu.SquaredL2())
    assert certificate.lower is not None
    assert certificate.lower.denominator > 10**4300
    assert repr(certificate).startswith("<Certificate: exact. The optimum is known as a fraction, ≈ 60.8389889473")
    assert "60.8389889473" in certificate.summary()
    for text in (f"{certificate.lower}", repr(certificate.lower), str(certificate.point)):
        assert "digits" in text
        assert len(text) < 300 * 120
    assert str(certificate.lower).startswith("≈ 60.8389889473")
    assert copy.deepcopy(certificate.lower) == certificate.lower == pickle_round(certificate.lower)


def pickle_round(number: Any) -> Any:
    """What any copying protocol makes of a number."""
    make, arguments = number.__reduce__()
    return make(*arguments)


@pytest.mark.parametrize("value", [Q(1, 3), Q(-7), Q(0), Q(10**4200, 7)])
def test_numbers_that_can_be_written_are_written(value: Q) -> None:
    assert str(Number(value)) == str(value)
    assert repr(Number(value)) == repr(value)
    assert hash(Number(value)) == hash(value)


@pytest.mark.parametrize("size", [4298, 4299, 4300, 4301, 4302, 20000])
def test_no_size_fails_to_print(size: int) -> None:
    for value in (10**size, 10**size - 1, -(10**size)):
        assert repr(Number(value)).startswith(("<Fraction ≈", "Fraction("))
        assert repr(Number(1, value)).startswith(("<Fraction ≈", "Fraction("))
        assert str(Number(value, 3))


def test_an_infeasible_problem_and_an_irrational_optimum() -> None:
    problem, solution, certificate = solved([1.0, 1.0], [[1.0, 0.0], [1.0, 0.0]], xu.L1(), rhs=[1.0, 2.0])
    claim = "value none: the claim is that no parameters fit"
    assert repr(solution) == f"<Solution: infeasible ({solution.solver}), {claim}>"
    assert repr(certificate) == "<Certificate: infeasible. Proved: no parameters satisfy the constraints.>"
    assert certificate.point is None
    assert problem.summary() == "problem  l1; 2 constraints, 2 parameters"
    assert solved([3, 4], [[1, 1]], xu.L2())[2].claim == (
        "The optimum is the root of 24.5, ≈ 4.94974746830583, at a unique minimiser."
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Q(3), "3"), (Q(-7, 4), "-1.75"), (Q(0), "0"), (Q(1, 3), "1/3"), (None, "?"), (Q(10) ** 400, "≈ 1e+400"),
        (Q(0.1), "≈ 0.1"), (Q(36028797018963971, 18014398509481984), "≈ 2"), (Q(1, 10**6), "1e-06"),
        (Q(-1, 10**400), "≈ -1e-400"),
    ],
)  # fmt: skip
def test_a_printed_number_is_the_number_or_says_that_it_is_not(value: Q | None, text: str) -> None:
    assert _short(value) == text


def test_printed_bounds_are_bounds() -> None:
    _, _, certificate = solved([1.0, 2.0, 3.0], [[1.0, 1.0, 0.5]], xu.GroupL2([0, 0, 1]))
    assert certificate.proof in ("enclosure", "repaired")
    low, high = certificate.claim.partition("[")[2].partition("]")[0].split(", ")
    assert certificate.lower is not None
    assert certificate.upper is not None
    assert Q(low) <= certificate.lower <= certificate.upper <= Q(high)


def test_what_cannot_move_is_told_apart() -> None:
    _, solution, _ = solved([3, 4, 5], [[1, 1, 0]], xu.L1(), free=[0, 1])
    assert "of it 5 is R with every free coordinate at 0" in solution.summary()
    _, everything, _ = solved([3, 4, 5], [[1, 1, 0]], xu.L1())
    assert "of it" not in everything.summary()


def test_tables_for_notebooks() -> None:
    problem, solution, certificate = solved([1.0, 2.0], [[1.0, 1.0]], xu.L1())
    for thing in (problem, solution, certificate):
        page = thing._repr_html_()
        assert page.startswith("<table><tr><th>")
        assert page.count("<tr>") == page.count("</tr>") == len(thing.summary().splitlines())
    assert "solver&#x27;s" not in problem._repr_html_()
    assert "solution&#x27;s own" in solution._repr_html_()


def test_the_point_of_a_proof_in_fractions(tmp_path: Path) -> None:
    problem, _, certificate = solved([3, 4, 5], [[1, 2, 3]], xu.SquaredL2())
    assert certificate.point is not None
    assert certificate.theta is not None
    assert all(isinstance(x, Q) for x in certificate.point)
    assert certificate.point.astype(float).tolist() == certificate.theta.tolist()
    assert sum(a * x for a, x in zip((1, 2, 3), certificate.point, strict=True)) == 26
    assert sum(x * x for x in certificate.point) / 2 == certificate.upper
    certificate.save(tmp_path / "a.json")
    assert xu.Certificate.load(tmp_path / "a.json", problem).point.tolist() == certificate.point.tolist()
    with pytest.raises(ProblemError, match="was loaded alone"):
        _ = xu.Certificate.load(tmp_path / "a.json").point


def test_jacobians_are_arrays() -> None:
    matrix = [[1.0, 2.0, 3.0]]
    problem = xu.UnlearningProblem([1.0, 2.0, 3.0], matrix, xu.L1())
    assert np.asarray(problem.jacobian).tolist() == matrix
    copied = np.asarray(problem.jacobian)
    copied[0, 0] = 7.0
    assert np.asarray(problem.jacobian).tolist() == matrix
    network = xu.LinearNetwork((2, 2, 1))
    theta = np.arange(1.0, 1.0 + network.n_parameters)
    product = xu.surrogate_problem(network, theta, [[1.0, 2.0], [3.0, 4.0]], xu.PredictorNorm(network, theta)).jacobian
    written = np.asarray(product)
    assert written.shape == product.shape
    assert np.allclose(written @ theta, product.matvec(theta), rtol=1e-15)
