"""A false statement for every claim: the self-check says that all of them are contradicted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import exact_unlearn as xu
from exact_unlearn import closed_form, rational

from . import (
    appendix_c,
    appendix_e,
    beyond,
    corollary_1,
    counterexample_d41,
    diagonal,
    least_width,
    lemma_1,
    lemma_2,
    lemma_3,
    lemma_4,
    lemma_5,
    lemma_6,
    max_margin,
    naive,
    one_door,
    proposition_1,
    proposition_2,
    requests,
    retain_error,
    same_start,
    section_4_3,
    section_5_1,
    subsample,
    theorem_1,
    theorem_2,
    theorem_3,
    theorem_4,
    theorem_5,
)
from .falsehood import (
    Break,
    Falsehood,
    denies,
    doubled,
    halved,
    of,
    one_less,
    one_more,
    says,
    slightly_more,
)


def misses(module: Any, name: str) -> Break:
    """Instances whose theta* misses every label by 1: the assumption that it interpolates is dropped."""

    def breaker(original: Any) -> Any:
        def instance(*arguments: Any, **options: Any) -> Any:
            return tuple(
                replace(part, y=part.y + 1) if hasattr(part, "n_retain") else part
                for part in original(*arguments, **options)
            )

        return instance

    return module, name, breaker


def fits_others(module: Any) -> Break:
    """theta* that fits all labels raised by 1 in place of the labels."""

    def breaker(original: Any) -> Any:
        return lambda model, data, rng: original(model, replace(data, y=data.y + 1), rng)

    return module, "interpolating", breaker


def _misses_samples(original: Any) -> Any:
    def samples(rng: Any, kind: str) -> Any:
        model, theta, (x, y), (x_f, y_f) = original(rng, kind)
        return model, theta, (x, y + 1), (x_f, y_f + 1)

    return samples


def _wrong_labels(original: Any) -> Any:
    def samples(rng: Any, kind: str) -> Any:
        model, theta, (x, y), forget = original(rng, kind)
        return model, theta, (x, -y), forget

    return samples


MISSED: Break = (theorem_1, "_samples", _misses_samples)
ANY_DIRECTION: Break = (rational, "nullspace", lambda f: lambda matrix: (rational.identity(matrix.shape[1]), []))
LAST_LEFT_OUT: Callable[[Any], Any] = lambda f: lambda rows, vectors: f(rows[:-1], vectors)  # noqa: E731


def _everything_moves(original: Any) -> Any:
    return lambda network, theta, x: xu.surrogate_problem(network, theta, x, xu.SquaredL2())


def _shifted(loss: Any) -> Any:
    return lambda r: loss(r - 1)


def _swapped(original: Any) -> Any:
    """Multipliers where there were none, and none where there were."""

    def solved(rows: Any) -> Any:
        found = original(rows)
        return found and (found[0], [int(not value) for value in found[1]])

    return solved


THEOREMS = (
    *of(
        theorem_1,
        nothing_happens=("The method returns the same where theta* misses the labels by 1.", MISSED),
        depths=("Deep networks that miss the labels by 1 do not move.", misses(theorem_1, "network_instance")),
        zero_one=(
            "A classifier that is wrong about every retained sample makes no error.",
            (theorem_1, "_samples", _wrong_labels),
        ),
        any_model=(
            "Losses that are least at f = y + 1 have gradient 0 at f = y.",
            *((theorem_1.LOSSES, name, _shifted) for name in theorem_1.LOSSES),
        ),
        influence=(
            "Influence functions change nothing where theta* misses the labels by 1.",
            MISSED,
        ),
        hessian=("The Hessian is J^T J also where theta* misses the labels by 1.", MISSED),
        every_activation=(
            "A network that misses the labels by a thousandth has a gradient that is rounding.",
            (xu.Perceptron, "predict", lambda f: lambda *a: f(*a) * 1.001),
        ),
        distance=("The squared distance is |theta*|^2 - |theta_r|^2 + 1.", says(theorem_1, "equal", one_more)),
        distance_other=("The shorter network has outputs y + 1.", says(theorem_1, "equal", one_more)),
        not_interpolating=("The gradient is 2 J^T r.", says(theorem_1, "equal", doubled)),
        other_loss=(
            "Squares that are least at f = y move theta*.",
            (theorem_1, "_squared", lambda f: lambda r: f(r + 1)),
        ),
        absolute=("No choice of subgradients moves theta*.", denies(theorem_1, "differ")),
    ),
    Falsehood(
        theorem_1.RESULT,
        "other-loss",
        "The logistic loss has the slope -y at f = y.",
        ((theorem_1, "close", lambda f: lambda p, m, *a, **k: f(p * 2, m, *a, **k)),),
    ),
    *of(
        theorem_2,
        projection=("The projection is the min-norm solution wherever theta* is.", misses(theorem_2, "_instance")),
        surrogate=("The surrogate solves the exact problem wherever theta* is.", misses(theorem_2, "_instance")),
        minimiser=("So does the solver's minimiser.", fits_others(theorem_2)),
        floats=("The last retain sample may be left out.", (closed_form, "project_onto_span", LAST_LEFT_OUT)),
        several_outputs=("Every row is projected wherever theta* is.", misses(theorem_2, "_instance")),
        nothing_retained=("With nothing retained every entry is 1.", says(theorem_2, "equal", one_more)),
        nothing_forgotten=("With nothing forgotten theta* stays.", denies(theorem_2, "below")),
        dependent_rows=("Repeated rows change nothing wherever theta* is.", misses(theorem_2, "_instance")),
        no_freedom=("With rank m the optimum is 1 more than that of theta*.", says(theorem_2, "optimum", one_more, 1)),
        warned=("One is warned twice.", says(theorem_2, "equal", one_more)),
        not_interpolating=("Half of the miss remains.", says(theorem_2, "equal", halved)),
        with_penalty=("With a penalty half as much remains.", says(theorem_2, "equal", halved)),
    ),
    *of(
        theorem_3,
        optimum=("The optimum is |w_r| wherever theta* is.", misses(theorem_3, "instance")),
        bottleneck=("So it is with a bottleneck.", misses(theorem_3, "instance")),
        predictor=("The minimiser predicts like w_r wherever theta* is.", fits_others(theorem_3)),
        solver_point=(
            "With R = |theta|^2 and nothing frozen, too, nothing but A_1 moves.",
            (theorem_3, "_surrogate", _everything_moves),
        ),
        pipeline=("Theorem 3, then Theorem 4, is the shortest network wherever theta* is.", fits_others(theorem_3)),
        other_minimisers=("Other minimisers predict like w_r wherever theta* is.", misses(theorem_3, "instance")),
        uniqueness=("The minimiser is unique exactly when rank V < h_1.", says(theorem_3, "equal", lambda p: 1 - p)),
        several_outputs=("The optimum is |W_r|_F wherever theta* is.", misses(theorem_3, "instance")),
        nothing_retained=("With nothing retained the optimum is 1.", says(theorem_3, "root_optimum", one_more, 1)),
        dependent_rows=("Repeated rows change nothing wherever theta* is.", misses(theorem_3, "instance")),
        dead_network=("A dead network has the optimum 1.", says(theorem_3, "root_optimum", one_more, 1)),
        all_layers=("With nothing frozen the objective stays above |w_r|.", denies(theorem_3, "below")),
        not_interpolating=(
            "The optimum is larger than that of the labels that theta* gives.",
            says(theorem_3, "root_optimum", one_more, 1),
        ),
    ),
    *of(
        counterexample_d41,
        as_stated=("Every number is 1 more.", says(counterexample_d41, "equal", one_more)),
        interpolates=("theta* gives 1 less than the labels.", says(counterexample_d41, "equal", one_more)),
        feasible=("The drift is 0.", denies(counterexample_d41, "differ")),
        objective=("The objective is 1.", says(counterexample_d41, "equal", one_more)),
        misses=("The retain sample is still fitted.", denies(counterexample_d41, "differ")),
        restrained=(
            "The optimum is larger than that of the exact problem.",
            says(counterexample_d41, "root_optimum", one_more, 1),
        ),
    ),
    *of(
        theorem_4,
        exact=("|theta|^2 = 2 L rho^(2/L).", says(theorem_4, "equal", doubled)),
        closed_form=("The value is a thousandth larger.", says(theorem_4, "close", slightly_more)),
        inequalities=("rho >= |w| >= |c| prod |A_i|.", denies(theorem_4, "at_least")),
        semidefinite=("The semidefinite program proves 4 rho.", (naive, "min_norm", lambda f: lambda *a: 2 * f(*a))),
        geometric=("The value is a thousandth larger.", says(theorem_4, "close", slightly_more)),
        descent=("Descent never ends below 1.01 times the value.", says(theorem_4, "at_least", lambda p: 1.01 * p)),
        reached=("Descent reaches a value a thousandth larger, and no less.", says(theorem_4, "close", slightly_more)),
        several_outputs=("The value is a thousandth larger.", says(theorem_4, "close", slightly_more)),
        several_outputs_exact=("Other factors are at least twice as long.", says(theorem_4, "at_least", doubled)),
        several_outputs_descent=(
            "Descent never ends below 1.01 times the value.",
            says(theorem_4, "at_least", lambda p: 1.01 * p),
        ),
        one_output_only=("2 |W_r|_F is no less than the proved bound.", denies(theorem_4, "above")),
        other_predictor=("Built on another predictor they are no longer.", denies(theorem_4, "above")),
        not_unit=("With |v_1| = 2 they fit.", denies(theorem_4, "differ")),
        zero=("With rho = 0 the value is 1.", says(theorem_4, "equal", one_more)),
        one_layer=("One layer is a thousandth longer.", says(theorem_4, "close", slightly_more)),
    ),
    *of(
        lemma_2,
        feasible_fits=("Feasible points fit labels that theta* misses.", misses(lemma_2, "taught_perceptron")),
        fits_feasible=("Every c is feasible, whatever it fits.", ANY_DIRECTION),
        solution=("The solution fits labels that theta* misses.", misses(lemma_2, "taught_perceptron")),
        jacobian=("The derivatives are twice as large.", says(lemma_2, "equal", doubled)),
        jacobian_floats=("They are a thousandth larger.", says(lemma_2, "close", slightly_more)),
        first_layer_moves=("The dead network fits the retain data.", denies(lemma_2, "differ")),
    ),
    *of(
        theorem_5,
        construction=("s - 1 neurons suffice.", says(theorem_5, "at_most", one_less)),
        optimum=("The optimum is at most s - 1.", says(theorem_5, "at_most", one_less)),
        optimum_smooth=("So it is for every activation.", says(theorem_5, "at_most", one_less)),
        planted=("Labels of k neurons need at most k - 1.", says(theorem_5, "at_most", one_less)),
        vertex=("A vertex has at most s - 1 neurons.", says(theorem_5, "at_most", one_less)),
        wide=("So has the construction for 120 neurons.", says(theorem_5, "at_most", one_less)),
        several_outputs=("Several outputs share s - 1 neurons.", says(theorem_5, "at_most", one_less)),
        dependent_rows=("Repeated samples allow s - 1.", says(theorem_5, "at_most", one_less)),
        nothing_retained=("With nothing retained one neuron is left.", says(theorem_5, "equal", one_more)),
        free_bias=("A constant function needs one neuron.", says(theorem_5, "equal", one_more)),
        first_layer_moves=("With A free the retain data are still fitted.", denies(theorem_5, "differ")),
        fewer=("s neurons are not enough.", says(theorem_5, "at_least", one_more)),
    ),
    Falsehood(
        theorem_5.RESULT,
        "fewer",
        "s - 1 neurons are not enough for any labels, 0 included.",
        ((theorem_5, "integers", lambda f: lambda *a, **k: 0 * f(*a, **k)),),
    ),
)

REST = (
    *of(
        lemma_1,
        closed_form=("The drift unlearns wherever theta* is.", fits_others(lemma_1)),
        bottleneck=("So it does with a bottleneck.", fits_others(lemma_1)),
        floats=("So it does in floats.", fits_others(lemma_1)),
        jacobian=("The derivatives are twice as large.", says(lemma_1, "equal", doubled)),
        several_outputs=("So it does with several outputs.", fits_others(lemma_1)),
        dead_network=("The drift of a dead network is 1.", says(lemma_1, "equal", one_more)),
        not_interpolating=("Half of the miss remains.", says(lemma_1, "equal", halved)),
        all_layers=("The retain outputs stay when all layers move.", denies(lemma_1, "differ")),
    ),
    *of(
        proposition_1,
        function=("The function grows by 1.", says(proposition_1, "equal", one_more)),
        counts=("One row more than R is left.", says(proposition_1, "equal", one_more)),
        every_activation=("The function grows by a thousandth.", says(proposition_1, "close", slightly_more)),
        active_row=("Active rows can be erased, too.", denies(proposition_1, "differ")),
    ),
    *of(
        corollary_1,
        end_to_end=("s - 1 rows suffice.", says(corollary_1, "at_most", one_less)),
        minimiser=("R + 1 rows are left.", says(corollary_1, "equal", one_more)),
        several_outputs=("Several outputs share s - 1 rows.", says(corollary_1, "at_most", one_less)),
        every_activation=("s - 1 rows suffice for every activation.", says(corollary_1, "at_most", one_less)),
        bias=("The bias makes a thousandth more.", says(corollary_1, "close", slightly_more)),
        bias_dropped=("The bias can be dropped.", denies(corollary_1, "differ")),
        nothing_retained=("One parameter is left.", says(corollary_1, "equal", one_more)),
    ),
    *of(
        section_4_3,
        construction=("K neurons suffice.", says(section_4_3, "at_most", lambda p: p - 2)),
        lower_bound=("h neurons never make K > h - 1.", says(section_4_3, "at_most", one_less)),
        least_width=("K neurons suffice.", says(section_4_3, "at_most", lambda p: p - 2)),
        needed=("Zigzags need n_r - 1 neurons.", says(section_4_3, "at_least", one_more)),
        against_s=("With A free there is always one neuron less.", says(section_4_3, "at_most", one_less)),
        planted=("Labels of k neurons need at most k - 1.", says(section_4_3, "at_most", one_less)),
        straight=("Samples on a line need a kink.", says(section_4_3, "equal", one_more)),
        convex=("Convex labels need n_r - 2 neurons, too.", denies(section_4_3, "below")),
    ),
    *of(
        lemma_3,
        kkt=("The min-norm solution is 2 X^T nu.", says(lemma_3, "equal", doubled)),
        uniqueness=("Points outside the row space raise the rank by 2.", says(lemma_3, "equal", one_more)),
        optimality=("The optimum is 1 more.", says(lemma_3, "optimum", one_more, 1)),
        floats=("In floats it is a thousandth longer.", says(lemma_3, "close", slightly_more)),
        other_norm=("The l1 norm is no smaller elsewhere.", denies(lemma_3, "below")),
        inconsistent=("Contradictory equations are refused twice.", says(lemma_3, "equal", one_more)),
    ),
    Falsehood(
        lemma_3.RESULT,
        "other-norm",
        "Points outside of the row space are shorter in the Euclidean norm, too.",
        ((xu, "L1", lambda f: lambda: xu.L2()), says(lemma_3, "below", lambda p: 0)),
    ),
    *of(
        lemma_4,
        kernel_stays=("theta_min + z solves the system for every z.", ANY_DIRECTION),
        nothing_else=("Solutions differ by what makes every product 1.", says(lemma_4, "equal", one_more)),
        dimension=("The kernel has dimension m - rank X + 1.", says(lemma_4, "equal", one_more)),
        other_direction=(
            "Other directions change more outputs than there are.",
            says(lemma_4, "at_least", lambda p: 99),
        ),
        inconsistent=(
            "Contradictory equations have a solution.",
            (rational, "inconsistency", lambda f: lambda X, y: None),
        ),
    ),
    *of(
        lemma_5,
        projection=("The projection is min-norm whatever theta fits.", fits_others(lemma_5)),
        floats=("In floats it is a thousandth longer.", says(lemma_5, "close", slightly_more)),
        dependent_rows=("So it is with repeated rows.", fits_others(lemma_5)),
        not_feasible=("Half of the miss remains.", says(lemma_5, "equal", halved)),
    ),
    *of(
        lemma_6,
        exact=("s - 1 entries suffice.", says(lemma_6, "at_most", one_less)),
        floats=("They do in floats.", says(lemma_6, "at_most", one_less)),
        dependent_rows=("Dependent rows allow rank - 1.", says(lemma_6, "at_most", one_less)),
        several_outputs=("Several vectors share s - 1 columns.", says(lemma_6, "at_most", one_less)),
        sharp=("s entries are not enough.", says(lemma_6, "at_least", one_more)),
    ),
    *of(
        proposition_2,
        row_space=(
            "Iterates stay in the row space from any start.",
            (proposition_2, "descend", lambda f: lambda x, y, start, *a: f(x, y, start + 1, *a)),
        ),
        error=("The error halves at every step.", says(proposition_2, "at_most", halved)),
        longer_step=("The error is twice as large.", says(proposition_2, "equal", doubled)),
        limit=("The limit is a thousandth longer.", says(proposition_2, "close", slightly_more)),
        dependent_rows=("So it is with repeated rows.", says(proposition_2, "close", slightly_more)),
        large_step=("With 3 / lambda_max the error does not grow.", denies(proposition_2, "above")),
        other_start=("From elsewhere the limit is no longer.", denies(proposition_2, "above")),
        inconsistent=("With two labels the limit is 1 above their mean.", says(proposition_2, "equal", one_more)),
    ),
    *of(
        appendix_c,
        stationary=("Gradient descent moves theta* by 1.", says(appendix_c, "equal", one_more)),
        leak=("The leak is twice the difference.", says(appendix_c, "equal", doubled)),
        outputs=("The forgotten outputs are 1 less than their labels.", says(appendix_c, "equal", one_more)),
        implied_labels=("Implied labels leave a trace of 1.", says(appendix_c, "equal", one_more)),
        same_span=("Inputs in the span leave a trace of 1.", says(appendix_c, "equal", one_more)),
    ),
    *of(
        appendix_e,
        closed_form=("The drift is -2 (1 + lam)^-1 P theta*.", says(appendix_e, "equal", doubled)),
        optimality=("The optimum is 1 more.", says(appendix_e, "optimum", one_more, 1)),
        every_activation=("The drift is a thousandth longer.", says(appendix_e, "close", slightly_more)),
        full_rank=("With rank d the drift is 1.", says(appendix_e, "equal", one_more)),
        many_rows=("The drift is twice as long.", says(appendix_e, "equal", doubled)),
        nothing_retained=("The drift is -2 theta* / (1 + lam).", says(appendix_e, "equal", doubled)),
        not_squared=("The closed form is optimal for |theta| as well.", denies(appendix_e, "below")),
    ),
    *of(
        section_5_1,
        minimiser=("The ridge answer is half as long.", says(section_5_1, "equal", doubled)),
        limit=("The distance is at most lam |.| / sqrt 2.", says(section_5_1, "at_most", halved)),
        newton=("The Newton step ends at half of the answer.", says(section_5_1, "equal", doubled)),
        unlearns=("It tends there faster than linearly.", says(section_5_1, "at_most", lambda p: p / 10**6)),
        influence=(
            "Influence functions change nothing for a positive weight, too.",
            says(section_5_1, "at_most", lambda p: 0),
        ),
        dependent_rows=(
            "Repeated rows have their limit for a positive weight.",
            says(section_5_1, "at_most", lambda p: 0),
        ),
        weight_stays=("With lam = 1 the ridge answer is the min-norm one.", denies(section_5_1, "above")),
        inconsistent=("The limit is a thousandth above the mean.", says(section_5_1, "close", slightly_more)),
    ),
    *of(
        beyond,
        every_norm=("Surrogate and exact problem agree wherever theta* is.", fits_others(beyond)),
        sequential=("Two requests leave half.", says(beyond, "equal", doubled)),
        optimal_sets=("The optimum is 1 more.", says(beyond, "optimum", one_more, 1)),
        independent=("One model ends at twice the other.", says(beyond, "equal", doubled)),
        sequential_penalty=("Two requests leave half as much.", says(beyond, "equal", doubled)),
        independent_penalty=("Half of that share remains.", says(beyond, "equal", doubled)),
        repeated=("Repetition leaves half as much.", says(beyond, "equal", doubled)),
        sequential_nonlinear=("Two requests to a perceptron are one.", denies(beyond, "differ")),
        independent_nonlinear=("Perceptrons end at one function.", denies(beyond, "differ")),
        error_law=("The error is twice as large.", says(retain_error, "equal", doubled)),
        error_exponent=("The exponent is -2.01.", says(retain_error, "close", lambda p: 1.005 * p)),
        error_depth=(
            "The coefficient is a thousandth larger.",
            (retain_error, "close", lambda f: lambda p, m, *a, **k: f(1.001, float(m), *a, **k)),
        ),
        dead_everywhere=("The dead network has outputs 1.", says(beyond, "equal", one_more)),
        tightness=("s - 1 neurons suffice.", says(beyond, "at_most", one_less)),
        generic_labels=("Labels in general position need s + 1.", says(beyond, "equal", one_more)),
        same_start=(
            "Retraining from theta_0 ends at the shortest theta.",
            (same_start, "_nearest", lambda f: lambda data, start: f(data, 0 * start)),
        ),
        same_start_descent=("A billionth of that error is left.", says(same_start, "at_most", lambda p: p / 10**18)),
        same_start_centre=("The centre does not matter.", denies(same_start, "above")),
        margin_forgotten=("Support vectors may be forgotten.", (naive, "widest_margin", _swapped)),
        margin_support=("Without a support vector the optimum is no smaller.", denies(max_margin, "below")),
        margin_wide=("The optimum is twice as large without the sample.", says(max_margin, "equal", doubled)),
        margin_narrow=("One neuron stays where it is.", denies(max_margin, "below")),
        margin_deep=("A deep diagonal network stays where it is.", denies(max_margin, "below")),
        predictor_chain=("A shorter chain is enough.", says(one_door, "equal", halved)),
        predictor_matrix=("The value is a thousandth larger.", says(one_door, "close", slightly_more)),
        diagonal_two=("The least value is 2 |w|_1.", says(diagonal, "optimum", doubled, 1)),
        diagonal_deep=("The value is a thousandth larger.", says(diagonal, "close", slightly_more)),
        diagonal_another=("The shortest w is the best for every depth.", denies(diagonal, "below")),
        order=("Two requests leave half.", says(requests, "equal", halved)),
        order_retaken=("Perceptrons forget in any order.", denies(requests, "above")),
        order_retaken_smooth=("Smooth perceptrons forget in any order.", denies(requests, "above")),
        order_penalty=("The orders end twice as far apart.", says(requests, "equal", doubled)),
        order_local=("The orders end half as far apart.", says(requests, "equal", halved)),
        subsample_change=("Outputs change by half as much.", says(subsample, "equal", halved)),
        subsample_enough=("One row more is needed.", says(subsample, "equal", one_more)),
        subsample_any=("One row less is enough.", says(subsample, "equal", one_less)),
        subsample_few=("One row less changes nothing.", denies(subsample, "above")),
        true_width=("One neuron less is enough.", says(least_width, "equal", one_less)),
        true_width_certified=("One neuron more is needed.", says(least_width, "equal", one_more)),
        true_width_affine=("One neuron per kink is enough.", denies(least_width, "above")),
    ),
)

FALSEHOODS: tuple[Falsehood, ...] = THEOREMS + REST
