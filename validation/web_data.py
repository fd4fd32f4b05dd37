"""Every number that a page shows and does not compute itself, and what the pages are tested against.

    python -m validation.web_data            write them
    python -m validation.web_data --check    compare, byte for byte; exit status 1 if a file differs

All of it is solved and certified by the package, on exact fractions.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Callable
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import rational
from exact_unlearn.codec import rational_text as rat

from ._web_digits import digits_numbers
from ._web_truth import truth_numbers, truth_states
from .experiments import solver_lies

ROOT = Path(__file__).resolve().parent.parent
KEYS = ("form", "condition", "solver")
NORMS = {"l2": xu.L2(), "l1": xu.L1(), "linf": xu.LInf()}


def certified(problem: xu.UnlearningProblem) -> dict[str, Any]:
    """The certified answer as a page and its tests want it: point, bounds, whether it is the only one."""
    certificate = xu.certify(problem, xu.solve(problem))
    assert certificate.check().proved
    assert certificate.theta is not None
    assert certificate.lower is not None
    assert certificate.upper is not None
    return {
        "theta": [rat(F(float(v))) for v in certificate.theta],
        "value": [float(certificate.lower), float(certificate.upper)],
        "unique": certificate.unique,
        "proof": certificate.proof,
    }


def shadow_states() -> list[dict[str, Any]]:
    """States of *Shadow of the weights*, as the package solves and certifies them."""
    out = []
    for x in (F(-3, 2), F(-1), F(-2, 5), F(0), F(1, 2), F(1), F(17, 10)):
        for y in (F(-6, 5), F(4, 5), F(3, 2)):
            star = np.array([y - F(3, 10) * x, F(3, 10)])
            for norm, regularizer in NORMS.items():
                problem = xu.UnlearningProblem(star, np.array([[F(1), x]]), regularizer)
                out.append({"x": rat(x), "y": rat(y), "norm": norm} | certified(problem))
    return out


def players_states() -> list[dict[str, Any]]:
    """Plays of *Two players*: two samples to keep, a third one through which theta* goes, four norms."""
    regularizers = {**NORMS, "group": xu.GroupL2([[0], [1, 2]])}
    starts = [((-14, 18, 2), (16, 12, -24)), ((-20, 10, 30), (8, -12, 20)), ((5, 25, -30), (-28, 4, 0))]
    out = []
    for x, y in starts:
        rows = np.array([[F(1), F(n, 20), F(n, 20) ** 2] for n in x])
        star = rational.pseudo_inverse(rows) @ np.array([F(n, 20) for n in y])
        for norm, regularizer in regularizers.items():
            problem = xu.UnlearningProblem(star, rows[:2], regularizer)
            out.append({"x": x, "y": y, "norm": norm} | certified(problem))
    return out


def lie_numbers() -> dict[str, Any]:
    """*Drag the lie*: neurons on a line, thirteen true samples, three lies; outgoing weights c move.

    Gradient descent on all samples from c_0 ends at c_0 + A^+ (targets - A c_0), which is affine in the lies: `u` plus
    each lie times its `v`.  The certificates are about the truths alone.
    """
    x = [F(n, 4) for n in (-15, -13, -10, -8, -5, -3, 0, 2, 5, 7, 10, 13, 15)]
    lies = [F(-3), F(1), F(9, 4)]
    generator = np.random.default_rng(11)
    bends = {F(t): 1 for t in (-4, -3, -1, 1, 3)}  # these five draw the truth
    for quarter in (-14, -11, -9, -8, -6, -5, -2, -1, 0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 14):
        bends[F(quarter, 4)] = 1 if generator.random() < 0.55 else -1
    neurons = sorted(bends.items())
    rows = np.array([[max(F(0), side * (s - t)) for t, side in neurons] for s in [*x, *lies]])
    assert rational.rank(rows) == len(rows)
    start = np.array([F(int(v), 16) for v in generator.integers(-6, 7, len(neurons))])
    targets = np.array([*map(_zigzag, x), *[F(0)] * len(lies)])
    inverse = rational.pseudo_inverse(rows)
    u = start + inverse @ (targets - rows @ start)
    v = inverse[:, len(x) :].T
    trained = u + F(3, 2) * v.sum(axis=0)
    proofs = {}
    for name, regularizer in (("l2", xu.SquaredL2()), ("l1", xu.L1()), ("l0", xu.L0())):
        problem = xu.UnlearningProblem(trained, rows[: len(x)], regularizer)
        certificate = xu.certify(problem, xu.solve(problem))
        assert certificate.proof == "exact"
        assert certificate.check().proved
        proofs[name] = certificate.tree
    return {
        "x": list(map(rat, x)),
        "y": [rat(_zigzag(s)) for s in x],
        "lies": list(map(rat, lies)),
        "bends": [[rat(t), side] for t, side in neurons],
        "u": list(map(rat, u)),
        "v": [list(map(rat, row)) for row in v],
        "proofs": proofs,
    }


def _zigzag(x: F) -> F:
    """What the truths are samples of: up and down between -1 and 1 with slope 1."""
    phase = (x + 4) % 4
    return -phase if phase <= 1 else phase - 2 if phase <= 3 else 4 - phase


def solver_numbers() -> dict[str, Any]:
    """*When the solver lies*: what the experiment of that name has measured, by form, condition and solver."""
    cells = json.loads((ROOT / "docs" / "results" / "solver_lies" / "solver_lies.json").read_text(encoding="utf-8"))
    forms, conditions, solvers = (list(dict.fromkeys(cell[key] for cell in cells)) for key in KEYS)
    at = {tuple(cell[key] for key in KEYS): cell for cell in cells}
    said = ("status", "value", "error", "verdict")
    return {
        "forms": forms,
        "conditions": conditions,
        "solvers": solvers,
        "ours": solvers.index("exact_unlearn.solve"),
        "truth": [[[at[f, c, solvers[0]]["truth"], at[f, c, solvers[0]]["proof"]] for c in conditions] for f in forms],
        "table": [
            [[[at[f, c, s][n] for n in said] if (f, c, s) in at else None for s in solvers] for c in conditions]
            for f in forms
        ],
        "proof": _solver_proof(forms.index("l1"), conditions.index(1e8)),
    }


def _solver_proof(form: int, at: int) -> dict[str, Any]:
    """One problem of the experiment, bit for bit, with its proof: multipliers rounded to multiples of 2^-80."""
    problem = xu.UnlearningProblem(solver_lies.theta_star(), solver_lies.matrix(1e8), xu.L1())
    tree = xu.certify(problem, rows="literal").tree
    (part,) = tree["dual"]["nu"]
    exact = [F(int(number, 16), int(part["den"], 16)) for number in part["nums"]]
    jacobian: Any = problem.jacobian
    return {
        "form": form,
        "at": at,
        "star": _doubles(problem.theta_star),
        "J": _doubles(jacobian.matrix),
        "primal": tree["primal"],
        "nu": [rat(F(round(v * 2**80), 2**80)) for v in exact],
    }


def _doubles(values: Any) -> str:
    """Floats, bit for bit, as base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f8").tobytes()).decode()


def _fields(item: dict[str, Any]) -> str:
    """One field a line."""
    fields = (f"{json.dumps(key)}:{json.dumps(value, separators=(',', ':'))}" for key, value in item.items())
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _truth(item: dict[str, Any]) -> str:
    """One field a line, one state a line."""
    states = ",\n".join(json.dumps(state, separators=(",", ":")) for state in item["states"])
    return _fields({**item, "states": []}).replace('"states":[]', f'"states":[\n{states}\n]')


def _lines(items: list[Any]) -> str:
    """One item a line: a difference can be read."""
    return "[\n" + ",\n".join(json.dumps(item, separators=(",", ":")) for item in items) + "\n]\n"


FILES: dict[str, Callable[[], str]] = {
    "exact_unlearn/web/bends/numbers.json": lambda: _fields(digits_numbers()),
    "exact_unlearn/web/lie/numbers.json": lambda: _fields(lie_numbers()),
    "exact_unlearn/web/solver/numbers.json": lambda: _fields(solver_numbers()),
    "exact_unlearn/web/truth/numbers.json": lambda: _truth(truth_numbers()),
    "tests/web/shadow.states.json": lambda: _lines(shadow_states()),
    "tests/web/players.states.json": lambda: _lines(players_states()),
    "tests/web/truth.states.json": lambda: _lines(truth_states()),
}
"""Path in the repository -> its text, computed anew."""


def main(arguments: list[str]) -> int:
    """Write or compare the files."""
    parser = argparse.ArgumentParser(description="The numbers of the pages.")
    parser.add_argument("--check", action="store_true", help="compare and write nothing")
    options = parser.parse_args(arguments)
    different = 0
    for name, text_of in FILES.items():
        path, text = ROOT / name, text_of()
        same = path.exists() and path.read_text(encoding="utf-8") == text
        different += not same
        if not same and not options.check:
            path.write_text(text, encoding="utf-8", newline="\n")
        print(f"{name}: {'as it is' if same else 'differs' if options.check else 'written'}")
    return 1 if options.check and different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
