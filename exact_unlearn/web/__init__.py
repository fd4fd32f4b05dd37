"""Pages that explain why forgetting is not fitting: each is one HTML file that loads nothing from anywhere.

>>> from exact_unlearn import web
>>> list(web.PAGES)[0]
'shadow'
>>> web.page("shadow").startswith("<!doctype html>")
True

What a page shows is proved in the page, in exact fractions, by the JavaScript checker of this package.
"""

from __future__ import annotations

from .build import page, script, write_pages
from .pages import PAGES, Page

__all__ = ["PAGES", "Page", "page", "script", "write_pages"]
