"""A wrong page fails: one change of its source each, and the test that tells: make test-web."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exact_unlearn import web
from tests.web.conftest import Visit
from tests.web.every_page_in_browser import check_arrow_keys
from tests.web.shadow_in_browser import check_the_lie_moves_theta_star_only, check_the_own_point_stays

MUTANTS: dict[str, tuple[str, str, str, str, Callable[[Any], None]]] = {
    "no pointer capture": (
        "shadow",
        "step=6&ball=100",
        "group.setPointerCapture(event.pointerId);",
        "",
        check_the_lie_moves_theta_star_only,
    ),
    "an arrow key flipped": ("shadow", "step=1", "ArrowUp: [0, 1]", "ArrowUp: [0, -1]", check_arrow_keys),
    "the own point follows the lie": (
        "shadow",
        "step=3&mine=8",
        "const b = q(s.mine, FINE);",
        "const b = q(s.mine, FINE).plus(q(s.yf - -18, 100));",
        check_the_own_point_stays,
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_page_fails(visit: Visit, mutant: str, tmp_path: Path) -> None:
    name, state, right, wrong, check = MUTANTS[mutant]
    text = web.page(name)
    assert text.count(right) == 1
    (tmp_path / f"{name}.html").write_text(text.replace(right, wrong))
    check(visit(name, state))
    with pytest.raises(AssertionError):
        check(visit(name, state, folder=tmp_path))
