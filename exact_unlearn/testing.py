"""Laws that regularizers, Jacobians and unlearning algorithms must keep, as checks to be run in anybody's tests.

    from exact_unlearn.testing import check_algorithm, check_jacobian, check_regularizer

    def test_mine():
        check_regularizer(Mine(), n_parameters=12)
        check_jacobian(my_model, theta, x)
        check_algorithm(MyMethod(strength=0.1))

The package asks the same of all that are its own.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.certify import certify
from exact_unlearn.errors import ExactUnlearnError, ProblemError
from exact_unlearn.forms import Summand
from exact_unlearn.jacobian import Array, to_rational
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.program import explicit_program
from exact_unlearn.reference import solve
from exact_unlearn.reference.backends import default_solvers, run

SIZES = (1e-3, 1.0, 1e3)
"""Of points and steps: a kink is met by small ones."""

CLOSE = 1e-9
"""Relatively: what floats may make of an equality of formulas."""

SOLVED = 1e-6
"""What a back end may leave of one."""


class LawError(ExactUnlearnError, AssertionError):
    """A law is broken; the sentence says which, and where.

    >>> from exact_unlearn.testing import LawError
    >>> issubclass(LawError, AssertionError)
    True
    """


def check_regularizer(regularizer: Any, n_parameters: int, seed: int = 0) -> None:
    """Nothing, if R keeps the laws below on random points and a random problem; LawError, one sentence, if not.

    * convexity: R((x + y) / 2) <= (R(x) + R(y)) / 2, and R >= 0
    * one value: floats and Fractions agree, and R(s x) = |s| R(x) where R says that it is a norm
    * Fenchel and Young: f(x) + f*(g) >= <g, x> for every summand f of the form
    * Moreau, and subgradients at kinks: with x = prox(v, t), g = (v - x) / t is a subgradient, so equality holds there
    * the epigraph: the explicit program at a fixed theta has the value R(theta)
    * `solve` and `certify` agree: the value of the one lies between the proved bounds of the other, and the checker
      proves them

    Counts and sums of powers are asked for the last two only.  n_parameters: d, on which R must be defined.  Raises
    ProblemError where R has no form, or none that fits.

    >>> import exact_unlearn as xu
    >>> from exact_unlearn.testing import check_regularizer
    >>> check_regularizer(xu.L1() + xu.Huber(0.5), n_parameters=5)
    """
    rng = np.random.default_rng(seed)
    J: Any = rng.integers(-4, 5, (max(1, n_parameters // 3), n_parameters)).astype(float)
    theta = rng.integers(-8, 9, n_parameters) / 4
    problem = UnlearningProblem(theta, J, regularizer)
    R = problem.regularizer
    if R.convex:
        _convexity(R, rng, n_parameters)
        _values(R, theta)
        for number, summand in enumerate(problem.form.summands):
            _fenchel(summand, number, rng, n_parameters)
        _epigraph(R, theta)
    _solved(problem)


def check_jacobian(model: Any, theta: Any, x: Any, seed: int = 0) -> None:
    """Nothing, if model.jacobian(theta, x) is the derivative of model.predict(theta, x); LawError if not.

    * shape (n l, d): rows by sample, then by output
    * J v and J.T nu are the products of one matrix: <nu, J v> = <J.T nu, v>
    * J v is the derivative along v: differences of f, extrapolated from two steps, for random v and for each e_i that
      J calls 0
    * a sample's rows are its own: those of the batch are those of each sample alone

    theta: (d,), at which f is smooth (no ReLU at its kink); x: (n, m) or what the model takes.  float64 is needed for
    differences to say anything.  For a torch module hand over ModuleModel(module.double()).

    >>> import exact_unlearn as xu
    >>> from exact_unlearn.testing import check_jacobian
    >>> check_jacobian(xu.LinearModel(2), [3.0, 1.0], [[1.0, 2.0], [0.5, -1.0]])
    """
    rng, theta = np.random.default_rng(seed), np.asarray(theta, dtype=np.float64)
    outputs, J = _outputs(model, theta, x), model.jacobian(theta, x)
    n, d = len(outputs), theta.size
    _require(
        tuple(J.shape) == (outputs.size, d), "jacobian: its shape is not (n l, d)", tuple(J.shape), outputs.shape, d
    )
    matrix = _columns(J)
    size = float(np.max(np.abs(matrix), initial=0.0))
    nu, v = rng.standard_normal(outputs.size), rng.standard_normal(d)
    one, other = float(nu @ _array(J.matvec(_as(J, v)))), float(_array(J.rmatvec(_as(J, nu))) @ v)
    law = "jacobian: matvec and rmatvec are not those of one matrix, <nu, J v> is not <J.T nu, v>"
    _require(abs(one - other) <= CLOSE * float(np.abs(nu) @ np.abs(matrix) @ np.abs(v)), law, one, other)
    unseen = [e for e, column in zip(np.eye(d), matrix.T, strict=True) if not column.any()]
    for direction in [*rng.standard_normal((3, d)), *unseen]:
        found, floor = _derivative(model, theta, x, direction)
        error = float(np.max(np.abs(matrix @ direction - found), initial=0.0))
        law = "jacobian: J v is not the derivative of the outputs along v"
        _require(error <= 1e-6 * size * float(np.linalg.norm(direction)) + floor, law, error)
    rows = matrix.reshape(n, -1, d)
    for i in range(n):
        alone = _columns(model.jacobian(theta, x[i : i + 1]))
        error = float(np.max(np.abs(alone - rows[i]), initial=0.0))
        _require(error <= CLOSE * size, f"jacobian: the rows of sample {i} depend on the other samples", error)


def _outputs(model: Any, theta: Array, x: Any) -> Array:
    return _array(model.predict(theta, x))


def _array(value: Any) -> Array:
    """NumPy's view of an array or a torch tensor, in float64."""
    value = value.detach().cpu() if hasattr(value, "detach") else value
    return np.asarray(value, dtype=np.float64)


def _as(J: Any, v: Array) -> Any:
    """v as J takes it: a tensor where J is made of tensors."""
    if type(getattr(J, "dtype", None)).__module__ != "torch":
        return v
    import torch

    return torch.from_numpy(v).to(J.dtype)


def _columns(J: Any) -> Array:
    """J as a matrix, column by column."""
    k, d = J.shape
    return np.column_stack([_array(J.matvec(_as(J, e))) for e in np.eye(d)]) if d else np.zeros((k, 0))


def _derivative(model: Any, theta: Array, x: Any, v: Array) -> tuple[Array, float]:
    """(f(theta + h v) - f(theta - h v)) / 2h for h -> 0 from h and h/2, and what their rounding and curvature leave."""
    h = 2.0**-10 * max(1.0, float(np.linalg.norm(theta))) / float(np.linalg.norm(v))

    def difference(h: float) -> Array:
        ends = (_outputs(model, theta + s * h * v, x) for s in (1, -1))
        return (np.subtract(*ends) / (2 * h)).reshape(-1)

    whole, half, quarter = difference(h), difference(h / 2), difference(h / 4)
    once, twice = (4 * half - whole) / 3, (4 * quarter - half) / 3
    peak = float(np.max(np.abs(_outputs(model, theta, x)), initial=0.0))
    return (16 * twice - once) / 15, 10 * float(np.max(np.abs(twice - once), initial=0.0)) + 2.0**-44 * peak / h


def check_algorithm(method: Any, seed: int = 0) -> None:
    """Nothing, if an unlearning method keeps the laws below on a small network; LawError, one sentence, if not.

    * the module that is handed over stays as it was; the result has its mode, its types and its frozen parameters
    * what is not free does not move, to the last bit
    * the same generator gives the same result, and torch's global generator does not notice
    * one loss per epoch, all of them finite
    * buffers="frozen" leaves running statistics alone
    * the result does not depend on gradients that lie on the module, nor on whether gradients are switched off around

    method: a name of `algorithms.METHODS` or an instance of your own, as `algorithms.unlearn` takes it.  Raises
    ProblemError where it is none.

    >>> from exact_unlearn.algorithms import GD
    >>> from exact_unlearn.testing import check_algorithm
    >>> check_algorithm(GD())
    """
    import torch

    from exact_unlearn.algorithms import unlearn

    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(12, 3, generator=generator), torch.randint(3, (12,), generator=generator)
    module = _network(generator)
    before = {name: value.clone() for name, value in module.state_dict().items()}

    def run(**options: Any) -> tuple[Any, Any]:
        own = torch.Generator().manual_seed(seed + 1)
        settings: dict[str, Any] = {
            "epochs": 2,
            "learning_rate": 0.01,
            "batch_size": 5,
            "generator": own,
            "loss": "cross-entropy",
        }
        return unlearn(module, (x[:8], y[:8]), (x[8:], y[8:]), method, **(settings | options))

    random_state = torch.get_rng_state()
    first, history = run()
    _require(bool((torch.get_rng_state() == random_state).all()), "generator: torch's global one was used")
    _require(_same(module.state_dict(), before), "module: the one that was handed over has changed")
    _require(first.training == module.training, "module: the result is in another mode", first.training)
    kinds = [(p.dtype, p.shape, p.requires_grad) for p in module.parameters()]
    _require([(p.dtype, p.shape, p.requires_grad) for p in first.parameters()] == kinds, "module: other parameters")
    losses = list(history.loss)
    finite = len(losses) == 2 and all(math.isfinite(loss) for loss in losses)
    _require(finite, "history: not one finite loss per epoch", losses)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    with torch.no_grad():
        again, _ = run()
    module.zero_grad(set_to_none=True)
    law = "generator: the same one gave another result, with gradients on the module and switched off around the call"
    _require(_same(again.state_dict(), first.state_dict()), law)
    part, _ = run(free=["2"], buffers="frozen")
    moved = [name for name, value in part.state_dict().items() if not torch.equal(value, before[name])]
    _require(all(name.startswith("2.") for name in moved), "free, buffers: something moved that must not", moved)


def _network(generator: Any) -> Any:
    """Linear, batch normalisation and linear, named 0, 1, 2; in training mode, which is where statistics move."""
    import torch
    from torch import nn

    module = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2 + (parameter.ndim == 1))
    return module


def _same(one: Any, other: Any) -> bool:
    import torch

    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _require(truth: bool, law: str, *found: Any) -> None:
    if not truth:
        raise LawError(f"{law}; found {', '.join(f'{value!r:.80}' for value in found)}")


def _near(a: float, b: float, slack: float, scale: float = 0.0) -> bool:
    return abs(a - b) <= slack * max(abs(a), abs(b), scale)


def _convexity(R: Any, rng: np.random.Generator, d: int) -> None:
    for size in SIZES:
        x, y = size * rng.standard_normal(d), size * rng.standard_normal(d)
        ends, middle = (float(R.value(x)) + float(R.value(y))) / 2, float(R.value((x + y) / 2))
        _require(0 <= middle <= ends * (1 + CLOSE), "value: R is not convex and >= 0", middle, ends)


def _values(R: Any, theta: Array) -> None:
    value, exact = float(R.value(theta)), R.value(to_rational(theta))
    _require(_near(value, float(exact), CLOSE), "value: floats and Fractions disagree", value, float(exact))
    if R.is_norm:
        minus = float(R.value(-Fraction(3, 2) * to_rational(theta)))
        _require(_near(1.5 * value, minus, CLOSE), "is_norm: R(s x) is not |s| R(x)", 1.5 * value, minus)


def _fenchel(summand: Summand, number: int, rng: np.random.Generator, d: int) -> None:
    m, parts = summand.size(d), summand.parts

    def value(x: Array) -> float:
        return sum(float(part.times(x)) for part in parts)

    for size in SIZES:
        x, g = size * rng.standard_normal(m), summand.into_domain(size * rng.standard_normal(m))
        total, pairing = value(x) + float(summand.conjugate(g, CLOSE)), float(g @ x)
        law = f"conjugate of summand {number}: f(x) + f*(g) < <g, x>"
        _require(total >= pairing - CLOSE * max(abs(pairing), total if total < math.inf else 0.0), law, total, pairing)
        for step in SIZES:
            v = size * rng.standard_normal(m)
            x = summand.prox(v, step)
            g = (v - x) / step
            total, pairing = value(x) + float(summand.conjugate(g, 1e-7)), float(g @ x)
            scale = float(np.linalg.norm(g)) * float(np.linalg.norm(v)) + value(x)
            law = f"prox of summand {number}: (v - prox(v, t)) / t is no subgradient at prox(v, t), t = {step}"
            _require(_near(total, pairing, 1e-6, scale), law, total, pairing)


def _epigraph(R: Any, theta: Array) -> None:
    """With J the identity theta cannot move, and the least value of the program is R(theta)."""
    identity: Any = np.eye(theta.size)
    program = explicit_program(UnlearningProblem(theta, identity, R))
    answer = run(program, default_solvers(program)[0], SOLVED, None, float(np.max(np.abs(theta), initial=0.0)))
    _require(answer.z is not None, "epigraph: the explicit program has no answer", answer.claim)
    found, value = program.value(np.asarray(answer.z)), float(R.value(theta))
    _require(_near(found, value, SOLVED, 1.0), "epigraph: the explicit program has another value than R", found, value)


def _solved(problem: UnlearningProblem) -> None:
    solution = solve(problem)
    certificate = certify(problem, solution)
    _require(certificate.proof in ("exact", "enclosure", "repaired"), "certify: nothing is proved", certificate.message)
    _require(bool(certificate.check().proved), "certify: the checker does not prove the certificate", certificate.proof)
    low, high = certificate.lower, certificate.upper
    assert low is not None
    assert high is not None
    value, slack = Fraction(solution.value), Fraction(SOLVED)
    inside = low * (1 - slack) <= value <= high * (1 + slack)
    _require(inside, "solve: its value is not between the proved bounds", float(low), solution.value, float(high))
    _scalable(problem, low, high)


def _scalable(problem: UnlearningProblem, low: Fraction, high: Fraction) -> None:
    """The torch solver, where it is installed and takes this regularizer."""
    try:
        from exact_unlearn import scalable

        found = scalable.solve(problem)
    except ImportError:
        return
    except ProblemError as error:
        _require("regularizer" in str(error), "scalable.solve: it refuses for another reason", str(error))
        return
    value, slack = Fraction(found.value), Fraction(SOLVED)
    inside = low * (1 - slack) <= value <= high * (1 + slack)
    _require(inside, "scalable.solve: its value is not between the proved bounds", float(low), found.value, float(high))


__all__ = ["LawError", "check_algorithm", "check_jacobian", "check_regularizer"]
