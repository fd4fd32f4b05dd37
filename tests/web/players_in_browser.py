"""Two players, as a reader touches them: make test-web."""

from __future__ import annotations

import pytest

from tests.web.conftest import Visit
from tests.web.hands import drag, drawn, numbers, open_proof, place, press, says, settle, touch


@pytest.mark.parametrize(
    ("norm", "gap"), [("l2", "exactly 0"), ("l1", "exactly 0"), ("linf", "exactly 0"), ("group", "")]
)
def test_the_best_play_closes_the_gap(visit: Visit, norm: str, gap: str) -> None:
    page = visit("players", f"step=3&norm={norm}")
    assert "%" in page.locator("#grade").inner_text()
    page.locator("#play").click()
    says(page, "#grade", f"gap {gap}")
    assert "%" not in page.locator("#grade").inner_text()
    text = open_proof(page)
    assert '"nu"' in text
    if norm == "group":
        assert "proved (enclosure)" in page.locator("#verdict").inner_text()
        assert page.locator("#grade").inner_text().split("e−")[1] > "100"


def test_the_space_turns_by_keys_mouse_and_finger(visit: Visit) -> None:
    for size in ("desk", "phone"):
        page = visit("players", "step=1&norm=linf", size=size)
        seen = [drawn(page, "#space .face")]
        page.locator("#space").focus()
        page.keyboard.press("ArrowLeft")
        settle(page)
        seen.append(drawn(page, "#space .face"))
        box = page.locator("#space").bounding_box()
        x, y = box["x"] + 20, box["y"] + box["height"] - 20
        if size == "desk":
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x + 80, y - 30)
            page.mouse.up()
        else:
            client = page.context.new_cdp_session(page)
            for kind, dx in (("touchStart", 0), ("touchMove", 40), ("touchMove", 90), ("touchEnd", None)):
                points = [] if dx is None else [{"x": x + dx, "y": y}]
                client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        settle(page)
        seen.append(drawn(page, "#space .face"))
        assert seen[0] != seen[1] != seen[2]


def test_the_reader_is_graded_at_every_move(visit: Visit) -> None:
    page = visit("players", "step=3&norm=l1&mine=24&n1=10&n2=30")
    first = numbers(page)
    press(page, "Multipliers", "ArrowUp", "ArrowRight")
    second = numbers(page)
    assert float(second["Bound, from below"].split("\n")[0]) > float(first["Bound, from below"].split("\n")[0])
    says(page, "#grade", "The checker: the smallest size lies between ")
    drag(page, "Multipliers", 120, -120)
    says(page, "#grade", "The checker refuses: claims more than is proved: lower.")
    assert numbers(page)["Bound, from below"] == "none\nν left its shape"
    assert "outside: proves nothing" in page.locator("#dual").text_content()


def test_the_own_point_follows_a_finger_along_the_line(visit: Visit) -> None:
    page = visit("players", "step=1", size="phone")
    before = place(page, "Your point")
    touch(page, "Your point", 10, 40)
    assert place(page, "Your point")[1] > before[1] + 10
    assert numbers(page)["Size, from above (ℓ2)"].startswith("0.")


@pytest.mark.parametrize("norm", ["l2", "l1", "linf", "group"])
def test_the_lie_is_not_in_the_game(visit: Visit, norm: str) -> None:
    page = visit("players", f"step=4&played=1&norm={norm}")
    text = open_proof(page)
    page.evaluate("scrollTo(0, 0)")
    marks = ("#space circle.f-answer", "#dual circle.f-answer", "#dual path", "#bar path")
    seen, words = [drawn(page, mark) for mark in marks], page.locator("#grade").inner_text()
    star = drawn(page, "#space circle.f-lie")
    press(page, "Sample to forget", *["Shift+ArrowUp"] * 4)
    assert drawn(page, "#space circle.f-lie") != star
    assert [drawn(page, mark) for mark in marks] == seen
    assert page.locator("#grade").inner_text() == words
    assert page.locator("#certificate").input_value() == text
