"""The first move of every method beside a certified projection, on a convolutional network whose parameters all move.

At theta* MinNorm-OG projects: it looks for the least 1/2 |theta* + D|^2 with J D = 0, where the rows of J are the
gradients of the largest logit of each head at 50 retained samples (Algorithm 1).  That is a convex problem of some 100
rows and 2000 parameters, which is solved and proved in rational arithmetic; the move to its solution is what the first
step of every method is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import nn

import exact_unlearn as xu
from exact_unlearn.algorithms import unlearn
from exact_unlearn.errors import NotMeasuredError
from exact_unlearn.jacobian import Array, DenseJacobian
from exact_unlearn.scalable import ModuleModel
from exact_unlearn.sweep import Cell, Result

from . import label_erasure
from .images_grid import fresh, kinks_expected, recipe_of, shares, start_cell
from .images_networks import network
from .images_recipes import Recipe
from .images_rows import ERASURE, METHODS, ROWS, Row, Setting
from .images_sets import draws, first_of_each_class, grays, normal_of
from .poisoning_start import reproducible

SAMPLES = 50
"""n_pert: all that the methods see of the retained images, so that there is one J."""

SEARCH: Row = replace(
    ROWS[8],
    epochs=1,
    rates=(1e-2, 1e-4, 1e-6),
    strengths=(1e-3, 1e-1, 1.0),
    ascents=(1e-2, 1e-1),
    noises=(0.1,),
    decays=(1.0,),
    ends=(0,),
)
"""Settings tried: one step each."""

METRICS = ("distance", "cosine", "length", "outputs")
"""Of a move M beside the certified D: |M - D| / |D|; cosine; |M| / |D|; |J M| / |J theta*|, by how much the retained
logits move to first order.
"""


def first_step_cell(seed: int, recipe: Recipe, data: Cell) -> Cell:
    """The cell of a seed: the certified move with its proof, and every method's first one."""
    p_color, _ = shares(SEARCH, recipe)
    start = start_cell("initial", ERASURE, p_color, seed, recipe, {"data": data})
    settings = {method: SEARCH.settings(method) for method in METHODS}
    parameters = {**start.parameters, "samples": SAMPLES, "settings": settings}
    return Cell("images/first-step", measure, parameters, {"data": data, "initial": start}, weight=60.0)


def measure(parameters: Mapping[str, Any], inputs: Mapping[str, Result]) -> Result:
    """METRICS of every setting of every method, (settings,) each, and what was proved."""
    seed, recipe, data = parameters["seed"], recipe_of(parameters), inputs["data"]
    images, normal = grays(data, "train"), normal_of(data)
    sizes = label_erasure.head_sizes(int(data["classes"]))
    chosen = first_of_each_class(images.labels, int(data["classes"]), parameters["samples"])
    retain = label_erasure.retain_set(images, normal).take(chosen).all()
    forget = label_erasure.forget_set(images, parameters["p_color"], seed, normal).all()
    sets = [(x.double(), targets) for x, targets in (retain, forget)]
    with reproducible(), kinks_expected():
        start = fresh(recipe, sizes, torch.Generator())
        start.load_state_dict({name: torch.from_numpy(np.array(v)) for name, v in inputs["initial"]["state"].items()})
        start.double().eval()
        certified, proof = certify_move(start, sets[0][0])
        nothing = {name: np.array([value]) for name, value in certified.compared(-certified.theta).items()}
        found: dict[str, Any] = {"proof": proof, "shrink": nothing}
        for method in METHODS:
            rows = [
                certified.compared(_moved(start, sets, method, setting, seed, recipe, sizes))
                for setting in parameters["settings"][method]
            ]
            found[method] = {name: np.array([row[name] for row in rows]) for name in METRICS}
    return found


@dataclass(frozen=True)
class Certified:
    """theta* (d,), J (k, d) and the proved move D (d,), rounded to floats."""

    theta: Array
    J: Array
    move: Array

    def compared(self, move: Array) -> dict[str, float]:
        """METRICS of a move; of one that is not finite, those of none at all."""
        size, whole = float(np.linalg.norm(move)), float(np.linalg.norm(self.move))
        if not np.isfinite(size) or not size:
            return {"distance": 1.0, "cosine": 0.0, "length": 0.0, "outputs": 0.0}
        return {
            "distance": float(np.linalg.norm(move - self.move)) / whole,
            "cosine": float(move @ self.move) / (size * whole),
            "length": size / whole,
            "outputs": float(np.linalg.norm(self.J @ move) / np.linalg.norm(self.J @ self.theta)),
        }


def certify_move(module: nn.Module, x: torch.Tensor) -> tuple[Certified, dict[str, Any]]:
    """D of the least 1/2 |theta* + D|^2 with J D = 0, from a proof that the independent checker accepts.

    The rows of J are the gradients of the largest logit of every head, as MinNorm-OG takes them.
    """
    model = ModuleModel(module, "argmax")
    theta = model.theta()
    J, before = model.jacobian(theta, x).dense().numpy(), theta.numpy()
    problem = xu.UnlearningProblem(before, DenseJacobian(J), xu.SquaredL2())
    certificate = xu.certify(problem, xu.solve(problem), proof="exact")
    verdict = certificate.check(problem)
    if certificate.point is None or not verdict.proved or not certificate.unique:
        raise NotMeasuredError(f"the projection could not be proved ({certificate.proof}); another seed may do")
    pairs = zip(certificate.point, before.tolist(), strict=True)
    move = np.array([float(exact - Fraction(value)) for exact, value in pairs])
    proof = {
        "proofs": certificate.proof,
        "problems": 1,
        "rows": J.shape[0],
        "parameters": J.shape[1],
        "gap": np.array([float(certificate.gap or 0)]),
        "unique": 1,
    }
    return Certified(before, J, move), proof


def _moved(
    start: nn.Module, sets: Any, method: str, setting: Setting, seed: int, recipe: Recipe, sizes: tuple[int, ...]
) -> Array:
    """theta after one step on everything, less theta*."""
    options: dict[str, Any] = {name: int(v) if name == "final_epochs" else v for name, v in setting.items()}
    if method == "retrain":
        options["fresh"] = lambda: network(recipe.network, recipe.width, recipe.stem, sizes).double()
    generator = draws(ERASURE, f"first step of {method}", seed)
    module, _ = unlearn(start, sets[0], sets[1], method, epochs=1, buffers="frozen", generator=generator, **options)
    before, after = (
        torch.cat([parameter.detach().reshape(-1) for parameter in part.parameters()]) for part in (start, module)
    )
    found: Array = (after - before).numpy()
    return found
