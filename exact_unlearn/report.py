"""Results for people (plain text tables) and for machines (JSON with finite numbers only)."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

from exact_unlearn import codec


@dataclass(frozen=True)
class Finding:
    """One statement of the theory beside what was measured.

    claim: the statement in words; source: where it is proved ("Theorem 2"); predicted, measured: as text; holds: the
    verdict.
    """

    claim: str
    source: str
    predicted: str
    measured: str
    holds: bool


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Columns padded to their widest entry; the first `left` columns flush left, the others flush right.

    Entries may hold line breaks in the header only.  Wide and combining characters are counted by the columns they
    take on a terminal.
    """
    heads = [text.split("\n") for text in header]
    depth = max(map(len, heads))
    lines = [[([""] * (depth - len(head)) + head)[i] for head in heads] for i in range(depth)]
    body = [list(row) for row in rows]
    widths = [max(_width(line[i]) for line in lines + body) for i in range(len(header))]
    rule = ["─" * width for width in widths]

    def padded(line: Sequence[str]) -> str:
        parts = []
        for i, (text, width) in enumerate(zip(line, widths, strict=True)):
            space = " " * (width - _width(text))
            parts.append(text + space if i < left else space + text)
        return "  ".join(parts).rstrip()

    return "\n".join(padded(line) for line in [*lines, rule, *body])


def findings_table(findings: Iterable[Finding]) -> str:
    """Predicted beside measured, one line each."""
    rows = [(f.claim, f.source, f.predicted, f.measured, "holds" if f.holds else "FAILS") for f in findings]
    return table(("claim", "source", "predicted", "measured", ""), rows, left=5)


def number(value: Any, digits: int = 4) -> str:
    """`digits` significant digits: 12.35, 1.235e-09; a dash for None, "∞" for infinity."""
    if value is None:
        return "–"
    x = float(value)
    if math.isnan(x):
        return "nan"
    if math.isinf(x):
        return "∞" if x > 0 else "-∞"
    return f"{x:.{digits}g}"


def small(value: Any) -> str:
    """An error or a gap: two digits, and a plain 0 only for exactly 0."""
    if value is None:
        return "–"
    x = float(value)
    if x == 0 and value != 0:
        return "<1e-300"  # a positive rational below the range of floats
    return "0" if x == 0 else (f"{x:.1e}" if math.isfinite(x) else number(x))


def percent(share: float) -> str:
    """0.9412 -> "94 %"."""
    return f"{100 * share:.0f} %"


def seconds(value: float) -> str:
    """Two decimals below ten seconds, one above."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def rounded_down(value: Fraction | float | None) -> float | None:
    """The largest float <= value, None for what is not finite: a lower bound stays one."""
    return _directed(value, -math.inf)


def rounded_up(value: Fraction | float | None) -> float | None:
    """The smallest float >= value, None for what is not finite: an upper bound stays one."""
    return _directed(value, math.inf)


def _directed(value: Fraction | float | None, direction: float) -> float | None:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    exact = Fraction(value)
    try:
        nearest = float(exact)
    except OverflowError:
        return None
    wrong_side = Fraction(nearest) > exact if direction < 0 else Fraction(nearest) < exact
    out = math.nextafter(nearest, direction) if wrong_side else nearest
    return out if math.isfinite(out) else None


def plain(tree: Any) -> Any:
    """`tree` in plain JSON values: dataclasses as objects, arrays as lists, None for numbers that are not finite."""
    if is_dataclass(tree) and not isinstance(tree, type):
        return plain(asdict(tree))
    if isinstance(tree, dict):
        return {str(key): plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [plain(value) for value in tree]
    if hasattr(tree, "tolist"):
        return plain(tree.tolist())
    if isinstance(tree, Enum):
        return plain(tree.value)
    if isinstance(tree, Fraction):
        return _finite(float(tree)) if abs(tree) < 10**308 else None
    return _finite(tree) if isinstance(tree, float) else tree


def json_text(tree: Any) -> str:
    """`plain(tree)` as JSON text with a final line break."""
    return json.dumps(plain(tree), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write all of `text` under `path`, or leave what was there."""
    codec.write_atomically(path, text.encode())


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
