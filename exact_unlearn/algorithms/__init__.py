"""MinNorm-OG and the ten methods that the paper compares it with, for any torch module.

    from exact_unlearn.algorithms import unlearn
    unlearned, history = unlearn(module, retain, forget, method="minnorm-og", epochs=10, strength=0.1)

The module itself is left as it was.
"""

from __future__ import annotations

from exact_unlearn.errors import needed_by

with needed_by("exact_unlearn.algorithms"):
    from exact_unlearn.algorithms.classifiers import NPO, SCRUB, SalUn
    from exact_unlearn.algorithms.gradient import GA, GD, NGD, NegGradPlus, Retrain
    from exact_unlearn.algorithms.minnorm_og import MinNormOG
    from exact_unlearn.algorithms.penalised import L1Sparse, Ridge
    from exact_unlearn.algorithms.run import History, Method
    from exact_unlearn.algorithms.unlearn import METHODS, unlearn

__all__ = [
    "GA",
    "GD",
    "METHODS",
    "NGD",
    "NPO",
    "SCRUB",
    "History",
    "L1Sparse",
    "Method",
    "MinNormOG",
    "NegGradPlus",
    "Retrain",
    "Ridge",
    "SalUn",
    "unlearn",
]
