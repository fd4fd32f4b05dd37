"""The pictures of docs/explain/index.md, taken in Chromium: python -m tests.web.pictures"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from exact_unlearn import web
from tests.web.conftest import FLAGS

FOLDER = Path(__file__).resolve().parent.parent.parent / "docs" / "_static" / "explain"
STATES = {
    "shadow": "step=5&norm=l1&mine=-10",
    "lie": "step=4",
    "players": "step=3&norm=l1",
    "solver": "step=4&at=5",
    "bends": "step=5&short=16",
    "truth": "step=4",
}


def main() -> None:
    """Writes one picture a page: its figures, in the light."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        for path in web.write_pages(Path(folder)):
            size = {"width": 1000, "height": 900}
            page = browser.new_page(viewport=size, reduced_motion="reduce", device_scale_factor=1.5)
            page.goto(f"{path.as_uri()}#{STATES[path.stem]}")
            page.wait_for_timeout(300)
            page.add_style_tag(content=".slide { display: none !important } .figures { padding: 8px }")
            page.locator(".figures").screenshot(path=FOLDER / f"{path.stem}.png")
        browser.close()


if __name__ == "__main__":
    main()
