"""Data Poisoning, certified: the surrogate at a poisoned network as a problem with a proof.

theta* (91 201 parameters) and J (50 retain samples) are floats, hence rational numbers, hence the surrogate has one
exact optimum.  The claim comes from `scalable.solve`; `certify` proves its value.  The point that MinNorm-OG's
projection and the path of `poisoning_exact` use is compared with the certified one.

Entries of J below 1e-38 are 0 here, as they are in the experiment (a neuron with z = -500 has the derivative e^-500):
rows of integers with 800 bits would serve nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

import exact_unlearn as xu
from exact_unlearn import report, scalable
from exact_unlearn.errors import NotMeasuredError
from exact_unlearn.sweep import Cell, Result

from .poisoning_exact import exact_cell
from .poisoning_start import Recipe, reproducible, samples
from .stacked_projection import dense_jacobian, surrogate_step


def certified_cell(seed: int, recipe: Recipe, variant: str, lam: float) -> Cell:
    """The cell of one seed, one theta* ("trained" or "polished") and one weight lam of the squared drift."""
    parameters = {"seed": seed, "recipe": asdict(recipe), "variant": variant, "lam": lam}
    needs = {"exact": exact_cell(seed, recipe)}
    weight = (recipe.width / 300) ** 2 * 1000
    return Cell("data-poisoning/certified/3", certified, parameters, needs, weight=weight)


def certified(parameters: Mapping[str, Any], inputs: Mapping[str, Result]) -> Result:
    """The value 1/2 |theta|^2 + lam/2 |D|^2 with proved bounds, the kind of proof, and our point's distance."""
    lam = parameters["lam"]
    data = samples(parameters["seed"], Recipe(**parameters["recipe"]))
    theta_star = torch.from_numpy(np.array(inputs["exact"][parameters["variant"]]["theta_star"]))
    with reproducible():
        jacobian = dense_jacobian(theta_star, data.x_retain).numpy()
        jacobian[np.abs(jacobian) < torch.finfo(torch.float32).tiny] = 0.0
        strength = torch.tensor([1 / (1 + lam)], dtype=torch.float64)
        point = surrogate_step(theta_star.unsqueeze(0), data.x_retain, strength, None)[0].numpy()
    drift = xu.SquaredDrift(lam) if lam else None
    problem = xu.UnlearningProblem(theta_star.numpy(), jacobian, xu.SquaredL2(), drift)
    solution = scalable.solve(problem)
    certificate = xu.certify(problem, solution)
    if certificate.gap is None:
        raise NotMeasuredError(f"nothing was proved: {certificate.message or certificate.proof}")
    lower, upper = report.rounded_down(certificate.lower), report.rounded_up(certificate.upper)
    distance = np.linalg.norm(point - solution.theta) / np.linalg.norm(solution.drift)
    return {
        "proof": str(certificate.proof),
        "bounds": np.array([lower, upper], dtype=float),
        "gap": np.array([float(certificate.gap)]),
        "drift": np.array([float(np.linalg.norm(solution.drift))]),
        "disagreement": np.array([float(distance)]),
    }


def certified_row(cell: Cell, result: Result) -> dict[str, Any]:
    """One line of the report."""
    lower, upper = (float(value) for value in result["bounds"])
    numbers = {name: float(result[name][0]) for name in ("gap", "drift", "disagreement")}
    about = {name: cell.parameters[name] for name in ("seed", "variant", "lam")}
    return {**about, "proof": str(result["proof"]), "lower": lower, "upper": upper, **numbers}


CERTIFIED_HEADER = ("seed", "theta*", "λ", "proved value", "proof", "gap", "|D|", "our point, in |D|")


def certified_texts(row: Mapping[str, Any]) -> list[str]:
    """One line of the table: the proved interval in as many digits as its ends share, at most 12."""
    shared = next(
        (text for digits in range(12, 0, -1) if (text := f"{row['lower']:.{digits}g}") == f"{row['upper']:.{digits}g}"),
        f"{row['lower']!r} to {row['upper']!r}",
    )
    numbers = f"{row['gap']:g}", f"{row['drift']:.4g}", f"{row['disagreement']:.1e}"
    return [str(row["seed"]), row["variant"], f"{row['lam']:g}", shared, row["proof"], *numbers]
