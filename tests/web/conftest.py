"""A real Chromium for `make test-web`. Without one these tests fail; they are never left out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exact_unlearn import web
from tests.web.hands import settle

DESK = {"viewport": {"width": 1280, "height": 900}}
TABLET = {"viewport": {"width": 768, "height": 1024}, "has_touch": True}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
SIZES = {"desk": DESK, "tablet": TABLET, "phone": PHONE}

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
FLAGS += ("--disable-component-update", "--disable-sync")

HERE = Path(__file__).parent

Visit = Callable[..., Any]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    assert program, "the pages are tested in Debian's chromium: apt-get install chromium"
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=program, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    web.write_pages(folder)
    return folder


@pytest.fixture
def visit(browser: Any, pages: Path) -> Iterator[Visit]:
    """Opens a page from file://; `page.wrong` lists what it said, or asked of anybody."""
    contexts = []

    def open_page(name: str, state: str = "", size: str = "desk", folder: Path = pages, **options: Any) -> Any:
        context = browser.new_context(**SIZES[size], **{"reduced_motion": "reduce", **options})
        contexts.append(context)
        context.add_init_script(path=HERE / "probes.js")
        page = context.new_page()
        page.set_default_timeout(5000)
        page.wrong = []
        page.on("console", lambda message: page.wrong.append(message.text))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else page.wrong.append(r.url))
        page.goto(f"{(folder / name).as_uri()}.html" + (f"#{state}" if state else ""))
        settle(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
