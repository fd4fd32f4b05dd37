"""What holds of every page in a real Chromium, from file://: make test-web."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest

from exact_unlearn import web
from tests.web.conftest import SIZES, Visit
from tests.web.hands import drawn, numbers, open_proof, place, press, says, settle

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()


# --- every page -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", web.PAGES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_step_asks_nobody_says_nothing_and_fits(visit: Visit, name: str, size: str, scheme: str) -> None:
    page = visit(name, size=size, color_scheme=scheme)
    steps = page.locator(".step").count()
    for step in range(steps):
        assert page.locator("#count").inner_text() == f"Step {step + 1} of {steps}"
        assert page.locator(".step:visible").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"step {step} scrolls sideways"
        page.keyboard.press("PageDown")
        settle(page)
    assert not page.locator("#next").is_visible()
    assert page.locator("#onward").is_visible()
    page.keyboard.press("PageUp")
    settle(page)
    assert page.locator("#count").inner_text() == f"Step {steps - 1} of {steps}"
    assert page.wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_can_be_read(visit: Visit, scheme: str) -> None:
    pairs = visit("shadow", color_scheme=scheme).evaluate("contrasts()")
    assert len(pairs) == 16
    assert [pair for pair in pairs if pair[2] < 4.5] == []


# In the dark only colours differ.
@pytest.mark.parametrize("name", web.PAGES)
@pytest.mark.parametrize(("scheme", "rules"), [("light", ""), ("dark", "runOnly: ['color-contrast']")])
def test_axe_finds_nothing(visit: Visit, name: str, scheme: str, rules: str) -> None:
    page = visit(name, color_scheme=scheme)
    page.evaluate(AXE)
    for _ in range(page.locator(".step").count()):
        if page.locator("#proofbox").is_visible():
            page.evaluate("() => { document.getElementById('proofbox').open = true; }")
        result = page.evaluate(f"axe.run({{ resultTypes: ['violations'], {rules} }})")
        assert len(result["passes"]) > (10 if scheme == "light" else 0)
        found = [(v["id"], [node["html"][:120] for node in v["nodes"]]) for v in result["violations"]]
        assert found == []
        page.keyboard.press("PageDown")
        settle(page)


@pytest.mark.parametrize("name", web.PAGES)
def test_handles_are_sliders_that_a_finger_hits(visit: Visit, name: str) -> None:
    page = visit(name, size="phone")
    for _ in range(page.locator(".step").count()):
        for handle in page.locator(".handle:visible").all():
            assert handle.get_attribute("role") == "slider"
            assert handle.get_attribute("aria-label")
            assert handle.get_attribute("aria-valuetext")
            float(handle.get_attribute("aria-valuenow"))
            box = handle.locator(".hit").bounding_box()
            assert min(box["width"], box["height"]) >= 47.5
        page.keyboard.press("PageDown")
        settle(page)


ARROWS = {
    ("ArrowLeft", "ArrowRight"): (-1, 0),
    ("ArrowRight", "ArrowLeft"): (1, 0),
    ("ArrowUp", "ArrowDown"): (0, -1),
    ("ArrowDown", "ArrowUp"): (0, 1),
}
"""(key, the opposite one) -> where it points, in pixels from the upper left."""

MOVES = {
    "shadow": ["step=1", "step=3", "step=4&norm=l1"],
    "lie": ["step=0", "step=4&method=l2"],
    "players": ["step=2", "step=3&norm=l1"],
    "bends": ["step=0", "step=2&k=12"],
    "truth": ["step=0", "step=4"],
}
"""States in which handles can be moved; the last one is the slowest."""


def check_arrow_keys(page: Any) -> None:
    for handle in page.locator(".handle:visible").all():
        label = handle.get_attribute("aria-label")
        free = set()
        for (key, back), (right, down) in ARROWS.items():
            x, y = place(page, label)
            press(page, label, key)
            dx, dy = (a - b for a, b in zip(place(page, label), (x, y), strict=True))
            assert dx * right + dy * down >= -1e-6, (label, key)
            if (dx, dy) != (0, 0):
                free.add(key)
            press(page, label, back)
        assert free == {key for key, _ in ARROWS} or free == {"ArrowUp", "ArrowDown"}, label


@pytest.mark.parametrize(("name", "state"), [(name, state) for name in MOVES for state in MOVES[name]])
def test_arrow_keys_go_where_they_point(visit: Visit, name: str, state: str) -> None:
    check_arrow_keys(visit(name, state))


@pytest.mark.parametrize(("name", "state"), [(name, MOVES[name][0]) for name in MOVES])
def test_shift_goes_five_steps(visit: Visit, name: str, state: str) -> None:
    page = visit(name, state)
    label = page.locator(".handle:visible").first.get_attribute("aria-label")
    places = [place(page, label)]
    for keys in (["ArrowDown"] * 5, ["Shift+ArrowUp"]):
        press(page, label, *keys)
        places.append(place(page, label))
    assert places[1][1] > places[0][1] + 1
    assert places[2] == pytest.approx(places[0], abs=0.01)


RESTS = 260  # milliseconds: a page writes its address when the hand rests


@pytest.mark.parametrize("name", web.PAGES)
def test_the_address_keeps_what_is_seen(visit: Visit, name: str) -> None:
    page = visit(name)
    assert "#" not in page.url
    steps = page.locator(".step").count()
    for _ in range(steps - 1):
        page.keyboard.press("PageDown")
    settle(page)
    for handle in page.locator(".handle:visible").all():
        press(page, handle.get_attribute("aria-label"), "Shift+ArrowUp")
    page.wait_for_timeout(RESTS)
    state = page.url.split("#")[1]
    assert f"step={steps - 1}" in state
    other = visit(name, state)
    assert numbers(other) == numbers(page)
    assert drawn(other, "svg:visible path") == drawn(page, "svg:visible path")


NONSENSE = "ball=1e9&y0=&form=7&at=-1&trust=9.x.3&walk=.5&method=constructor"


@pytest.mark.parametrize("name", web.PAGES)
def test_nonsense_in_the_address_is_no_state(visit: Visit, name: str) -> None:
    page = visit(name, f"step=99&norm=%3Cimg%20src=x%3E&xr=-99999&mine=NaN&{NONSENSE}")
    assert page.locator("#count").inner_text().startswith("Step 1 of ")
    assert drawn(page, "svg:visible path") == drawn(visit(name), "svg:visible path")
    assert page.wrong == []


@pytest.mark.parametrize("name", web.PAGES)
def test_start_again_is_the_start(visit: Visit, name: str) -> None:
    page = visit(name, "step=1")
    for handle in page.locator(".handle:visible").all():
        press(page, handle.get_attribute("aria-label"), "Shift+ArrowUp")
    page.locator("#reset").click()
    settle(page)
    assert drawn(page, "svg:visible path") == drawn(visit(name, "step=1"), "svg:visible path")


@pytest.mark.parametrize("name", web.PAGES)
def test_printed_it_is_a_handout(visit: Visit, name: str) -> None:
    page = visit(name, "step=2", color_scheme="dark")
    before = drawn(page, "svg:visible path")
    page.emulate_media(media="print")
    drawn_all = "() => [...document.querySelectorAll('.step')].every((step) => step.querySelector('.handout svg'))"
    page.wait_for_function(drawn_all)  # the page hears of it between two frames
    steps = page.locator(".step").all()
    assert all(step.is_visible() for step in steps)
    assert all(step.locator("svg :is(path, circle):visible").count() for step in steps)
    pictures = [step.locator(".handout").inner_html() for step in steps]
    assert len(set(pictures)) > 1
    assert not page.locator("button:visible").count()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("idsThatOccurTwice()") == []
    page.emulate_media(media="screen")
    page.wait_for_function("() => !document.querySelector('.handout')")
    settle(page)
    assert drawn(page, "svg:visible path") == before
    assert page.wrong == []


PROOFS = {
    "shadow": ["step=5&norm=l2", "step=5&norm=l1", "step=5&norm=linf"],
    "lie": ["step=7&method=l1", "step=4&method=l2"],
    "players": ["step=4&norm=l1&played=1"],
    "bends": ["step=1&way=60", "step=2&k=7"],
}
"""States with an exact proof."""


@pytest.mark.parametrize(("name", "state"), [(name, state) for name in PROOFS for state in PROOFS[name]])
def test_a_reader_who_breaks_a_proof_is_refused(visit: Visit, name: str, state: str) -> None:
    page = visit(name, state)
    text = open_proof(page)
    page.locator("#tamper").click()
    says(page, "#verdict", "not proved: ")
    assert page.locator("#certificate").input_value() != text
    page.locator("#restore").click()
    says(page, "#verdict", "proved (exact)")
    assert page.locator("#certificate").input_value() == text
    too_much, twice = text.replace('"proof"', '"lower":"ffff","proof"'), text.replace('"dual"', '"dual":{},"dual"')
    for broken in (too_much, twice, "{", ""):
        page.locator("#certificate").fill(broken)
        says(page, "#verdict", "not proved: ")
    assert page.wrong == []
