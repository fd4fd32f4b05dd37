"""`certify`: exact, enclosure, repaired, none; down the ladder, and why.

The proof needs the problem only.  A solution helps where no proof of optimality is attainable from scratch; what is
proved never depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import cached_property, partial
from typing import Any

import numpy as np

from exact_unlearn.certify.active import by_tight_rows
from exact_unlearn.certify.asked import require_arguments
from exact_unlearn.certify.blockwise import by_blocks, refused
from exact_unlearn.certify.cells import about_network
from exact_unlearn.certify.certificate import SCHEMA, Certificate
from exact_unlearn.certify.counting import count, primal
from exact_unlearn.certify.counting_rows import count_rows
from exact_unlearn.certify.dyadic_certificate import short_enclosure, wanted
from exact_unlearn.certify.enclose import enclose
from exact_unlearn.certify.encode import Tree, rational_text, vector
from exact_unlearn.certify.exactlin import Rationals
from exact_unlearn.certify.fallback import Candidate, Repaired, candidates, factors, offered, proposed, repaired
from exact_unlearn.certify.feasible import farkas, nothing_fits, why_nothing
from exact_unlearn.certify.forms import EXACT, NotExactError, Proof, prove, without_wide_regions
from exact_unlearn.certify.image import image
from exact_unlearn.certify.judged import judged
from exact_unlearn.certify.kkt import FaceError, TooManyDigitsError
from exact_unlearn.certify.lifted import Found, Lift, exact
from exact_unlearn.certify.nuclear import enclose_nuclear
from exact_unlearn.certify.nuclear_start import Start, starts, whole
from exact_unlearn.certify.pivot import InfeasibleError
from exact_unlearn.certify.predictor import prove_predictor
from exact_unlearn.certify.rows import ROUNDING, check_rows
from exact_unlearn.certify.summed import candidates as summed_candidates
from exact_unlearn.certify.summed import enclosed
from exact_unlearn.certify.terms import drift_of, kind_of, nearest_floats, subgradient_at
from exact_unlearn.certify.vertices import by_l1, least_vertex
from exact_unlearn.certify.walls import on_walls
from exact_unlearn.certify.whiten import Whitened, whiten
from exact_unlearn.jacobian import to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.solution import Solution
from exact_unlearn.watch import TimeUpError, finishing, limited, tick, watched

SHARE = 0.5
"""Of what is left of a time limit, for each rung but the last."""

UNKNOWN = ("lower", "upper", "gap", "distance", "unique")

NEARLY, MANY = Fraction(1, 10**9), 64
"""Groups with more rows that read >= than this are looked at alone first, and left at that where they are proved as
nearly: the other rungs take minutes.
"""

STEPS_DOWN = (NotExactError, FaceError, TooManyDigitsError, ZeroDivisionError, np.linalg.LinAlgError)
"""What makes the ladder take the next rung; everything else is an error in the program and is raised."""


def certify(
    problem: UnlearningProblem,
    solution: Solution | None = None,
    rows: str | None = None,
    tau: Any = None,
    time_limit: float | None = None,
    proof: str = "auto",
) -> Certificate:
    """Prove what the optimum of `problem` is.

    solution: anybody's; it may help, and is never trusted.  rows, tau: where the rows of J as written have
    another rank than they have up to rounding, RankAmbiguityError asks which problem is meant: rows="literal"
    takes every row as it is written; tau keeps a well-conditioned subset of the rows, proves *its* optimum, and
    reports the residual on the dropped rows and a lower bound that holds for every theta with |J D - b| <= tau
    entrywise.

    Exact (gap 0) for {1/2 sum w x^2, elastic net, weighted l1, linf} with any sum of squared, l1 and box
    drifts, and for the 2-norm and the predictor norm without drift or in a box; enclosed to more than 60 digits
    for group norms, for roots with a drift, and in an active 2-ball; counted exhaustively for l0 and active
    neurons.

    proof: "exact" works over the rationals, wherever they hold the optimum; "enclosure" takes numbers of some 350 bits,
    and proves that a feasible point exists beside: gap at most 1e-60 at a small part of the cost, for squares, l1, linf
    and norms of groups with any drift, where J is a matrix of floats of full rank; "auto" is exact while that takes
    about a second.  It picks a method, not a level: where one does not apply, the other does the work.

    time_limit: seconds.  A rung that takes more than half of what is left is given up for the next one; when all is
    over, the certificate has the best bounds that were found, if only those of theta* itself, and its message says so.
    The limit is looked at between steps: it may be exceeded by one exact solve, or one run of the checker.

    A problem with an origin must be the program of that origin (ProblemError); its certificate carries the tree that
    proves that no sign pattern is missing, and says for which widths of the network it holds.

    >>> import exact_unlearn as xu
    >>> xu.certify(xu.UnlearningProblem([3.0, 1.0], [[1.0, 2.0]], xu.L1()))
    <Certificate: exact. The optimum is 2.5, exactly, at a unique minimiser.>
    """
    require_arguments(problem, solution, time_limit, proof)
    with watched(time_limit):
        reason = ""
        if tau is None and wanted(problem, rows, proof):
            with suppress(TimeUpError), watched(share=SHARE):
                short, reason = short_enclosure(problem)
                if short is not None:
                    return short
        found = _at_length(problem, solution, rows, tau)
        if proof == "auto" and tau is None and refused(found):
            with suppress(TimeUpError):
                found = short_enclosure(problem)[0] or found
    reasons = [text for text in (reason if proof == "enclosure" else "", found.message) if text]
    return replace(found, message="; ".join(reasons))


def _at_length(problem: UnlearningProblem, solution: Solution | None, rows: str | None, tau: Any) -> Certificate:
    """Over the rationals: without regions that are wide, if that will do, else as it is."""
    relaxed = without_wide_regions(problem)
    if relaxed is not None:
        with suppress(TimeUpError), watched(share=SHARE):
            found = replace(_attempted(relaxed, solution, rows, tau), problem=problem)
            if found.proof in ("exact", "enclosure", "infeasible") and found.check().proof == found.proof:
                return found
    try:
        return _attempted(problem, solution, rows, tau)
    except TimeUpError:
        nothing: dict[str, Any] = dict.fromkeys(UNKNOWN)
        return Certificate(problem, "none", **nothing, message="the time limit ended before anything was tried")


def _attempted(problem: UnlearningProblem, solution: Solution | None, rows: str | None, tau: Any) -> Certificate:
    """Block by block where there are several, else as a whole.  A tau is about all rows together."""
    if tau is None:
        found = by_blocks(problem, solution, lambda block, claim: _Attempt(block, claim, rows, None).run())
        if found is not None:
            return found
    return _Attempt(problem, solution, rows, tau).run()


class _Attempt:
    """One call of `certify`."""

    def __init__(self, problem: UnlearningProblem, solution: Solution | None, rows: str | None, tau: Any) -> None:
        self.original, self.solution = problem, solution
        self.drift = drift_of(problem)
        self.image = image(problem, pinned=self.drift.pinned)
        # what is proved is about `problem`, whose labels may have been moved; what is checked is about the original
        self.report, self.problem = check_rows(problem, rows, tau, self.image, self.drift.pinned)
        self.kept = None if self.report.kept is None else list(self.report.kept)
        if self.kept is not None and (self.report.labels or len(self.kept) < problem.n_constraints):
            self.image = image(self.problem, self.kept, self.drift.pinned)
        self.reasons: list[str] = []
        self.better: Certificate | None = None

    def run(self) -> Certificate:
        """The best that can be proved, within the limit of time if there is one."""
        try:
            return self._proved()
        except TimeUpError:
            self.reasons.append("the time limit was reached")
        if self.better is None and self.image.start_fits:
            with finishing(), suppress(*STEPS_DOWN):
                self._keep(self._resting())
        if self.better is None:
            return self._nothing()
        return self._for_rows(replace(self.better, message="; ".join(self.reasons)))

    def _proved(self) -> Certificate:
        conflict = self.report.conflict
        if conflict is not None and self.report.labels is None:
            return self._infeasible(conflict.nu, f"the rows of the jacobian contradict each other: {conflict}")
        kind = kind_of(self.problem)
        if kind == "groups" and len(self.image.at_least) > MANY:  # where that succeeds there is something that fits
            with suppress(TimeUpError), watched(share=SHARE):
                try:
                    return self._for_rows(self._on_walls())
                except STEPS_DOWN as error:
                    self.reasons.append(str(error) or type(error).__name__)
        decided = kind in EXACT and (kind != "root" or self.drift.cone)  # exact forms find out themselves
        try:
            nothing = nothing_fits(self.image, self.drift, lambda: self.whitened, decided)
        except STEPS_DOWN as error:
            self.reasons.append(str(error))
        else:
            if nothing is not None:
                return self._outside(*nothing)
        if limited() and self.solution is not None and kind not in ("count", "power", "sum"):
            with suppress(TimeUpError), watched(share=SHARE):
                self._offered()
        rungs = self._rungs()
        for rung in rungs:
            try:
                with watched(share=1.0 if rung is rungs[-1] else SHARE):
                    return self._for_rows(rung())
            except InfeasibleError as error:
                return self._outside(farkas(self.image, error.farkas), why_nothing(self.image, self.drift))
            except TimeUpError:
                self.reasons.append("the time for one way to prove it was over")
            except STEPS_DOWN as error:
                self.reasons.append(str(error) or type(error).__name__)
        tick()
        if self.better is None:
            return self._nothing()
        return self._for_rows(replace(self.better, message="; ".join(self.reasons)))

    def _rungs(self) -> list[Callable[[], Certificate]]:
        kind = kind_of(self.problem)
        if kind == "count":
            return [self._count]
        if kind == "power" and self.image.free.size:
            return [self._by_vertices, self._by_l1]
        if kind == "sum":
            proofs: list[Callable[[], Certificate]] = [
                partial(self._summed, exact), partial(self._summed, enclosed), self._of_sum
            ]  # fmt: skip
            return proofs if self.image.free.size else [self._frozen]
        if kind == "spectral" and self.image.at_least:
            return [self._by_tight_rows, self._repaired]
        if kind == "spectral":
            found = starts(self.problem, self.image, self.whitened, self.drift, self.kept, self.solution)
            tries = [partial(self._nuclear, start) for start in found]
            return [*tries, self._repaired] if self.image.free.size else [*tries, self._frozen]
        if not self.image.free.size:
            return [self._frozen]
        first = [self._predictor] if kind == "product" else [self._exact] if kind in EXACT else []
        last = [self._on_walls] if kind == "groups" else []
        return [*first, self._enclosed, *last, self._repaired]

    # ------------------------------------------------------------ rungs

    @cached_property
    def lift(self) -> Lift:
        return Lift(self.problem, self.image, self.drift)

    def _summed(self, prove: Callable[[Lift], Found]) -> Certificate:
        tick("the exact optimum" if prove is exact else "Newton's method to hundreds of digits")
        return self._near(self._of_found(self.lift, prove(self.lift)))

    def _of_found(self, lift: Lift, found: Found) -> Certificate:
        theta, primal_tree, dual = lift.trees(found)
        return self._judged({"kind": "bounds", "primal": primal_tree, "dual": self._dual(dual)}, theta)

    def _of_sum(self) -> Certificate:
        """The best of the float points at hand, and of what came before."""
        tick("the fallback: float points, made feasible")
        source = summed_candidates(self.lift, self.image, self.whitened, self.solution, self.kept)
        while True:
            try:
                found = next(source, None)
                if found is None:
                    break
                self._keep(self._of_found(self.lift, found))
            except STEPS_DOWN as error:
                self.reasons.append(str(error) or type(error).__name__)
        if self.better is None and self.image.start_fits:
            self._keep(self._resting())
        if self.better is None:
            raise FaceError("no float point could be made feasible")
        return self.better

    def _exact(self) -> Certificate:
        tick("the exact optimum")
        return self._from_proof(prove(self.problem, self.image, self.whitened), "exact")

    def _enclosed(self) -> Certificate:
        tick("Newton's method to hundreds of digits")
        found = enclose(self.problem, self.image, self.whitened, self.drift, self.kept)
        tree: Tree = {"kind": "bounds", "primal": found.primal, "dual": self._dual(found.dual)}
        if found.distance is not None:
            with suppress(FaceError):  # the bounds stand without it
                return self._near(self._judged({**tree, "distance": found.distance}, found.theta))
        return self._near(self._judged(tree, found.theta))

    def _on_walls(self) -> Certificate:
        tick("Newton's method for groups that walls separate")
        found = on_walls(self.problem, self.image, self.drift, self.kept)
        certificate = self._bounds(found)
        if found.why and certificate.proof == "repaired":
            self.reasons.append(found.why)
        if (certificate.gap or 0) <= NEARLY and len(self.image.at_least) > MANY:
            return replace(certificate, message="; ".join(self.reasons))
        return self._near(certificate)

    def _by_vertices(self) -> Certificate:
        tick("every vertex, exactly")
        return self._near(self._bounds(least_vertex(self.problem, self.image), vertices=True))

    def _by_l1(self) -> Certificate:
        tick("the least 1-norm")
        self._keep(self._bounds(by_l1(self.image, self.whitened)))
        assert self.better is not None
        return replace(self.better, message="; ".join(self.reasons))

    def _bounds(self, found: Any, **more: Any) -> Certificate:
        """Of a point, found.theta, with its parts of a certificate, found.primal and found.dual."""
        tree: Tree = {"kind": "bounds", "primal": found.primal, "dual": self._dual(found.dual), **more}
        return self._judged(tree, found.theta)

    def _near(self, certificate: Certificate) -> Certificate:
        """The certificate of Newton's method, if it is an enclosure; else it competes with what follows."""
        if certificate.proof != "repaired":
            return certificate
        self._keep(certificate)
        raise FaceError("Newton's method ends on multipliers that prove too little")

    def _keep(self, certificate: Certificate) -> None:
        """The certificate of the smallest gap so far."""
        if self.better is None or (certificate.gap or 0) < (self.better.gap or 0):
            self.better = certificate

    def _repaired(self) -> Certificate:
        """The best of the float points at hand, and of what came before."""
        tick("the fallback: float points, made feasible")
        self._try(candidates(self.problem, self.solution, self.image, self.whitened, self.drift, self.kept))
        if self.better is None:
            raise FaceError("no float point could be made feasible")
        return replace(self.better, message="; ".join(self.reasons))

    def _offered(self) -> None:
        """What the caller's solution proves, before anything else is tried: first its multipliers, which cost no exact
        solve where theta* is feasible.
        """
        tick("what the solution proves as it is")
        if self.image.start_fits:
            start = Rationals.of(self.image.theta_free)
            self._try(
                offered(self.solution, self.image, self.drift, self.kept),
                lambda candidate: proposed(self.problem, self.image, self.drift, candidate, start),
            )
        self._try(offered(self.solution, self.image, self.drift, self.kept))

    def _try(self, source: Iterator[Candidate], made: Callable[[Candidate], Repaired] | None = None) -> None:
        """Keep what is better among the candidates.  made: how one becomes a certificate (default: it is repaired)."""
        while True:
            try:
                candidate = next(source, None)
                if candidate is None:
                    return
                self._keep(self._bounds((made or self._mended)(candidate)))
            except STEPS_DOWN as error:
                self.reasons.append(str(error) or type(error).__name__)

    def _mended(self, candidate: Candidate) -> Repaired:
        return repaired(self.problem, self.image, self.whitened, self.drift, candidate)

    def _resting(self) -> Certificate:
        """theta* fits, and nothing costs less than nothing."""
        theta = Rationals.of(list(self.image.theta))
        primal: Tree = {"base": "theta_star", "parts": []}
        if kind_of(self.problem) == "spectral":
            primal["factors"] = factors(self.problem, theta)
        elif kind_of(self.problem) == "sum":
            primal = self.lift.trees(Found(Rationals.of(self.image.theta_free), {}))[1]
        return self._judged({"kind": "bounds", "primal": primal, "dual": {"nu": []}}, theta)

    def _frozen(self) -> Certificate:
        """Nothing may move: theta* is the only point, and a subgradient there is the proof."""
        theta = Rationals.of(list(self.image.theta))
        dual: Tree = {"nu": []}
        dual |= subgradient_at(self.problem, theta)
        return self._judged({"kind": "bounds", "primal": {"base": "theta_star", "parts": []}, "dual": dual}, theta)

    def _for_rows(self, certificate: Certificate) -> Certificate:
        """With the residual on the dropped rows, and the bound that holds for every theta within tau."""
        if self.kept is None:
            return certificate
        verdict = certificate.check(tau=self.report.tau)
        report = replace(self.report, residual=verdict.residual, robust_lower=verdict.robust_lower)
        message = certificate.message
        if verdict.residual is not None and self.report.tau is not None and verdict.residual > self.report.tau:
            away = f"a row as written is missed by {float(verdict.residual):.3g}, which is more than tau"
            message = f"{message}; {away}" if message else away
        return replace(certificate, rows=report, message=message)

    def _by_tight_rows(self) -> Certificate:
        tick("rows that read >= as equations, where they are tight")

        def proved(posed: UnlearningProblem, claim: Solution | None) -> Certificate:
            return _Attempt(posed, claim, "literal", None).run()

        nu = None if self.solution is None else to_float(self.solution.nu)
        with suppress(FaceError):
            nu = whole(self.problem, self.image, self.drift).nu if nu is None else nu
        found = by_tight_rows(self.problem, self.image, self.kept, nu, self.solution, proved)
        return self._near(self._bounds(found))

    def _nuclear(self, start: Start) -> Certificate:
        tick("Newton's method to hundreds of digits")
        found = enclose_nuclear(self.problem, self.image, self.whitened, self.drift, start())
        return self._near(self._bounds(found))

    def _judged(self, tree: Tree, theta: Rationals) -> Certificate:
        """A certificate that claims what the checker finds proved."""
        modest = {**tree, "claims": {"proof": "repaired"}}
        draft = self._certificate(modest, proof="repaired", theta=nearest_floats(theta))
        proof, claims, fields = judged(self.original, dict(draft.tree), self.report.tau)
        return self._certificate({**tree, "claims": claims}, proof=proof, theta=draft.theta, **fields)

    def _predictor(self) -> Certificate:
        tick("the exact optimum")
        return self._from_proof(prove_predictor(self.problem, self.drift, self.kept), "exact")

    def _count(self) -> Certificate:
        suggestion = None if self.solution is None else self.solution.theta
        with finishing():  # without it there is nothing but theta*, and the search has limits of its own
            whitened = self.whitened
        if self.image.at_least:
            found = count_rows(self.problem, self.image, self.drift, suggestion)
        else:
            found = count(self.problem, self.image, self.drift, suggestion, whitened)
        gap = (found.upper - found.lower) / found.upper if found.upper else Fraction(0)
        level = "exact" if found.upper == found.lower else "repaired"
        if level != "exact":
            over, many = "the time limit ended the search among sets of groups", "there are too many sets of groups"
            self.reasons.append(over if found.ended else f"{many} to try them all")
        numbers = {"lower": found.lower, "upper": found.upper, "gap": gap}
        claims = {"proof": level, **{name: rational_text(v) for name, v in numbers.items()}}
        tree: Tree = {"kind": "bounds", "primal": primal(self.image, found), "claims": claims}
        if found.exhausted >= 0:
            tree["count"] = found.tree(self.kept)
        return self._certificate(tree, proof=level, theta=nearest_floats(found.theta), **numbers)

    @cached_property
    def whitened(self) -> Whitened:
        return whiten(self.image.basis)

    # ------------------------------------------------------------ certificates

    def _from_proof(self, proof: Proof, level: str) -> Certificate:
        claims: Tree = {
            "proof": level,
            "lower": rational_text(proof.lower),
            "upper": rational_text(proof.upper),
            "gap": "0",
            "unique": True if proof.unique else None,
            "distance": "0" if proof.unique else None,
        }
        if proof.square is not None:
            claims["square"] = rational_text(proof.square)
        zero = Fraction(0)
        return self._certificate(
            {"kind": "bounds", "primal": proof.primal, "dual": self._dual(proof.dual), "claims": claims},
            proof=level,
            lower=proof.lower,
            upper=proof.upper,
            gap=zero,
            distance=zero if proof.unique else None,
            unique=True if proof.unique else None,
            square=proof.square,
            theta=nearest_floats(proof.theta),
        )

    def _certificate(self, parts: Tree, **fields: Any) -> Certificate:
        tree: Tree = {"schema": SCHEMA, "version": self.original.version, **parts}
        if self.original.origin is not None:
            tree |= about_network(self.original.origin, tree, fields.get("theta") if self.kept is None else None)
        if self.kept is not None and self.report.tau is not None:
            kept = [row for row in self.kept if not self.original.at_least[row]]
            tree["rows"] = {"kept": kept, "tau": rational_text(self.report.tau)}
            if self.report.labels:
                tree["rows"]["rhs"] = vector(self.report.labels)
        defaults = dict.fromkeys(UNKNOWN)
        message = "; ".join(self.reasons)
        return Certificate(
            **{"problem": self.original, "rows": self.report, "message": message, "tree": tree, **defaults, **fields}
        )

    def _dual(self, tree: Tree) -> Tree:
        """Rows of the image as rows of J."""
        if self.kept is None:
            return tree
        nu = [{**part, "indices": [self.kept[i] for i in part["indices"]]} for part in tree["nu"]]
        return {**tree, "nu": nu}

    def _infeasible(self, nu: list[Fraction], why: str) -> Certificate:
        dual = self._dual({"nu": vector({i: v for i, v in enumerate(nu) if v})})
        self.reasons.append(why)
        return self._certificate(
            {"kind": "infeasible", "dual": dual, "claims": {"proof": "infeasible"}}, proof="infeasible"
        )

    def _outside(self, nu: list[Fraction], why: str) -> Certificate:
        """`_infeasible`, perhaps because of a region.  What rounding explains is said, and not mended: labels may be
        moved by tau, but a radius is one number, which whoever states it can enlarge.
        """
        certificate = self._infeasible(nu, why)
        rhs = self.problem.rhs if self.kept is None else self.problem.rhs[self.kept]
        size = max(abs(Fraction(b)) for b, v in zip(rhs.tolist(), nu, strict=True) if v)
        missed = certificate.check().residual
        region = self.drift.ball is not None or self.drift.box is not None
        if not region or missed is None or missed > ROUNDING * size or self.problem.is_rational:
            return certificate
        return replace(certificate, message=f"{certificate.message}, by no more than rounding explains: enlarge it")

    def _nothing(self) -> Certificate:
        defaults: dict[str, Any] = dict.fromkeys(UNKNOWN)
        return Certificate(self.original, "none", rows=self.report, message="; ".join(self.reasons), **defaults)
