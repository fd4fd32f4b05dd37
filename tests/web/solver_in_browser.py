"""When the solver lies, as a reader touches it: make test-web."""

from __future__ import annotations

from tests.web.conftest import Visit
from tests.web.hands import drawn, open_proof, says, settle

COLOURS = "e => getComputedStyle(e).color"


def test_the_reader_believes_two_lies(visit: Visit) -> None:
    page = visit("solver", "step=1&at=4&form=l1")
    cards = page.locator(".card")
    for name in ("CLARABEL", "HIGHS"):
        cards.filter(has_text=name).click()
    page.locator("#truth").click()
    says(page, "#score", "23.557981, proved (exact). 4 of 5 lied; you believed 2 of them.")
    assert "“infeasible”\nno value\na lie: Δ = 0 fits" in cards.filter(has_text="OSQP").inner_text()
    assert cards.filter(has_text="HIGHS").get_attribute("aria-pressed") == "true"


def test_nothing_is_told_before_the_button(visit: Visit) -> None:
    page = visit("solver", "step=1&at=4&form=l1")
    before = page.locator("#chart path.s-bad").count()
    assert len(set(page.locator(".card b").evaluate_all(f"all => all.map({COLOURS})"))) == 1
    assert page.locator("#score").inner_text() == ""
    assert "a lie" not in page.locator("#cards").inner_text()
    page.locator("#truth").click()
    settle(page)
    assert page.locator("#chart path.s-bad").count() == before + 4
    assert len(set(page.locator(".card b").evaluate_all(f"all => all.map({COLOURS})"))) == 2


def test_another_column_hides_the_truth_again(visit: Visit) -> None:
    page = visit("solver", "step=1&at=3&shown=1&trust=1")
    page.locator("#condition").focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert page.locator("#conditionout").inner_text() == "1e8"
    assert page.locator("#truth").is_visible()
    assert page.locator(".card[aria-pressed=true]").count() == 0


def test_all_by_keys_alone(visit: Visit) -> None:
    page = visit("solver", "step=1&at=4")
    page.locator(".card").first.focus()
    page.keyboard.press("Space")
    settle(page)
    assert page.locator(".card").first.get_attribute("aria-pressed") == "true"
    page.locator("#truth").focus()
    page.keyboard.press("Enter")
    says(page, "#score", "you believed 1 of them")
    page.locator("#forms [aria-checked=true]").focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert page.locator("#forms [aria-checked=true]").inner_text() == "ℓ2 squared"


def test_the_last_step_shows_every_column_and_our_own_line(visit: Visit) -> None:
    page = visit("solver", "step=4&at=5&shown=1&form=l1")
    assert len(drawn(page, "#chart path.s-answer")) == 1
    assert len(drawn(page, "#chart circle, #chart path.s-bad")) == 40


def test_the_truth_at_1e8_is_proved_in_the_page(visit: Visit) -> None:
    page = visit("solver", "step=2&form=l1")
    assert not page.locator("#proofbox").is_visible()
    page.locator("#truth").click()
    settle(page)
    open_proof(page)
    says(page, "#verdict", "proved (repaired): size between ≈ 23.558 and ≈ 23.558")
    page.locator("#tamper").click()
    says(page, "#verdict", "not proved: ")
    page.locator("#condition").focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert not page.locator("#proofbox").is_visible()
    assert page.wrong == []
