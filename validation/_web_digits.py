"""The digits of *It bends*: the third part of the demo, at the same seed, as numbers for a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from exact_unlearn.demo.measure import effect, prove
from exact_unlearn.demo.scene import Scene, Size, build_scene
from exact_unlearn.drift import SquaredDrift
from exact_unlearn.problem import UnlearningProblem, surrogate_problem
from exact_unlearn.regularizers import SquaredL2

SEED = 3
PENALTIES = (10000.0, 3000.0, 1000.0, 300.0, 100.0, 30.0, 10.0, 5.0, 3.0, 2.0, 1.0, 0.5, 0.2, 0.0)
SCHEDULE = (3.0,) * 12 + (1e8,) * 4
"""lambda of the short steps: twelve that move, and four that hardly do and restore the labels."""

ROUNDING = 1e-9
"""Errors below this are noise, which differs from machine to machine, and are written as 0."""


def digits_numbers() -> dict[str, Any]:
    """Pictures of the forgotten digits; what the model says at theta*, after one step, and after each of many."""
    scene = build_scene(np.random.default_rng(SEED), Size())
    digits = scene.digits
    return {
        "pictures": ["".join(np.base_repr(round(16 * v), 17) for v in x[:64]) for x in digits.x_forget],
        "truth": [int(v) for v in digits.truth_forget],
        "retained": int(np.sum(~digits.wrong)),
        "fresh": int(digits.truth_fresh.size),
        "start": _seen(scene, scene.theta_star),
        "long": list(_long(scene)),
        "short": list(_short(scene)),
        "anew": _seen(scene, scene.theta_clean),
    }


def _long(scene: Scene) -> Iterator[dict[str, Any]]:
    """One linearisation with drift penalties from strong to none, each certified."""
    for lam in PENALTIES:
        x, y, R = scene.digits.x_retain, scene.digits.y_retain, SquaredL2()
        drift = SquaredDrift(lam) if lam else None
        proved = prove(surrogate_problem(scene.model, scene.theta_star, x, R, drift, y_retain=y))
        yield {"lam": lam} | _seen(scene, proved.theta, proved.certificate.proof)


def _short(scene: Scene) -> Iterator[dict[str, Any]]:
    """Linearised anew at each step, on a fixed schedule that the page can tell; `unlearn_path` finds its own.

    The right-hand side b_k = f(theta*, X) - f(theta_k, X) asks back what earlier steps have lost.
    """
    model, x, theta = scene.model, scene.digits.x_retain, scene.theta_star
    target = model.predict(theta, x)[:, 0]
    for lam in SCHEDULE:
        lost = target - model.predict(theta, x)[:, 0]
        proved = prove(UnlearningProblem(theta, model.jacobian(theta, x), SquaredL2(), SquaredDrift(lam), rhs=lost))
        theta = proved.theta
        yield _seen(scene, theta, proved.certificate.proof)


def _seen(scene: Scene, theta: Any, proof: str | None = None) -> dict[str, Any]:
    found, outputs = effect(scene.digits, scene.model, theta), scene.model.predict(theta, scene.digits.x_forget)[:, 0]
    return {
        "outputs": [round(float(v), 3) for v in outputs],
        "error": 0.0 if found.interpolation_error < ROUNDING else float(f"{found.interpolation_error:.3g}"),
        "kept": round(found.retained * int(np.sum(~scene.digits.wrong))),
        "right": round(found.fresh * scene.digits.truth_fresh.size),
        "moved": float(f"{np.linalg.norm(theta - scene.theta_star):.3g}"),
        "norm": float(f"{np.linalg.norm(theta):.3g}"),
        "proof": proof,
    }
