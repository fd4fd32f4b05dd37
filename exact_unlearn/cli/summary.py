"""What solve and certify print and report: claimed by the solver, measured by us, proved by the certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exact_unlearn import report
from exact_unlearn.summary import Lines

if TYPE_CHECKING:
    import exact_unlearn.verdict
    from exact_unlearn.certify import Certificate
    from exact_unlearn.cli.problems import Loaded
    from exact_unlearn.convexity import Network
    from exact_unlearn.problem import UnlearningProblem
    from exact_unlearn.solution import Solution


def problem_lines(loaded: Loaded) -> Lines:
    """What was read."""
    lines: Lines = loaded.problem.lines()
    if loaded.unused:
        lines.append(("not used", f"{', '.join(loaded.unused)}: in the file, but nothing asked for it"))
    return lines


def time_line(solution: Solution, certify_seconds: float | None) -> tuple[str, str]:
    """Wall-clock seconds of the stages."""
    text = f"compile {report.seconds(solution.compile_seconds)}, solve {report.seconds(solution.solve_seconds)}"
    return "seconds", text if certify_seconds is None else f"{text}, certify {report.seconds(certify_seconds)}"


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
        "neurons": certificate.neurons,
    }


def network_of(problem: UnlearningProblem, solution: Solution, certificate: Certificate | None) -> Network | None:
    """The network of the proved point, or of the claimed one; None where there is no such point, or no network."""
    if problem.origin is None:
        return None
    from exact_unlearn.convexity import global_network

    if certificate is not None and certificate.theta is not None:
        return global_network(problem, certificate)
    return None if solution.status.value == "infeasible" else global_network(problem, solution)


def network_tree(network: Network) -> dict[str, Any]:
    """The network for machines."""
    tree = {"width": getattr(network.model, "width", None), "neurons": network.neurons}
    return tree | {"attained": network.attained, "value": network.value}


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
