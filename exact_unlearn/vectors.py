"""Arithmetic on flat vectors that the regularizers and the drift penalties share.

Everything here accepts float64 vectors of any scale (entries of 1e150 and 1e-150 lose nothing to the overflow
or underflow of squares) and, where the result is rational, object vectors of `fractions.Fraction` without
rounding.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.errors import ProblemError, needed_by
from exact_unlearn.jacobian import Array, dimensions, real_array, to_rational

Value = float | Fraction
"""A float, or a Fraction when it was computed from Fractions without rounding."""


# ---------------------------------------------------------------- arguments


def as_real(x: Any) -> Array:
    """`x` as a float64 vector, or as an object vector of Fractions if it holds Fractions.

    NaN and infinities pass, so that an iteration that diverges can be watched; complex and text do not.
    """
    if isinstance(x, np.ndarray) and x.dtype == np.float64:
        return x
    array = np.asarray(x)
    if array.dtype == object:
        return to_rational(array)
    if array.dtype.kind not in "biuf":
        raise ProblemError(f"expected a vector of real numbers, got dtype {array.dtype}")
    return array.astype(np.float64)


def as_float(x: Any) -> Array:
    """`x` as a float64 vector; Fractions are rounded to nearest."""
    array = as_real(x)
    return array.astype(np.float64) if array.dtype == object else array


def as_number(name: str, x: Any) -> Value:
    """A finite number >= 0: a Fraction stays one, anything else becomes a float. Raises ProblemError."""
    if isinstance(x, Fraction):
        number: Value = x
    else:
        if isinstance(x, (bool, np.bool_, str, bytes, complex, np.complexfloating)) or dimensions(x) != 0:
            raise ProblemError(f"{name}: expected one finite number >= 0, got {x!r}")
        try:
            number = float(x)
        except (TypeError, ValueError, OverflowError):
            raise ProblemError(f"{name}: expected one finite number >= 0, got {x!r}") from None
        if isinstance(x, int) and number != x:
            number = Fraction(x)
    if not (0 <= number < math.inf):
        raise ProblemError(f"{name}: expected one finite number >= 0, got {x!r}")
    return number


def as_step(step: Any) -> float:
    """The step of a prox: a number in [0, inf]. Raises ProblemError."""
    try:
        value = float(step)
    except (TypeError, ValueError):
        raise ProblemError(f"step: expected a number in [0, inf], got {step!r}") from None
    if not value >= 0:
        raise ProblemError(f"step: expected a number in [0, inf], got {step!r}")
    return value


def as_weights(weights: Any, name: str = "weights") -> Array | None:
    """Weights as a read-only vector, finite and >= 0; None stays None (all weights 1). Raises ProblemError."""
    if weights is None:
        return None
    if isinstance(weights, (str, bytes)):
        raise ProblemError(f"{name}: expected a vector of finite numbers >= 0, got {weights!r}")
    array = real_array(name, weights, ndim=1)
    negative = np.flatnonzero(array < 0)
    if negative.size:
        raise ProblemError(f"{name}: expected numbers >= 0, got {array[negative[0]]} at entry {negative[0]}")
    array.setflags(write=False)
    return array


def require_length(argument: str, found: int, n_parameters: int) -> None:
    """ProblemError unless `argument`, which holds `found` entries, fits a problem of `n_parameters`."""
    if found != n_parameters:
        raise ProblemError(f"{argument}: expected {n_parameters} entries, one per parameter, got {found}")


def require_member(argument: str, found: Any, members: tuple[type, ...], such_as: str) -> None:
    """ProblemError unless `found` is an instance of a member, or of a subclass that changes none of its formulas.

    Programs and proofs are derived from what a member is; a subclass with another value would be proved as if it were
    the member.
    """
    kind = type(found)
    member = next((base for base in kind.__mro__ if base in members), None)
    if member is None:
        raise ProblemError(f"{argument}: expected {such_as}, got {found!r:.80}")
    between = kind.__mro__[: kind.__mro__.index(member)]
    changed = sorted({name for base in between for name in vars(base) if name[:2] != "__" and hasattr(member, name)})
    if changed:
        raise ProblemError(
            f"{argument}: {kind.__name__} changes {', '.join(changed)} of {member.__name__}, but programs and "
            f"proofs are made of the formulas of {member.__name__}; use it as it is"
        )


def load_cvxpy() -> Any:
    """The module cvxpy, imported when an expression is first asked for; its names are not typed."""
    with needed_by("expression"):
        import cvxpy

    return cvxpy


# ---------------------------------------------------------------- arithmetic


def is_exact(x: Array) -> bool:
    """True for vectors of Fractions."""
    return x.dtype == object


def matching(weights: Array, x: Array) -> Array:
    """`weights` in the arithmetic of `x`: Fractions for Fractions (exact), floats for floats."""
    if weights.shape != x.shape:
        raise ProblemError(f"weights: got {weights.size} of them for a vector of length {x.size}")
    if is_exact(x):
        return weights if is_exact(weights) else to_rational(weights)
    return weights.astype(np.float64) if is_exact(weights) else weights


def times(weights: Array | None, x: Array) -> Array:
    """weights * x entry by entry; None means weights 1. Overflow gives inf."""
    if weights is None:
        return x
    with np.errstate(over="ignore", invalid="ignore"):
        return matching(weights, x) * x


def quotient(x: Array, weights: Array | None) -> Array:
    """|x| / weights with 0/0 = 0 and x/0 = inf, as every conjugate and dual norm needs it."""
    if weights is None:
        return np.abs(x)
    w = matching(weights, x)
    if is_exact(x):
        entries = [abs(a) / b if b else (math.inf if a else Fraction(0)) for a, b in zip(x, w, strict=True)]
        return np.array(entries, dtype=object)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return np.where(x == 0, 0.0, np.abs(x) / w)


def roots(weights: Array | None) -> Array | None:
    """Square roots of the weights, in floats."""
    return None if weights is None else np.sqrt(weights.astype(np.float64))


def total(x: Array) -> Value:
    """The sum of the entries; an empty sum is 0."""
    if is_exact(x):
        return sum(x, start=Fraction(0))
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sum(x))


def exact_product(a: Value, b: Value) -> Value:
    """a b without rounding: a float where that holds it, else a Fraction."""
    exact = Fraction(a) * Fraction(b)
    near = float(exact)
    return near if Fraction(near) == exact else exact


def largest(x: Array) -> Value:
    """The largest |entry|; 0 for an empty vector."""
    if is_exact(x):
        return max((abs(a) for a in x), default=Fraction(0))
    return float(np.max(np.abs(x))) if x.size else 0.0


def power_of_two(x: Array) -> float:
    """A power of two within a factor 2 of the largest |entry|, so that dividing by it does not round; 1 for
    zero.

    Also 1 when an entry is not finite: no scale helps there.
    """
    size = float(np.max(np.abs(x))) if x.size else 0.0
    if size == 0 or not math.isfinite(size):
        return 1.0
    return math.ldexp(1.0, math.frexp(size)[1] - 1)


def sum_squares(x: Array, factor: Value = 1.0) -> Value:
    """factor * (sum of squares), exact for Fractions; inf only when the result itself is beyond floats."""
    if is_exact(x):
        return Fraction(factor) * total(x * x)
    scale = power_of_two(x)
    return float(factor) * float(np.sum(np.square(x / scale))) * scale * scale


def root_sum_squares(x: Array) -> float:
    """The Euclidean norm; for Fractions the exact sum of squares is rooted and then rounded once."""
    if is_exact(x):
        return root(total(x * x))
    scale = power_of_two(x)
    return scale * math.sqrt(float(np.sum(np.square(x / scale))))


def root(square: Value) -> float:
    """The square root of a number >= 0 as a float, also where a Fraction is beyond the range of floats."""
    if isinstance(square, float):
        return math.sqrt(square)
    n, d = square.numerator, square.denominator
    if n == 0:
        return 0.0
    half = (140 - n.bit_length() + d.bit_length()) // 2  # n/d * 4^half has about 140 bits, its root 70
    scaled = (n << 2 * half) // d if half >= 0 else n // (d << -2 * half)
    try:
        return float(Fraction(math.isqrt(scaled)) / Fraction(2) ** half)
    except OverflowError:
        return math.inf


def without_noise(g: Array, null: Array, tol: float) -> Array:
    """g with the entries under the mask `null` set to zero if they are at most tol * max |g|.

    A seminorm has conjugate inf wherever g does not vanish on its null directions; this is the slack that
    lets rounding pass.
    """
    if tol <= 0 or not null.any():
        return g
    noise = null & (np.abs(g) <= tol * float(largest(g)))
    if not noise.any():
        return g
    out = g.copy()
    out[noise] = Fraction(0) if is_exact(g) else 0.0
    return out


def indicator(inside: bool) -> float:
    """0 inside, inf outside."""
    return 0.0 if inside else math.inf


# ---------------------------------------------------------------- proximal points (floats)


def soft(v: Array, threshold: Any) -> Array:
    """sign(v) max(|v| - threshold, 0): the prox of threshold * |.|_1."""
    shrunk: Array = np.sign(v) * np.maximum(np.abs(v) - threshold, 0.0)
    return shrunk


def threshold(step: float, weights: Array | None) -> Any:
    """step * weights with inf * 0 = 0: an entry of weight 0 is never penalised."""
    if weights is None:
        return step
    w = weights.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(w > 0, step * w, 0.0)


def l2_prox(v: Array, step: float, weights: Array | None = None) -> Array:
    """argmin_x step * sqrt(sum w_i x_i^2) + 1/2 |x - v|^2.

    Weights 1: x = max(1 - step/|v|, 0) v.  Else x_i = v_i rho / (rho + step w_i), where rho = sqrt(sum w_i
    x_i^2) is the root of the secular equation sum w_i v_i^2 / (rho + step w_i)^2 = 1, or x = 0 (on w > 0)
    when sum v_i^2 / w_i <= step^2.
    """
    if step == 0:
        return v.copy()
    if weights is None:
        length = root_sum_squares(v)
        return v * ((length - step) / length) if length > step else np.zeros_like(v)
    w = weights.astype(np.float64)
    out = v.copy()
    if not (w > 0).any():
        return out
    # Powers of two (an even one for w) scale without rounding: sqrt(w) |v| and step then stay in range.
    size = power_of_two(v)
    exponent = math.frexp(float(w.max()))[1] // 2
    a, u = np.abs(v) / size, np.ldexp(w, -2 * exponent)
    with np.errstate(over="ignore"):
        t = float(np.ldexp(step / size, exponent))
    moved = u > 0
    if root_sum_squares(a[moved] / np.sqrt(u[moved])) <= t:
        out[moved] = 0.0
        return out
    rho = _secular_root(np.sqrt(u[moved]) * a[moved], t * u[moved])
    out[moved] *= rho / (rho + t * u[moved])
    return out


def _secular_root(b: Array, p: Array) -> float:
    """The root rho > 0 of psi(rho) = sum b_i^2 / (rho + p_i)^2 = 1, for b, p >= 0 with psi(0) > 1.

    Newton's method on the concave increasing function psi^(-1/2) from the left: it climbs to the root
    monotonically, so the first step that does not climb has met the rounding of floats.
    """
    length = math.sqrt(float(np.sum(b * b)))
    rho = max(0.0, length - float(p.max()), float(np.max(b - p)))
    for _ in range(200):
        ratio = b / (rho + p)  # every entry is <= 1, because rho >= max(b - p)
        psi = float(np.sum(ratio * ratio))
        climbed = rho + psi * (math.sqrt(psi) - 1.0) / float(np.sum(ratio * ratio / (rho + p)))
        if not climbed > rho:
            break
        rho = climbed
    return rho


def linf_prox(v: Array, step: float, weights: Array | None = None) -> Array:
    """argmin_x step * max w_i |x_i| + 1/2 |x - v|^2: v less its projection onto {z : sum |z_i| / w_i <=
    step}.

    x_i = sign(v_i) min(|v_i|, t / w_i) with sum (|v_i| - t / w_i)_+ / w_i = step, or t = 0.  The clipped set
    shrinks until it is stable (Newton's method on a piecewise linear function, finite and exact up to
    rounding).
    """
    if step == 0:
        return v.copy()
    size = np.abs(v)
    u = np.ones_like(v) if weights is None else _reciprocals(weights.astype(np.float64))
    out = v.copy()
    clipped = u > 0
    with np.errstate(over="ignore", invalid="ignore"):
        if float(np.sum((size * u)[clipped])) <= step:
            out[clipped] = 0.0
            return out
    while True:
        top = float(u[clipped].max())
        r = u / top  # rescaled on the set in use, so that r^2 cannot underflow there
        level = (float(np.sum((size * r)[clipped])) - step / top) / float(np.sum(np.square(r[clipped])))
        smaller = clipped & (size > level * r)
        if smaller.sum() == clipped.sum() or not smaller.any():
            break
        clipped = smaller
    out[clipped] = np.sign(v[clipped]) * np.minimum(size, level * r)[clipped]
    return out


def _reciprocals(w: Array) -> Array:
    """1/w, and 0 where w = 0: such an entry is not penalised and never clipped."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(w > 0, 1.0 / w, 0.0)
