"""When the solver lies: claims of back ends against certified optima, as the conditioning of J grows.

Every peer gets what a user would give it: the raw J through CVXPY, at the solver's own defaults.  Its claim is its
status word and its optimal value.  The truth is the optimum that certify() proves for the same floats, so an error
here is an error, not a difference of opinion.  Verdicts:

    holds     an answer whose value is right to 1e-6, called optimal
    lie       a status that claims an optimum for a value that is off by more, or denies that a solution exists
    admitted  a wrong value, or none, under a status that says so (inaccurate, failed, a limit)

theta* satisfies J D = 0 with D = 0, so a solution always exists, and "infeasible" is always wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import codec
from exact_unlearn.jacobian import Array
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.reference import installed

SHAPE = (20, 60)
CONDITIONS = tuple(10.0**power for power in range(0, 15, 2))
SOLVERS = ("OSQP", "CLARABEL", "SCS", "HIGHS", "ECOS")
OURS = "exact_unlearn.solve"
RIGHT = 1e-6
FORMS: dict[str, Callable[[], Any]] = {
    "squared l2": xu.SquaredL2,
    "l1": xu.L1,
    "l infinity": xu.LInf,
    "groups of 5": lambda: xu.GroupL2(np.arange(SHAPE[1]) // 5),
}


@dataclass(frozen=True)
class Claim:
    """What one solver said about one problem, beside the certified value."""

    form: str
    condition: float
    solver: str
    status: str
    value: float | None
    truth: float
    proof: str
    error: float | None
    verdict: str


def matrix(condition: float, seed: int = 0) -> Array:
    """(20, 60) with singular values spread geometrically from 1 to 1 / condition."""
    rng = np.random.default_rng([seed, 1])
    rows, columns = SHAPE
    left = np.linalg.qr(rng.standard_normal((rows, rows)))[0]
    right = np.linalg.qr(rng.standard_normal((columns, rows)))[0]
    return np.asarray(left @ np.diag(np.geomspace(1.0, 1.0 / condition, rows)) @ right.T)


def theta_star() -> Array:
    """(60,) the trained parameters of every problem."""
    return np.random.default_rng(3).standard_normal(SHAPE[1])


def measure(
    conditions: Sequence[float] = CONDITIONS,
    solvers: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Claim]:
    """All claims, form by form and condition by condition; solvers that are not installed are left out."""
    available = installed()
    peers = [name for name in (solvers or SOLVERS) if name in available]
    claims = []
    for form, make in FORMS.items():
        for condition in conditions:
            say(f"{form}, condition {condition:.0e}")
            problem = UnlearningProblem(theta_star(), matrix(condition), make())
            solution = xu.solve(problem)
            certificate = xu.certify(problem, solution, rows="literal")
            assert certificate.lower is not None, certificate.message
            assert certificate.upper is not None, certificate.message
            truth = float((certificate.lower + certificate.upper) / 2)
            ours = (solution.status.value, solution.value)
            for name, (status, value) in [(OURS, ours), *((peer, _ask(problem, peer)) for peer in peers)]:
                claims.append(_judged(form, condition, name, status, value, truth, certificate.proof))
    return claims


def _ask(problem: UnlearningProblem, solver: str) -> tuple[str, float | None]:
    """Status word and value of a CVXPY solver at its defaults on the raw data."""
    import cvxpy as cp

    drift = cp.Variable(problem.n_parameters)
    objective = problem.regularizer.expression(problem.theta_star + drift)
    program = cp.Problem(cp.Minimize(objective), [problem.free_matrix() @ drift == 0])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program.solve(solver=solver)
    except cp.error.SolverError as error:
        return "cannot solve it" if "Either candidate" in str(error) or "not" in str(error) else "failed", None
    value = program.value
    return str(program.status), None if value is None or not math.isfinite(value) else float(value)


def _judged(
    form: str, condition: float, solver: str, status: str, value: float | None, truth: float, proof: str
) -> Claim:
    error = None if value is None else abs(value - truth) / truth
    if error is not None and error <= RIGHT:
        verdict = "holds"
    elif status == "optimal" or "infeasible" in status or "unbounded" in status:
        verdict = "lie"
    else:
        verdict = "admitted"
    return Claim(form, condition, solver, status, value, truth, proof, error, verdict)


def table(claims: Sequence[Claim]) -> str:
    """Markdown: one row per solver and form, one column per condition; error, with what was said where it is wrong."""
    conditions = sorted({claim.condition for claim in claims})
    lines = ["| form | solver | " + " | ".join(f"1e{math.log10(c):.0f}" for c in conditions) + " |"]
    lines.append("|---|---|" + "---|" * len(conditions))
    rows = list(dict.fromkeys((claim.form, claim.solver) for claim in claims))
    for form, solver in rows:
        cells = [c for c in claims if (c.form, c.solver) == (form, solver)]
        if all(claim.status == "cannot solve it" for claim in cells):
            continue
        lines.append(f"| {form} | {solver} | " + " | ".join(_cell(claim) for claim in cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(claim: Claim) -> str:
    error = "no value" if claim.error is None else f"{claim.error:.0e}"
    if claim.verdict == "holds":
        return error
    return f"**{error}**, {claim.status}" if claim.verdict == "lie" else f"{error}, {claim.status}"


def draw(claims: Sequence[Claim], path: Path) -> None:
    """Error against condition, one panel per form; filled markers are answers called optimal."""
    from exact_unlearn import plots

    looks = {
        OURS: (plots.INK, "o"),
        "OSQP": (plots.VERMILLION, "s"),
        "CLARABEL": (plots.BLUE, "D"),
        "SCS": (plots.GREEN, "^"),
        "HIGHS": (plots.PURPLE, "v"),
        "ECOS": (plots.ORANGE, "P"),
    }
    floor, ceiling = 1e-17, 1e4
    with plots.figure(
        10.5,
        7.6,
        "The solver says optimal. Is it?",
        "Error of the claimed value against the certified optimum. "
        "Filled: claimed. Hollow: admitted. Top: «no solution exists».",
    ) as fig:
        axes = fig.subplots(2, 2, sharex=True, sharey=True).reshape(-1)
        for ax, form in zip(axes, FORMS, strict=True):
            ax.axhspan(RIGHT, ceiling * 100, color=plots.PALE, alpha=0.5, zorder=0)
            for solver, (colour, marker) in looks.items():
                mine = [c for c in claims if (c.form, c.solver) == (form, solver) and c.status != "cannot solve it"]
                if not mine:
                    continue
                x = [c.condition for c in mine]
                y = [ceiling if c.error is None else max(c.error, floor) for c in mine]
                line = [math.nan if c.error is None else height for c, height in zip(mine, y, strict=True)]
                ax.plot(x, line, color=colour, linewidth=2.2 if solver == OURS else 1.1, label=solver, zorder=2)
                for c, height in zip(mine, y, strict=True):
                    face = colour if c.status == "optimal" or "infeasible" in c.status else "white"
                    ax.plot(c.condition, height, marker, color=colour, markerfacecolor=face, zorder=3)
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_ylim(floor / 3, ceiling * 10)
            ax.set_title(form)
        for ax in axes[2:]:
            ax.set_xlabel("condition number of J")
        for ax in axes[::2]:
            ax.set_ylabel("relative error of the value")
        handles, labels = axes[1].get_legend_handles_labels()
        known = dict(zip(labels, handles, strict=True))
        for ax in axes:
            known |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        fig.legend(known.values(), known.keys(), loc="outside lower center", ncols=len(known))
        plots.write_png(fig, path)


def run(
    output: Path, say: Callable[[str], None] = lambda _: None, ready: Callable[[list[Claim]], None] = lambda _: None
) -> list[Claim]:
    """Measure everything and write solver_lies.json, .md and .png into `output`; ready: called before that."""
    claims = measure(say=say)
    ready(claims)
    output.mkdir(parents=True, exist_ok=True)
    content = json.dumps([asdict(claim) for claim in claims], indent=1) + "\n"
    codec.write_atomically(output / "solver_lies.json", content.encode())
    codec.write_atomically(output / "solver_lies.md", table(claims).encode())
    draw(claims, output / "solver_lies.png")
    return claims


def main(arguments: Sequence[str] | None = None) -> int:
    """python -m validation.experiments.solver_lies [--output DIR]"""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("solver-lies"), help="folder for JSON, table and figure")
    options = parser.parse_args(arguments)
    claims = run(options.output, say=lambda text: print(text, flush=True))
    print(table(claims))
    lies = sum(claim.verdict == "lie" for claim in claims)
    print(f"{lies} of {len(claims)} claims are false; files in {options.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
