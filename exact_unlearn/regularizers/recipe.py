"""Regularizers from their forms: the face that all of them have, sums of them, and forms as they stand in files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms import Form, Rows, Space, part_from_spec
from exact_unlearn.jacobian import Array, real_array
from exact_unlearn.vectors import Value, as_number, exact_product, load_cvxpy


class Recipe:
    """A regularizer that is its form.

    A subclass returns the form and nothing else; `value`, `expression`, `conjugate` and so on are derived from it, as
    are programs and proofs.  Recipes add up (`R1 + R2`), scale (`2 * R`), move (`R.centred_at(theta_0)`) and take a
    linear map (`R.of(M)`, the function theta -> R(M theta)).

    >>> from exact_unlearn.forms import Form, Kink, Square
    >>> class Ridge(Recipe):
    ...     def form(self, space):
    ...         return Form((Kink(), Square()))
    >>> Ridge().value([1.0, -2.0])
    5.5
    """

    name: ClassVar[str] = "form"

    def form(self, space: Space) -> Form:
        """R as a sum of parts on `space`."""
        raise ProblemError(f"regularizer: {type(self).__name__} has no form(space)")

    # ------------------------------------------------------------ derived from the form

    @property
    def is_norm(self) -> bool:
        """A norm or seminorm: R(s theta) = |s| R(theta)."""
        return self.form(Space()).is_norm

    @property
    def strictly_convex(self) -> bool:
        """R is strictly convex, so the minimiser is unique whatever drift penalty is added."""
        return self.form(Space()).strictly_convex

    @property
    def unique_minimiser(self) -> bool:
        """R has at most one minimiser over every convex set."""
        return self.form(Space()).unique_minimiser

    @property
    def integer(self) -> bool:
        """R counts; its program has integer variables."""
        return self.form(Space()).integer

    @property
    def convex(self) -> bool:
        """Whether R is convex; what is not is proved by trying all there is to try."""
        return self.form(Space()).convex

    @property
    def movable(self) -> slice | None:
        """The only coordinates that may move (a block), or None for all."""
        return None

    def validate(self, n_parameters: int) -> None:
        """ProblemError unless R fits theta of length `n_parameters`."""
        self.form(Space(n_parameters)).require(n_parameters)

    def value(self, theta: Any) -> Value:
        """R(theta): a float, or an exact Fraction for vectors of Fractions where R is rational."""
        return self.form(Space.of(theta)).value(theta)

    def expression(self, theta: Any) -> Any:
        """R as a CVXPY expression of the affine CVXPY expression `theta`, shape (d,)."""
        load_cvxpy()  # says what is missing before anything else does
        return self.form(Space(int(theta.shape[0]))).expression(theta)

    def conjugate(self, g: Any, tol: float = 0.0) -> Value:
        """R*(g) = sup <g, theta> - R(theta), where that is a formula (one summand); `tol`: slack of membership."""
        return self.form(Space.of(g)).conjugate(g, tol)

    def dual_norm(self, g: Any) -> Value:
        """sup <g, theta> over R(theta) <= 1, where R is a single norm; ProblemError otherwise."""
        return self.form(Space.of(g)).dual_norm(g)

    def prox(self, v: Any, step: float) -> Array:
        """argmin_x step * R(x) + 1/2 |x - v|^2 in floats, where that is a formula; ProblemError otherwise."""
        return self.form(Space.of(v)).prox(v, step)

    def to_spec(self) -> dict[str, Any]:
        """The form as data: {"name": "form", "terms": [...]}."""
        return {"name": "form", "terms": self.form(Space()).to_spec()}

    @property
    def has_conjugate(self) -> bool:
        """R* is a formula, so that one subgradient of R says it all."""
        return self.form(Space()).plain

    # ------------------------------------------------------------ names

    @property
    def resolved(self) -> bool:
        """False while groups or blocks are only named."""
        return True

    def for_model(self, model: Any) -> Any:
        """The same with groups and blocks of `model` in the place of their names.  ProblemError if it has no such."""
        return self

    # ------------------------------------------------------------ algebra

    def __add__(self, other: Any) -> Any:
        if isinstance(other, int) and other == 0:  # where sum() starts
            return self
        if not hasattr(other, "form") or isinstance(other, type):
            return NotImplemented
        return Sum((*_summed(self), *_summed(other)))

    __radd__ = __add__

    def __mul__(self, factor: Any) -> Any:
        number = as_number("factor", factor)
        if number == 0:
            raise ProblemError("factor: expected a number > 0, got 0; leave the regularizer out of the sum")
        return Sum(tuple(replace(each, factor=exact_product(number, each.factor)) for each in _summed(self)))

    __rmul__ = __mul__

    def centred_at(self, centre: Any) -> Any:
        """The function theta -> R(theta - centre), such as the distance to an initialisation theta_0.

        centre: (d,) finite numbers.  Raises ProblemError otherwise.
        """
        point = real_array("centre", centre, ndim=1)
        return Sum(tuple(replace(each, steps=(("centre", point), *each.steps)) for each in _summed(self)))

    def of(self, matrix: Any) -> Any:
        """The function theta -> R(M theta).

        matrix: M (m, d), an array, a SciPy matrix or `Rows`.  Raises ProblemError unless its numbers are finite.
        """
        rows = Rows.of(matrix, "matrix")
        return Sum(tuple(replace(each, steps=(("map", rows), *each.steps)) for each in _summed(self)))


@dataclass(frozen=True, eq=False)
class Shifted:
    """factor * R(step_n(... step_1(theta))): a summand; steps: ("centre", c) subtracts, ("map", M) multiplies."""

    regularizer: Any
    factor: Value = 1
    steps: tuple[tuple[str, Any], ...] = ()

    def form(self, space: Space) -> Form:
        """Of theta, from the inside out."""
        size = space.size
        for kind, step in self.steps:
            size = step.shape[0] if kind == "map" else size
        form: Form = self.regularizer.form(Space(size, space.theta_star if not self.steps else None))
        for kind, step in reversed(self.steps):
            form = form.composed(step) if kind == "map" else form.centred(step)
        return form.scaled(self.factor)


@dataclass(frozen=True, eq=False)
class Sum(Recipe):
    """R(theta) = sum_k factor_k R_k(M_k theta - c_k): what `+`, `*`, `centred_at` and `of` make of regularizers."""

    summands: tuple[Shifted, ...]

    def __post_init__(self) -> None:
        for each in self.summands:
            R = each.regularizer
            if getattr(R, "movable", None) is not None:
                raise ProblemError(
                    f"regularizer: {type(R).__name__} is stated for moves of one block only; use it alone"
                )
        if self.resolved:
            self.form(Space())

    def form(self, space: Space) -> Form:
        parts = [part for each in self.summands for part in each.form(space).parts]
        return Form(tuple(parts))

    @property
    def resolved(self) -> bool:
        return all(getattr(each.regularizer, "resolved", True) for each in self.summands)

    def for_model(self, model: Any) -> Sum:
        return Sum(tuple(replace(each, regularizer=for_model(each.regularizer, model)) for each in self.summands))


@dataclass(frozen=True, eq=False)
class Written(Recipe):
    """A regularizer given by its form: what a file holds, and what the class of a user returns."""

    own: Form

    def form(self, space: Space) -> Form:
        return self.own


def for_model(regularizer: Any, model: Any) -> Any:
    """`Recipe.for_model`, of a user's class too."""
    known = hasattr(regularizer, "for_model") and not isinstance(regularizer, type)
    return regularizer.for_model(model) if known else regularizer


def own_form(regularizer: Any, n_parameters: int, theta_star: Array) -> Written:
    """The form of a user's class.  ProblemError, one sentence, unless its `form(space)` returns one that fits."""
    form = regularizer.form(Space(n_parameters, theta_star))
    if not isinstance(form, Form):
        raise ProblemError(
            f"regularizer: form(space) of {type(regularizer).__name__} has to return an exact_unlearn.forms.Form, "
            f"got {form!r:.60}"
        )
    return Written(form)


def form_from_spec(terms: Any) -> Written:
    """The inverse of `Recipe.to_spec`. ProblemError on what is no list of TERMs."""
    if not isinstance(terms, list | tuple) or not all(isinstance(term, Mapping) for term in terms):
        raise ProblemError("terms: expected a list of objects, one per part of the form")
    return Written(Form(tuple(part_from_spec(term) for term in terms)))


def _summed(regularizer: Any) -> tuple[Shifted, ...]:
    return regularizer.summands if isinstance(regularizer, Sum) else (Shifted(regularizer),)


DERIVED = tuple(
    name for name in vars(Recipe) if name[:2] != "__" and name not in ("form", "name", "movable", "validate")
)
"""What every recipe derives from its form, so that no subclass may say otherwise."""
