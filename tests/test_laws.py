"""`check_regularizer` passes for every regularizer of ours, and names the law that a wrong one breaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.errors import ProblemError
from exact_unlearn.forms import Form, Huber, Kink, Part, Space, Square, Term
from exact_unlearn.testing import LawError, check_regularizer
from tests.form_cases import CASES, D
from tests.regularizer_cases import ALL
from tests.regularizer_cases import D as SMALL

OURS = {
    name: (R, SMALL) for name, R in ALL.items() if not name.startswith("predictor")  # those need their own jacobian
} | {name: (case.regularizer, D) for name, case in CASES.items()}  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_every_regularizer_of_ours_keeps_the_laws(name: str) -> None:
    R, d = OURS[name]
    check_regularizer(R, d)


class _Wrong(Kink):
    """A term with another conjugate, prox or value than a kink has."""

    def __init__(self, **formulas: Any) -> None:
        super().__init__()
        for name, formula in formulas.items():
            object.__setattr__(self, name, formula)


class _Of:
    def __init__(self, term: Term) -> None:
        self.term = term

    def form(self, space: Space) -> Form:
        return Form((Part(self.term),))


@pytest.mark.parametrize(
    ("formulas", "law"),
    [
        ({"value": lambda x: -float(np.sum(np.abs(x)))}, "value: R is not convex"),
        ({"value": lambda x: float(np.sum(np.sqrt(np.abs(np.asarray(x, dtype=float)))))}, "not convex|is_norm"),
        ({"value": lambda x: 2 * float(np.sum(np.abs(np.asarray(x, dtype=float))))}, "conjugate|prox|epigraph"),
        ({"prox": lambda v, step: np.asarray(v) / 2}, "prox of summand 0"),
        ({"epigraph": Square().epigraph}, "epigraph: the explicit program has another value"),
        ({"epigraph": Huber(1.0).epigraph}, "epigraph: the explicit program has another value"),
    ],
)  # fmt: skip
def test_a_wrong_formula_is_named(formulas: dict[str, Any], law: str) -> None:
    with pytest.raises(LawError, match=law):
        check_regularizer(_Of(_Wrong(**formulas)), D)


def test_what_has_no_form_is_refused() -> None:
    with pytest.raises(ProblemError, match="expected an instance such as L1"):
        check_regularizer(object(), D)
    with pytest.raises(ProblemError, match="expected 5 entries"):
        check_regularizer(xu.L1(np.ones(4)), 5)
