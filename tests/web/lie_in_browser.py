"""Drag the lie, as a reader touches it: make test-web."""

from __future__ import annotations

import pytest

from tests.web.conftest import Visit
from tests.web.hands import drag, drawn, numbers, open_proof, says, settle, touch

METHODS = [
    ("step=0", "1.00"),
    ("step=1&method=gd", "1.00"),
    ("step=2&method=ga&walk=30", "1.00"),
    ("step=4&method=l2", "0"),
    ("step=5&method=l1", "0"),
    ("step=5&method=l0", "0"),
    ("step=6&method=l2&leak=5", "0.25"),
    ("step=6&method=l2&leak=10", "0.50"),
]


@pytest.mark.parametrize(("state", "left"), METHODS)
def test_what_is_left_of_a_lie(visit: Visit, state: str, left: str) -> None:
    found = numbers(visit("lie", state))
    assert found["Influence of a lie"].split("\n")[0] == left
    assert found["Error on the truths"].startswith("0\n") == ("ga" not in state)


def test_a_dragged_lie_moves_the_memory_and_not_the_answer_and_the_proof_holds(visit: Visit) -> None:
    page = visit("lie", "step=7&method=l1", size="phone")
    text = open_proof(page)
    page.evaluate("scrollTo(0, 0)")
    memory, answer = drawn(page, "#chart path.s-lie"), drawn(page, "#chart path.s-answer")
    touch(page, "Lie at x = 1.00", 0, 45)
    assert drawn(page, "#chart path.s-lie") != memory
    assert drawn(page, "#chart path.s-answer") == answer
    says(page, "#verdict", "proved (exact): size 9, gap 0, no other answer")
    assert page.locator("#certificate").input_value() == text


def test_a_lie_is_dragged_by_mouse_too(visit: Visit) -> None:
    page = visit("lie", "step=1&method=gd")
    curve = drawn(page, "#chart path.s-lie")
    drag(page, "Lie at x = −3.00", 0, 60)
    assert drawn(page, "#chart path.s-lie") != curve
    page.locator("#walk").evaluate("e => { e.value = 3; e.oninput(); }")
    settle(page)
    assert "y1=" not in page.url
    assert numbers(page)["Influence of a lie"].startswith("1.00\n")


def test_the_page_walks_when_a_step_begins(visit: Visit) -> None:
    page = visit("lie", "step=2&method=ga&walk=0", reduced_motion="no-preference")
    page.keyboard.press("PageDown")
    says(page, "#walkout", "100 %")
    assert numbers(page)["Influence of a lie"].startswith("0\n")


@pytest.mark.parametrize(
    ("guess", "words"), [(4, "Refused: no network so small"), (6, "Refused: a smaller"), (5, "Proved: 5 do")]
)
def test_the_checker_grades_a_guess_of_the_fewest(visit: Visit, guess: int, words: str) -> None:
    page = visit("lie", f"step=5&guess={guess}")
    page.locator("#ask").click()
    says(page, "#grade", words)


def test_the_fewest_neurons_are_proved_in_the_page(visit: Visit) -> None:
    page = visit("lie", "step=5&method=l0")
    assert numbers(page)["Neurons in use"] == "5 of 24\nproved: 4 cannot do it"
    open_proof(page)
    says(page, "#verdict", "proved (exact): size 5")
