"""``exact-unlearn explain``: pages that explain, written to a folder and opened in a browser."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from pathlib import Path

from exact_unlearn import web
from exact_unlearn.cli.terminal import require_folder
from exact_unlearn.errors import ProblemError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of explain."""
    parser.add_argument("page", metavar="PAGE", nargs="?", help=f"one of {', '.join(web.PAGES)} (default: the first)")
    parser.add_argument("-o", "--output", metavar="DIR", help="folder for the pages (default: one in your cache)")
    parser.add_argument("--print", action="store_true", dest="only", help="say where the pages are and open nothing")


def run(options: argparse.Namespace) -> int:
    """0: the pages are written, and the chosen one is open if there is a browser."""
    from exact_unlearn.cli import DONE

    if options.page is not None and options.page not in web.PAGES:
        raise ProblemError(f"PAGE: expected one of {', '.join(web.PAGES)}, got {options.page!r}")
    folder = require_folder("--output", Path(options.output) if options.output else cache() / "explain")
    written = {path.stem: path.resolve() for path in web.write_pages(folder)}
    chosen = written[options.page or next(iter(web.PAGES))]
    if options.page is None:
        wide = max(map(len, web.PAGES))
        print("".join(f"{name:{wide}}  {page.title}: {page.lead}\n" for name, page in web.PAGES.items()))
    opened = not options.only and has_browser() and webbrowser.open(chosen.as_uri())
    print(f"{'Opened' if opened else 'Open'} {chosen}" + ("" if opened else " in a browser"))
    return DONE


def cache() -> Path:
    """Where this program may leave what it can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "exact-unlearn"


def has_browser() -> bool:
    """Whether a window can open; without a display Python would start a browser of text, which shows nothing."""
    if sys.platform in {"win32", "darwin"} or os.environ.get("BROWSER"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
