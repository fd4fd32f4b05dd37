"""Groups that are tight but zero, |J_g^T nu| = w_g and x_g = 0, and nearly tight ones, planted with a rational optimum.

Every group has two members, and J_g^T nu is a Pythagorean vector (a, b) with a^2 + b^2 = c^2: so w_g = c makes it
tight, and the groups that are not zero point there.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.problem import UnlearningProblem

TO_SIXTY_DIGITS = Fraction(1, 10**60)
PYTHAGOREAN = [(3, 4, 5), (5, 12, 13), (8, 15, 17), (7, 24, 25), (20, 21, 29)]


def planted(
    seed: int, groups: int, rows: int, tight: int, active: int, slack: float
) -> tuple[UnlearningProblem, Fraction]:
    """The first `tight` groups are zero with w_g = (1 + slack) |J_g^T nu|, the next `active` are not zero, for the rest
    J_g^T nu = 0.  theta* is arbitrary, and b = J (x - theta*).
    """
    rng = np.random.default_rng(seed)
    nu = np.array([1, *rng.integers(-3, 4, rows - 1)])
    J = rng.integers(-3, 4, (rows, 2 * groups))
    x, weights, value = np.zeros(2 * groups, dtype=int), np.ones(groups), Fraction(0)
    for g in range(groups):
        a, b, c = PYTHAGOREAN[rng.integers(len(PYTHAGOREAN))]
        pull = np.array([a, b])[rng.permutation(2)] * rng.choice([-1, 1], 2) * (g < tight + active)
        own = slice(2 * g, 2 * g + 2)
        J[0, own] = pull - nu[1:] @ J[1:, own]
        weights[g] = c * (1 + slack) if g < tight else c
        if tight <= g < tight + active:
            length = int(rng.integers(1, 4))
            x[own] = length * pull
            value += c * c * length
    start = rng.integers(-40, 40, 2 * groups)
    regularizer = xu.GroupL2(np.repeat(np.arange(groups), 2), weights)
    return UnlearningProblem(start.astype(float), J.astype(float), regularizer, rhs=J @ (x - start)), value


@pytest.mark.parametrize("slack", [0.0, 2.0**-50, 2.0**-40, 2.0**-20])
@pytest.mark.parametrize(
    ("groups", "rows", "tight", "active"),
    [(2, 1, 1, 1), (3, 2, 1, 1), (5, 4, 2, 2), (6, 4, 1, 3), (4, 5, 2, 2), (8, 5, 3, 2), (8, 7, 4, 4), (10, 3, 3, 3)],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_tight_groups_that_are_zero(seed: int, groups: int, rows: int, tight: int, active: int, slack: float) -> None:
    problem, value = planted(seed, groups, rows, tight, active, slack)
    certificate = xu.certify(problem)
    assert certificate.proof in ("exact", "enclosure"), certificate.message
    assert certificate.gap <= TO_SIXTY_DIGITS
    assert certificate.lower <= value <= certificate.upper
    assert certificate.check().proof == certificate.proof


@pytest.mark.parametrize("slack", [2.0**-52, 2.0**-45])
@pytest.mark.parametrize(("groups", "rows", "tight", "active"), [(11, 5, 10, 1), (12, 9, 8, 4)])
def test_more_nearly_tight_groups_than_multipliers_are_undetermined(
    groups: int, rows: int, tight: int, active: int, slack: float
) -> None:
    """They cannot all be made tight: the multipliers lie in a region as small as the slack."""
    problem, value = planted(1, groups, rows, tight, active, slack)
    certificate = xu.certify(problem)
    assert (certificate.proof, certificate.check().proof) == ("enclosure", "enclosure"), certificate.message
    assert certificate.gap <= TO_SIXTY_DIGITS
    assert certificate.lower <= value <= certificate.upper
