"""Random problems of every kind: solve, certify, judge and the command line have to tell one story about each."""

from __future__ import annotations

import contextlib
import io
import json
import math
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn.certify.rows import conflict
from exact_unlearn.cli import main
from exact_unlearn.errors import RankAmbiguityError
from exact_unlearn.jacobian import to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.solution import Solution, Status
from exact_unlearn.verdict import OPTIMAL, UNDECIDED

from .campaign import Outcome

TITLE = "solve, certify, judge and the command line never contradict one another"
FULL = 3000
QUICK = 45
"""What `make test` tries, three of them through the command line: some ten seconds."""

BY_COMMAND_LINE = 15
"""Every so many problems goes through the command line as well: 200 of 3 000."""

OFF = Fraction(1, 10**6)
"""What an answer called optimal may be off by, relative to the certified interval."""

REGULARIZERS = (
    "squared_l2", "l2", "l1", "linf", "group_l2", "elastic_net", "nuclear_norm", "l0", "predictor_norm",
    "active_neurons",
)  # fmt: skip
MATRICES = (
    "gaussian", "integer", "dependent", "duplicated", "rounded copy", "zero rows", "ill-conditioned", "scaled rows",
    "float32", "tall",
)  # fmt: skip
DRIFTS = (
    (), (), ("squared",), ("l1",), ("ball",), ("box",), ("squared", "l1"), ("l1", "ball"), ("squared", "box"),
    ("squared", "l1", "ball", "box"),
)  # fmt: skip
LABELS = ("zero", "zero", "reached", "single precision", "random", "rounded")
STARTS = ("gaussian", "gaussian", "sparse", "zero", "in the kernel", "float32", "integer")


def run(count: int, seed: int) -> Outcome:
    """`count` problems; a line names the two numbers from which `problem(seed, index)` makes the case again."""
    failures: list[str] = []
    seen: Counter[str] = Counter()
    slowest = (0.0, "")
    for index in range(count):
        began = time.process_time()
        name, faults = f"problem({seed}, {index})", []
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                kind, case = problem(seed, index)
                name = f"{name}, {kind}"
                faults = list(_faults(case, index % BY_COMMAND_LINE == 0, seen))
            except Exception as error:  # whatever the package lets through
                faults = [f"{type(error).__name__}: {error!s:.200}"]
        failures += [f"{name}: {fault}" for fault in faults]
        slowest = max(slowest, (time.process_time() - began, name))
    notes = ", ".join(f"{number} {what}" for what, number in sorted(seen.items()))
    return Outcome(count, tuple(failures), (notes, f"slowest: {slowest[1]} ({slowest[0]:.0f} s)"))


def problem(seed: int, index: int) -> tuple[str, UnlearningProblem]:
    """Case `index`, and what it is in words."""
    rng = np.random.default_rng([seed, index])
    name = str(rng.choice(REGULARIZERS))
    unit, scale = 1.0, 1.0
    if rng.random() < 0.4:
        unit = 10.0 ** rng.uniform(-150, 150)
    if rng.random() < 0.3:
        scale = 10.0 ** rng.uniform(-100, 100)
    drift, labels, start, matrix = (_one_of(rng, x) for x in (DRIFTS, LABELS, STARTS, MATRICES))
    words = f"{name}, J {matrix}, theta* {start}, drift {'+'.join(drift) or 'none'}, b {labels}"
    words += f", unit {unit:.0e}" * (unit != 1) + f", J times {scale:.0e}" * (scale != 1)
    if name == "predictor_norm":
        network = xu.LinearNetwork((4, 3, 2))
        theta = _start(rng, network.n_parameters, start if start != "in the kernel" else "gaussian", None)
        x = rng.normal(size=(int(rng.integers(1, 4)), 4))
        R: Any = xu.PredictorNorm(network, theta)
        found = xu.surrogate_problem(network, theta, x, R, _drift(rng, drift, 1.0, 1))
        return words, found
    if name == "active_neurons":
        neurons = xu.Perceptron(3, 5, n_outputs=1)
        theta = _start(rng, neurons.n_parameters, "gaussian", None)
        x = rng.normal(size=(int(rng.integers(1, 4)), 3))
        return words, xu.surrogate_problem(neurons, theta, x, xu.ActiveNeurons(neurons), _drift(rng, drift, 1.0, 0))
    d = int(rng.integers(4, 13))
    if name == "nuclear_norm":
        d = int(rng.choice([6, 8, 9, 10]))
    J = _matrix(rng, matrix, int(rng.integers(1, min(d, 7))), d) * scale
    theta = _start(rng, d, start, J) * unit
    R = _regularizer(rng, name, d, unit)
    free = None if rng.random() < 0.6 else rng.random(d) < 0.7
    penalty = _drift(rng, drift, unit, 2 if name in ("squared_l2", "elastic_net") else 0 if name == "l0" else 1)
    b = _labels(rng, labels, J, unit if free is None else unit * 1.0, free)
    frozen = "" if free is None else f", {int((~free).sum())} of {d} frozen"
    return words + frozen, UnlearningProblem(theta, J, R, penalty, free, b)


def _one_of(rng: np.random.Generator, choices: Any) -> Any:
    """One of them."""
    return choices[int(rng.integers(len(choices)))]


def _matrix(rng: np.random.Generator, kind: str, k: int, d: int) -> Any:
    J = rng.normal(size=(k, d))
    if kind == "integer":
        return rng.integers(-3, 4, (k, d)).astype(float)
    if kind == "dependent":
        J = rng.integers(-3, 4, (k, d)).astype(float)
        return np.vstack([J, rng.integers(-2, 3, (2, k)) @ J])
    if kind == "duplicated":
        return J[rng.integers(0, k, k + 2)]
    if kind == "rounded copy":
        return np.vstack([J, 3.1 * J[0]])
    if kind == "zero rows":
        return np.vstack([J, np.zeros((1, d))])
    if kind == "ill-conditioned":
        U, _, Vt = np.linalg.svd(J, full_matrices=False)
        return (U * np.geomspace(1.0, 10.0 ** -rng.uniform(2, 11), U.shape[1])) @ Vt
    if kind == "scaled rows":
        return J * 10.0 ** rng.uniform(-20, 20, (k, 1))
    if kind == "float32":
        return J.astype(np.float32).astype(float)
    if kind == "tall":
        return rng.normal(size=(d + 2, d))
    return J


def _start(rng: np.random.Generator, d: int, kind: str, J: Any) -> Any:
    theta = rng.normal(size=d)
    if kind == "sparse":
        return theta * (rng.random(d) < 0.5)
    if kind == "zero":
        return np.zeros(d)
    if kind == "in the kernel":
        unit = J / np.max(np.abs(J), axis=1, keepdims=True, initial=1e-300)
        return theta - np.linalg.pinv(unit) @ (unit @ theta)
    if kind == "float32":
        return theta.astype(np.float32).astype(float)
    if kind == "integer":
        return rng.integers(-3, 4, d).astype(float)
    return theta


def _regularizer(rng: np.random.Generator, name: str, d: int, unit: float) -> Any:
    weights = None
    if rng.random() < 0.4:
        weights = 10.0 ** rng.uniform(-2, 2, d) * (rng.random(d) < 0.85)
    if name == "group_l2":
        labels = rng.permutation(np.arange(d) % max(2, d // 3))
        return xu.GroupL2(labels, None if weights is None else weights[: int(labels.max()) + 1])
    if name == "elastic_net":
        return xu.ElasticNet(10.0 ** rng.uniform(-2, 2) * unit, 10.0 ** rng.uniform(-2, 2))
    if name == "nuclear_norm":
        p = 3 if d == 9 else 2
        return xu.NuclearNorm(slice(0, d), (p, d // p))
    if name == "l0":
        return xu.L0(None if rng.random() < 0.5 else np.arange(d) // 2)
    return {"squared_l2": xu.SquaredL2, "l2": xu.L2, "l1": xu.L1, "linf": xu.LInf}[name](weights)


def _drift(rng: np.random.Generator, kinds: tuple[str, ...], unit: float, degree: int) -> Any:
    """Penalties that weigh as much as R in this unit, give or take two orders."""
    terms: list[Any] = []
    for kind in kinds:
        size = 10.0 ** rng.uniform(-2, 1)
        lam = size * unit ** (degree - (2 if kind == "squared" else 1)) if kind in ("squared", "l1") else 0.0
        if kind in ("squared", "l1") and not (0 < lam < math.inf):
            continue
        if kind == "squared":
            terms.append(xu.SquaredDrift(lam))
        elif kind == "l1":
            terms.append(xu.L1Drift(lam))
        else:
            terms.append(xu.TrustRegion(size * unit, 2 if kind == "ball" else np.inf))
    return sum(terms[1:], start=terms[0]) if terms else None


def _labels(rng: np.random.Generator, kind: str, J: Any, unit: float, free: Any) -> Any:
    if kind == "zero":
        return None
    move = rng.normal(size=J.shape[1]) * unit * (1.0 if free is None else free)
    b = J @ move
    if kind == "single precision":
        peak = np.max(np.abs(b), initial=0.0) or 1.0
        return (b / peak).astype(np.float32).astype(float) * 2.0 ** np.frexp(peak)[1]
    if kind == "random":
        return rng.normal(size=b.size) * (np.max(np.abs(b), initial=0.0) or 1.0)
    return np.einsum("ij,j->i", J, move) if kind == "rounded" else b


# ---------------------------------------------------------------- one story


def _faults(case: UnlearningProblem, by_command_line: bool, seen: Counter[str]) -> Iterator[str]:
    """What the verbs say about a problem that cannot all be true."""
    solution = xu.solve(case)
    seen[solution.status.value] += 1
    certificate, tau = _proof(case, solution, seen)
    if certificate is None:
        seen["ambiguous and refused"] += 1
        if solution.status is Status.OPTIMAL:
            yield "called optimal, but nothing fits even where rounding is allowed for"
        return
    seen[f"proof {certificate.proof}"] += 1
    residual = certificate.rows.residual
    if tau is not None and residual is not None and residual > tau:
        # rows that depend on each other up to rounding, with labels that do not: no reading of it has a solution
        seen["beyond tau"] += 1
        if solution.status is Status.OPTIMAL:
            yield f"called optimal, but a row is missed by {float(residual):.3g}, more than {tau:.3g}"
        return
    if certificate.proof != "none" and not certificate.check(tau=tau).proved:
        yield f"the certificate is no proof: {certificate.check(tau=tau).sentences}"
    yield from _compared(solution, certificate, tau)
    if certificate.proof in ("exact", "enclosure", "repaired") and solution.status is Status.OPTIMAL:
        verdict = xu.judge(case, solution, tolerance=float(OFF), tau=tau, certificate=certificate)
        if verdict.outcome not in (OPTIMAL, UNDECIDED):
            yield f"solve says optimal, judge {verdict.outcome}: {'; '.join(verdict.sentences)}"
        seen["optimal but undecided"] += verdict.outcome == UNDECIDED
    if by_command_line:
        seen["by command line"] += 1
        yield from _by_command_line(case, solution, certificate, tau)


def _proof(case: UnlearningProblem, solution: Solution, seen: Counter[str]) -> tuple[Any, float | None]:
    """A certificate of the problem that solve means, and the tau with which it was made."""
    try:
        return xu.certify(case, solution), None
    except RankAmbiguityError:
        seen["ambiguous"] += 1
    found = conflict(case)
    size = max(np.max(np.abs(np.asarray(solution.problem.rhs)), initial=0.0), float(_reach(case)))
    tau = float(max(size * 1e-8, 0.0 if found is None else float(found.moved) * 1.01))
    certificate = xu.certify(case, solution, tau=tau)
    return (None, None) if certificate.proof == "infeasible" else (certificate, tau)


def _reach(case: UnlearningProblem) -> float:
    """max_i |J_i| |theta*|, in the matrix norm that does not overflow here."""
    J, theta = np.abs(np.asarray(case.free_matrix(), dtype=float)), np.abs(case.theta_star[case.free])
    with np.errstate(over="ignore"):
        return float(min(np.max(J @ theta, initial=0.0), 1e300))


def _compared(solution: Solution, certificate: Any, tau: float | None) -> Iterator[str]:
    """solve beside certify."""
    status = solution.status
    if certificate.proof == "infeasible":
        if status in (Status.OPTIMAL, Status.INTERVAL):
            yield f"solve says {status.value}, certify that nothing fits: {certificate.message}"
        return
    if certificate.proof == "none":
        return
    if status is Status.INFEASIBLE:
        yield f"solve says that nothing fits ({solution.message}), certify: {certificate.claim}"
        return
    lower, upper = certificate.lower, certificate.upper
    if solution.lower is not None and Fraction(solution.lower) > upper * (1 + OFF):
        yield f"solve says at least {solution.lower}, certify at most {float(upper)}"
    if status is not Status.OPTIMAL:
        return
    if not math.isfinite(solution.value):
        yield "an infinite value is called optimal"
        return
    value = Fraction(solution.value)
    slack = OFF * max(upper, OFF * Fraction(_at_start(solution.problem)))
    if value > upper + slack or value < lower - slack:
        yield f"called optimal at {solution.value!r}, proved [{_number(lower)}, {_number(upper)}] ({certificate.proof})"


def _at_start(case: UnlearningProblem) -> float:
    """R(theta*), where it is a float: optima far below it may be rounding of J, and nothing else."""
    value = float(case.regularizer.value(to_float(case.theta_star)))
    return value if math.isfinite(value) else 0.0


def _number(value: Fraction) -> str:
    return repr(value.numerator / value.denominator) if value < 10**300 else "more than 1e300"


def _by_command_line(case: UnlearningProblem, solution: Solution, certificate: Any, tau: float | None) -> Iterator[str]:
    """The files and exit statuses of solve, check, certify and judge beside what the functions said."""
    with tempfile.TemporaryDirectory() as folder:
        given, out, told = (str(Path(folder) / name) for name in ("p.npz", "s.npz", "r.json"))
        case.save(given)
        options = ["--quiet", "--json", told] + ([] if tau is None else ["--tau", repr(tau)])
        status = _status(["solve", given, "-o", out, *options])
        if status not in (0, 1):
            yield f"solve ends with exit status {status}"
            return
        tree = json.loads(Path(told).read_text())
        proof = tree["certificate"]["proof"]
        if tau is None and (tree["status"], tree["value"] or 0.0) != (solution.status.value, _finite(solution.value)):
            yield f"solve said {solution.status.value} {solution.value}, its command {tree['status']} {tree['value']}"
        if (status == 0) != (proof not in ("none", "infeasible")):
            yield f"solve ends with {status} at a proof that is {proof}"
        if proof != certificate.proof and "none" not in (proof, certificate.proof):
            yield f"the function proves {certificate.proof}, the command {proof}"
        checking = ["check", given, str(Path(folder) / "s.certificate.json")]
        if proof != "none" and _status([*checking, *([] if tau is None else ["--tau", repr(tau)])]) != 0:
            yield "check does not accept what solve wrote"
        for verb in (["judge"], ["certify", "-o", str(Path(folder) / "c.json")]):
            status = _status([verb[0], given, out, *verb[1:], *options, "--tolerance", repr(float(OFF))])
            if status not in (0, 1):
                yield f"{verb[0]} ends with exit status {status}"
                continue
            outcome = json.loads(Path(told).read_text())["judgement"]["outcome"]
            if (status == 0) != (outcome == OPTIMAL):
                yield f"{verb[0]} ends with {status} at an answer that is {outcome}"
            if tree["status"] == "optimal" and outcome not in (OPTIMAL, UNDECIDED):
                yield f"the command solve says optimal, {verb[0]} {outcome}"


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _status(command: list[str]) -> int:
    """The exit status; what is printed goes nowhere."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return main(command)
