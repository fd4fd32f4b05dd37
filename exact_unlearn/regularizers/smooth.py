"""Regularizers with a quadratic part: the QP rows of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms import Form, Kink, Part, Space, Square
from exact_unlearn.forms import Huber as HuberTerm
from exact_unlearn.regularizers.norms import Weighted
from exact_unlearn.regularizers.recipe import Recipe
from exact_unlearn.vectors import Value, as_number, as_weights


@dataclass(frozen=True, eq=False)
class SquaredL2(Weighted):
    """R(theta) = 1/2 sum_i w_i theta_i^2, a QP (Appendix E is its closed form for weights 1 and a squared
    drift).

    weights: shape (d,), finite and >= 0; None means 1.  R*(g) = 1/2 sum g_i^2 / w_i, inf where g_i != 0 =
    w_i. Raises ProblemError on any other weights.

    >>> import exact_unlearn as xu
    >>> xu.SquaredL2().value([3.0, -4.0])
    12.5
    """

    name: ClassVar[str] = "squared_l2"

    def form(self, space: Space) -> Form:
        return Form((Square(self.weights),))


@dataclass(frozen=True, eq=False)
class ElasticNet(Recipe):
    """R(theta) = alpha |theta|_1 + beta/2 |theta|_2^2, a QP; alpha, beta >= 0.

    R*(g) = sum max(|g_i| - alpha, 0)^2 / (2 beta); for beta = 0 the indicator of |g|_inf <= alpha.
    Raises ProblemError unless both are finite numbers >= 0.

    >>> import exact_unlearn as xu
    >>> xu.ElasticNet(alpha=1.0, beta=2.0).value([3.0, -4.0])
    32.0
    """

    alpha: Value
    beta: Value

    name: ClassVar[str] = "elastic_net"

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", as_number("alpha", self.alpha))
        object.__setattr__(self, "beta", as_number("beta", self.beta))

    def form(self, space: Space) -> Form:
        return Form((Part(Kink(), factor=self.alpha), Part(Square(), factor=self.beta)))

    def dual_norm(self, g: Any) -> Value:
        """|g|_inf / alpha when beta = 0; otherwise ProblemError, since R is no norm then."""
        if self.beta > 0:
            raise ProblemError("elastic_net: a dual norm exists only for beta = 0")
        return super().dual_norm(g)

    def to_spec(self) -> dict[str, Any]:
        """{"name": ..., "alpha": ..., "beta": ...}."""
        return {"name": self.name, "alpha": self.alpha, "beta": self.beta}


@dataclass(frozen=True, eq=False)
class Huber(Recipe):
    """R(theta) = sum_i w_i h(theta_i) with h(x) = 1/2 x^2 for |x| <= delta, else delta |x| - 1/2 delta^2; a QP.

    R*(g) = sum g_i^2 / (2 w_i) where |g_i| <= w_i delta, else inf.  Small entries are shrunk like those of SquaredL2,
    large ones pay like those of L1.  delta: a finite number > 0.  weights: shape (d,), finite and >= 0; None means 1.
    Raises ProblemError otherwise.

    >>> Huber(1.0).value([0.5, 3.0])
    2.625
    """

    delta: Value
    weights: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", HuberTerm(self.delta).delta)
        object.__setattr__(self, "weights", as_weights(self.weights))

    def form(self, space: Space) -> Form:
        return Form((HuberTerm(self.delta, self.weights),))
