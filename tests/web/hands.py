"""What a reader does: look, drag, touch, press keys."""

from __future__ import annotations

from typing import Any

SETTLE = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def settle(page: Any) -> None:
    """Until what was asked for is drawn: two frames."""
    page.evaluate(SETTLE)


def numbers(page: Any) -> dict[str, str]:
    """The numbers beside the picture."""
    terms = page.locator("#read dt").all_inner_texts()
    return dict(zip(terms, page.locator("#read dd").all_inner_texts(), strict=True))


def place(page: Any, label: str) -> tuple[float, float]:
    """The middle of a handle on the screen."""
    box = page.get_by_role("slider", name=label).locator(".dot").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Any, label: str, dx: float, dy: float) -> None:
    """By mouse, in three moves of which the second leaves the handle behind."""
    x, y = place(page, label)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx / 3, y + dy / 3)
    page.mouse.move(x + dx, y + dy)
    page.mouse.up()
    settle(page)


def touch(page: Any, label: str, dx: float, dy: float) -> None:
    """By one finger."""
    x, y = place(page, label)
    client = page.context.new_cdp_session(page)
    for kind, part in (("touchStart", 0), ("touchMove", 0.4), ("touchMove", 1), ("touchEnd", None)):
        points = [] if part is None else [{"x": x + part * dx, "y": y + part * dy}]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    settle(page)


def press(page: Any, label: str, *keys: str) -> None:
    """Keys on a handle."""
    page.get_by_role("slider", name=label).focus()
    for key in keys:
        page.keyboard.press(key)
    settle(page)


def drawn(page: Any, selector: str) -> list[dict[str, str]]:
    """Where everything that the selector finds is drawn, to the last digit."""
    names = "['d', 'cx', 'cy', 'r', 'x', 'y', 'transform']"
    code = f"all => all.map((e) => Object.fromEntries({names}.map((n) => [n, e.getAttribute(n)])))"
    found: list[dict[str, str]] = page.locator(selector).evaluate_all(code)
    assert found, selector
    return found


def says(page: Any, selector: str, words: str) -> None:
    """Waits until an element says something."""
    page.wait_for_function("([s, w]) => document.querySelector(s).innerText.includes(w)", arg=[selector, words])


def open_proof(page: Any) -> str:
    """The text of the certificate, once the checker has proved it."""
    page.locator("#proofbox summary").click()
    says(page, "#verdict", "proved (")
    text: str = page.locator("#certificate").input_value()
    return text
