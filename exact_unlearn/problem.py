"""The unlearning problem: all of its data, validated once, frozen.

    minimise  R(theta* + D) + Rhat(D)   subject to   J D = b,   D_i = 0 where coordinate i is not free

b = 0 is the surrogate problem (paper eq. 7).  b = y - f(theta*, X_retain) is the *exact* unlearning problem
(eq. 4) of a model that is affine in its free coordinates; the two coincide when theta* interpolates the
retained data.  Rows that are named `at_least` read J_i D >= b_i instead: margins that are kept, not outputs.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from exact_unlearn import codec, drift, formats, modules, origin, pictures, regularizers, summary
from exact_unlearn.errors import FileFormatError, InterpolationWarning, ProblemError
from exact_unlearn.forms import Form, Space
from exact_unlearn.jacobian import (
    DENSE_LIMIT,
    Array,
    DenseJacobian,
    Jacobian,
    ProductJacobian,
    as_jacobian,
    dimensions,
    from_tree,
    real_array,
    rows_of,
    to_float,
    to_rational,
    tree_of,
)
from exact_unlearn.masks import free_mask, output_mask, row_mask
from exact_unlearn.models.layout import named_mask
from exact_unlearn.regularizers import PredictorNorm, Regularizer

SCHEMA = "exact-unlearn/problem"

MODULE_LIMIT = 25_000_000
"""Largest number of entries (200 MB) of a torch module's J that is written out at once."""

INTERPOLATION_TOLERANCE = 1e-8
"""theta* counts as interpolating when max |f - y| is at most this times max(1, max |y|)."""


@dataclass(frozen=True, eq=False, repr=False)
class UnlearningProblem(pictures.Drawn):
    """minimise R(theta* + D) + Rhat(D) subject to J D = rhs (>= rhs where at_least), D_i = 0 where not free[i].

    theta_star:    (d,) trained parameters; float64, or Fractions for an exact rational problem.
    jacobian:      (k, d) matrix, or any linear map that follows `Jacobian`.
    regularizer:   R, from exact_unlearn.regularizers, a sum of them, or anything with form(space).
    drift_penalty: Rhat, from exact_unlearn.drift, or None for 0.
    free:          the coordinates that may move: a boolean mask (d,), integer indices, or None for all (for the
                   regularizers that the theorems state with a restriction: A_1 for PredictorNorm, c for
                   ActiveNeurons).
    rhs:           (k,), or None for 0.
    at_least:      boolean mask (k,) of the rows that read J_i D >= rhs_i instead of J_i D = rhs_i, or None for none.
    outputs:       theta -> the outputs whose linearisation the rows are, where the model is known: what an answer does
                   to them is said beside the answer (exact_unlearn.effects).  Files do not hold it.
    origin:        the exact problem of a network that this convex one stands for (exact_unlearn.origin), or None.

    Narrower floats are widened exactly, arrays are copied and made read-only.  If theta*, J or rhs holds Fractions
    all three become rational and the problem has one exact meaning; but a float problem has one as well,
    for every float is a dyadic rational.  Raises ProblemError, one sentence, on anything that does not fit.

    >>> import exact_unlearn as xu
    >>> xu.UnlearningProblem([3.0, 1.0, 2.0], [[1.0, 2.0, 0.0]], xu.L1(), free=[0, 1])
    <UnlearningProblem: l1; 1 constraint, 3 parameters, 2 of them free>
    """

    theta_star: Array
    jacobian: Jacobian
    regularizer: Any
    drift_penalty: Any = None
    free: Any = None
    rhs: Any = None
    at_least: Any = None
    outputs: Any = None
    origin: Any = None
    drifts: tuple[Any, ...] = field(init=False)

    if TYPE_CHECKING:  # the fields say what a problem holds; whoever makes one may hand in whatever becomes that

        def __init__(
            self,
            theta_star: Any,
            jacobian: Any,
            regularizer: Any,
            drift_penalty: Any = None,
            free: Any = None,
            rhs: Any = None,
            at_least: Any = None,
            outputs: Any = None,
            origin: Any = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        theta_star = real_array("theta_star", self.theta_star, ndim=1)
        jacobian = as_jacobian(self.jacobian)
        k, d = jacobian.shape
        if d != theta_star.size:
            raise ProblemError(f"jacobian: expected {theta_star.size} columns, one per entry of theta_star, got {d}")
        rhs = real_array("rhs", np.zeros(k) if self.rhs is None else self.rhs, ndim=1)
        if rhs.size != k:
            raise ProblemError(f"rhs: expected {k} entries, one per row of the jacobian, got {rhs.size}")
        theta_star, jacobian, rhs = _common_numbers(theta_star, jacobian, rhs)
        regularizer = regularizers.as_regularizer(self.regularizer, theta_star)
        regularizer.validate(d)
        free = free_mask(self.free, d, regularizer)
        _check_product(jacobian, regularizer, free)
        set_field = object.__setattr__
        set_field(self, "regularizer", regularizer)
        set_field(self, "theta_star", theta_star)
        set_field(self, "jacobian", jacobian)
        set_field(self, "rhs", rhs)
        set_field(self, "free", free)
        set_field(self, "at_least", row_mask(self.at_least, k))
        set_field(self, "drifts", drift.drift_terms(self.drift_penalty))
        origin.require_kind(self.origin)
        if not regularizer.convex and not regularizer.integer and (self.drifts or self.at_least.any()):
            raise ProblemError(
                f"regularizer: {regularizer.name} is proved by its vertices, which know no drift penalty and no rows "
                "that read >="
            )

    def lines(self) -> summary.Lines:
        """Objective and size, in one line, and what network it is about, if it is."""
        free, d = int(self.free.sum()), self.n_parameters
        moving = f"{d} parameters" if free == d else f"{d} parameters, {free} of them free"
        name = self.regularizer.name
        parts = [str(self.form) if name == "form" else name, *(_drift(term) for term in self.drifts)]
        numbers = ", exact fractions" if self.is_rational else ""
        least = f" ({int(self.at_least.sum())} of them >=)" if self.at_least.any() else ""
        rows = "1 constraint" if self.n_constraints == 1 else f"{self.n_constraints} constraints"
        said = f"{' + '.join(parts)}; {rows}{least}, {moving}{numbers}"
        return [("problem", said), *self._about()]

    def _about(self) -> summary.Lines:
        """The network that it stands for, if there is one."""
        return [] if self.origin is None else [("network", self.origin.title)]

    def shown(self) -> pictures.Shown:
        """theta* alone."""
        return self, None, self.lines()[0][1]

    @property
    def n_parameters(self) -> int:
        """d."""
        return int(self.theta_star.size)

    @property
    def n_constraints(self) -> int:
        """k, the rows of J: retain samples times outputs."""
        return self.jacobian.shape[0]

    @cached_property
    def form(self) -> Form:
        """R as a sum of terms (exact_unlearn.forms), on these parameters."""
        form: Form = self.regularizer.form(Space(self.n_parameters, self.theta_star))
        return form

    @cached_property
    def drift_forms(self) -> tuple[Form, ...]:
        """Each drift penalty as a form in theta: its terms about theta*."""
        space = Space(self.n_parameters, self.theta_star)
        return tuple(term.form(space) for term in self.drifts)

    @property
    def is_rational(self) -> bool:
        """Whether the data are Fractions rather than floats."""
        return bool(self.theta_star.dtype == object)

    @property
    def version(self) -> int:
        """The version of its files: 2 where version 1 has no words for it (rows >=, forms, powers, origins), else 1."""
        named = self.regularizer.name not in ("form", "power_sum")
        return 1 if named and self.origin is None and not self.at_least.any() else 2

    @property
    def theta_star_fits(self) -> bool:
        """Whether theta* satisfies all rows: b = 0, or b <= 0 where they read >=."""
        return not any(b > 0 if least else b != 0 for b, least in zip(self.rhs, self.at_least, strict=True))

    @property
    def equations(self) -> Array:
        """The rows that read J_i D = b_i, as indices."""
        return np.flatnonzero(~self.at_least)

    def objective(self, theta: Array) -> Any:
        """R(theta) + Rhat(theta - theta*): a float, or a Fraction where that is rational and theta is."""
        moved = theta - self.theta_star
        return sum((term.value(moved) for term in self.drifts), start=self.regularizer.value(theta))

    def network_value(self, value: Any) -> Any:
        """R of the network that the problem stands for, of a value of its own; ProblemError without an origin."""
        if self.origin is None:
            raise ProblemError("problem: it has no origin, so it stands for no network (see global_problem)")
        return self.origin.network_value(value)

    def free_matrix(self) -> Array:
        """J restricted to the free coordinates, dense: (k, number of free coordinates), float64 or Fractions."""
        columns = np.flatnonzero(self.free)
        if isinstance(self.jacobian, DenseJacobian):
            return self.jacobian.matrix[:, columns]
        k = self.n_constraints
        if k * columns.size > DENSE_LIMIT:
            raise ProblemError(
                f"jacobian: {k} x {columns.size} entries are more than the {DENSE_LIMIT} that the reference solver "
                "takes; use exact_unlearn.scalable, which needs products with J only"
            )
        return rows_of(self.jacobian, columns, self.theta_star.dtype)

    def to_tree(self) -> dict[str, Any]:
        """The logical object of docs/formats.md: plain values and arrays."""
        tree = {
            "schema": SCHEMA,
            "version": self.version,
            "theta_star": self.theta_star,
            "jacobian": tree_of(self.jacobian),
            "rhs": self.rhs,
            "free": self.free.astype(np.uint8),
            "regularizer": regularizers.spec_of(self.regularizer, self.n_parameters),
            "drift_penalty": [term.to_spec() for term in self.drifts],
        }
        tree |= {"at_least": self.at_least.astype(np.uint8)} if self.at_least.any() else {}
        return tree | ({} if self.origin is None else {"origin": self.origin.to_tree()})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to .npz or .safetensors (bit for bit), or to .json (exact rationals; the only one for Fractions)."""
        codec.save_object(path, self.to_tree())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> UnlearningProblem:
        """Read what `save` wrote; FileFormatError, one sentence, on a damaged or foreign file."""
        return cls.from_tree(codec.load_object(path, SCHEMA), str(path))

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any], source: str = "problem") -> UnlearningProblem:
        """The inverse of `to_tree`; `source` is named in errors."""
        codec.require_schema(source, tree, SCHEMA)
        formats.require(formats.PROBLEM, tree, source)
        for key, what in (("at_least", "rows that read >="), ("origin", "origins")):
            if tree["version"] == 1 and key in tree:
                raise FileFormatError(f"{source}: {key}: version 1 has no {what}, so this must be version 2")
        try:
            drifts = [drift.from_spec(_numbers(spec)) for spec in tree["drift_penalty"]]
            return cls(
                theta_star=tree["theta_star"],
                jacobian=from_tree(tree["jacobian"]),
                regularizer=regularizers.from_spec(_numbers(tree["regularizer"])),
                drift_penalty=sum(drifts[1:], start=drifts[0]) if drifts else None,
                free=np.asarray(tree["free"]).astype(bool),
                rhs=tree["rhs"],
                at_least=np.asarray(tree["at_least"]).astype(bool) if "at_least" in tree else None,
                origin=origin.from_tree(tree["origin"]) if "origin" in tree else None,
            )
        except ProblemError as error:
            raise FileFormatError(f"{source}: {error}") from None


def require_problem(problem: Any) -> UnlearningProblem:
    """`problem` itself; ProblemError if it is none."""
    if not isinstance(problem, UnlearningProblem):
        raise ProblemError(f"problem: expected an UnlearningProblem, got {type(problem).__name__}")
    return problem


def require_equations(problem: UnlearningProblem, who: str) -> UnlearningProblem:
    """`problem` itself; ProblemError, where some of its rows read >=, which `who` would take for equations."""
    if problem.at_least.any():
        raise ProblemError(
            f"at_least: {who} takes equations J D = b only, but {int(problem.at_least.sum())} of the "
            f"{problem.n_constraints} rows read J D >= b"
        )
    return problem


def surrogate_problem(
    model: Any,
    theta_star: Any,
    x_retain: Any,
    regularizer: Regularizer,
    drift_penalty: Any = None,
    free: Any = None,
    y_retain: Any = None,
    at_least: Any = None,
) -> UnlearningProblem:
    """The surrogate (paper eq. 7) of `model` at theta*: J is the Jacobian of the outputs at the retain inputs.

    model: one of exact_unlearn.models, or a torch module (or a ModuleModel of one).
    theta_star: (d,); None for a torch module: its parameters as they are, widened exactly to float64.
    x_retain: (n_r, m); n_r = 0 is allowed (everything is forgotten).  For a torch module whatever its forward takes: a
    tensor or array, a tuple or dict of them, or a DataLoader of (inputs, labels).
    free: block names of the model ("c"; "fc.weight", "fc" or "fc.*"), a mask, indices, or None.
    regularizer: groups may be called "layer", "neuron", "filter" or "head" where the model has such.
    y_retain: (n_r,) or (n_r, l), optional and unused by the problem itself: where given and theta* does not
    interpolate, an InterpolationWarning reports the residual, for the theorems then do not apply.
    at_least: boolean mask (n_r,) or (n_r, l) of the outputs that must not fall, J_i D >= 0, rather than stay.

    J of a torch module is written out up to MODULE_LIMIT entries; beyond, products with it remain, for
    exact_unlearn.scalable.

    >>> import exact_unlearn as xu
    >>> xu.surrogate_problem(xu.LinearModel(3), [3.0, 1.0, 2.0], [[1.0, 2.0, 0.0]], xu.L2())
    <UnlearningProblem: l2; 1 constraint, 3 parameters>
    """
    model, theta_star, x, regularizer, free = _model_data(model, theta_star, x_retain, regularizer, free)
    if y_retain is not None:
        _warn_unless_interpolating(model, theta_star, x, y_retain)
    jacobian = _jacobian(model, theta_star, x, regularizer)
    mask = output_mask(at_least, jacobian.shape[0], len(x) if isinstance(x, np.ndarray) else None)
    inputs = to_float(x) if isinstance(x, np.ndarray) else x
    outputs = partial(model.predict, x=inputs) if mask is None else None
    return UnlearningProblem(theta_star, jacobian, regularizer, drift_penalty, free, at_least=mask, outputs=outputs)


def exact_problem(
    model: Any,
    theta_star: Any,
    x_retain: Any,
    y_retain: Any,
    regularizer: Regularizer,
    free: Any = None,
    at_least: Any = None,
) -> UnlearningProblem:
    """The exact unlearning problem (eq. 4): minimise R(theta) subject to f(theta, x) = y on the retain set.

    It is convex only where the model is affine in the free coordinates (a linear model; one layer of a linear
    network; the last layer of a perceptron); ProblemError otherwise.  There f(theta* + D, X) = f(theta*, X) + J
    D exactly, so the problem is J D = y - f(theta*, X).  Conflicting labels make it infeasible; `solve` then
    returns a Farkas vector.

    at_least: boolean mask (n_r,) or (n_r, l) of the outputs that must be at least y, f(theta, x) >= y, instead of y.

    >>> import exact_unlearn as xu
    >>> xu.exact_problem(xu.LinearModel(2), [3.0, 1.0], [[1.0, 2.0]], [6.0], xu.L2()).rhs  # theta* says 5
    array([1.])
    """
    model, theta_star, x, regularizer, free = _model_data(model, theta_star, x_retain, regularizer, free)
    regularizer = regularizers.as_regularizer(regularizer, theta_star)
    mask = free_mask(free, theta_star.size, regularizer)
    if not model.is_affine_in(mask):
        raise ProblemError(
            "free: the exact problem is convex only where the model is affine in what moves (one layer of a "
            "linear network, the last layer of a perceptron); name such blocks in `free`, or use surrogate_problem"
        )
    predicted = model.predict(theta_star, x)
    y = _targets(y_retain, predicted)
    jacobian = _jacobian(model, theta_star, x, regularizer)
    rhs = (y - predicted).reshape(-1)
    rows = output_mask(at_least, predicted.size, len(predicted))
    return UnlearningProblem(theta_star, jacobian, regularizer, None, mask, rhs, rows)


def interpolation_residual(model: Any, theta: Array, x: Array, y: Array) -> Any:
    """max |f(theta, x) - y| over samples and outputs (0 for no samples)."""
    errors = np.abs(model.predict(theta, x) - y).reshape(-1)
    return max(errors.tolist(), default=0.0)


def _warn_unless_interpolating(model: Any, theta: Array, x: Any, y_retain: Any) -> None:
    y = _targets(y_retain, model.predict(theta, x))
    residual = interpolation_residual(model, theta, x, y)
    scale = max(np.abs(to_float(y)).reshape(-1).tolist(), default=0.0)
    if residual > (0 if isinstance(residual, Fraction) else INTERPOLATION_TOLERANCE * max(1.0, scale)):
        warnings.warn(
            f"theta_star does not interpolate the retain data: max |f - y| = {float(residual):.3g}; "
            "the theorems do not apply, the surrogate is still solved",
            InterpolationWarning,
            stacklevel=3,
        )


def _model_data(model: Any, theta_star: Any, x: Any, regularizer: Any, free: Any) -> tuple[Any, Array, Any, Any, Any]:
    """Model, theta*, inputs, regularizer and free coordinates, the last two with the model's names resolved."""
    model = modules.as_model(model)
    if not all(hasattr(model, name) for name in ("n_parameters", "blocks", "jacobian")):
        raise ProblemError(
            "model: expected one of exact_unlearn.models, a torch module, or an object with their face "
            f"(n_parameters, blocks, predict, jacobian), got {type(model).__name__}"
        )
    x = modules.inputs_of(x, "x_retain")
    if modules.is_module_model(model):
        theta = real_array("theta_star", model.theta() if theta_star is None else theta_star, ndim=1)
        inputs = model.inputs(x, "x_retain")
    else:
        if theta_star is None:
            raise ProblemError(f"theta_star: needed, for a {type(model).__name__} holds no parameters itself; got None")
        theta, inputs = real_array("theta_star", theta_star, ndim=1), real_array("x_retain", x, ndim=2)
        if inputs.shape[1] != model.n_inputs:
            raise ProblemError(f"x_retain: expected {model.n_inputs} columns, got shape {inputs.shape}")
        if (inputs.dtype == object) != (theta.dtype == object):
            theta, inputs = to_rational(theta), to_rational(inputs)
    if theta.size != model.n_parameters:
        raise ProblemError(f"theta_star: expected {model.n_parameters} parameters for this model, got {theta.size}")
    regularizer = regularizers.for_model(regularizer, model)
    names = [free] if isinstance(free, str) else free
    if isinstance(names, list | tuple | set | frozenset) and names and all(isinstance(name, str) for name in names):
        free = named_mask(model.blocks, names, getattr(model, "aliases", None))
    return model, theta, inputs, regularizer, free


def _targets(y: Any, predicted: Array) -> Array:
    """y as an (n, l) matrix like the predictions; of Fractions where they are, because y - f must not round."""
    n, n_outputs = predicted.shape
    targets = real_array("y_retain", y, ndim=2 if dimensions(y) == 2 else 1)
    if targets.size != n * n_outputs or targets.shape[0] != n:
        raise ProblemError(f"y_retain: expected shape ({n}, {n_outputs}), got {targets.shape}")
    targets = targets.reshape(n, n_outputs)
    return to_rational(targets) if predicted.dtype == object else targets


def _jacobian(model: Any, theta: Array, x: Any, regularizer: Any) -> Jacobian:
    if isinstance(regularizer, PredictorNorm):
        if not hasattr(model, "product_jacobian"):
            raise ProblemError(f"regularizer: PredictorNorm belongs to a LinearNetwork, got {model!r:.80}")
        product: Jacobian = model.product_jacobian(theta, x)
        return product
    if modules.is_module_model(model):
        J = model.jacobian(theta, x)
        return DenseJacobian(J.dense()) if J.shape[0] * J.shape[1] <= MODULE_LIMIT else as_jacobian(J)
    entries = len(x) * model.n_outputs * model.n_parameters
    if entries > DENSE_LIMIT:
        raise ProblemError(
            f"x_retain: a jacobian of {entries} entries is more than the {DENSE_LIMIT} that the reference solver "
            "takes; use exact_unlearn.scalable, which needs products with J only"
        )
    return as_jacobian(model.jacobian(theta, x))


def _common_numbers(theta: Array, jacobian: Jacobian, rhs: Array) -> tuple[Array, Jacobian, Array]:
    """All floats, or all Fractions."""
    factors: tuple[Array, ...] = ()
    if isinstance(jacobian, DenseJacobian):
        factors = (jacobian.matrix,)
    elif isinstance(jacobian, ProductJacobian):
        factors = (jacobian.V, jacobian.X)
    if not any(a.dtype == object for a in (theta, rhs, *factors)):
        return theta, jacobian, rhs
    if isinstance(jacobian, DenseJacobian):
        jacobian = DenseJacobian(to_rational(jacobian.matrix))
    elif isinstance(jacobian, ProductJacobian):
        V, X = to_rational(jacobian.V), to_rational(jacobian.X)
        jacobian = ProductJacobian(V, X, jacobian.block, jacobian.n_parameters)
    else:
        raise ProblemError("jacobian: an exact rational problem needs a dense or a product Jacobian")
    return to_rational(theta), jacobian, to_rational(rhs)


def _check_product(jacobian: Jacobian, regularizer: Any, free: Array) -> None:
    """The predictor norm needs J as the product it is, with the same V; see ProductJacobian."""
    if isinstance(jacobian, ProductJacobian):
        outside = free.copy()
        outside[jacobian.block] = False
        if outside.any():
            raise ProblemError("free: a ProductJacobian describes the first layer only, so nothing else may move")
    if not isinstance(regularizer, PredictorNorm):
        return
    if not isinstance(jacobian, ProductJacobian):
        raise ProblemError(
            "jacobian: PredictorNorm needs a ProductJacobian, because rounding the products v x^T to floats makes the "
            "literal optimum 0; use surrogate_problem, or LinearNetwork.product_jacobian"
        )
    same = jacobian.block == regularizer.block and jacobian.V.shape == regularizer.V.shape
    if not same or (to_rational(jacobian.V) != to_rational(regularizer.V)).any():
        raise ProblemError(
            "regularizer: PredictorNorm and jacobian come from different networks or parameters (V differs)"
        )


def _numbers(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A stored SPEC with its numbers parsed and its index arrays integral again."""
    out = dict(spec)
    for key in ("alpha", "beta", "lam", "radius", "factor", "delta"):
        if key in out:
            out[key] = codec.number(out[key])
    for key in ("labels", "indices", "row", "column"):
        if out.get(key) is not None:
            out[key] = np.asarray(out[key]).astype(np.int64)
    if "terms" in out:
        out["terms"] = [_numbers(term) for term in out["terms"]]
    if "map" in out:
        out["map"] = _numbers(out["map"])
    return out


def _drift(term: Any) -> str:
    if term.name != "trust_region":
        return f"{term.name}({float(term.lam):g})"
    return f"trust_region({float(term.radius):g}, norm {'inf' if term.norm == math.inf else '2'})"
