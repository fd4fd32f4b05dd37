#!/usr/bin/env python3
"""The checker: decides alone, in exact arithmetic, whether a certificate proves what it claims.

Run `python -I -S checker.py PROBLEM CERTIFICATE [--tau T]`: the exit status is 0 only for a proof about PROBLEM.
docs/certificate_format.md specifies what it reads.  Floats are the dyadic rationals that they are; claims are compared,
never used.  Trusted are Python's integers and, with D = theta - theta*, M and F the free and the frozen coordinates:

1. Feasibility.  J D = b, D_F = 0, |D|_2 <= rho, |D|_inf <= r hold exactly, so upper = R(theta) + Rhat(D).
2. Fenchel.  If g + h = J^T nu on M and kappa >= 0, every feasible theta satisfies
       R(theta) + Rhat(D) >= <g, theta*> + <nu, b> - R*(g) - sum_M psi*(h_j) - kappa rho^2 / 2,
   psi(x) = (lam + kappa)/2 x^2 + mu |x| on [-r, r]: add R(theta) >= <g, theta> - R*(g), psi(D_j) >= h_j D_j - psi*(h_j)
   and 0 >= kappa/2 (|D|^2 - rho^2).  So lower = upper - (the slacks of these three); a proof is exact if all are 0.
   If R = sum phi_j, the best g and h leave the slack of phi_j(x) + psi(x - theta*_j) - (J^T nu)_j x over its minimum.
3. Dual balls.  A norm has R*(g) = 0 where R°(g) <= 1: (sum g^2/w)^(1/2) for l2; sum |g|/w for linf; max |g_g|/w_g for
   groups; |B|_F at g = V B^T for |A^T V|_F; spectral (LDL^T) for the nuclear norm, where |sum u v^T|_* <= sum |u||v|.
4. Counts.  q is outside range C if rank [C q] > rank C; ranks modulo p are lower bounds, exact above Hadamard's bound.
5. Distance.  |theta - minimiser|^2 <= 2 gap/m if m-strongly convex, (upper^2 - lower^2)/min w for l2; the slacks of a
   minimiser sum to at most the gap, which pins its coordinates and the rays of its groups, up to kernel vectors of J.
6. Farkas.  No D exists if <nu, b> exceeds the supremum of <J^T nu, D> over the D allowed.
"""
from __future__ import annotations

import hashlib
import json
import math
import re
import struct
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction as Q
from functools import lru_cache, partial
from itertools import combinations
from operator import mul
from pathlib import Path
from typing import Any

SEPARABLE, COUNTS = {"squared_l2", "elastic_net", "l1"}, {"l0", "active_neurons"}
NORMS, LEVELS = {"l2", "linf", "group_l2", "predictor_norm", "nuclear_norm"}, ["repaired", "enclosure", "exact"]
PRIMES = [(1 << n) - 1 for n in (61, 521, 1279, 2203, 4423, 11213, 23209, 44497, 110503, 216091)]  # of Mersenne
P61, ROOT, FINE, ZERO, ONE = PRIMES[0], 400, 4096, Q(0), Q(1)  # bits of roots; slacks are multiples of 2^-FINE
MAX_BYTES, MAX_BITS, MAX_SETS, MAX_RANKS = 64 << 20, 1 << 19, 2_000_000, 20_000
HEX = re.compile("(-?[0-9a-f]{1,65536})(?:/([0-9a-f]{1,65536}))?")
NPY = re.compile(rb"(?s)\x93NUMPY.{4,6}{'descr': '[<|](..)', 'fortran_order': False, 'shape': \(([0-9, ]*)\), } *\n")
CODES = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "u8": "Q", "u1": "B", "b1": "?"}
CODES |= {"F64": "d", "F32": "f", "F16": "e", "BF16": "f", "I64": "q", "I32": "i", "U8": "B", "BOOL": "?"}

class Rejected(ValueError):
    """One sentence: why this is not a proof."""

@dataclass(frozen=True)
class Verdict:
    """lower <= optimum <= upper; gap: relative; square: of an exact root; distance: from theta to every minimiser;
    residual: max |J_i D - b_i| over all rows as written (None: it is 0; infeasible: every D has at least this);
    robust_lower: a bound under |J D - b| <= tau."""

    proved: bool
    sentences: tuple[str, ...]
    proof: str = "none"
    lower: Q | None = None
    upper: Q | None = None
    gap: Q | None = None
    square: Q | None = None
    unique: bool = False
    distance: Q | None = None
    residual: Q | None = None
    robust_lower: Q | None = None

def require(truth: Any, sentence: str) -> None:
    if not truth:
        raise Rejected(sentence)
def number(value: Any, least: float = -math.inf) -> Q:  # of "-1f/8"; of floats, integers and Fractions as they are
    if isinstance(value, str):
        found = HEX.fullmatch(value) or [""]
        require(found[0], f"expected a number such as '-1f/8', found {value:.40}")
        value = Q(int(found[1], 16), int(found[2] or "1", 16))
    require(value >= least, f"expected a number that is at least {least}")
    return value if isinstance(value, Q) else Q(*value.as_integer_ratio())

def common(values: Iterable[Any]) -> tuple[list[int], int]:  # integers over one denominator, of Fractions or floats
    pairs, den = [x.as_integer_ratio() for x in values], 1
    for d in (dens := {d for _, d in pairs}):
        den = math.lcm(den, d)
        require(den.bit_length() <= MAX_BITS, "a common denominator is too large")
    factors = {d: den // d for d in dens}
    return [n * factors[d] for n, d in pairs], den
def dot(a: Iterable[Q], b: Iterable[Q]) -> Q:
    (x, c), (y, d) = common(a), common(b)
    return Q(sum(map(mul, x, y)), c * d)
def total(values: Iterable[Q]) -> Q:
    return sum(values, ZERO)

def roots(x: Q) -> tuple[Q, Q]:  # lower <= sqrt(x) <= upper, equal for squares of rationals
    shift = max(0, ROOT + (x.denominator.bit_length() - x.numerator.bit_length()) // 2)
    exact = Q(math.isqrt(x.numerator), math.isqrt(x.denominator))
    root = math.isqrt((x.numerator << 2 * shift) // x.denominator)
    return (exact, exact) if exact**2 == x else (Q(root, 1 << shift), Q(root + 1, 1 << shift))
def length(x: Sequence[Q]) -> Q:  # an upper bound of the Euclidean norm
    return roots(dot(x, x))[1]

def sign(x: Q, zero: int = 0) -> int:
    return 1 if x > 0 else -1 if x < 0 else zero
def show(x: Q) -> str:
    return f"{x.numerator / x.denominator:.6g}" if x < 1 << 1000 else f"2^{int(x).bit_length()}"

def slack(alpha: Q, beta: Q, psi: Any, x: Q, D: Q, z: Q) -> tuple[Q, bool]:
    """f(x) - min f of alpha |x| + beta/2 x^2 + psi(D) - z x, D moving with x; and whether only one x has slack 0."""
    (mu, curve, box), slope, c = psi, beta * x + psi[1] * D - z, x - D
    down = slope + alpha * sign(x, -1) + mu * sign(D, -1) if box is None or -box != D else -ONE
    up = slope + alpha * sign(x, 1) + mu * sign(D, 1) if box != D else ONE
    if down <= 0 <= up:
        return ZERO, beta + curve > 0 or down < 0 < up
    kinks = [a + m for a in (alpha, -alpha) for m in (mu, -mu)] if beta + curve else []
    require(kinks or box is not None or abs(z) <= alpha + mu, "J^T nu is larger than what could absorb it")
    ends = [ZERO, c, *((z + curve * c + kink) / (beta + curve) for kink in kinks)]
    ends = ends if box is None else [min(max(u, c - box), c + box) for u in (*ends, c - box, c + box)]
    f = [alpha * abs(u) + beta * u * u / 2 + mu * abs(u - c) + curve * (u - c) ** 2 / 2 - z * u for u in (x, *ends)]
    above = f[0] - min(f)
    return Q(-((-above.numerator << FINE) // above.denominator), 1 << FINE), False

def echelon(vectors: Iterable[Sequence[int]], p: int = P61, known: Sequence[Any] = ()) -> list[Any]:
    """Pivots and rows of a row echelon form modulo the prime p, continued from `known`; its length is the rank."""
    found = [*known]
    for vector in vectors:
        v = [x % p for x in vector]
        for at, top in found:
            v = [(top[at] * x - v[at] * y) % p for x, y in zip(v, top, strict=True)] if v[at] else v
        found += [(at, v) for at, x in enumerate(v) if x][:1]
    return found
def rank(vectors: Sequence[Sequence[int]]) -> int:  # over the rationals, by a prime above Hadamard's bound
    bits = sum((sum(map(mul, v, v)).bit_length() + 1) // 2 for v in vectors)
    return len(echelon(vectors, next(p for p in PRIMES if p.bit_length() > bits)))

def is_psd(M: list[list[int]], last: int = 1) -> bool:  # a symmetric integer matrix, by fraction-free LDL^T
    if not M or M[0][0] <= 0:
        return not M or (not any(M[0]) and is_psd([row[1:] for row in M[1:]], last))
    (a, *top), rest = M[0], M[1:]
    return is_psd([[(a * x - row[0] * y) // last for x, y in zip(row[1:], top, strict=True)] for row in rest], a)

parse = partial(json.loads, parse_float=lambda text: number("." + text), parse_constant=number)  # no floats, no NaN
def stored(path: Path) -> list[tuple[str, str, Sequence[int], bytes]]:
    """Name, type, shape and bytes of every array in a .npz or .safetensors file."""
    if path.suffix == ".safetensors":
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        items = {name: x for name, x in parse(content[8:start]).items() if name != "__metadata__"}
        return [(name, x["dtype"], x["shape"], content[start:][slice(*x["data_offsets"])]) for name, x in items.items()]
    with zipfile.ZipFile(path) as archive:
        require(sum(info.file_size for info in archive.infolist()) < 1 << 29, "it unpacks to too many bytes")
        files = [(name.removesuffix(".npy"), archive.read(name)) for name in archive.namelist()]
    found = [(name, NPY.match(raw) or [b""], raw) for name, raw in files]
    require(all(head[0] for _, head, _ in found), "a file in it is no array of real numbers in row-major order")
    return [(f, m[1].decode(), [int(n) for n in m[2].split(b",") if n.strip()], r[len(m[0]) :]) for f, m, r in found]

def read_problem(source: Any) -> Any:
    """The problem object of a path, of a mapping, or of an object with `to_tree`, in its .json form."""
    def resolve(node: Any) -> Any:
        if isinstance(node, Mapping):
            return arrays[node["array"]] if node.keys() == {"array"} else {k: resolve(v) for k, v in node.items()}
        if isinstance(node, list) and not all(isinstance(item, str) for item in node):
            return [resolve(item) for item in node]
        return {"shape": node.shape, "data": node.reshape(-1).tolist()} if hasattr(node, "tolist") else node
    arrays: dict[str, Any] = {}
    if not isinstance(source, (str, Path)):
        return resolve(source if isinstance(source, Mapping) else source.to_tree())
    require(Path(source).is_file(), f"{source!s} is no file")
    if Path(source).suffix == ".json":
        return parse(Path(source).read_bytes())
    for name, kind, shape, raw in stored(Path(source)):
        wide = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2)) if kind == "BF16" else raw
        arrays[name] = {"shape": shape, "data": struct.unpack(f"<{math.prod(shape)}{CODES[kind]}", wide)}
    require("spec" in arrays, f"{source} holds no spec, so it names no regularizer")
    return resolve(parse(bytes(arrays["spec"]["data"])))
def numbers(node: Any, *shape: int | None, below: int = 0, floats: bool = False) -> list[Any]:
    """Of an array of this shape (None: any length); `below`: integers from 0 to below - 1; `floats`: these stay so."""
    found, values = node["shape"], list(node["data"])
    values = values if floats and all(type(x) is float for x in values) else [number(x) for x in values]
    fits = len(shape) == len(found) and all(n in (None, m) for n, m in zip(shape, found, strict=True))
    fits = fits and (not below or all(x.denominator == 1 and 0 <= x < below for x in values))
    require(fits and len(values) == math.prod(found), f"an array has not the shape {shape}, or not such entries")
    return [int(x) for x in values] if below else values

def entries(parts: Any, allowed: Sequence[int]) -> dict[int, Q]:  # what a VEC lists, all of it in `allowed`
    found: dict[int, Q] = {}
    for part in parts:
        den = number(part["den"])
        for j, text in zip(part.get("indices", allowed), part["nums"], strict=True):
            require(type(j) is int and j not in found and den > 0, "an index occurs twice or is none, or den <= 0")
            found[j] = number(text) / den
    require(found.keys() <= set(allowed), "something is listed that has no place there")
    return found

def indices(listed: Any, below: int) -> list[int]:
    """Distinct integers from 0 to below - 1, in increasing order."""
    fits = type(listed) is list and all(type(i) is int and 0 <= i < below for i in listed)
    require(fits and len(set(listed)) == len(listed), f"expected distinct indices from 0 to {below - 1}")
    return sorted(listed)

class Proof:
    """A problem, then a certificate about it.  z, x, D, pins run over free coordinates; start, theta, g over all."""

    def __init__(self, tree: Any) -> None:
        require((tree["schema"], tree["version"]) == ("exact-unlearn/problem", 1), "this is no problem of version 1")
        self.start, self.rhs = numbers(tree["theta_star"], None), numbers(tree["rhs"], None)
        drift: dict[str, list[Q]] = {"squared_drift": [], "l1_drift": [], "2": [], "inf": []}
        for spec in tree["drift_penalty"]:
            kind, what = ("norm", "radius") if spec["name"] == "trust_region" else ("name", "lam")
            drift[spec[kind]].append(number(spec[what], 0))
        self.lam, self.mu = total(drift["squared_drift"]), total(drift["l1_drift"])
        self.rho, self.box = min(drift["2"], default=None), min(drift["inf"], default=None)
        mask, self.d = numbers(tree["free"], len(self.start), below=2), len(self.start)
        self.free = [j for j in range(self.d) if mask[j] and 0 not in (self.rho, self.box)]
        self.at = {j: at for at, j in enumerate(self.free)}
        self.rows = [common(row[j] for j in self.free) for row in self.jacobian(tree["jacobian"], len(self.rhs))]
        self.regularizer(tree["regularizer"], mask)

    def jacobian(self, spec: Any, k: int) -> list[list[Any]]:
        if {"dense": True, "product": False}[spec["kind"]]:
            flat = numbers(spec["matrix"], k, self.d, floats=True)
            return [flat[i * self.d : (i + 1) * self.d] for i in range(k)]
        (h, l), (n, m), (start, stop) = spec["V"]["shape"], spec["X"]["shape"], spec["block"]
        V, self.X = numbers(spec["V"], h, l), numbers(spec["X"], n, m)
        require(stop - start == h * m and 0 <= start <= stop <= self.d and k == n * l, "the jacobian does not fit")
        blocks = [[v * x for v in V[o::l] for x in self.X[i * m : (i + 1) * m]] for i in range(n) for o in range(l)]
        return [[ZERO] * start + block + [ZERO] * (self.d - stop) for block in blocks]

    def regularizer(self, spec: Any, mask: list[int]) -> None:
        """sum of alpha |x| + beta/2 x^2; or of roots of sums of weight x^2 over groups; or who pays for it."""
        name, d, grouped = spec["name"], self.d, spec["name"] == "group_l2"
        require(name in SEPARABLE | NORMS | COUNTS, f"unknown regularizer {name!s:.40}")
        labels = numbers(spec["labels"], d, below=d) if spec.get("labels") is not None or grouped else [*range(d)]
        n = max(labels, default=-1) + 1 if grouped else d
        w = [number(x, 0) for x in numbers(spec["weights"], n)] if spec.get("weights") is not None else [ONE] * n
        self.name, self.pays, self.seen, self.outer = name, labels, [w[g] > 0 for g in labels], w
        self.groups = [[j for j in range(d) if labels[j] == g] for g in range(n)] if grouped else [[*range(d)]]
        self.weight = [w[g] ** 2 for g in labels] if grouped else w
        self.alpha, self.beta = (w, [ZERO] * d) if name == "l1" else ([ZERO] * d, w)
        if name == "elastic_net":
            self.alpha, self.beta = [number(spec["alpha"], 0)] * d, [number(spec["beta"], 0)] * d
            self.seen = [a + b > 0 for a, b in zip(self.alpha, self.beta, strict=True)]
        elif name == "predictor_norm":
            (h, self.l), self.m, self.seen = spec["V"]["shape"], spec["shape"][1], [False] * d
            self.V, self.block = numbers(spec["V"], h, self.l), range(d)[slice(*spec["block"])][: h * self.m]
            self.weight, self.groups = [ONE] * self.m * self.l, [[*range(self.m * self.l)]]
        elif name == "nuclear_norm":
            self.shape, self.indices = spec["shape"], numbers(spec["indices"], math.prod(spec["shape"]), below=d)
            self.seen = [*map(set(self.indices).__contains__, range(d))]
            require(sum(self.seen) == len(self.indices), "an entry of the matrix occurs twice")
        elif name == "active_neurons":
            m, h, l = spec["n_inputs"], spec["width"], spec["n_outputs"]
            require(d == h * (l + m) and not any(mask[h * l :]), "the regularizer does not fit, or more than C is free")
            self.pays = [i if any(self.start[h * l + i * m :][:m]) else -1 for i in range(h)] * l + [-1] * (h * m)

    def read(self, spec: Any) -> None:  # rows, moved labels b-hat, and multipliers, z = J^T nu
        self.spec, self.dual, rows = spec, spec.get("dual", {"nu": []}), spec.get("rows", "literal")
        every = range(len(self.rows))
        self.kept = every if rows == "literal" else indices(rows["kept"], len(every))
        moved = {} if rows == "literal" else entries(rows.get("rhs", []), every)
        self.labels = [moved.get(i, b) for i, b in enumerate(self.rhs)]
        self.nu, self.kappa = entries(self.dual["nu"], self.kept), number(self.dual.get("ball", 0), 0)
        require(not self.kappa or self.rho is not None, "a multiplier for a trust region that is not there")
        self.psi, self.sigma = (self.mu, self.lam + self.kappa, self.box), ONE
        self.bounded = self.psi[1] > 0 or self.box is not None
        nu, den = common(x / self.rows[i][1] for i, x in self.nu.items())
        columns = zip(*(self.rows[i][0] for i in self.nu), strict=True) if nu else [()] * len(self.free)
        self.z = [Q(sum(map(mul, nu, column)), den) for column in columns]

    def place(self) -> None:  # theta, feasible in the kept rows, and its drift penalty
        primal, curve, self.theta = self.spec["primal"], self.psi[1], [*self.start]
        base, listed = primal["base"], entries(primal["parts"], self.free)
        derived = base == "dual" and not self.mu and self.box is None and self.name in SEPARABLE | {"l2"}
        require(derived or base in ("zero", "theta_star"), f"the base {base!s:.20} does not apply")
        for j, z in zip(self.free, self.z, strict=True):
            if j in listed or base == "zero":
                self.theta[j] = listed.get(j, ZERO)
            elif derived:  # the minimiser of alpha |x| + beta/2 x^2 + curve/2 (x - theta*)^2 - z x
                y = z + curve * self.start[j]
                self.theta[j] = sign(y) * max(abs(y) - self.alpha[j], ZERO) / (self.beta[j] + curve)
        self.x, self.D = [self.theta[j] for j in self.free], [self.theta[j] - self.start[j] for j in self.free]
        moved, (steps, den), self.error = [at for at, D in enumerate(self.D) if D], common(D for D in self.D if D), ZERO
        kept = set(self.kept)
        for i, ((row, unit), b, label) in enumerate(zip(self.rows, self.rhs, self.labels, strict=True)):
            got = sum(map(mul, map(row.__getitem__, moved), steps))
            fits = got * label.denominator == label.numerator * unit * den
            require(fits or i not in kept, f"J D = b fails in row {i}")
            self.error = max(self.error, ZERO if fits and b == label else abs(Q(got, unit * den) - b), abs(label - b))
        self.square = Q(sum(map(mul, steps, steps)), den * den)
        inside = self.box is None or all(abs(D) <= self.box for D in self.D)
        require(inside and (self.rho is None or self.square <= self.rho**2), "theta lies outside the trust region")
        self.drift = self.lam / 2 * self.square + self.mu * Q(sum(map(abs, steps)), den)

    def norm(self, v: Sequence[Q], dual: bool) -> tuple[Q, Q, Q | None]:
        """R(v), or R°(v), from above and from below; and its square where that is rational."""
        if self.name == "nuclear_norm":
            bound = self.nuclear([v[j] for j in self.indices], dual)
            return bound, bound, None
        w = [x and 1 / x for x in self.weight] if dual else self.weight
        if self.name == "linf":
            sizes = [abs(x) * y for x, y in zip(v, w, strict=True)]
            bound = total(sizes) if dual else max(sizes, default=ZERO)
            return bound, bound, bound**2
        squares = [dot([v[j] * w[j] for j in g if v[j]], [v[j] for j in g if v[j]]) for g in self.groups] or [ZERO]
        squares = [max(squares)] if dual else squares
        below, above = (total(each) for each in zip(*map(roots, squares), strict=True))
        return above, below, squares[0] if len(squares) == 1 else None

    def nuclear(self, X: list[Q], dual: bool) -> Q:
        """sum |u||v| of the factors listed, and the columns of what they leave; dual: the spectral norm where <= 1."""
        (m, n), (M, den), bound = self.shape, common(X), ZERO
        if dual:
            A = [M[i : i + n] for i in range(0, m * n, n)] if m < n else [M[c::n] for c in range(n)]
            return ONE if is_psd([[den * den * (a is b) - sum(map(mul, a, b)) for b in A] for a in A]) else length(X)
        for factor in self.spec["primal"].get("factors", []):
            u, v = entries(factor["u"], range(m)), entries(factor["v"], range(n))
            bound += length([*u.values()]) * length([*v.values()])
            X = [x - u.get(at // n, ZERO) * v.get(at % n, ZERO) for at, x in enumerate(X)]
        return bound + total(length(X[c::n]) for c in range(n))

    def separable(self) -> None:
        terms = [*zip(self.free, self.x, self.D, self.z, strict=True)]
        steep = [] if self.bounded else [(self.alpha[j] + self.mu, abs(z)) for j, _, _, z in terms if not self.beta[j]]
        self.sigma = min([ONE, *(limit / z for limit, z in steep if z)])
        found = [slack(self.alpha[j], self.beta[j], self.psi, x, D, self.sigma * z) for j, x, D, z in terms]
        self.slack, self.pins = total(s for s, _ in found), [pin for _, pin in found]
        nums, den = common(self.theta)
        linear, squares = total(map(mul, self.alpha, map(abs, nums))), total(map(mul, self.beta, map(mul, nums, nums)))
        self.value = self.least = linear / den + squares / (2 * den * den)

    def subgradient(self) -> tuple[list[Q], list[Q], list[Q]]:
        """g, and the vectors whose norms are R°(g) and R(theta): for the predictor norm B of g = V B^T, and A^T V."""
        g = [ZERO] * self.d
        if self.name != "predictor_norm":
            listed = entries(self.dual.get("g", []), range(self.d))
            for j, z, D in zip(self.free, self.z, self.D, strict=True):
                g[j] = z - self.psi[1] * D - self.mu * sign(D)
            g = [listed.get(j, x) if self.seen[j] else ZERO for j, x in enumerate(g)]
            return g, g, self.theta
        m, l, A = self.m, self.l, [self.theta[j] for j in self.block]
        listed = entries(self.dual.get("B", []), self.groups[0])
        B, nu = [listed.get(at, ZERO) for at in self.groups[0]], [self.nu.get(i, ZERO) for i in range(len(self.rows))]
        if "B" not in self.dual and nu:  # X^T N, with which g = J^T nu
            B = [dot(self.X[c::m], nu[o::l]) for c in range(m) for o in range(l)]
        for at, j in enumerate(self.block):
            g[j] = dot(self.V[at // m * l : (at // m + 1) * l], B[at % m * l : (at % m + 1) * l])
        return g, B, [dot(A[c::m], self.V[o::l]) for c in range(m) for o in range(l)]

    def normed(self) -> None:
        """s g in the dual ball, h = sigma J^T nu - s g; the scale is free where R and boxes are all that there is."""
        (self.g, b, u), free = self.subgradient(), not self.mu and not self.psi[1]
        (self.value, self.least, self.root), (scale, _, top) = self.norm(u, False), self.norm(b, True)
        rest, pairing = [z - self.g[j] for j, z in zip(self.free, self.z, strict=True)], dot(self.g, self.theta)
        limits = [self.mu / abs(x) for x in rest if x and self.mu and not self.bounded]
        self.s = min([1 / scale if scale > 1 or (free and scale) else ONE, *limits])
        self.sigma = self.s if free or not self.bounded else ONE
        h = [self.s * x + (self.sigma - self.s) * z for x, z in zip(rest, self.z, strict=True)]
        found = [slack(ZERO, ZERO, self.psi, x, D, y) for x, D, y in zip(self.x, self.D, h, strict=True)]
        self.pins, others = [pin for _, pin in found], total(s for s, _ in found)
        aligned = free and not others and pairing > 0 and top and self.root and pairing**2 == self.root * top
        self.slack = others if aligned else others + self.value - self.s * pairing

    def count(self) -> Q:
        """What every feasible theta costs: groups that are forced, more than `exhausted` others, drift of the rest."""
        blocks: dict[int, Any] = {-1: ([], [])}
        size = self.spec.get("count", {"exhausted": -1})["exhausted"]
        forced = {self.pays[j] for j in range(self.d) if j not in self.at and self.start[j]} - {-1}
        starts, den = common(self.start[j] for j in self.free)
        q = [Q(sum(map(mul, self.rows[i][0], starts)), den) + self.labels[i] * self.rows[i][1] for i in self.kept]
        q = common(q)[0]
        for at, j in enumerate(self.free):  # of each payer: how far its coordinates are from 0, and independent columns
            moves, columns = blocks.setdefault(-1 if self.pays[j] in forced else self.pays[j], ([], []))
            more = [*columns, [self.rows[i][0][at] for i in self.kept]]
            columns += more[-1:] if len(echelon(more)) == len(more) or rank(more) == len(more) else []
            moves.append(abs(self.start[j]))
        (_, base), *others = blocks.values()
        n, groups, tried = len(others), [columns for _, columns in others], max(size, 0)
        require(type(size) is int and -1 <= size < max(n, 1) and math.comb(n, tried) <= MAX_SETS, "no or too many sets")
        width, ranks = len(base) + tried * max(map(len, groups), default=0) + 1, iter(range(MAX_RANKS))
        mix = [[pow(i + 2, r, P61) for i in range(len(q))] for r in range(min(width, len(q)))]  # ranks do not grow
        *mixed, own, goal = ([[sum(map(mul, m, v)) % P61 for m in mix] for v in each] for each in (*groups, base, [q]))
        @lru_cache(maxsize=16)
        def found(chosen: tuple[int, ...]) -> list[Any]:  # sets come in order and share their beginnings
            return echelon(mixed[chosen[-1]], P61, found(chosen[:-1])) if chosen else echelon(own)
        for chosen in combinations(range(n), tried) if size >= 0 else ():
            columns = sum((groups[g] for g in chosen), base)
            if not len(echelon(goal, P61, found(chosen))) > len(found(chosen)) == len(columns):
                require(next(ranks, None) is not None and rank([*columns, q]) > rank(columns), "some groups suffice")
        moves = [xs for xs, _ in others if self.box is None or max(xs) <= self.box]
        costs = sorted(total(self.lam / 2 * x * x + self.mu * x for x in xs) for xs in moves)
        return len(forced) + min(i + total(costs[: n - i]) for i in range(size + 1, n + 1) if n - i <= len(costs))

    def bounds(self) -> None:
        """lower and upper; slack is their difference but for the rounding of roots, and 0 if the proof is exact."""
        self.root = None  # R(theta)^2, if it is rational
        self.place()
        if self.name in COUNTS:
            self.value = self.least = Q(len({self.pays[j] for j, x in enumerate(self.theta) if x} - {-1}))
            self.slack = self.value + self.drift - self.count()
        else:
            self.separable() if self.name in SEPARABLE else self.normed()
            self.slack += self.kappa / 2 * ((self.rho or 0) ** 2 - self.square)
        self.slack = self.slack if self.free or self.name == "nuclear_norm" else ZERO  # theta* is the only point
        self.upper, low = self.value + self.drift, self.value if self.slack else self.least
        self.least_sure = low + self.drift - self.slack
        self.lower = max(self.least_sure, ZERO)

    def robust(self, tau: Q) -> Q:
        """A bound of R + Rhat wherever |J D - b| <= tau: there <nu, J D> >= <nu, b> - tau |nu|_1, b as written."""
        if not self.free or self.name in COUNTS:
            return ZERO if self.name in COUNTS else self.lower
        moved = total(x * (self.labels[i] - self.rhs[i]) for i, x in self.nu.items())
        return max(ZERO, self.least_sure - self.sigma * (moved + tau * total(map(abs, self.nu.values()))))

    def nearness(self) -> list[tuple[Q, bool]]:
        """Bounds of the distance to every minimiser, and whether there is only one."""
        every, found = all(self.seen[j] for j in self.free), []
        only = not self.free or (not self.upper and (every or self.lam > 0 or self.mu > 0))
        if only or self.name in COUNTS:
            return [(ZERO, True)] * (only and self.name not in COUNTS)
        modulus = self.lam + (min(self.beta[j] for j in self.free) if self.name in SEPARABLE else 0)
        if modulus or self.kappa:
            bound = roots(2 * self.slack / modulus)[1] if modulus else 2 * roots(2 * self.slack / self.kappa)[1]
            found += [(bound, modulus > 0 or not self.slack)]
        elif self.name == "l2" and every and not self.mu:
            square = (self.upper**2 - self.lower**2) * (self.slack != 0)
            found += [(roots(square / min(self.weight[j] for j in self.free))[1], True)]
        loose, steps = {at for at, pin in enumerate(self.pins) if not pin}, [0] * self.d
        if self.name == "linf":  # where g is not 0, w |theta| is the maximum: these coordinates move along one ray
            steps = common(sign(x) / w if x else ZERO for x, w in zip(self.g, self.weight, strict=True))[0]
        ray = {self.at.get(j, -1): step for j, step in enumerate(steps) if step}
        moves = [{at: 1} for at in loose if not steps[self.free[at]]] + [ray] * (ray.keys() <= loose) * bool(ray)
        columns = [[sum(self.rows[i][0][at] * x for at, x in move.items()) for i in self.kept] for move in moves]
        found += [(ZERO, True)] * (not self.slack and len(self.kept) >= len(moves) == len(echelon(columns)))
        return found + ([(self.rays(**self.spec["distance"]), not self.slack)] if "distance" in self.spec else [])

    def rays(self, active: list[int], L: Any) -> Q:
        """The distance for groups: inactive ones are short, active ones nearly parallel to g_g, where L J is near 1."""
        require(self.name == "group_l2", "only groups have such a distance")
        J, k, spread, columns = [[Q(x, den) for x in row] for row, den in self.rows], len(self.rows), ZERO, {}
        listed = entries(L, [a * k + i for a in range(len(active)) for i in self.kept])
        inverse = [[listed.get(a * k + i, ZERO) for i in range(k)] for a in range(len(active))]
        for label, (group, w) in enumerate(zip(self.groups, self.outer, strict=True)):
            norm, places = length([self.g[j] for j in group]), [j for j in group if j in self.at]
            if label in active:
                spread += 2 * roots(2 * self.slack * self.upper)[1] / w
                columns[label] = [total(row[self.at[j]] * self.g[j] for j in places) / norm for row in J]
            elif places:
                require(self.s * norm < w, "a group may be active that is not listed as such")
                spread += 2 * self.slack / (w - self.s * norm)
        error = length([dot(a, columns[b]) - (m == n) for m, a in enumerate(inverse) for n, b in enumerate(active)])
        require(error < 1, "L is no left inverse")
        return spread * (1 + length([*listed.values()]) * length([x for row in J for x in row]) / (1 - error))

def judge(proof: Proof, spec: Any, tau: Q | None) -> Verdict:  # Rejected, if it proves less than it claims
    require((spec["schema"], spec["version"]) == ("exact-unlearn/certificate", 1), "no certificate of version 1")
    proof.read(spec)
    claims, kind = spec["claims"], spec["kind"]
    if kind == "infeasible":
        reach = [ZERO] * (not any(proof.z)) + [r * total(map(abs, proof.z)) for r in (proof.box,) if r is not None]
        reach += [r * length(proof.z) for r in (proof.rho,) if r is not None]  # how far the regions let J^T nu go
        excess = total(x * proof.rhs[i] for i, x in proof.nu.items()) - min(reach) if reach else ZERO
        require(excess > 0 and claims["proof"] == kind, "nu is no Farkas vector, or something else is claimed")
        require(proof.labels == proof.rhs, "a refutation is about b as written")
        missed = excess / total(map(abs, proof.nu.values()))  # excess <= <nu, b - J D> <= |nu|_1 max |b - J D|
        text = f"proved: no parameters satisfy the constraints; every drift misses some row by at least {show(missed)}"
        fits = tau is None or tau < missed
        return Verdict(fits, (text + "; --tau is not less" * (not fits),), kind, residual=missed)
    require(kind == "bounds", f"unknown kind {kind!s:.40}")
    proof.bounds()
    near, lower, upper, exact = proof.nearness(), proof.lower, proof.upper, not proof.slack or not proof.upper
    distance, unique = min((d for d, _ in near), default=None), any(u for _, u in near)
    gap, square = ZERO if exact else (upper - lower) / upper, proof.root if exact and not proof.drift else None
    level = "exact" if exact else "enclosure" if gap * 10**30 <= 1 else "repaired"
    said = {key: number(claims[key]) for key in claims if key not in ("proof", "unique") and claims[key] is not None}
    require(claims["proof"] in LEVELS[: LEVELS.index(level) + 1], f"not {claims['proof']!s:.20}, but {level}")
    fair = said.get("lower", lower) <= lower and said.get("upper", upper) >= upper and said.get("gap", gap) >= gap
    fair = fair and said.get("square", square) == square and (unique or claims.get("unique") in (None, False))
    fair = fair and ("distance" not in said or (distance is not None and said["distance"] >= distance))
    require(fair, "more is claimed than is proved")
    text = f"proved ({level}): {show(lower)} <= optimum <= {show(upper)}, relative gap {show(gap)}"
    text += "; the minimiser is unique" * unique + f"; distance <= {show(distance or ZERO)}" * (distance is not None)
    found = Verdict(True, (text,), level, lower, upper, gap, square, unique, distance)
    if len(proof.kept) == len(proof.rows) and proof.labels == proof.rhs:
        return found
    own = max(number(spec["rows"]["tau"], 0), proof.error)
    fits, robust = tau is not None and own <= tau, proof.robust(own if tau is None else tau)
    dropped = sorted({*range(len(proof.rows))} - {*proof.kept})
    moved = sum(a != b for a, b in zip(proof.labels, proof.rhs, strict=True))
    more = f"for {len(proof.kept)} of {len(proof.rows)} rows, without {dropped!s:.200}, and {moved} labels moved"
    more += f"; theta misses rows as written by at most {show(proof.error)}"
    more += f"; where |J D - b| <= {show(own if tau is None else tau)} values are >= {show(robust)}"
    said_no = () if fits else (f"proved for tau = {show(own)}: give it to accept",)
    return replace(found, proved=fits, sentences=(text, more, *said_no), residual=proof.error, robust_lower=robust)

def check(problem: Any, certificate: Any, tau: Any = None) -> Verdict:
    """About a problem (None: the embedded one), each a path or an object; Rejected if the problem cannot be read."""
    try:
        proof = None if problem is None else Proof(read_problem(problem))
    except Exception as error:
        raise Rejected(f"the problem cannot be used: {type(error).__name__}: {error!s:.200}") from None
    try:
        tau = None if tau is None else number(tau, 0)
    except Exception:
        raise Rejected(f"tau: expected a finite number that is at least 0, got {tau!r:.60}") from None
    try:
        if isinstance(certificate, (str, Path)):
            require(Path(certificate).is_file(), f"{certificate!s:.200} is no file")
            require(Path(certificate).stat().st_size <= MAX_BYTES, f"larger than {MAX_BYTES >> 20} MiB")
            certificate = parse(Path(certificate).read_bytes())
        found = judge(proof or Proof(certificate["problem"]), certificate, tau)
        if proof:
            return found
        text = json.dumps(certificate["problem"], sort_keys=True, separators=(",", ":"))
        about = f"this is about the embedded problem only, SHA-256 {hashlib.sha256(text.encode()).hexdigest()}"
        return replace(found, proved=False, sentences=(*found.sentences, about))
    except Exception as error:
        return Verdict(False, (f"not proved: {error if isinstance(error, Rejected) else repr(error)!s:.200}",))
def main(arguments: list[str]) -> int:  # 0 proved, 1 not, 2 unusable, 3 proved for the embedded problem or some rows
    try:
        tau = float(arguments.pop(arguments.index("--tau") + 1)) if "--tau" in arguments else None
        paths = [argument for argument in arguments if argument != "--tau"]
        require(len(paths) in (1, 2), "usage: checker.py [PROBLEM] CERTIFICATE [--tau T]")
        found = check(paths[0] if len(paths) == 2 else None, paths[-1], tau)
    except (ValueError, IndexError) as error:
        print(error if isinstance(error, ValueError) else "--tau needs a number")
        return 2
    print(*found.sentences, sep="\n")
    return 0 if found.proved else 1 if found.proof == "none" else 3

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
