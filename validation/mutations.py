"""Every formula broken on purpose: a verification that would also pass for a false claim is worthless.

A mutant replaces one function by a slightly wrong one (a factor forgotten, an exponent off by one, a sign, a
missing row) while the claims of its result run on a few instances.  At least one claim must be contradicted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import activations, closed_form, rational

from . import (
    appendix_c,
    appendix_e,
    beyond,
    corollary_1,
    counterexample_d41,
    lemma_1,
    lemma_2,
    lemma_3,
    lemma_4,
    lemma_5,
    lemma_6,
    proposition_1,
    proposition_2,
    section_4_3,
    section_5_1,
    theorem_1,
    theorem_2,
    theorem_3,
    theorem_4,
    theorem_5,
)
from .falsehood import Breaker, broken
from .falsehoods import FALSEHOODS
from .finding import Claim, Measurement, Result, equal
from .instances import Rng
from .runner import BATCH, Cell, measure_cell


@dataclass(frozen=True)
class Mutant:
    """One formula, broken: `broken(original)` replaces `owner.name` (or `owner[name]` of a dictionary) while the
    claims of `result` run.
    """

    result: Result
    what: str
    owner: Any
    name: str
    broken: Breaker


def applied(mutant: Mutant) -> AbstractContextManager[None]:
    """The mutant in place; whatever happens, the original returns."""
    return broken(mutant.owner, mutant.name, mutant.broken)


def noticed_by(mutant: Mutant, instances: int = 2) -> str | None:
    """The key of the first claim that is contradicted under the mutant, or None if all of them let it pass.

    Only measured contradictions count: that a broken formula makes something crash proves nothing about the claim.
    """
    with applied(mutant):
        for claim in mutant.result.claims:
            for case in range(len(claim.cases)):
                cell = Cell(mutant.result.slug, claim.key, case, 0, min(instances, claim.quick, BATCH))
                measured = measure_cell(claim, cell)
                if measured.worst is not None and not measured.worst.holds:
                    return claim.key
    return None


# ---------------------------------------------------------------- ways to be wrong


def _scaled(factor: Any) -> Breaker:
    """The right result times a factor, in the arithmetic of the result."""
    return lambda f: lambda *a, **k: _times(f(*a, **k), factor)


def _times(value: Any, factor: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype == object:
        return value * Fraction(factor)
    return value * float(factor)


def _without_last_row(f: Any) -> Any:
    """A projection, or a sparse drift, that overlooks the last row."""
    return lambda rows, vectors: f(np.asarray(rows)[:-1], vectors)


def _without_last_vector_first(f: Any) -> Any:
    """The same for functions that take (vector, rows)."""
    return lambda vector, rows: f(vector, np.asarray(rows)[:-1])


def _forgets_norm(f: Any) -> Any:
    """Lemma 1 without |v|^-2."""

    def drift(network: Any, theta: Any, x: Any) -> Any:
        v = network.first_layer_factor(np.asarray(theta))
        return f(network, theta, x) * (v * v).sum()

    return drift


def _wrong_depth(change: int) -> Breaker:
    """Theorem 4's value with the exponent of another depth, the factor L kept."""
    return lambda f: lambda W, depth: f(W, depth + change) * depth / (depth + change)


def _basic_solution(f: Any) -> Any:
    """Feasible, but a basic solution instead of the min-norm one."""

    def solution(X: Any, y: Any, tolerance: float = 1e-9) -> Any:
        right = f(X, y, tolerance)
        if right.theta.dtype != object:
            return right
        theta = rational.solve(X, y)
        return type(right)(theta, right.nu, right.rank)

    return solution


def _long_parameters(f: Any) -> Any:
    """Theorem 4's parameters, balanced wrongly: the first layer doubled, the last one halved."""

    def parameters(network: Any, W: Any, directions: Any = None) -> Any:
        matrices = network.split(f(network, W, directions))
        if network.depth > 1:
            matrices["A1"], matrices["c"] = 2 * matrices["A1"], matrices["c"] / 2
        return network.join(matrices)

    return parameters


def _skips_layer(f: Any) -> Any:
    """V of a network without the factor c: the first hidden layer's backward signal forgotten."""
    return lambda self, theta: f(self, theta) * 0 + 1


def _prunes_all_but(f: Any) -> Any:
    """Proposition 1 with the condition inverted: the rows that matter are erased."""

    def prune(perceptron: Any, theta: Any) -> Any:
        matrices = perceptron.split(theta)
        matrices["A"][(matrices["c"] != 0).any(axis=0)] *= 0
        return perceptron.join(matrices)

    return prune


def _d41_wrong_sign(f: Any) -> Any:
    """D.4.1 with +e_3 e_3^T instead of -e_3 e_3^T."""

    def example(n_inputs: int = 3) -> Any:
        right = f(n_inputs)
        matrices = right.network.split(right.drift)
        matrices["A1"][2, 2] = -matrices["A1"][2, 2]
        return type(right)(
            right.network,
            right.theta_star,
            right.x,
            right.y,
            right.x_retain,
            right.y_retain,
            right.network.join(matrices),
        )

    return example


def _drift_with(wrong: Callable[[Any], Any]) -> Breaker:
    """Appendix E with another function of lam in place of 1 + lam."""

    def breaker(f: Any) -> Any:
        def drift(jacobian: Any, theta: Any, lam: Any = 0) -> Any:
            right = f(jacobian, theta, lam)
            exact = right.dtype == object
            return right * (1 + Fraction(lam)) / wrong(Fraction(lam)) if exact else right * (1 + lam) / wrong(lam)

        return drift

    return breaker


def _derivative(wrong: Callable[[Any], Any]) -> Breaker:
    """An activation whose derivative is another function."""
    return lambda pair: (pair[0], wrong)


def _ascends(f: Any) -> Any:
    """Gradient descent with the residual of the wrong sign."""
    return lambda x, y, start, step, steps: f(x, y, start, -step, steps)


def _starts_elsewhere(f: Any) -> Any:
    """Gradient descent that adds a constant at the start."""
    return lambda x, y, start, step, steps: f(x, y, start + 1, step, steps)


def _drops_constraint(f: Any) -> Any:
    """A surrogate that overlooks the last retain sample."""
    return lambda model, theta, x, *a, **k: f(model, theta, x[:-1], *a, **k)


def _one_neuron_more(f: Any) -> Any:
    """Theorem 5's solution plus a neuron too many: theta* itself."""
    return lambda perceptron, theta, x: np.asarray(theta)


def _unpruned(f: Any) -> Any:
    """Corollary 1 without Proposition 1."""
    return lambda perceptron, theta, x: closed_form.theorem_5_solution(perceptron, theta, x)


def _not_kernel(f: Any) -> Any:
    """A basis of the kernel with one entry changed."""

    def basis(matrix: Any) -> Any:
        N, pivots = f(matrix)
        if N.size:
            N[0, 0] += 1
        return N, pivots

    return basis


def _heavier(f: Any) -> Any:
    """Ridge regression with lam doubled."""
    return lambda x, y, lam: f(x, y, 2 * lam)


def _forgets_first_layer(f: Any) -> Any:
    """J of a network whose block A_1 is taken at half its size."""

    def jacobian(self: Any, theta: Any, x: Any) -> Any:
        matrix = np.array(f(self, theta, x).matrix)
        block = self.blocks[getattr(self, "first_block", "A")]
        matrix[:, block] = matrix[:, block] / 2
        return type(f(self, theta, x))(matrix)

    return jacobian


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        theorem_1.RESULT,
        "relu with derivative 1 everywhere",
        activations._FORMULAS,
        "relu",
        _derivative(lambda z: z * 0 + 1),
    ),
    Mutant(theorem_1.RESULT, "square with derivative z", activations._FORMULAS, "square", _derivative(lambda z: z)),
    Mutant(
        theorem_1.RESULT, "network Jacobian, first block halved", xu.LinearNetwork, "jacobian", _forgets_first_layer
    ),
    Mutant(
        theorem_1.RESULT,
        "quartic loss that is least at f = y + 1",
        theorem_1.LOSSES,
        "power 4",
        lambda f: lambda r: f(r - 1),
    ),
    Mutant(theorem_1.RESULT, "Huber loss without its quadratic part", theorem_1.LOSSES, "huber", lambda f: lambda r: r),
    Mutant(
        theorem_2.RESULT,
        "projection that overlooks a retain sample",
        closed_form,
        "project_onto_span",
        _without_last_row,
    ),
    Mutant(theorem_2.RESULT, "projection times 0.999", closed_form, "theorem_2_solution", _scaled(0.999)),
    Mutant(theorem_2.RESULT, "surrogate without the last constraint", xu, "surrogate_problem", _drops_constraint),
    Mutant(lemma_1.RESULT, "drift without |v|^-2", closed_form, "lemma_1_drift", _forgets_norm),
    Mutant(
        lemma_1.RESULT,
        "drift without |v|^-2, in floating point only",
        closed_form,
        "_pseudo_inverse",
        lambda f: lambda V: V.T,
    ),
    Mutant(lemma_1.RESULT, "drift of the wrong sign", closed_form, "lemma_1_drift", _scaled(-1)),
    Mutant(
        lemma_1.RESULT,
        "drift towards P_S instead of its complement",
        closed_form,
        "project_off_span",
        lambda f: closed_form.project_onto_span,
    ),
    Mutant(lemma_1.RESULT, "drift that overlooks a retain sample", closed_form, "project_off_span", _without_last_row),
    Mutant(theorem_3.RESULT, "v replaced by ones", xu.LinearNetwork, "first_layer_factor", _skips_layer),
    Mutant(theorem_3.RESULT, "surrogate without the last constraint", xu, "surrogate_problem", _drops_constraint),
    Mutant(
        counterexample_d41.RESULT,
        "counterexample with a sign changed",
        closed_form,
        "counterexample_d41",
        _d41_wrong_sign,
    ),
    Mutant(theorem_4.RESULT, "value with exponent 2/(L+1)", closed_form, "theorem_4_value", _wrong_depth(1)),
    Mutant(
        theorem_4.RESULT,
        "value without the factor L",
        closed_form,
        "theorem_4_value",
        lambda f: lambda W, depth: f(W, depth) / depth,
    ),
    Mutant(theorem_4.RESULT, "value too large by 1 part in 10^4", closed_form, "theorem_4_value", _scaled(1.0001)),
    Mutant(theorem_4.RESULT, "layers of unequal norm", closed_form, "theorem_4_parameters", _long_parameters),
    Mutant(
        lemma_2.RESULT, "relu with derivative 0 everywhere", activations._FORMULAS, "relu", _derivative(lambda z: z * 0)
    ),
    Mutant(
        lemma_2.RESULT,
        "leaky relu with the slope forgotten",
        activations.Activation,
        "derivative",
        lambda f: lambda self, z: f(self, abs(z)),
    ),
    Mutant(
        lemma_2.RESULT,
        "tanh with derivative 1 - tanh",
        activations._FORMULAS,
        "tanh",
        _derivative(lambda z: 1 - np.tanh(z)),
    ),
    Mutant(
        lemma_2.RESULT,
        "gelu without the density term",
        activations._FORMULAS,
        "gelu",
        _derivative(activations._normal_cdf),
    ),
    Mutant(lemma_2.RESULT, "perceptron Jacobian, block A halved", xu.Perceptron, "jacobian", _forgets_first_layer),
    Mutant(theorem_5.RESULT, "solution with all neurons", closed_form, "theorem_5_solution", _one_neuron_more),
    Mutant(
        theorem_5.RESULT,
        "sparse drift that overlooks a sample",
        closed_form,
        "lemma_6_sparse_drift",
        _without_last_vector_first,
    ),
    Mutant(
        proposition_1.RESULT,
        "active neurons erased instead of silent ones",
        closed_form,
        "proposition_1_prune",
        _prunes_all_but,
    ),
    Mutant(
        proposition_1.RESULT,
        "nothing erased",
        closed_form,
        "proposition_1_prune",
        lambda f: lambda perceptron, theta: np.array(theta),
    ),
    Mutant(corollary_1.RESULT, "no pruning after Theorem 5", closed_form, "corollary_1_solution", _unpruned),
    Mutant(
        lemma_3.RESULT, "a basic solution instead of the min-norm one", closed_form, "lemma_3_min_norm", _basic_solution
    ),
    Mutant(
        lemma_3.RESULT,
        "multipliers of the wrong size",
        closed_form,
        "MinNormSolution",
        lambda f: lambda theta, nu, rank: f(theta, nu / 2, rank),
    ),
    Mutant(lemma_4.RESULT, "a kernel basis with a wrong entry", rational, "nullspace", _not_kernel),
    Mutant(lemma_5.RESULT, "projection that overlooks a row", closed_form, "project_onto_span", _without_last_row),
    Mutant(
        lemma_6.RESULT,
        "sparse drift that overlooks a row",
        closed_form,
        "lemma_6_sparse_drift",
        _without_last_vector_first,
    ),
    Mutant(
        section_4_3.RESULT,
        "hinges at the samples where lines meet between them",
        section_4_3,
        "interpolant",
        lambda f: lambda x, y: [(c, a, Fraction(round(b))) for c, a, b in f(x, y)],
    ),
    Mutant(section_5_1.RESULT, "ridge of twice the weight", section_5_1, "ridge", _heavier),
    Mutant(
        section_5_1.RESULT,
        "Newton step that forgets the weight in the gradient",
        section_5_1,
        "newton_removal",
        lambda f: lambda theta, x, y, lam: f(theta, x, y, lam) * (1 + lam),
    ),
    Mutant(lemma_6.RESULT, "sparse drift of half the size", closed_form, "lemma_6_sparse_drift", _scaled(0.5)),
    Mutant(proposition_2.RESULT, "gradient ascent", proposition_2, "descend", _ascends),
    Mutant(proposition_2.RESULT, "a start outside the row space", proposition_2, "descend", _starts_elsewhere),
    Mutant(
        appendix_c.RESULT,
        "leak without its projection off the retain span",
        appendix_c,
        "leak",
        lambda f: lambda data, theta: theta,
    ),
    Mutant(
        appendix_e.RESULT, "factor 1/(1 + lam/2)", closed_form, "appendix_e_drift", _drift_with(lambda lam: 1 + lam / 2)
    ),
    Mutant(
        appendix_e.RESULT, "factor (1 + lam) forgotten", closed_form, "appendix_e_drift", _drift_with(lambda lam: 1)
    ),
    Mutant(
        appendix_e.RESULT, "projection that overlooks a row of J", closed_form, "project_off_span", _without_last_row
    ),
    Mutant(
        beyond.RESULT, "projection that overlooks a retain sample", closed_form, "project_onto_span", _without_last_row
    ),
    Mutant(beyond.RESULT, "factor 1/(2 + lam)", closed_form, "appendix_e_drift", _drift_with(lambda lam: 2 + lam)),
)


def _noticed(rng: Rng, case: Any) -> Measurement:
    return equal(1, int(noticed_by(MUTANTS[case]) is not None))


def _contradicted(rng: Rng, case: Any) -> Measurement:
    return equal(1, int(FALSEHOODS[case].contradicted()))


RESULT = Result(
    name="Self-check",
    title="Would a wrong formula be noticed, or a false statement?",
    statement=(
        "A verification that would also pass for a false claim is worthless. So every formula is broken on "
        "purpose, one at a time, and the claims of its result are measured again: at least one of them must be "
        "contradicted. And every claim is made to say something false: it must be contradicted itself."
    ),
    tried=(
        "One broken formula, or one false statement, per line of the table below: forgotten factors, wrong exponents, "
        "signs, derivatives, projections and missing samples; bounds tightened by 1, assumptions dropped, conclusions "
        "denied."
    ),
    claims=(
        Claim(
            "mutations",
            "Every broken formula is noticed.",
            _noticed,
            "noticed (1 = yes)",
            kind="ours",
            cases=tuple(range(len(MUTANTS))),
            quick=1,
            full=1,
        ),
        Claim(
            "statements",
            "Every claim, made false, is contradicted.",
            _contradicted,
            "contradicted (1 = yes)",
            kind="ours",
            cases=tuple(range(len(FALSEHOODS))),
            quick=1,
            full=1,
        ),
    ),
    figure="",
    caption="",
)
