"""Whose truth?, as a reader touches it: make test-web."""

from __future__ import annotations

import pytest

from tests.web.conftest import Visit
from tests.web.hands import drag, drawn, numbers, open_proof, press, says, settle, touch


def test_the_numbers_of_the_first_state(visit: Visit) -> None:
    page = visit("truth", "step=4")
    found = numbers(page)
    assert found["The answer"] == "R = 4.073\nproved to nine digits"
    assert found["short steps"] == "1.01 ×\nmeets the truths"
    assert found["gradient descent"].split("\n")[0] == found["The memory"].split("\n")[0]
    for name in ("one long step", "gradient ascent"):
        assert "misses one by" in found[name]
    assert "meets the truths" in found["training anew"]
    assert float(found["training anew"].split()[0]) > 2


def test_a_dragged_lie_moves_the_memory_and_not_the_answer(visit: Visit) -> None:
    page = visit("truth", "step=5", size="phone")
    memory, answer = drawn(page, "#chart path.s-lie"), drawn(page, "#chart path.s-answer")
    said = numbers(page)["The answer"]
    touch(page, "The lie", 0, 50)
    says(page, "#read", "proved to nine digits")
    assert drawn(page, "#chart path.s-lie") != memory
    assert drawn(page, "#chart path.s-answer") == answer
    assert numbers(page)["The answer"] == said


def test_a_dragged_truth_moves_the_answer_and_it_is_proved_anew(visit: Visit) -> None:
    page = visit("truth", "step=5")
    answer, said = drawn(page, "#chart path.s-answer"), numbers(page)["The answer"]
    drag(page, "Truth at x = 2", 0, -60)
    says(page, "#read", "proved to nine digits")
    assert drawn(page, "#chart path.s-answer") != answer
    assert numbers(page)["The answer"] != said


def test_while_a_hand_drags_the_rest_waits(visit: Visit) -> None:
    page = visit("truth", "step=3")
    box = page.get_by_role("slider", name="Truth at x = 2").locator(".dot").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 5, box["y"] - 90)
    settle(page)
    assert "when your hand rests" in numbers(page)["The answer"]
    says(page, "#read", "proved to nine digits")  # it rests, though it holds on
    page.mouse.up()


def test_names_choose_whose_curve_is_drawn(visit: Visit) -> None:
    page = visit("truth", "step=4")
    curves = []
    for name in ("one long step", "short steps", "gradient ascent", "training anew"):
        page.get_by_role("radio", name=name).click()
        settle(page)
        curves.append(str(drawn(page, "#chart path.s-mine")))
    assert len(set(curves)) == 4


@pytest.mark.parametrize("step", [1, 6])
def test_the_proof_is_checked_in_the_page_and_a_broken_one_refused(visit: Visit, step: int) -> None:
    page = visit("truth", f"step={step}")
    text = open_proof(page)
    says(page, "#verdict", "proved (repaired): size between ≈ 4.073 and ≈ 4.073")
    page.locator("#tamper").click()
    says(page, "#verdict", "not proved: ")
    page.locator("#restore").click()
    says(page, "#verdict", "proved (repaired)")
    for broken in (text.replace('"tree": [', '"tree": [null,'), text.replace('"proof"', '"lower":"5","proof"')):
        page.locator("#certificate").fill(broken)
        says(page, "#verdict", "not proved: ")
    assert page.wrong == []


def test_the_last_state_at_every_rim_is_proved(visit: Visit) -> None:
    page = visit("truth", "step=1")
    for label in ("Truth at x = −1", "Truth at x = 2"):
        press(page, label, *["Shift+ArrowUp"] * 2)
    assert "proved to nine digits" in numbers(page)["The answer"]
