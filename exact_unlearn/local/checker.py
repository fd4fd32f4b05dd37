#!/usr/bin/env python3
"""The checker of local certificates: decides alone, in integers, whether a file proves what it says of a network.

    python -I -S checker.py FILE        # exit status 4: a local statement is proved; never 0, for nothing is optimal

It is one file of standard library that imports nothing of ours and may be copied anywhere.  docs/local_certificates.md
specifies what it reads, states the theorem and proves it; the numbers in parentheses are those of that page.

    limits, numbers   what is trusted besides this file: Python's integers
    balls       (2)   numbers with an error, in units of 2^-bits; activations by their series
    read        (1)   the file becomes a `Problem` and a `Point`; all is checked at the place where it is read
    evaluate    (3)   outputs, their gradients, and the Hessian of nu . f at the point
    vary        (4)   how much gradients and Hessians may change in a ball around it
    judge       (5-8) contraction, value, minimum or saddle; what is proved is compared with what is claimed

A network is h_0 = x, s_l = W_l h_{l-1}, h_l = phi_l(s_l), f = h_L.  The problem is to minimise 1/2 |theta - centre|^2
subject to f(theta, x_i) = y_i; a *KKT pair* is a zero of F(theta, nu) = (theta - centre - J^T nu, y - f).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction as Q
from functools import cache
from operator import mul
from pathlib import Path
from typing import Any, NamedTuple

SCHEMA = "exact-unlearn/local-certificate"
ZERO, ONE = Q(0), Q(1)
COARSE = 96  # bits of derivatives; the equations themselves are evaluated at the bits of the file
GUARD = 40  # more bits in the series of activations


class Rejected(ValueError):
    """One sentence: why this is not a proof, or no file that can be used."""


@dataclass(frozen=True)
class Verdict:
    """What is proved.  `proved` is always False: a local statement is never a proof of optimality.

    proof:     "local", or "none" if nothing is proved.
    sentences: for people.
    lower, upper: lower <= 1/2 |theta - centre|^2 <= upper at the KKT point.
    distance:  from the point of the file to the KKT point, in parameters.
    radius, nu_radius: no other KKT pair is as near as this to the point, in parameters and in multipliers.
    minimum:   True: the KKT point is the only minimiser among the networks that fit and are within `radius` of the
               point of the file; False: it is no local minimum; None: neither is proved.
    growth:    where it is one, values exceed its own by at least growth/2 times the squared distance from it.
    digest:    SHA-256 of network, data and centre, as the page on the format says.
    """

    proved: bool
    sentences: tuple[str, ...]
    proof: str = "none"
    lower: Q | None = None
    upper: Q | None = None
    distance: Q | None = None
    radius: Q | None = None
    nu_radius: Q | None = None
    minimum: bool | None = None
    growth: Q | None = None
    digest: str | None = None


def require(truth: Any, sentence: str) -> None:
    """Rejected, with this sentence, if it is not so."""
    if not truth:
        raise Rejected(sentence)


# ---------------------------------------------------------------- limits

MAX_BYTES, MAX_DEPTH = 64 << 20, 16  # of the file, and of lists and objects within each other
MAX_SIZE, MAX_LAYERS = 1024, 16  # parameters and constraints together; layers
MIN_BITS, MAX_BITS = COARSE, 1024
MAX_WHOLE = 64  # bits in front of the point of every number that is read, and four times as many of what is computed
BASE, PER_BYTE = 4 * 10**9, 3_500  # work that is granted: in all, and per byte of the file


class Work:
    """Work that is left, in nanoseconds of a slow machine: every routine states what it is about to do."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, times: int, a: int = 64, b: int = 64, each: int = 60) -> None:
        """`times` products of numbers of a and b bits."""
        self.left -= times * (each + 4 * ((a >> 6) + 1) * ((b >> 6) + 1))
        require(self.left >= 0, "refused: checking it takes more work than its size allows")


# ---------------------------------------------------------------- balls: numbers with an error


def up(x: Q) -> Q:
    """A bound of x >= 0 with few digits."""
    if x.denominator.bit_length() < 128:
        return x
    step = Q(2) ** (x.numerator.bit_length() - x.denominator.bit_length() - 64)
    return math.ceil(x / step) * step


def root_up(x: Q) -> Q:
    """A bound of the root of x >= 0."""
    shift = max(0, 64 + (x.denominator.bit_length() - x.numerator.bit_length()) // 2)
    return Q(math.isqrt((x.numerator << 2 * shift) // x.denominator) + 1, 1 << shift) if x else ZERO


class Ball(NamedTuple):
    """All numbers within err units of mid units."""

    mid: int
    err: int


class Grid:
    """Arithmetic of balls in units of 2^-bits.  Results contain every result for members of the arguments."""

    def __init__(self, bits: int, work: Work | None = None) -> None:
        self.bits, self.one, self.work = bits, Ball(1 << bits, 0), work

    def plus(self, a: Ball, b: Ball) -> Ball:
        return Ball(a.mid + b.mid, a.err + b.err)

    def times(self, a: Ball, b: Ball) -> Ball:
        if self.work:
            self.work.spend(1, self.bits, self.bits, each=900)
        err = abs(a.mid) * b.err + abs(b.mid) * a.err + a.err * b.err
        return Ball(a.mid * b.mid >> self.bits, (err >> self.bits) + 2)

    def scaled(self, n: int, a: Ball, d: int = 1) -> Ball:
        """a n/d."""
        if self.work:
            self.work.spend(1, self.bits, each=900)
        return Ball(n * a.mid // d, abs(n) * a.err // d + 2)

    def over(self, a: Ball, b: Ball) -> Ball:
        """|a/b - A/B| <= (|a - A| + |A/B| |b - B|) / |b|."""
        least = abs(b.mid) - b.err
        require(least > 0, "a denominator may be zero")
        quotient = (a.mid << self.bits) // b.mid
        return Ball(quotient, ((a.err << self.bits) + (abs(quotient) + 1) * b.err) // least + 2)

    def at(self, bits: int, a: Ball) -> Ball:
        """A ball of this grid on another one."""
        more = bits - self.bits
        return Ball(a.mid << more, a.err << more) if more >= 0 else Ball(a.mid >> -more, (a.err >> -more) + 2)

    def series(self, first: Ball, following: Callable[[int, Ball], Ball]) -> Ball:
        """first + following(1, first) + ..., each term at most half of the one before in size.

        It ends with a term of at most one unit besides its error: what is left is no larger than that term.
        """
        total, term, k = first, first, 1
        while abs(term.mid) > 1:
            term = following(k, term)
            total, k = self.plus(total, term), k + 1
        return Ball(total.mid, total.err + abs(term.mid) + term.err)

    def exp(self, a: Ball) -> Ball:
        """e^a for a <= 0: Taylor's series of a / 2^m, whose terms fall by 16 at least, squared m times."""
        if a.mid + a.err < -(self.bits << self.bits):
            return Ball(0, 1)  # e^-bits is below one unit
        m = max(0, a.mid.bit_length() - self.bits + 4)
        fine = Grid(self.bits + 2 * m + 8, self.work)
        small = fine.scaled(1, self.at(fine.bits, a), 1 << m)
        power = fine.series(fine.one, lambda k, term: fine.scaled(1, fine.times(term, small), k))
        for _ in range(m):
            power = fine.times(power, power)
        return fine.at(self.bits, power)

    def log1p(self, u: Ball) -> Ball:
        """log(1 + u) for 0 <= u <= 1: 2 artanh(y), y = u / (2 + u) <= 1/3."""
        y = self.over(u, self.plus(self.scaled(2, self.one), u))
        square = self.times(y, y)
        return self.scaled(2, self.odd_series(y, square))

    def odd_series(self, y: Ball, square: Ball) -> Ball:
        """y + y square / 3 + y square^2 / 5 + ..., |square| <= 1/4."""
        power = y

        def following(k: int, _: Ball) -> Ball:
            nonlocal power
            power = self.times(power, square)
            return self.scaled(1, power, 2 * k + 1)

        return self.series(y, following)

    def root(self, a: Ball) -> Ball:
        """The root of a positive ball, from those of its ends."""
        require(a.mid > a.err, "a root of what may be negative")
        low, high = math.isqrt(a.mid - a.err << self.bits), math.isqrt(a.mid + a.err << self.bits) + 1
        return Ball(low, high - low)

    def sine_cosine(self, s: Ball) -> tuple[Ball, Ball]:
        """Taylor's series of s / 2^m, then m times the double angle."""
        m = max(0, abs(s.mid).bit_length() - self.bits + 4)
        fine = Grid(self.bits + 4 * m + 8, self.work)
        t = fine.scaled(1, self.at(fine.bits, s), 1 << m)
        minus = fine.scaled(-1, fine.times(t, t))
        sine = fine.series(t, lambda k, term: fine.scaled(1, fine.times(term, minus), 2 * k * (2 * k + 1)))
        cosine = fine.series(fine.one, lambda k, term: fine.scaled(1, fine.times(term, minus), 2 * k * (2 * k - 1)))
        for _ in range(m):
            cross, squares = fine.times(sine, cosine), (fine.times(cosine, cosine), fine.times(sine, sine))
            sine, cosine = fine.scaled(2, cross), fine.plus(squares[0], fine.scaled(-1, squares[1]))
        return fine.at(self.bits, sine), fine.at(self.bits, cosine)

    def bell(self, s: Ball, c: int) -> tuple[Ball, Ball]:
        """e^(-c s^2 / 2) and its integral from 0 to s, the former times s + c s^3 / 3 + c^2 s^5 / (3 5) + ...

        The terms grow up to e^(c s^2 / 2) before they fall: as many more bits.
        """
        more = c * s.mid**2 >> 2 * self.bits
        fine = Grid(self.bits + more + 64, self.work)
        t = self.at(fine.bits, s)
        square = fine.scaled(c, fine.times(t, t))
        density = fine.exp(fine.scaled(-1, square, 2))
        total, term, k = t, t, 1
        while (
            abs(term.mid) > 1 or 2 * (square.mid + square.err) >= (2 * k + 1) << fine.bits
        ):  # then terms fall by 2 at least
            term = fine.scaled(1, fine.times(term, square), 2 * k + 1)
            total, k = fine.plus(total, term), k + 1
        total = Ball(total.mid, total.err + abs(term.mid) + term.err)
        return fine.at(self.bits, density), fine.at(self.bits, fine.times(density, total))


@cache
def pi(bits: int) -> Ball:
    """Machin: 16 arctan(1/5) - 4 arctan(1/239)."""
    grid = Grid(bits)

    def arctan(n: int) -> Ball:
        y = grid.scaled(1, grid.one, n)
        return grid.odd_series(y, grid.scaled(-1, y, n))

    return grid.plus(grid.scaled(16, arctan(5)), grid.scaled(-4, arctan(239)))


# ---------------------------------------------------------------- activations: phi, phi', phi'' of an exact number

Three = tuple[Ball, Ball, Ball]


def _logistic(g: Grid, s: Ball) -> tuple[Ball, Ball]:
    """sigma(s) and sigma(-s), from e^-|s|."""
    e = g.exp(Ball(-abs(s.mid), s.err))
    below = g.plus(g.one, e)
    large, small = g.over(g.one, below), g.over(e, below)
    return (large, small) if s.mid >= 0 else (small, large)


def _tanh(g: Grid, s: Ball) -> Three:
    e = g.exp(Ball(-2 * abs(s.mid), 2 * s.err))
    t = g.over(g.plus(g.one, g.scaled(-1, e)), g.plus(g.one, e))
    t = t if s.mid >= 0 else g.scaled(-1, t)
    slope = g.plus(g.one, g.scaled(-1, g.times(t, t)))
    return t, slope, g.scaled(-2, g.times(t, slope))


def _sigmoid(g: Grid, s: Ball) -> Three:
    p, q = _logistic(g, s)
    pq = g.times(p, q)
    return p, pq, g.times(pq, g.plus(q, g.scaled(-1, p)))


def _softplus(g: Grid, s: Ball) -> Three:
    p, slope, _ = _sigmoid(g, s)
    rest = g.log1p(g.exp(Ball(-abs(s.mid), s.err)))
    return g.plus(rest, s if s.mid > 0 else Ball(0, s.err)), p, slope


def _silu(g: Grid, s: Ball) -> Three:
    p, slope, bend = _sigmoid(g, s)
    return g.times(s, p), g.plus(p, g.times(s, slope)), g.plus(g.scaled(2, slope), g.times(s, bend))


def _gelu(g: Grid, s: Ball) -> Three:
    """s Phi(s).  Far out, where s^2 / 2 >= bits + 64, both p(s) s^2 and the tail times s are below a unit."""
    if s.mid**2 >= 2 * (g.bits + 64) << 2 * g.bits:
        far = s.mid > 0
        return Ball(s.mid if far else 0, s.err + 1), Ball(g.one.mid if far else 0, 1), Ball(0, 1)
    density, integral = g.bell(s, 1)
    scale = g.root(g.scaled(2, pi(g.bits)))
    density, integral = g.over(density, scale), g.over(integral, scale)
    Phi = g.plus(g.scaled(1, g.one, 2), integral)
    bend = g.plus(g.scaled(2, g.one), g.scaled(-1, g.times(s, s)))
    return g.times(s, Phi), g.plus(Phi, g.times(s, density)), g.times(density, bend)


def _erf(g: Grid, s: Ball) -> Three:
    """Far out, where s^2 >= bits + 64, both s e^(-s^2) and the tail are below a unit."""
    if s.mid**2 >= (g.bits + 64) << 2 * g.bits:
        return Ball(g.one.mid if s.mid > 0 else -g.one.mid, 1), Ball(0, 1), Ball(0, 1)
    density, integral = g.bell(s, 2)
    scale = g.root(pi(g.bits))
    slope = g.scaled(2, g.over(density, scale))
    return g.scaled(2, g.over(integral, scale)), slope, g.scaled(-2, g.times(s, slope))


def _sin(g: Grid, s: Ball) -> Three:
    sine, cosine = g.sine_cosine(s)
    return sine, cosine, g.scaled(-1, sine)


class Activation(NamedTuple):
    """phi, phi', phi'' on a grid, and bounds of |phi'|, |phi''| and |phi'''| everywhere (None: there is none)."""

    three: Callable[[Grid, Ball], Three]
    slope: Q | None
    bend: Q
    third: Q


ACTIVATIONS = {
    "tanh": Activation(_tanh, ONE, Q(77, 100), Q(2)),
    "sigmoid": Activation(_sigmoid, Q(1, 4), Q(97, 1000), Q(1, 8)),
    "softplus": Activation(_softplus, ONE, Q(1, 4), Q(97, 1000)),
    "silu": Activation(_silu, Q(137, 100), Q(87, 100), Q(66, 100)),
    "gelu": Activation(_gelu, Q(125, 100), Q(4, 5), ONE),
    "erf": Activation(_erf, Q(113, 100), ONE, Q(226, 100)),
    "sin": Activation(_sin, ONE, ONE, ONE),
    "square": Activation(lambda g, s: (g.times(s, s), g.scaled(2, s), g.scaled(2, g.one)), None, Q(2), ZERO),
    "identity": Activation(lambda g, s: (s, g.one, Ball(0, 0)), ONE, ZERO, ZERO),
}


# ---------------------------------------------------------------- read

HEX = re.compile("(-?[0-9a-f]{1,512})(?:/([0-9a-f]{1,512}))?")


def parse(content: bytes) -> Any:
    """JSON (RFC 8259) in UTF-8 without floats, NaN, duplicate keys, long integers and deep nesting."""

    def refuse(text: str) -> Any:
        raise Rejected(f"a number is written as {text:.40}; expected a text such as '-1f/8'")

    def integer(text: str) -> int:
        require(len(text) < 10, f"an integer is out of range: {text:.40}")
        return int(text)

    def entries(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        require(len(found) == len(pairs), "a key occurs twice in one object")
        return found

    try:
        tree = json.loads(
            content.decode("utf-8"),
            parse_int=integer,
            parse_float=refuse,
            parse_constant=refuse,
            object_pairs_hook=entries,
        )
    except RecursionError:
        raise Rejected("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise Rejected("it is no text, so it is no JSON file") from None
    except json.JSONDecodeError as error:
        raise Rejected(f"it is no JSON file: {error.msg} in line {error.lineno}") from None
    level = [tree]
    for _ in range(MAX_DEPTH):
        inner = [node.values() if type(node) is dict else node for node in level if type(node) in (dict, list)]
        level = [child for each in inner for child in each if type(child) in (dict, list)]
    require(not level, "it is nested too deeply")
    return tree


def member(node: Any, key: str) -> Any:
    require(type(node) is dict, f"expected an object with the key {key!r}")
    require(key in node, f"the key {key!r} is missing")
    return node[key]


def whole(node: Any, key: str, least: int, most: int) -> int:
    value = member(node, key)
    require(type(value) is int and least <= value <= most, f"{key}: expected an integer from {least} to {most}")
    return value  # type: ignore[no-any-return]


def listed(value: Any, length: int, name: str) -> list[Any]:
    require(type(value) is list and len(value) == length, f"{name}: expected a list of {length} entries")
    return value  # type: ignore[no-any-return]


def integer(text: Any, name: str) -> int:
    """Of "-1f"."""
    found = HEX.fullmatch(text) if type(text) is str else None
    require(found and not found[2], f"{name}: expected an integer as a text such as '-1f'")
    return int(text, 16)


def rational(text: Any, name: str) -> Q:
    """Of "-1f/8"."""
    found = HEX.fullmatch(text) if type(text) is str else None
    require(found, f"{name}: expected a number as a text such as '-1f/8'")
    below = int(found[2] or "1", 16)  # type: ignore[index]
    require(below, f"{name}: a denominator is zero")
    value = Q(int(found[1], 16), below)  # type: ignore[index]
    require(abs(value) < 1 << MAX_WHOLE, f"{name}: a number is 2^{MAX_WHOLE} or larger")
    return value


def triangle(node: Any, size: int, name: str) -> list[list[int]]:
    """Rows of integers, row i of i + 1 entries."""
    rows = listed(node, size, name)
    return [[integer(text, name) for text in listed(row, i + 1, f"{name}[{i}]")] for i, row in enumerate(rows)]


class Layer(NamedTuple):
    """rows x columns weights at `start`; the last column is that of the constant 1 if there is a bias."""

    start: int
    rows: int
    columns: int
    bias: bool
    phi: Activation


class Problem:
    """Network, data (n samples), centre.  d parameters, k = n l constraints, ordered by sample and then by output."""

    def __init__(self, tree: Any) -> None:
        network = member(tree, "network")
        below, start = whole(network, "inputs", 1, MAX_SIZE), 0
        self.inputs, described = below, member(network, "layers")
        require(type(described) is list and 0 < len(described) <= MAX_LAYERS, f"layers: expected 1 to {MAX_LAYERS}")
        self.layers: list[Layer] = []
        for node in described:
            width, bias, name = whole(node, "width", 1, MAX_SIZE), member(node, "bias"), member(node, "activation")
            require(type(bias) is bool, "bias: expected true or false")
            require(type(name) is str and name in ACTIVATIONS, f"activation: unknown or not smooth: {name!r:.40}")
            self.layers.append(Layer(start, width, below + bias, bias, ACTIVATIONS[name]))
            start, below = start + width * (below + bias), width
        self.d, outputs = start, below
        shape = listed(member(member(tree, "x"), "shape"), 2, "x.shape")
        n = whole({"n": shape[0]}, "n", 0, MAX_SIZE)
        self.n, self.l, self.k = n, outputs, n * outputs
        require(self.d + self.k <= MAX_SIZE, f"more than {MAX_SIZE} parameters and constraints")
        self.x = self._array(tree, "x", n, self.inputs)
        self.y = [entry for row in self._array(tree, "y", n, outputs) for entry in row]
        centre = listed(member(tree, "centre"), self.d, "centre")
        self.centre = [rational(text, "centre") for text in centre]

    @staticmethod
    def _array(tree: Any, name: str, rows: int, columns: int) -> list[list[Q]]:
        node = member(tree, name)
        require(member(node, "shape") == [rows, columns], f"{name}: expected the shape [{rows}, {columns}]")
        data = iter(listed(member(node, "data"), rows * columns, f"{name}.data"))
        return [[rational(next(data), name) for _ in range(columns)] for _ in range(rows)]


def digest(tree: Any) -> str:
    """SHA-256 of network, x, y and centre as JSON with sorted keys and no spaces."""
    about = {key: member(tree, key) for key in ("network", "x", "y", "centre")}
    return hashlib.sha256(json.dumps(about, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Point:
    """theta and nu in units of 2^-bits; the radii; the approximate inverse A in units of 2^-fine, symmetric."""

    def __init__(self, tree: Any, problem: Problem) -> None:
        d, k = problem.d, problem.k
        self.bits = whole(tree, "bits", MIN_BITS, MAX_BITS)
        self.theta = [integer(text, "theta") for text in listed(member(tree, "theta"), d, "theta")]
        self.nu = [integer(text, "nu") for text in listed(member(tree, "nu"), k, "nu")]
        large = max(map(abs, [*self.theta, *self.nu]))
        require(large >> self.bits + MAX_WHOLE == 0, f"a parameter or multiplier is 2^{MAX_WHOLE} or larger")
        self.radius, self.nu_radius = (rational(member(tree, key), key) for key in ("radius", "nu_radius"))
        require(self.radius > 0 and self.nu_radius > 0, "radius, nu_radius: expected positive numbers")
        self.fine = whole(member(tree, "inverse"), "bits", 0, MAX_BITS)
        lower = triangle(member(tree["inverse"], "rows"), d + k, "inverse")
        self.A = [row + [lower[b][a] for b in range(a + 1, d + k)] for a, row in enumerate(lower)]


# ---------------------------------------------------------------- evaluate

Rows = list[list[int]]


@dataclass(frozen=True)
class Table:
    """Numbers in units: rows[a][i] belongs to sample i; each is within err of the truth."""

    rows: Rows
    err: int

    @property
    def size(self) -> int:
        """A bound of the numbers, and of the truth."""
        return largest(self.rows) + self.err


@dataclass(frozen=True)
class Tangents:
    """Derivatives with respect to parameters: maps[j][a][i] is that of number j with respect to theta_a at sample i.

    What is not listed is 0.
    """

    maps: list[dict[int, list[int]]]
    err: int

    @property
    def size(self) -> int:
        return max((largest(each.values()) for each in self.maps), default=0) + self.err


class Values(NamedTuple):
    """Of one layer: its weights; what it sees; phi, phi', phi''; the derivatives G of s and D of h."""

    W: Rows
    seen: Table
    h: Table
    d1: Table
    d2: Table
    G: Tangents
    D: Tangents


def largest(rows: Iterable[Sequence[int]]) -> int:
    return max((max(map(abs, row), default=0) for row in rows), default=0)


def floor(x: Q, bits: int) -> int:
    return (x.numerator << bits) // x.denominator


class Evaluation:
    """The network at the point, in units of 2^-bits; parameters are within `blur` units of the true ones.

    A sum of t products of numbers up to A and B in size, with errors e and e', is off by at most t (A e' + B e).
    """

    def __init__(self, problem: Problem, theta: list[int], blur: int, bits: int, work: Work) -> None:
        self.problem, self.bits, self.blur, self.work = problem, bits, blur, work
        self.layers: list[Values] = []
        h = Table([[floor(row[c], bits) for row in problem.x] for c in range(problem.inputs)], 1)
        D = Tangents([{} for _ in h.rows], 0)
        for layer in problem.layers:
            W = [
                theta[layer.start + j * layer.columns : layer.start + (j + 1) * layer.columns]
                for j in range(layer.rows)
            ]
            self.layers.append(self._layer(layer, W, h, D))
            h, D = self.layers[-1].h, self.layers[-1].D

    def off(self, terms: int, size: int, err: int, size2: int, err2: int) -> int:
        """Of a sum of products, in units, when it is rounded down."""
        return (terms * (size * err2 + size2 * err) >> self.bits) + 2

    def _layer(self, layer: Layer, W: Rows, h: Table, D: Tangents) -> Values:
        bits, n, one = self.bits, self.problem.n, 1 << self.bits
        seen = Table([*h.rows, [one] * n], h.err) if layer.bias else h
        heavy = largest(W) + self.blur
        long = max(heavy, seen.size, D.size).bit_length()
        require(long <= bits + 4 * MAX_WHOLE, "refused: numbers grow beyond all bounds")
        self.work.spend(layer.rows * n * (layer.columns + 40), bits, long)
        columns = list(zip(*seen.rows, strict=True))
        s = [[sum(map(mul, row, column)) >> bits for column in columns] for row in W]
        err = self.off(layer.columns, heavy, self.blur, seen.size, seen.err)
        h, d1, d2 = self._activated(layer.phi, Table(s, err))
        G = self._tangents(layer, W, seen, D)
        self.work.spend((n + 4) * sum(map(len, G.maps)), bits, long)
        maps = [
            {a: [x * y >> bits for x, y in zip(slopes, row, strict=True)] for a, row in each.items()}
            for slopes, each in zip(d1.rows, G.maps, strict=True)
        ]
        return Values(W, seen, h, d1, d2, G, Tangents(maps, self.off(1, d1.size, d1.err, G.size, G.err)))

    def _activated(self, phi: Activation, s: Table) -> tuple[Table, Table, Table]:
        """phi, phi' and phi'' of s: as exact as the series, and off by as much as s is times the next derivative."""
        fine = Grid(self.bits + GUARD, self.work)
        found: list[tuple[Rows, int]] = [([], 0), ([], 0), ([], 0)]
        for row in s.rows:
            three = [phi.three(fine, Ball(z << GUARD, 0)) for z in row]
            for at in range(3):
                balls = [fine.at(self.bits, each[at]) for each in three]
                rows, err = found[at]
                found[at] = [*rows, [ball.mid for ball in balls]], max([err, *(ball.err for ball in balls)])
        slope = Q(2 * s.size, 1 << self.bits) if phi.slope is None else phi.slope
        steep = (slope, phi.bend, phi.third)
        h, d1, d2 = (Table(rows, err + math.ceil(c * s.err)) for (rows, err), c in zip(found, steep, strict=True))
        return h, d1, d2

    def _tangents(self, layer: Layer, W: Rows, seen: Table, D: Tangents) -> Tangents:
        """Of s: what is seen, with respect to the own weights; sums of W_jk D_k with respect to those below."""
        bits, n = self.bits, self.problem.n
        above: dict[int, list[tuple[int, list[int]]]] = {}
        for k, each in enumerate(D.maps):
            for a, row in each.items():
                above.setdefault(a, []).append((k, row))
        self.work.spend(layer.rows * n * sum(map(len, above.values())), bits, bits)
        self.work.spend(layer.rows * (n + 4) * (len(above) + layer.columns), each=300)
        maps = []
        for j, weights in enumerate(W):
            found = {}
            for a, parts in above.items():
                chosen = [weights[k] for k, _ in parts]
                found[a] = [
                    sum(map(mul, chosen, column)) >> bits for column in zip(*(row for _, row in parts), strict=True)
                ]
            for c, row in enumerate(seen.rows):
                found[layer.start + j * layer.columns + c] = row
            maps.append(found)
        below = self.off(len(D.maps), largest(W) + self.blur, self.blur, D.size, D.err)
        return Tangents(maps, max(below, seen.err))

    @property
    def outputs(self) -> Table:
        """f, ordered by sample and then by output, as one row."""
        h = self.layers[-1].h
        return Table([[entry for column in zip(*h.rows, strict=True) for entry in column]], h.err)

    @property
    def jacobian(self) -> Table:
        """k rows of d entries."""
        D, d, rows = self.layers[-1].D, self.problem.d, []
        for i in range(self.problem.n):
            for each in D.maps:
                row = [0] * d
                for a, values in each.items():
                    row[a] = values[i]
                rows.append(row)
        return Table(rows, D.err)

    def hessian(self, nu: list[int], blur: int) -> Table:
        """Of nu . f, d x d.  With lambda and mu its derivatives with respect to h_l and s_l, it is the sum over layers
        and samples of lambda phi'' (D s) (D s)^T, and of mu_j (e_jk (D h_{l-1,k})^T + its transpose), where e_jk is the
        unit vector of W_jk.  The lower triangle is mirrored in the end.
        """
        problem, bits, n = self.problem, self.bits, self.problem.n
        S = [[0] * (a + 1) for a in range(problem.d)]
        err, seed = 0, Table([nu[o :: problem.l] for o in range(problem.l)], blur)
        for at in range(len(self.layers) - 1, -1, -1):
            layer, now = problem.layers[at], self.layers[at]
            bent, mu = self._product(seed, now.d2), self._product(seed, now.d1)
            for weights, each in zip(bent.rows, now.G.maps, strict=True):
                keys = sorted(each)
                self.work.spend(n * len(keys) * (len(keys) + 1) // 2, 2 * bits, bits)
                self.work.spend(len(keys) * (len(keys) + 1) // 2, each=400)
                for i, a in enumerate(keys):
                    weighted, row = list(map(mul, weights, each[a])), S[a]
                    for b in keys[: i + 1]:
                        row[b] += sum(map(mul, weighted, each[b])) >> 2 * bits
            size, G = bent.size, now.G
            err += layer.rows * (n * G.size * (2 * size * G.err + G.size * bent.err) >> 2 * bits) + 2 * layer.rows
            if at:
                D = self.layers[at - 1].D
                for j, weights in enumerate(mu.rows):
                    for c, each in enumerate(D.maps):
                        self.work.spend((n + 4) * len(each), bits, bits)
                        row = S[layer.start + j * layer.columns + c]
                        for b, values in each.items():
                            row[b] += sum(map(mul, weights, values)) >> bits
                err += self.off(n, mu.size, mu.err, D.size, D.err)
                heavy = largest(now.W) + self.blur
                columns = list(zip(*mu.rows, strict=True))
                turned = list(zip(*now.W, strict=True))[: len(D.maps)]
                rows = [[sum(map(mul, row, column)) >> bits for column in columns] for row in turned]
                seed = Table(rows, self.off(layer.rows, heavy, self.blur, mu.size, mu.err))
        return Table([row + [S[b][a] for b in range(a + 1, problem.d)] for a, row in enumerate(S)], err)

    def _product(self, a: Table, b: Table) -> Table:
        rows = [
            [x * y >> self.bits for x, y in zip(one, other, strict=True)]
            for one, other in zip(a.rows, b.rows, strict=True)
        ]
        return Table(rows, self.off(1, a.size, a.err, b.size, b.err))


# ---------------------------------------------------------------- vary


def norm(numbers: Iterable[int], bits: int) -> Q:
    """A bound of the Euclidean norm of numbers in units of 2^-bits; of a matrix, listed, of its Frobenius norm."""
    return root_up(Q(sum(x * x for x in numbers), 1 << 2 * bits))


def spectral(B: Rows, bits: int, work: Work) -> Q:
    """A bound of the spectral norm of B in units of 2^-bits: |B|^4 = |B B^T|^2, at most its Frobenius norm squared."""
    size = largest(B).bit_length()
    work.spend(len(B) * (len(B) + 1) // 2 * max(1, *map(len, B), 1) if B else 0, size, size)
    total = 0
    for a, row in enumerate(B):
        total += sum(map(mul, row, row)) ** 2 + 2 * sum(sum(map(mul, row, other)) ** 2 for other in B[:a])
    return root_up(Q(math.isqrt(total) + 1, 1 << 2 * bits)) if total else ZERO


class Growth(NamedTuple):
    """Bounds of |D h|, |D^2 h| and |D^3 h| as multilinear maps of the parameters, all over the ball."""

    first: Q
    second: Q
    third: Q


def grow(layer: Layer, below: Growth, weight: Q, seen: Q, slope: Q, bend: Q, radius: Q) -> Growth:
    """(4) Through one layer.  weight, seen: bounds of |W| and of what it sees, over the ball; slope, bend: of |phi'|
    and |phi''| at the point.

    In a direction of length 1 let dW have length cos t and the parameters below sin t.  The derivatives of s are
    dW h + W Dh, 2 dW Dh + W D^2 h, 3 dW D^2 h + W D^3 h; 2 cos t sin t <= 1, 3 cos t sin^2 t <= 2/sqrt 3 < 1.155.
    """
    first = root_up(up(seen**2 + (weight * below.first) ** 2))
    second = up(below.first + weight * below.second)
    third = up(Q(1155, 1000) * below.second + weight * below.third)
    reach, phi = first * radius, layer.phi
    slope, bend = slope + phi.bend * reach, bend + phi.third * reach
    slope, bend = up(slope if phi.slope is None else min(slope, phi.slope)), up(min(bend, phi.bend))
    return Growth(
        up(slope * first),
        up(bend * first**2 + slope * second),
        up(phi.third * first**3 + 3 * bend * first * second + slope * third),
    )


def vary(problem: Problem, point: Point, values: Evaluation, radius: Q, work: Work) -> tuple[Q, Q]:
    """(4) beta and tau: where |theta - theta_0| <= radius, J changes by at most beta |theta - theta_0|, the sum of
    delta_i times the Hessian of output i is at most beta |delta|, and that of nu_i by at most tau |theta - theta_0|."""
    unit, bits = Q(1, 1 << values.bits), values.bits
    weights = []
    for layer, now in zip(problem.layers, values.layers, strict=True):
        W = [row[: layer.columns - layer.bias] for row in now.W]
        more = (layer.rows + layer.columns) * values.blur * unit + radius
        weights.append(([norm(row, bits) + more for row in W], spectral(W, bits, work) + more))
    squares = total = ZERO
    work.spend(problem.n * len(problem.layers) * (20 + problem.l), each=40_000)
    for i in range(problem.n):
        below = Growth(ZERO, ZERO, ZERO)
        for at, (layer, now) in enumerate(zip(problem.layers, values.layers, strict=True)):
            seen = up(norm((abs(row[i]) + now.seen.err for row in now.seen.rows), bits) + below.first * radius)
            slopes = [(abs(row[i]) + now.d1.err) * unit for row in now.d1.rows]
            bends = [(abs(row[i]) + now.d2.err) * unit for row in now.d2.rows]
            if at + 1 < len(problem.layers):
                below = grow(layer, below, weights[at][1], seen, max(slopes), max(bends), radius)
                continue
            for o in range(layer.rows):
                output = grow(layer, below, weights[at][0][o], seen, slopes[o], bends[o], radius)
                squares += output.second**2
                total += abs(Q(point.nu[i * problem.l + o], 1 << point.bits)) * output.third
    return root_up(up(squares)), up(total)


# ---------------------------------------------------------------- judge


@dataclass(frozen=True)
class Linear:
    """The derivative K = (H, -J^T; -J, 0) of F at the point, in units of 2^-COARSE, and what A makes of it.

    h_off, j_off: bounds of the errors of H and J as matrices.  a: norms of the blocks (1,1), (1,2) = (2,1)^T and (2,2)
    of A; z: of I - A K, in the order (1,1), (1,2), (2,1), (2,2).
    """

    H: Rows
    J: Rows
    h_off: Q
    j_off: Q
    a: tuple[Q, Q, Q]
    z: tuple[Q, Q, Q, Q]


def linear(problem: Problem, point: Point, values: Evaluation, work: Work) -> Linear:
    """(5) K and the blocks of I - A K."""
    d, k, one = problem.d, problem.k, 1 << COARSE
    nu = [entry >> point.bits - COARSE for entry in point.nu]
    S, J = values.hessian(nu, 1), values.jacobian
    H = [[(one if a == b else 0) - x for b, x in enumerate(row)] for a, row in enumerate(S.rows)]
    K = [row + [-line[a] for line in J.rows] for a, row in enumerate(H)] + [[-x for x in line] for line in J.rows]
    work.spend((d + k) ** 2 * d, largest(point.A).bit_length(), COARSE)
    sums, identity = [0, 0, 0, 0], 1 << COARSE + point.fine
    for a, row in enumerate(point.A):
        side = 2 * (a >= d)
        for b, column in enumerate(K):  # K is symmetric; the last k columns end where its zeros begin
            sums[side + (b >= d)] += ((identity if a == b else 0) - sum(map(mul, row, column))) ** 2
    low = [row[:d] for row in point.A[d:]]
    blocks = [row[:d] for row in point.A[:d]], low, [row[d:] for row in point.A[d:]]
    a11, a12, a22 = (spectral(block, point.fine, work) for block in blocks)
    z11, z12, z21, z22 = (root_up(Q(x, identity**2)) for x in sums)
    unit = Q(1, one)
    return Linear(H, J.rows, d * S.err * unit, (d + k) * J.err * unit, (a11, a12, a22), (z11, z12, z21, z22))


def equations(problem: Problem, theta: list[int], nu: list[int], bits: int, work: Work) -> tuple[list[int], Q, Q]:
    """(5) F(theta, nu) in units of 2^-bits, and bounds of the errors of its two parts as vectors."""
    d, k = problem.d, problem.k
    values = Evaluation(problem, theta, 0, bits, work)
    J, f = values.jacobian, values.outputs
    work.spend(d * k, bits, bits)
    pulled = [sum(map(mul, nu, column)) >> bits for column in zip(*J.rows, strict=True)] if k else [0] * d
    F = [t - floor(c, bits) - p for t, c, p in zip(theta, problem.centre, pulled, strict=True)]
    F += [floor(y, bits) - value for y, value in zip(problem.y, f.rows[0], strict=True)]
    unit = Q(1, 1 << bits)
    off = values.off(k, largest([nu]), 0, 0, J.err) + 1
    return F, off * unit * root_up(Q(d)), (f.err + 1) * unit * root_up(Q(k))


def defect(problem: Problem, point: Point, a: tuple[Q, Q, Q], work: Work) -> tuple[Q, Q]:
    """(5) Bounds of both parts of A F(theta_0, nu_0), evaluated at all bits of the file."""
    F, err1, err2 = equations(problem, point.theta, point.nu, point.bits, work)
    work.spend(len(F) ** 2, point.bits, point.fine + 64)
    image, bits = [sum(map(mul, row, F)) for row in point.A], point.bits + point.fine
    first, second = norm(image[: problem.d], bits), norm(image[problem.d :], bits)
    return first + a[0] * err1 + a[1] * err2, second + a[1] * err1 + a[2] * err2


def contraction(lin: Linear, off_h: Q, off_j: Q, r: Q, s: Q) -> tuple[Q, Q]:
    """(5) The Lipschitz constant of z - A F(z) in the norm max(|theta| / r, |nu| / s), where H and J are off by no more
    than this; and a bound of 1 / sigma for the smallest singular value sigma of J (0 if there are no rows)."""
    (a11, a12, a22), (z11, z12, z21, z22) = lin.a, lin.z
    q11, q12 = z11 + a11 * off_h + a12 * off_j, z12 + a11 * off_j
    q21, q22 = z21 + a12 * off_h + a22 * off_j, z22 + a12 * off_j
    kappa = up(max(q11 + q12 * s / r, q21 * r / s + q22))
    return kappa, up(a12 / (1 - q22)) if q22 < 1 else ZERO


def value(problem: Problem, point: Point, distance: Q, work: Work) -> tuple[Q, Q]:
    """(6) Bounds of 1/2 |theta - centre|^2 wherever |theta - theta_0| <= distance."""
    work.spend(problem.d, point.bits, 512, each=20_000)
    square = sum(((Q(t, 1 << point.bits) - c) ** 2 for t, c in zip(point.theta, problem.centre, strict=True)), ZERO)
    shift = point.bits + 64
    root = math.isqrt((square.numerator << 2 * shift) // square.denominator)
    low, high = Q(root, 1 << shift) - distance, Q(root + 1, 1 << shift) + distance
    return max(low, ZERO) ** 2 / 2, high**2 / 2


def definite(node: Any, problem: Problem, lin: Linear, work: Work) -> tuple[Q, int]:
    """(7) mu and rho such that H + rho J^T J - mu I is positive semidefinite, for the H and J of the file: mu is sigma
    less the Frobenius norm of H + rho J^T J - sigma I - L L^T."""
    d, bits = problem.d, whole(node, "bits", 0, COARSE)
    rho, sigma = integer(member(node, "rho"), "rho"), rational(member(node, "sigma"), "sigma")
    require(0 <= rho < 1 << MAX_WHOLE and sigma > 0, "rho, sigma: out of range")
    L = triangle(member(node, "factor"), d, "factor")
    work.spend(d * d * (d + 3 * problem.k) // 6, max(COARSE, largest(L).bit_length()), COARSE)
    scale, total, used = 2 * COARSE, 0, floor(sigma, 2 * COARSE)
    columns = list(zip(*lin.J, strict=True)) if lin.J else [()] * d
    for a in range(d):
        for b in range(a + 1):
            entry = (lin.H[a][b] << COARSE) + rho * sum(map(mul, columns[a], columns[b]))
            entry -= (used if a == b else 0) + (sum(map(mul, L[a], L[b])) << scale - 2 * bits)
            total += entry**2 * (1 + (a != b))
    return Q(used, 1 << scale) - root_up(Q(total, 1 << 2 * scale)), rho


def bends_down(node: Any, lin: Linear, inverse: Q, off_h: Q, off_j: Q, work: Work) -> bool:
    """(8) Whether, near the direction v, a curve of networks that fit leads from the KKT point to smaller values.

    v less a vector w with |w| <= inverse |J v| lies in the kernel of J at the KKT point.
    """
    v = [integer(text, "direction") for text in listed(node, len(lin.H), "direction")]
    work.spend((len(v) + len(lin.J)) * len(v), COARSE, largest([v]).bit_length())
    image = [sum(map(mul, row, v)) for row in lin.H]
    bent, long, steep = Q(sum(map(mul, v, image)), 1 << COARSE), norm(v, 0), norm(image, COARSE) + off_h * norm(v, 0)
    missed = norm((sum(map(mul, row, v)) for row in lin.J), COARSE) + off_j * long
    w = inverse * missed
    whole_h = norm((x for row in lin.H for x in row), COARSE) + off_h
    return bent + off_h * long**2 + 2 * w * steep + whole_h * w**2 < 0


def judge(tree: Any, work: Work) -> Verdict:
    """The verdict; Rejected, if the file proves nothing, or less than it claims."""
    require(member(tree, "schema") == SCHEMA and member(tree, "version") == 1, f"expected {SCHEMA}, version 1")
    problem = Problem(tree)
    point = Point(tree, problem)
    coarse = [entry >> point.bits - COARSE for entry in point.theta]
    values = Evaluation(problem, coarse, 1, COARSE, work)
    lin = linear(problem, point, values, work)
    r, s = point.radius, point.nu_radius
    beta, tau = vary(problem, point, values, r, work)

    def off(in_theta: Q, in_nu: Q) -> tuple[Q, Q]:
        """How far H and J may be from those of the file where theta and nu are within so much of the point."""
        return up(beta * in_nu + tau * in_theta + lin.h_off), up(beta * in_theta + lin.j_off)

    kappa, inverse = contraction(lin, *off(r, s), r, s)
    first, second = defect(problem, point, lin.a, work)
    start = up(max(first / r, second / s))
    require(kappa < 1, f"Newton's map is no contraction in the ball: factor {show(kappa)}")
    require(kappa + start <= 1, f"Newton's map leaves the ball: {show(start)} + {show(kappa)} > 1")
    moved = up(start / (1 - kappa))
    distance, nu_distance = r * moved, s * moved
    lower, upper = value(problem, point, distance, work)
    minimum, grown = None, None
    if tree.get("minimum") is not None:
        mu, rho = definite(tree["minimum"], problem, lin, work)
        off_h, off_j = off(r, nu_distance)
        grown = mu - rho * off_j**2 - off_h
        minimum, grown = (True, grown) if grown > 0 else (None, None)
    elif tree.get("saddle") is not None:
        minimum = False if bends_down(tree["saddle"], lin, inverse, *off(distance, nu_distance), work) else None
    found = Verdict(
        proved=False,
        sentences=(),
        proof="local",
        lower=lower,
        upper=upper,
        distance=distance,
        radius=r,
        nu_radius=s,
        minimum=minimum,
        growth=grown,
        digest=digest(tree),
    )
    compare(mapping(member(tree, "claims")), found)
    return replace(found, sentences=sentences(found))


def mapping(node: Any) -> Mapping[str, Any]:
    require(type(node) is dict, "claims: expected an object")
    return node  # type: ignore[no-any-return]


def compare(claims: Mapping[str, Any], found: Verdict) -> None:
    """(9) Claims must not be stronger than what is proved."""
    require(claims.get("proof") == "local", "claims: expected the proof 'local'")
    minimum = claims.get("minimum")
    require(minimum is None or type(minimum) is bool, "minimum is true, false or null")
    require(minimum is None or minimum is found.minimum, "more is claimed than is proved: minimum")
    fair: dict[str, Callable[[Q, Q], bool]] = {
        "lower": Q.__le__, "upper": Q.__ge__, "distance": Q.__ge__, "growth": Q.__le__,
    }  # fmt: skip
    for name, holds in fair.items():
        if claims.get(name) is not None:
            own = getattr(found, name)
            require(
                own is not None and holds(rational(claims[name], name), own), f"more is claimed than proved: {name}"
            )


def show(x: Q) -> str:
    """Six digits for people."""
    if x >= 1 << 900:
        return f"2^{int(x).bit_length()}"
    shift = max(0, x.denominator.bit_length() - 900)
    return f"{(x.numerator >> shift) / (x.denominator >> shift):.6g}"


def sentences(found: Verdict) -> tuple[str, ...]:
    """For people."""
    assert found.lower is not None
    assert found.upper is not None
    assert found.distance is not None
    assert found.radius is not None
    assert found.nu_radius is not None
    said = [
        f"local: exactly one KKT point is within {show(found.radius)} of theta, with multipliers within "
        f"{show(found.nu_radius)} of nu; it is within {show(found.distance)}",
        f"there {show(found.lower)} <= 1/2 |theta - centre|^2 <= {show(found.upper)}, "
        f"an interval of width {show(found.upper - found.lower)}",
    ]
    if found.minimum:
        said.append("it is a strict local minimum: every other network that fits and is as near is larger")
    elif found.minimum is None:
        said.append("whether it is a local minimum is not proved")
    else:
        said.append("it is no local minimum")
    said.append(f"nothing is said of networks farther away; network and data have the SHA-256 {found.digest}")
    return tuple(said)


def check(certificate: Any) -> Verdict:
    """The verdict on a file, or on the object that it holds.  Nothing that a file holds raises."""
    try:
        if isinstance(certificate, (str, Path)):
            path = Path(certificate)
            require(path.is_file(), f"{path!s:.200} is no file")
            require(path.stat().st_size <= MAX_BYTES, f"{path!s:.200} is larger than {MAX_BYTES >> 20} MiB")
            content = path.read_bytes()
        else:
            content = json.dumps(certificate).encode()
        return judge(parse(content), Work(BASE + PER_BYTE * len(content)))
    except Rejected as error:
        return Verdict(False, (f"not proved: {error}",))
    except Exception as error:  # a file may be hostile: whatever it makes fail, it is no proof
        return Verdict(False, (f"not proved: it is damaged ({type(error).__name__}: {error!s:.100})",))


def main(arguments: list[str]) -> int:
    """4: a local statement is proved; 1: not proved; 2: the command cannot be used."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: checker.py FILE")
        return 2
    if not Path(arguments[0]).is_file():
        print(f"{arguments[0]}: no such file")
        return 2
    found = check(arguments[0])
    print(*found.sentences, sep="\n")
    return 1 if found.proof == "none" else 4


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
