"""Every number that a page shows and does not compute itself, and what the pages are tested against.

    python -m validation.web_data            write them
    python -m validation.web_data --check    compare, byte for byte; exit status 1 if a file differs

All of it is solved and certified by the package, on exact fractions.
"""

from __future__ import annotations

import argparse
import json
import sys
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn.codec import rational_text as rat

ROOT = Path(__file__).resolve().parent.parent
NORMS = {"l2": xu.L2(), "l1": xu.L1(), "linf": xu.LInf()}


def certified(problem: xu.UnlearningProblem) -> dict[str, Any]:
    """The certified answer as a page and its tests want it: point, bounds, whether it is the only one."""
    certificate = xu.certify(problem, xu.solve(problem))
    assert certificate.check().proved
    return {
        "theta": [rat(F(float(v))) for v in certificate.theta],
        "value": [float(certificate.lower), float(certificate.upper)],
        "unique": certificate.unique,
        "proof": certificate.proof,
    }


def shadow_states() -> list[dict[str, Any]]:
    """States of *Shadow of the weights*, as the package solves and certifies them."""
    out = []
    for x in (F(-3, 2), F(-1), F(-2, 5), F(0), F(1, 2), F(1), F(17, 10)):
        for y in (F(-6, 5), F(4, 5), F(3, 2)):
            star = np.array([y - F(3, 10) * x, F(3, 10)])
            for norm, regularizer in NORMS.items():
                problem = xu.UnlearningProblem(star, np.array([[F(1), x]]), regularizer)
                out.append({"x": rat(x), "y": rat(y), "norm": norm} | certified(problem))
    return out


def files() -> dict[str, str]:
    """Path in the repository -> text."""
    return {"tests/web/shadow.states.json": _lines(shadow_states())}


def _lines(items: list[Any]) -> str:
    """One item a line: a difference can be read."""
    return "[\n" + ",\n".join(json.dumps(item, separators=(",", ":")) for item in items) + "\n]\n"


def main(arguments: list[str]) -> int:
    """Write or compare the files."""
    parser = argparse.ArgumentParser(description="The numbers of the pages.")
    parser.add_argument("--check", action="store_true", help="compare and write nothing")
    options = parser.parse_args(arguments)
    different = 0
    for name, text in files().items():
        path = ROOT / name
        same = path.exists() and path.read_text(encoding="utf-8") == text
        different += not same
        if not same and not options.check:
            path.write_text(text, encoding="utf-8", newline="\n")
        print(f"{name}: {'as it is' if same else 'differs' if options.check else 'written'}")
    return 1 if options.check and different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
