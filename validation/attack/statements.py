"""False statements, at least one for every claim of `exact-unlearn theorems`: the instances contradict all of them.

One alone: python -c "from validation.falsehoods import FALSEHOODS; print(FALSEHOODS[17].contradicted())"
"""

from __future__ import annotations

import importlib

import numpy as np

from .campaign import Outcome

# Under the name by which worker processes import them.
registry = importlib.import_module("exact_unlearn._validation.registry")
FALSEHOODS = importlib.import_module("exact_unlearn._validation.falsehoods").FALSEHOODS

TITLE = "a false statement for every claim of the theorems"
FULL = len(FALSEHOODS)
QUICK = len(FALSEHOODS)  # seconds in all


def run(count: int, seed: int) -> Outcome:
    """`count` falsehoods, in an order of the seed; that every claim has one is asked in any case."""
    order = np.random.default_rng(seed).permutation(len(FALSEHOODS))[:count]
    told = {(one.result.name, one.claim) for one in FALSEHOODS}
    claims = {(r.name, claim.key) for r in registry.RESULTS if r.name != "Self-check" for claim in r.claims}
    failures = [f"{name}, {key}: no false statement" for name, key in sorted(claims - told)]
    for i in sorted(order.tolist()):
        one = FALSEHOODS[i]
        if not one.contradicted():
            failures.append(f"FALSEHOODS[{i}], {one.result.name}, {one.claim}, stays confirmed: {one.says}")
    return Outcome(len(order), tuple(failures), (f"{len(claims)} claims, {len(FALSEHOODS)} false statements",))
