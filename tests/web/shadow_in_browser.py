"""Shadow of the weights, as a reader touches it: make test-web."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.conftest import Visit
from tests.web.hands import drag, drawn, numbers, open_proof, place, press, says, touch


def check_the_lie_moves_theta_star_only(page: Any) -> None:
    answer, seen, star = drawn(page, "#weights circle.f-answer"), numbers(page), drawn(page, "#weights circle.f-lie")
    text = open_proof(page)
    page.evaluate("scrollTo(0, 0)")
    drag(page, "Sample to forget", -60, -40)
    assert drawn(page, "#weights circle.f-lie") != star
    assert drawn(page, "#weights circle.f-answer") == answer
    assert {key: seen[key] for key in list(seen)[:2]} == {key: numbers(page)[key] for key in list(seen)[:2]}
    assert page.locator("#certificate").input_value() == text
    says(page, "#verdict", "proved (exact)")


@pytest.mark.parametrize("norm", ["l2", "l1", "linf"])
def test_shadow_dragging_the_lie_leaves_the_answer(visit: Visit, norm: str) -> None:
    check_the_lie_moves_theta_star_only(visit("shadow", f"step=6&ball=100&norm={norm}"))


def check_the_own_point_stays(page: Any) -> None:
    before = place(page, "Your model")
    drag(page, "Sample to forget", -40, -30)
    assert place(page, "Your model") == before


def test_shadow_own_point_stays_when_the_lie_moves(visit: Visit) -> None:
    check_the_own_point_stays(visit("shadow", "step=3&mine=8"))


def test_shadow_a_finger_moves_the_own_point_along_the_line(visit: Visit) -> None:
    page = visit("shadow", "step=3", size="phone")
    before = place(page, "Your model")
    touch(page, "Your model", -10, -30)
    assert place(page, "Your model")[1] < before[1] - 10
    assert numbers(page)["Size of your point (ℓ2)"] != "1.629\nsomething this large fits"


@pytest.mark.parametrize(("norm", "grade"), [("l2", "40 %"), ("l1", "58 %"), ("linf", "79 %")])
def test_shadow_the_checker_grades_the_guess(visit: Visit, norm: str, grade: str) -> None:
    page = visit("shadow", f"step=3&norm={norm}")
    assert page.locator("#grade").inner_text() == ""
    page.locator("#inflate").click()
    says(page, "#grade", f"The checker: it fits, and is {grade} too large.")


RIGHT = [("l2", 21, "26/25, 13/25"), ("l1", 0, "13/10, 0"), ("linf", 35, "13/15, 13/15")]


@pytest.mark.parametrize(("norm", "mine", "theta"), RIGHT)
def test_shadow_a_right_guess_is_exactly_right(visit: Visit, norm: str, mine: int, theta: str) -> None:
    page = visit("shadow", f"step=3&norm={norm}&mine={mine}")
    page.locator("#inflate").click()
    says(page, "#grade", "You found it")
    assert numbers(page)["Its weights (a, b)"] == f"{theta}\nthe only answer"


def test_shadow_a_reader_closes_the_gap_by_keys_alone(visit: Visit) -> None:
    page = visit("shadow", "step=4&norm=l1&mine=-10&inner=128")
    press(page, "Your model", "Shift+ArrowUp", "Shift+ArrowUp")
    page.locator("#inner").focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    says(page, "#read", "they meet: proved")
    page.keyboard.press("ArrowRight")
    says(page, "#read", "the checker: claims more than is proved: lower")
    assert "proves nothing" in page.locator("#weights").text_content()


def test_shadow_a_sample_goes_where_a_whole_edge_touches(visit: Visit) -> None:
    page = visit("shadow", "step=5&ball=100&norm=linf")
    press(page, "Sample to keep", "Shift+ArrowLeft", "Shift+ArrowLeft")
    says(page, "#read", "one of many answers")


@pytest.mark.parametrize("state", ["norm=l1&xr=20", "norm=l1&xr=-20&xf=20", "norm=linf&xr=0"])
def test_shadow_an_edge_that_touches_has_many_answers(visit: Visit, state: str) -> None:
    page = visit("shadow", f"step=5&ball=100&{state}")
    assert "one of many answers" in page.locator("#read").inner_text()
    assert page.locator("#weights path.s-answer.line").count() == 1
    open_proof(page)
    assert "no other answer" not in page.locator("#verdict").inner_text()


def test_shadow_gradients(visit: Visit) -> None:
    for trail, kept, gone in (("gd", "0.000", "0.000"), ("ga", "2.352", "14.345"), ("gd0", "0.000", "1.316")):
        page = visit("shadow", f"step=2&trail={trail}")
        assert [text.split("\n")[0] for text in numbers(page).values()] == [kept, gone], trail


def test_shadow_motion_that_is_wanted_is_shown(visit: Visit) -> None:
    page = visit("shadow", "step=3", reduced_motion="no-preference")
    page.locator("#inflate").click()
    page.wait_for_timeout(150)
    assert not page.locator("#grade").inner_text()
    says(page, "#grade", "too large")
