"""The search grids of the paper, a row of its experiments each, and what it publishes of the results.

Tables 8 to 16 (Multi-Class Label Erasure) and 18 to 22 (Representation Collapse).  Common to all: T_Proj 1, n_pert 50.
Where the paper's text and its released code differ the text is built, and the code's values are kept beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exact_unlearn.errors import ProblemError

ERASURE, COLLAPSE = "label-erasure", "collapse"

METHODS = (
    "retrain",
    "minnorm-og",
    "gd",
    "ga",
    "neggrad+",
    "ngd",
    "ridge",
    "l1-sparse",
    "scrub",
    "npo",
    "salun",
)
"""In the order of the paper's legends."""

NAMES = {
    "retrain": "Retrain",
    "minnorm-og": "MinNorm-OG",
    "gd": "GD",
    "ga": "GA",
    "neggrad+": "NGP",
    "ngd": "NGD",
    "ridge": "Ridge",
    "l1-sparse": "l1-Sparse",
    "scrub": "SCRUB",
    "npo": "NPO",
    "salun": "SalUn",
}

SYMBOLS = {
    "learning_rate": "η",
    "strength": "λ_reg",
    "distill": "λ_reg",
    "beta": "λ_reg",
    "decay": "γ_reg",
    "ascent": "λ_GA",
    "noise": "σ",
    "final_epochs": "T_GD",
}

Setting = dict[str, float]


@dataclass(frozen=True)
class Row:
    """One search: T epochs, shares of coloured (p_color) and accessible retained images (p_retain), and the axes."""

    table: int
    experiment: str
    figure: str
    data: str
    epochs: int
    p_color: float
    p_retain: float
    rates: tuple[float, ...]
    strengths: tuple[float, ...]
    ends: tuple[int, ...]
    decays: tuple[float, ...] = (0.2, 0.4, 0.8)
    ascents: tuple[float, ...] = (1e-3, 1e-2, 1e-1)
    noises: tuple[float, ...] = (0.1, 1.0, 10.0)

    def axes(self, method: str) -> dict[str, tuple[float, ...]]:
        """Name -> values for `unlearn`, the last axis fastest."""
        found: dict[str, tuple[float, ...]] = {"learning_rate": self.rates}
        if method == "minnorm-og":
            strengths = tuple(value for value in self.strengths if value <= 1)
            found |= {"strength": strengths, "decay": self.decays, "final_epochs": self.ends}
        elif method == "ngd":
            found["noise"] = self.noises
        elif method in ("neggrad+", "salun"):
            found["ascent"] = self.ascents
        elif method == "npo":
            found["beta"] = self.strengths
        elif method == "scrub":
            found |= {"ascent": self.ascents, "distill": self.strengths, "final_epochs": self.ends}
        elif method == "l1-sparse":
            found["strength"] = self.strengths
        elif method == "ridge":
            found |= {"strength": self.strengths, "decay": self.decays}
        return found

    def settings(self, method: str) -> list[Setting]:
        """All combinations of the axes."""
        return settings(self.axes(method))

    @property
    def size(self) -> int:
        """Runs per trial."""
        return sum(len(self.settings(method)) for method in METHODS)


def settings(axes: Mapping[str, Sequence[float]]) -> list[Setting]:
    """All combinations; the last axis runs fastest."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


_FOUR = (1e-3, 1e-4, 1e-5, 1e-6)
_REG = (1e-3, 1e-2, 5e-2, 1e-1)
_NINE = (0.2, 0.4, 0.8, 0.9)
_C, _T = "cifar10", "tiny-imagenet"


def _erasure(
    table: int,
    figure: str,
    data: str,
    p_color: float,
    p_retain: float,
    epochs: int,
    rates: tuple[float, ...],
    ends: tuple[int, ...],
    decays: tuple[float, ...] = (0.2, 0.4, 0.8),
) -> Row:
    return Row(table, ERASURE, figure, data, epochs, p_color, p_retain, rates, _REG, ends, decays)


def _collapse(
    table: int,
    epochs: int,
    p_retain: float,
    rates: tuple[float, ...],
    strengths: tuple[float, ...],
    ends: tuple[int, ...],
) -> Row:
    return Row(table, COLLAPSE, "", _C, epochs, 0.01, p_retain, rates, strengths, ends)


_RATES = (5e-3, 1e-3, 5e-4, 1e-4)
_STRONG = (0.01, 0.1, 0.5, 0.9)

ROWS = {
    row.table: row
    for row in (
        _erasure(8, "6 (2 left)", _C, 0.01, 0.01, 2, _FOUR, (0,)),
        _erasure(9, "7 (2 right)", _T, 0.01, 0.01, 5, (5e-4, 1e-4, 1e-5, 1e-6), (2, 3), _NINE),
        _erasure(10, "8", _C, 0.01, 0.01, 1, _FOUR, (0,)),
        _erasure(11, "9", _C, 0.01, 0.001, 2, _FOUR, (0,)),
        _erasure(12, "10", _C, 0.01, 0.001, 5, (1e-3, 5e-4, 1e-4, 5e-5, 1e-5, 1e-6), (1, 2, 3)),
        _erasure(13, "11", _C, 0.001, 0.001, 10, _FOUR, (0, 1, 2, 5)),
        _erasure(14, "12", _C, 0.001, 0.01, 10, _FOUR, (0, 1, 2, 5)),
        _erasure(15, "13", _T, 0.01, 0.001, 10, _FOUR, (0, 1, 2), _NINE),
        _erasure(16, "14", _T, 0.01, 0.01, 10, (1e-3, 1e-4, 1e-5), (0, 1, 2), _NINE),
        _collapse(18, 5, 0.001, (1e-3, 5e-4, 1e-4), (0.1, 0.2, 0.5, 0.9), (1, 2, 3)),
        _collapse(19, 10, 0.001, _RATES, _STRONG, (3, 5, 7)),
        _collapse(20, 15, 0.001, _RATES, _STRONG, (3, 5, 7)),
        _collapse(21, 5, 0.01, _RATES, _STRONG, (1, 2, 3)),
        _collapse(22, 10, 0.01, _RATES, _STRONG, (3, 5, 7)),
    )
}
"""By the number of the table that prints the grid."""

CODES_VALUES = {
    9: "the released code has η 1e-4, 1e-5, 1e-6, 1e-7 and T_GD 0, 1, 2",
    18: "the released code has T_GD 0, 1, 2",
}
"""Where the released code searches another grid than the text."""


def row(table: int, experiment: str) -> Row:
    """The row of a table; ProblemError for a table of another experiment."""
    known = [number for number, found in ROWS.items() if found.experiment == experiment]
    if table not in known:
        raise ProblemError(f"tables: expected some of {', '.join(map(str, known))}, got {table}")
    return ROWS[table]


PUBLISHED: dict[int, dict[str, tuple[float, float]]] = {
    table: dict(zip(METHODS, cells, strict=True))
    for table, cells in {
        18: (
            (79.1, 4.5), (49.1, 6.1), (24.0, 3.2), (34.5, 4.4), (45.9, 3.4), (12.6, 0.2),
            (20.9, 3.7), (12.4, 0.3), (37.3, 3.7), (40.6, 3.7), (29.4, 5.5),
        ),
        19: (
            (95.5, 1.1), (78.7, 3.4), (55.2, 4.3), (38.3, 5.4), (73.7, 3.8), (33.0, 2.2),
            (60.0, 3.7), (23.0, 6.5), (61.9, 3.4), (43.2, 6.9), (53.4, 7.9),
        ),
        20: (
            (96.3, 0.8), (93.2, 1.3), (78.2, 3.3), (39.8, 5.1), (81.5, 1.6), (46.9, 3.4),
            (81.3, 2.7), (25.1, 4.7), (74.1, 3.9), (44.6, 7.6), (76.3, 5.3),
        ),
        21: (
            (92.8, 2.6), (59.5, 6.1), (40.7, 2.4), (34.2, 4.7), (58.3, 6.0), (32.9, 3.6),
            (33.5, 6.1), (12.5, 0.2), (47.8, 4.9), (42.5, 4.1), (42.5, 2.7),
        ),
        22: (
            (98.5, 0.1), (94.7, 1.1), (73.6, 3.0), (38.2, 5.4), (92.4, 2.5), (70.5, 3.2),
            (63.4, 5.0), (31.4, 6.6), (75.8, 2.8), (43.5, 6.9), (68.7, 4.0),
        ),
    }.items()
}  # fmt: skip
"""Table 17: colour accuracy in percent, mean and standard error over five trials, by the table of the grid.

Table 2 of the main text prints the same means except two of Ridge, 55.2 at (0.1 %, T = 10) and 78.2 at (0.1 %, T = 15),
which repeat GD's values; Table 17 has 60.0 and 81.3.  The paper contradicts itself there.
"""

ONCE_PRINTED = {19: 55.2, 20: 78.2}
"""Ridge in Table 2, where it differs from Table 17."""


def describe(setting: Setting) -> str:
    """A setting in the symbols of the paper."""
    return ", ".join(f"{SYMBOLS[name]} {value:g}" for name, value in setting.items())
