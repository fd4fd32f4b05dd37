"""No forged proof that a feasible point is near proves anything false, to either checker.

The honest certificates are coarse (`tests.near_cases`): points of a few binary digits, inverses of a byte, so that a
checker that forgets a radius, a row, a column or a scale proves something visibly false.
"""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from fractions import Fraction as Q
from typing import Any

from tests import near_cases
from tests.certificate_cases import Case, text, vec

from ._forge import Forgery, changed, forge, written
from .campaign import Outcome
from .differential import compared
from .forgeries import BATCH, forged

TITLE = "forged proofs that a feasible point is near say something true, or are refused, by two checkers that agree"
FULL = 10_000
DIGITS, WIDTHS = (0, 3, 6, 12, 40, 160), (1, 1, 2, 3)


def honest(rng: random.Random) -> tuple[Case, dict[str, Any]]:
    """A case and a certificate with `near` that proves something."""
    while True:
        case = near_cases.draw(rng)
        found = near_cases.nearby(case, rng, rng.choice(DIGITS), rng.choice(WIDTHS))
        if found is not None:
            return case, copy.deepcopy(found.certificate)


def spoiled(certificate: dict[str, Any], rng: random.Random) -> None:
    """Something in the proof of nearness is another number that fits."""
    near = certificate["primal"]["near"]
    kind, r = rng.randrange(10), len(near["rows"])
    if kind == 0:
        near["scale"] = max(0, near["scale"] + rng.choice((-9, -2, -1, 1, 2, 30)))
    elif kind == 1:
        near["digits"] = max(0, near["digits"] + rng.choice((-3, -1, 1, 8, 300)))
    elif kind == 2 and r:  # an equation is left out, with or without its column
        at = rng.randrange(r)
        for key in ("rows", "columns", "inverse") if rng.random() < 0.7 else ("rows",):
            del near[key][at]
    elif kind == 3 and r:  # an entry of the inverse, or a whole row
        at, size = rng.randrange(r), 2 * near["width"]
        row, place = near["inverse"][at], size * rng.randrange(r)
        other = format(rng.randrange(16**size), f"0{size}x")
        near["inverse"][at] = row[:place] + other + row[place + size :] if rng.random() < 0.7 else other * r
    elif kind == 4 and r:
        key = rng.choice(("rows", "columns", "inverse"))
        rng.shuffle(near[key])
    elif kind == 5:  # a row that the others do not imply
        own = {i: Q(rng.randint(-2, 2), rng.choice((1, 2))) for i in near["rows"]}
        near["implied"] = [
            *near.get("implied", []),
            {"row": rng.randint(0, r), "of": vec({i: x for i, x in own.items() if x})},
        ]
    elif kind == 6 and r:  # another column
        near["columns"][rng.randrange(r)] = rng.randrange(9)
    elif kind == 7:  # a point that is far away
        for part in certificate["primal"]["parts"]:
            part["nums"] = [format(int(x, 16) + rng.randint(-9, 9), "x") for x in part["nums"]]
    elif kind == 8:
        near["width"] = rng.randint(0, 7)
    else:
        name, x = rng.choice(("lower", "upper", "gap", "distance")), Q(rng.randint(-50, 50), 3)
        certificate["claims"] = {"proof": rng.choice(("repaired", "enclosure", "exact")), name: text(x)}
        return
    certificate["claims"] = {"proof": "repaired"}


def forgery(kind: str, seed: str, problems: bool = False) -> Forgery:
    """The forgery of this seed."""
    rng = random.Random(f"near {seed}")
    case, certificate = honest(rng)
    for _ in range(rng.choice((0, 1, 1, 2))):
        spoiled(certificate, rng)
    if rng.random() < 0.15:
        forge(certificate, rng)
    changed(certificate, rng, rng.choice((0, 0, 1, 1, 2)))
    if rng.random() < 0.3:
        certificate["claims"] = {"proof": "repaired"}
    tau = rng.choice((None, None, None, "0", "3"))
    return Forgery(f"near {seed}", json.dumps(case.problem), written(certificate, rng), tau, case)


def run(count: int, seed: int) -> Outcome:
    """`count` forgeries; that some of them are accepted shows that they come close."""
    failures, accepted = list[str](), Counter[str]()
    for at in range(0, count, BATCH):
        jobs = [forgery("near", f"{seed}.{i}") for i in range(at, min(at + BATCH, count))]
        failures += [*forged(jobs, accepted), *compared(jobs)[0]]
    note = ", ".join(f"{n} as {proof}" for proof, n in accepted.most_common())
    return Outcome(count, tuple(failures), (f"accepted, and true: {note or 'none'}",))
