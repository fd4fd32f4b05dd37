"""It bends, as a reader touches it: make test-web."""

from __future__ import annotations

from tests.web.conftest import Visit
from tests.web.hands import drag, drawn, numbers, open_proof, place, says, settle


def test_half_as_far_is_a_quarter_of_the_error(visit: Visit) -> None:
    errors = [float(numbers(visit("bends", f"step=1&way={way}"))["Error"].split("\n")[0]) for way in (50, 100)]
    assert abs(errors[1] / errors[0] - 4) < 0.03


def test_short_steps_go_along_the_curve_and_are_proved(visit: Visit) -> None:
    page = visit("bends", "step=2")
    page.locator("#kplay").click()
    says(page, "#kout", "12 of 12")
    assert numbers(page)["Size of the weights"].startswith("1.414\n")
    open_proof(page)
    says(page, "#verdict", "proved (exact)")
    assert len(drawn(page, "#weights circle.f-answer")) == 13


def test_theta_star_stays_on_the_curve(visit: Visit) -> None:
    page = visit("bends", "step=0")
    for dx, dy in ((-120, -30), (-60, -90), (200, 200)):
        before = place(page, "The trained model")
        drag(page, "The trained model", dx, dy)
        assert place(page, "The trained model") != before
        assert numbers(page)["Output a·c"].startswith("1.000\n")


def test_the_digits_turn(visit: Visit) -> None:
    page = visit("bends", "step=3")
    assert numbers(page)["Forgotten digits"].startswith("0 of 8\n")
    assert numbers(page)["Digits never seen"].startswith("66 %")
    wrong = page.locator("#digits circle.f-lie").count()
    page.keyboard.press("PageDown")
    page.locator("#long").evaluate("e => { e.value = 14; e.oninput(); }")
    settle(page)
    assert numbers(page)["Kept digits right"].startswith("24 of 32")
    page.keyboard.press("PageDown")
    page.locator("#shortplay").click()
    says(page, "#shortout", "16 of 16")
    found = numbers(page)
    assert found["Forgotten digits"].startswith("8 of 8\n")
    assert found["Kept digits right"].startswith("32 of 32")
    assert found["Digits never seen"] == "98 %\ntrained without the eight: 98 %"
    assert (wrong, page.locator("#digits circle.f-lie").count()) == (8, 0)
