"""Local certificates for smooth networks: one KKT point of the exact problem, enclosed and checked alone.

Nothing here is imported by the checker, which is one file of standard library and runs alone::

    python -I -S exact_unlearn/local/checker.py FILE
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from exact_unlearn.errors import needed_by

if TYPE_CHECKING:
    from exact_unlearn.local.certificate import LocalCertificate
    from exact_unlearn.local.network import SmoothNetwork
    from exact_unlearn.local.produce import certify_local

_HOME = {"LocalCertificate": "certificate", "SmoothNetwork": "network", "certify_local": "produce"}

__all__ = ["LocalCertificate", "SmoothNetwork", "certify_local"]


def __getattr__(name: str) -> Any:
    """Load the producer on first use; checking alone never needs it."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with needed_by(f"{__name__}.{name}"):
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
