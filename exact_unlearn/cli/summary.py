"""What solve and certify say about an answer: claimed by the solver, measured by us, proved by the certificate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from exact_unlearn import report

if TYPE_CHECKING:
    import exact_unlearn.verdict
    from exact_unlearn.certify import Certificate
    from exact_unlearn.cli.problems import Loaded
    from exact_unlearn.problem import UnlearningProblem
    from exact_unlearn.solution import Solution

Lines = list[tuple[str, str]]


def describe(problem: UnlearningProblem) -> str:
    """One line: size, regularizer, drift penalties."""
    free, d = int(problem.free.sum()), problem.n_parameters
    moving = f"{d} parameters" if free == d else f"{d} parameters, {free} of them free"
    parts = [problem.regularizer.name, *(_drift(term) for term in problem.drifts)]
    numbers = ", exact fractions" if problem.is_rational else ""
    least = f" ({int(problem.at_least.sum())} of them >=)" if problem.at_least.any() else ""
    return f"{' + '.join(parts)}; {problem.n_constraints} constraints{least}, {moving}{numbers}"


def problem_lines(loaded: Loaded) -> Lines:
    """What was read."""
    lines = [("problem", describe(loaded.problem))]
    if loaded.unused:
        lines.append(("not used", f"{', '.join(loaded.unused)}: in the file, but nothing asked for it"))
    return lines


def solution_lines(solution: Solution) -> Lines:
    """The claim, measured."""
    from exact_unlearn.solution import Status

    lines = [
        (
            "status",
            f"{solution.status.value} ({solution.solver}). {solution.message} {solution.advice}".replace("  ", " "),
        ),
        ("value", value(solution)),
    ]
    if solution.status is Status.INFEASIBLE:  # no parameters are claimed, so there are none to measure
        lines.append(("rows", str(solution.rank)))
        return lines
    if getattr(solution.problem.regularizer, "integer", False):
        lower = "unknown" if solution.lower is None else f"{solution.lower:g}"
        lines.append(("interval", f"{lower} to {solution.value:g}"))
        lines.append(("primal residual", report.small(solution.primal_residual())))
    else:
        lines.append(("primal residual", report.small(solution.primal_residual())))
        lines.append(("dual residual", report.small(solution.dual_residual())))
        lines.append(("relative gap", report.small(solution.relative_gap())))
    if solution.rank is not None:
        lines.append(("rows", str(solution.rank)))
    lines.append(("unique", {True: "yes", False: "no", None: "not known from the form"}[solution.unique]))
    return lines


def value(solution: Solution) -> str:
    """R + Rhat, or why it is no number."""
    from exact_unlearn.solution import Status

    if solution.status is Status.INFEASIBLE:
        return "none: the claim is that no parameters fit"
    return f"{solution.value:.12g}" if math.isfinite(solution.value) else "beyond the range of floats"


def certificate_lines(certificate: Certificate) -> Lines:
    """What is proved, and why no more."""
    lines = [("proof", f"{certificate.proof}. {certificate.claim}")]
    if certificate.message and certificate.proof not in ("exact", "none"):
        lines.append(("", certificate.message))
    if certificate.gap is not None and certificate.proof != "infeasible":
        lines.append(("proved gap", report.small(certificate.gap)))
    rows = certificate.rows
    if rows is not None and rows.kept is not None and rows.residual is not None:
        lines.append(("proved for", f"{len(rows.kept)} rows; the others hold to within {report.small(rows.residual)}"))
    return lines


def verdict_lines(verdict: exact_unlearn.verdict.Verdict) -> Lines:
    """What is true of the point that was given."""
    head, *rest = verdict.sentences
    return [("their point", head), *(("", sentence) for sentence in rest)]


def time_line(solution: Solution, certify_seconds: float | None) -> tuple[str, str]:
    """Wall-clock seconds of the stages."""
    text = f"compile {report.seconds(solution.compile_seconds)}, solve {report.seconds(solution.solve_seconds)}"
    return "seconds", text if certify_seconds is None else f"{text}, certify {report.seconds(certify_seconds)}"


def as_text(lines: Lines) -> str:
    """Aligned names and values."""
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}".rstrip() for name, text in lines)


def solution_tree(solution: Solution) -> dict[str, Any]:
    """The claim for machines."""
    problem, rank = solution.problem, solution.rank
    return {
        "regularizer": problem.regularizer.name,
        "drift_penalty": [term.name for term in problem.drifts],
        "n_parameters": problem.n_parameters,
        "n_constraints": problem.n_constraints,
        "n_free": int(problem.free.sum()),
        "status": solution.status.value,
        "advice": solution.advice,
        "message": solution.message,
        "solver": solution.solver,
        "value": solution.value,
        "lower": solution.lower,
        "upper": solution.upper,
        "primal_residual": solution.primal_residual(),
        "dual_residual": solution.dual_residual(),
        "duality_gap": solution.duality_gap(),
        "relative_gap": solution.relative_gap(),
        "rank": None if rank is None else rank.rank,
        "condition": None if rank is None else rank.condition,
        "unique": solution.unique,
        "compile_seconds": solution.compile_seconds,
        "solve_seconds": solution.solve_seconds,
    }


def certificate_tree(certificate: Certificate) -> dict[str, Any]:
    """The proof for machines, bounds rounded outwards."""
    return {
        "proof": certificate.proof,
        "claim": certificate.claim,
        "message": certificate.message,
        "lower": report.rounded_down(certificate.lower),
        "upper": report.rounded_up(certificate.upper),
        "gap": report.rounded_up(certificate.gap),
        "distance": report.rounded_up(certificate.distance),
        "unique": certificate.unique,
    }


def _drift(term: Any) -> str:
    if term.name != "trust_region":
        return f"{term.name}({float(term.lam):g})"
    return f"trust_region({float(term.radius):g}, norm {'inf' if term.norm == math.inf else '2'})"


def verdict_tree(verdict: exact_unlearn.verdict.Verdict) -> dict[str, Any]:
    """What is true of their point, for machines: bounds rounded outwards."""
    tree: dict[str, Any] = {"outcome": verdict.outcome, "tolerance": float(verdict.tolerance), "row": verdict.row}
    tree |= {name: report.rounded_up(getattr(verdict, name)) for name in ("residual", "violation", "most", "distance")}
    tree |= {name: report.rounded_down(getattr(verdict, name)) for name in ("least", "apart", "nu_lower")}
    outwards = report.rounded_down if (verdict.excess or 0) < 0 else report.rounded_up
    return tree | {
        "excess": outwards(verdict.excess),
        "frozen": list(verdict.frozen),
        "sentences": list(verdict.sentences),
    }
