"""``python -m exact_unlearn`` is the ``exact-unlearn`` command."""

from __future__ import annotations

import sys

from exact_unlearn.cli import main

if __name__ == "__main__":
    sys.exit(main())
