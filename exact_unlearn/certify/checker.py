#!/usr/bin/env python3
"""The checker: decides alone, in exact arithmetic, whether a certificate proves what it claims.

    python -I -S checker.py PROBLEM CERTIFICATE [--tau T]     exit status 0 only for a proof about PROBLEM

One file of standard library; docs/certificate_format.md specifies all that it reads.  Floats are the dyadic rationals
that they are; claims are recomputed and compared, never used.  Trusted are Python's integers and, with D = theta - theta*:

1. Feasibility.  J D = b, D_F = 0, |D|_2 <= rho, |D|_inf <= r hold exactly, so upper = R(theta) + Rhat(D).
2. Fenchel.  If g + h = J^T nu on the free coordinates M and kappa >= 0, every feasible theta satisfies
       R(theta) + Rhat(D) >= <g, theta*> + <nu, b> - R*(g) - sum_M psi*(h_j) - kappa rho^2 / 2,
   psi(x) = (lam + kappa)/2 x^2 + mu |x| on [-r, r]: add R(theta) >= <g, theta> - R*(g), psi(D_j) >= h_j D_j - psi*(h_j)
   and 0 >= kappa/2 (|D|^2 - rho^2).  So lower = upper - (the slacks of these three); a proof is exact if all are 0.
   If R = sum phi_j, the best g and h leave the slack of phi_j(x) + psi(x - theta*_j) - (J^T nu)_j x over its minimum.
3. Dual balls.  A norm has R*(g) = 0 where R°(g) <= 1: (sum g^2/w)^(1/2) for l2; sum |g|/w for linf; max |g_g|/w_g for groups;
   at most |B|_F at g = V B^T for |A^T V|_F; for the nuclear norm the spectral norm, by LDL^T; |sum u v^T|_* <= sum |u||v|.
4. Counts.  q is outside range C if rank [C q] > rank C; ranks modulo p are lower bounds, exact above Hadamard's bound.
5. Distance.  |theta - minimiser|^2 <= 2 gap/m if m-strongly convex, (upper^2 - lower^2)/min w for l2; the slacks of a
   minimiser sum to at most the gap, which pins its coordinates and the rays of its groups, up to kernel vectors of J.
6. Farkas.  No D exists if <nu, b> exceeds the supremum of <J^T nu, D> over the D allowed.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import struct
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction as Q
from functools import lru_cache
from itertools import combinations
from operator import mul
from pathlib import Path
from typing import Any

SEPARABLE, COUNTS, LEVELS = ("squared_l2", "elastic_net", "l1"), ("l0", "active_neurons"), ["repaired", "enclosure", "exact"]
PRIMES = [(1 << n) - 1 for n in (61, 521, 1279, 2203, 4423, 11213, 23209, 44497, 110503, 216091)]  # of Mersenne
P61, ROOT, FINE = PRIMES[0], 400, 4096  # bits of square roots; slacks are rounded up to multiples of 2^-FINE
MAX_BYTES, MAX_BITS, MAX_SETS, MAX_RANKS = 64 << 20, 1 << 33, 2_000_000, 20_000
HEX = re.compile("(-?[0-9a-f]{1,65536})(?:/([0-9a-f]{1,65536}))?")
NPY = re.compile(rb"(?s)\x93NUMPY(?:\x01\x00..|[\x02\x03]\x00....){'descr': '[<|](..)', 'fortran_order': False, 'shape': \(([0-9, ]*)\), } *\n")
CODES = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "u8": "Q", "u1": "B", "b1": "?"}
CODES |= {"F64": "d", "F32": "f", "F16": "e", "BF16": "f", "I64": "q", "I32": "i", "U8": "B", "BOOL": "?"}
ZERO, ONE = Q(0), Q(1)


class Rejected(ValueError):
    """One sentence: why this is not a proof."""


@dataclass(frozen=True)
class Verdict:
    """lower <= optimum <= upper in exact rationals; proved: about the caller's own problem.  gap is relative to upper.

    square: value^2 of an exact l2 or predictor norm.  distance: from theta to every minimiser.  residual: max |J_i D - b_i|
    of dropped rows (None: all are kept); robust_lower: a bound under |J D - b| <= tau.
    """

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

def number(value: Any, least: Any = None) -> Q:
    """Of "-1f/8", or of a float, an integer or a Fraction as it is."""
    if isinstance(value, str):
        found = HEX.fullmatch(value)
        require(found, f"expected a number such as '-1f/8', found {value:.40}")
        value = Q(int(found[1], 16), int(found[2] or "1", 16))
    require(least is None or value >= least, f"expected a number that is at least {least}")
    return Q(*value.as_integer_ratio())

def common(values: Sequence[Any]) -> tuple[list[int], int]:
    """Integers over one denominator, of Fractions or floats."""
    pairs, den = [x.as_integer_ratio() for x in values], 1
    dens = {d for _, d in pairs}
    for d in dens:
        den = math.lcm(den, d)
        require(den.bit_length() * max(len(pairs), 2048) <= MAX_BITS, "a common denominator is too large")
    factor = {d: den // d for d in dens}
    return [n * factor[d] for n, d in pairs], den

def dot(a: Sequence[Q], b: Sequence[Q]) -> Q:
    (x, c), (y, d) = common(a), common(b)
    return Q(sum(map(mul, x, y)), c * d)

def roots(x: Q) -> tuple[Q, Q]:
    """lower <= sqrt(x) <= upper; equal for squares of rationals."""
    n, d = math.isqrt(x.numerator), math.isqrt(x.denominator)
    if n * n == x.numerator and d * d == x.denominator:
        return Q(n, d), Q(n, d)
    shift = max(0, ROOT + (x.denominator.bit_length() - x.numerator.bit_length()) // 2)
    root = math.isqrt((x.numerator << 2 * shift) // x.denominator)
    return Q(root, 1 << shift), Q(root + 1, 1 << shift)

def length(x: Sequence[Q]) -> Q:
    """An upper bound of the Euclidean norm."""
    return roots(dot(x, x))[1]

def sign(x: Q, zero: int = 0) -> int:
    return 1 if x > 0 else -1 if x < 0 else zero

def slack(alpha: Q, beta: Q, psi: Sequence[Any], x: Q, D: Q, z: Q) -> tuple[Q, bool]:
    """f(x) - min f of f(x) = alpha |x| + beta/2 x^2 + psi(x - x + D) - z x, rounded up; and whether only one x has slack 0."""
    (mu, curve, box), slope = psi, beta * x + psi[1] * D - z
    down = slope + alpha * sign(x, -1) + mu * sign(D, -1) if box is None or D != -box else -ONE
    up = slope + alpha * sign(x, 1) + mu * sign(D, 1) if D != box else ONE
    if down <= 0 <= up:
        return ZERO, beta + curve > 0 or down < 0 < up
    c = x - D
    ends = [ZERO, c, *((z + curve * c + a + m) / (beta + curve) for a in (alpha, -alpha) for m in (mu, -mu) if beta + curve)]
    require(len(ends) > 2 or box is not None or abs(z) <= alpha + mu, "J^T nu is larger than what could absorb it")
    ends = ends if box is None else [c - box, c + box, *(min(max(u, c - box), c + box) for u in ends)]
    f = [alpha * abs(u) + beta * u * u / 2 + mu * abs(u - c) + curve * (u - c) ** 2 / 2 - z * u for u in [x, *ends]]
    above = f[0] - min(f)
    return Q(-((-above.numerator << FINE) // above.denominator), 1 << FINE), False

def echelon(vectors: Sequence[Sequence[int]], p: int = P61, known: Sequence[Any] = ()) -> list[tuple[int, list[int]]]:
    """Pivots and rows of a row echelon form modulo the prime p, continued from `known`; its length is the rank."""
    found = list(known)
    for vector in vectors:
        v = [x % p for x in vector]
        for at, top in found:
            v = [(top[at] * x - v[at] * y) % p for x, y in zip(v, top, strict=True)] if v[at] else v
        found += [(at, v) for at in range(len(v)) if v[at]][:1]
    return found

def rank(vectors: Sequence[Sequence[int]]) -> int:
    """Over the rationals, by a prime above Hadamard's bound of every minor."""
    bits = sum((sum(map(mul, v, v)).bit_length() + 1) // 2 for v in vectors)
    return len(echelon(vectors, next(p for p in PRIMES if p.bit_length() > bits)))

def is_psd(M: list[list[int]]) -> bool:
    """Whether a symmetric integer matrix is positive semidefinite: fraction-free LDL^T."""
    last = 1
    for k, row in enumerate(M):
        if row[k] < 0 or (row[k] == 0 and any(row[k:])):
            return False
        for i in range(k + 1, len(M) if row[k] else 0):
            M[i] = [(row[k] * x - M[i][k] * y) // last for x, y in zip(M[i], row, strict=True)]
        last = row[k] or last
    return True


def parse_json(text: bytes) -> Any:
    """Without floats, NaN, and keys that occur twice."""
    def unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
        require(len(dict(items)) == len(items), "a key occurs twice")
        return dict(items)

    return json.loads(text, object_pairs_hook=unique, parse_float=lambda x: number("." + x), parse_constant=number)

def stored(content: bytes) -> Iterator[tuple[str, str, list[int], bytes]]:
    """Name, type, shape and bytes of every array in a .npz or .safetensors file."""
    if content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            require(sum(info.file_size for info in archive.infolist()) <= MAX_BITS // 16, "it unpacks to too many bytes")
            for name in archive.namelist():
                raw = archive.read(name)
                header = NPY.match(raw)
                require(header, f"{name!r:.40} is no array of real numbers in row-major order")
                shape = [int(n) for n in header[2].split(b",") if n.strip()]
                yield name.removesuffix(".npy"), header[1].decode(), shape, raw[header.end() :]
        return
    start = 8 + int.from_bytes(content[:8], "little")
    for name, item in parse_json(content[8:start]).items():
        if name != "__metadata__":
            first, last = item["data_offsets"]
            yield name, item["dtype"], item["shape"], content[start + first : start + last]

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
    content = Path(source).read_bytes()
    if Path(source).suffix == ".json":
        return parse_json(content)
    for name, kind, shape, raw in stored(content):
        if kind == "BF16":  # the upper half of a float32
            raw = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2))
        require(name not in arrays, f"{name!r:.40} is there twice")
        arrays[name] = {"shape": shape, "data": struct.unpack(f"<{math.prod(shape)}{CODES[kind]}", raw)}
    require("spec" in arrays, f"{source} holds no spec, so it names no regularizer")
    return resolve(parse_json(bytes(arrays["spec"]["data"])))

def digest(tree: Any) -> str:
    """SHA-256 of a problem object in its .json form, with every array entry and float in lowest terms."""
    def plain(node: Any) -> Any:
        if isinstance(node, Mapping) and node.keys() != {"shape", "data"}:
            return {key: plain(value) for key, value in node.items()}
        if isinstance(node, Mapping):
            return {"shape": node["shape"], "data": [plain(number(x)) for x in node["data"]]}
        if isinstance(node, (float, Q)):
            return f"{number(node).numerator:x}" + f"/{number(node).denominator:x}" * (number(node).denominator > 1)
        return [plain(item) for item in node] if isinstance(node, list) else node

    return hashlib.sha256(json.dumps(plain(tree), sort_keys=True, separators=(",", ":")).encode()).hexdigest()

def numbers(node: Any, *shape: int | None, below: int = 0, floats: bool = False) -> list[Any]:
    """Of an array of this shape (None: any length); `below`: integers from 0 to below - 1; floats: these may stay so."""
    found, values = node["shape"], node["data"]
    values = values if floats and all(type(x) is float for x in values) else [number(x) for x in values]
    fits = len(shape) == len(found) and all(n in (None, m) for n, m in zip(shape, found, strict=True))
    require(fits and len(values) == math.prod(found), f"expected an array of shape {shape}, found {len(values)} numbers")
    require(not below or all(x.denominator == 1 and 0 <= x < below for x in values), f"no integers below {below}")
    return [int(x) for x in values] if below else list(values)

def entries(parts: Any, allowed: Sequence[int]) -> dict[int, Q]:
    """What a VEC lists, all of it in `allowed`."""
    found: dict[int, Q] = {}
    for part in parts:
        den = number(part["den"])
        for j, text in zip(part.get("indices", allowed), part["nums"], strict=True):
            require(type(j) is int and j not in found and den > 0, "an index is none, or listed twice, or over den <= 0")
            found[j] = number(text) / den
    require(found.keys() <= set(allowed), "something is listed that has no place there")
    return found


class Problem:
    """minimise R(theta* + D) + lam/2 |D|_2^2 + mu |D|_1 subject to J D = b, |D|_2 <= rho, |D|_inf <= box, D_F = 0."""

    def __init__(self, tree: Any) -> None:
        require((tree["schema"], tree["version"]) == ("exact-unlearn/problem", 1), "this is no problem of version 1")
        self.start, self.rhs = numbers(tree["theta_star"], None), numbers(tree["rhs"], None)
        drift: dict[str, list[Q]] = {"squared_drift": [ZERO], "l1_drift": [ZERO], "2": [], "inf": []}
        for spec in tree["drift_penalty"]:
            kind, what = ("norm", "radius") if spec["name"] == "trust_region" else ("name", "lam")
            drift[spec[kind]].append(number(spec[what], 0))
        self.lam, self.mu = sum(drift["squared_drift"], ZERO), sum(drift["l1_drift"], ZERO)
        self.rho, self.box = min(drift["2"], default=None), min(drift["inf"], default=None)
        mask, self.d = numbers(tree["free"], len(self.start), below=2), len(self.start)
        self.free = [j for j in range(self.d) if mask[j] and 0 not in (self.rho, self.box)]
        self.rows = [common([row[j] for j in self.free]) for row in self.jacobian(tree["jacobian"], len(self.rhs))]
        self.regularizer(tree["regularizer"], mask)

    def jacobian(self, spec: Any, k: int) -> Iterator[list[Q]]:
        if spec["kind"] == "dense":
            flat = numbers(spec["matrix"], k, self.d, floats=True)
            yield from (flat[i : i + self.d] for i in range(0, k * self.d, self.d))
            return
        (h, l), (n, m), (start, stop) = spec["V"]["shape"], spec["X"]["shape"], spec["block"]
        V, self.X = numbers(spec["V"], h, l), numbers(spec["X"], n, m)
        fits = stop - start == h * m and 0 <= start <= stop <= self.d == spec["n_parameters"] and k == n * l
        require(spec["kind"] == "product" and fits, "the jacobian does not fit")
        for i in range(k):
            block = [v * x for v in V[i % l :: l] for x in self.X[i // l * m : (i // l + 1) * m]]
            yield [ZERO] * start + block + [ZERO] * (self.d - stop)

    def regularizer(self, spec: Any, mask: list[int]) -> None:
        """sum of alpha |x| + beta/2 x^2; or of `outer` times the root of the sum of `inner` x^2 over groups; or who pays."""
        name, d, grouped = spec["name"], self.d, spec["name"] == "group_l2"
        labels = numbers(spec["labels"], d, below=d) if spec.get("labels") is not None or grouped else list(range(d))
        n = max(labels, default=-1) + 1 if grouped else d
        w = [number(x, 0) for x in numbers(spec["weights"], n)] if spec.get("weights") is not None else [ONE] * n
        self.name, self.pays, self.seen, self.groups = name, labels, [w[g] > 0 for g in labels], [list(range(d))]
        self.inner, self.outer, self.alpha, self.beta = w, [ONE], [ZERO] * d, w
        if name == "l1":
            self.alpha, self.beta = self.beta, self.alpha
        elif name == "elastic_net":
            self.alpha, self.beta = [number(spec["alpha"], 0)] * d, [number(spec["beta"], 0)] * d
            self.seen = [a + b > 0 for a, b in zip(self.alpha, self.beta, strict=True)]
        elif grouped:
            self.inner, self.outer, self.groups = [ONE] * d, w, [[] for _ in w]
            for j, g in enumerate(labels):
                self.groups[g].append(j)
        elif name == "predictor_norm":
            (h, self.l), self.m, self.seen = spec["V"]["shape"], spec["shape"][1], [False] * d
            self.V, self.block = numbers(spec["V"], h, self.l), range(d)[slice(*spec["block"])]
            self.inner, self.groups = [ONE] * self.m * self.l, [list(range(self.m * self.l))]
            require(len(self.block) == h * self.m, "the block does not fit")
        elif name == "nuclear_norm":
            self.shape, self.indices = spec["shape"], numbers(spec["indices"], math.prod(spec["shape"]), below=d)
            self.seen = list(map(set(self.indices).__contains__, range(d)))
            require(sum(self.seen) == len(self.indices), "an entry of the matrix occurs twice")
        elif name == "active_neurons":
            m, h, l = spec["n_inputs"], spec["width"], spec["n_outputs"]
            require(d == h * (l + m) and not any(mask[h * l :]), "the regularizer does not fit, or more than C is free")
            active = [any(self.start[h * l + i * m : h * l + (i + 1) * m]) for i in range(h)]
            self.pays = [i if active[i] else -1 for i in range(h)] * l + [-1] * (h * m)
            self.seen = [payer >= 0 for payer in self.pays]
        require(name in (*SEPARABLE, *COUNTS, "linf", "l2", "group_l2", "predictor_norm", "nuclear_norm"), "unknown regularizer")


class Proof:
    """A certificate worked out against a problem.  Lists run over the free coordinates; theta and g over all."""

    def __init__(self, p: Problem, spec: Any) -> None:
        self.p, self.spec, self.dual, rows = p, spec, spec.get("dual", {"nu": []}), spec.get("rows", "literal")
        self.kept = range(len(p.rows)) if rows == "literal" else sorted(set(rows["kept"]))
        self.nu, self.kappa = entries(self.dual["nu"], self.kept), number(self.dual.get("ball", 0), 0)
        self.psi, self.sigma, self.root = (p.mu, p.lam + self.kappa, p.box), ONE, None
        self.bounded = self.psi[1] > 0 or p.box is not None
        require(not self.kappa or p.rho is not None, "a multiplier for a trust region that is not there")
        nu, den = common([x / p.rows[i][1] for i, x in self.nu.items()])
        columns = zip(*(p.rows[i][0] for i in self.nu), strict=True) if nu else [()] * len(p.free)
        self.z = [Q(sum(map(mul, nu, column)), den) for column in columns]

    def refutes(self) -> bool:
        """Farkas, with what the regions let J^T nu reach."""
        reach = [] if any(self.z) else [ZERO]
        reach += [] if self.p.box is None else [self.p.box * sum(map(abs, self.z))]
        reach += [] if self.p.rho is None else [self.p.rho * length(self.z)]
        return bool(reach) and sum(x * self.p.rhs[i] for i, x in self.nu.items()) > min(reach)

    def place(self) -> None:
        """theta, feasible in the kept rows, and its drift penalty."""
        p, spec, (mu, curve, box), self.theta = self.p, self.spec["primal"], self.psi, list(self.p.start)
        listed = entries(spec["parts"], p.free)
        for j, z in zip(p.free, self.z, strict=True):
            if j in listed or spec["base"] == "zero":
                self.theta[j] = listed.get(j, ZERO)
            elif spec["base"] == "dual":  # the minimiser of alpha |x| + beta/2 x^2 + curve/2 (x - theta*)^2 - z x
                require(not mu and box is None and p.name in (*SEPARABLE, "l2"), "the base dual does not apply")
                y = z + curve * p.start[j]
                self.theta[j] = sign(y) * max(abs(y) - (p.alpha[j]), ZERO) / (p.beta[j] + curve)
            require(spec["base"] in ("zero", "dual", "theta_star"), "unknown base")
        self.x, self.D = [self.theta[j] for j in p.free], [self.theta[j] - p.start[j] for j in p.free]
        moved, (steps, den) = [at for at, D in enumerate(self.D) if D], common([D for D in self.D if D])
        products = [Q(sum(map(mul, map(row.__getitem__, moved), steps)), unit * den) for row, unit in p.rows]
        self.errors = [abs(x - b) for x, b in zip(products, p.rhs, strict=True)]
        self.square = Q(sum(map(mul, steps, steps)), den * den)
        require(not any(self.errors[i] for i in self.kept), "J D = b does not hold")
        inside = p.box is None or all(abs(D) <= p.box for D in self.D)
        require(inside and (p.rho is None or self.square <= p.rho**2), "theta lies outside the trust region")
        self.drift = p.lam / 2 * self.square + p.mu * Q(sum(map(abs, steps)), den)

    def norm(self, v: Sequence[Q], dual: bool) -> tuple[Q, Q | None]:
        """An upper bound of R(v), or of R°(v); and its square where that is exact and rational."""
        p, power = self.p, -1 if dual else 1
        if p.name == "nuclear_norm":
            return self.nuclear([v[j] for j in p.indices], dual), None
        if p.name == "linf":
            terms = [abs(x) * w**power for x, w in zip(v, p.inner, strict=True) if w]
            bound = sum(terms, ZERO) if dual else max(terms, default=ZERO)
            return bound, bound**2
        squares = [dot([v[j] * p.inner[j] ** power for j in g if v[j]], [v[j] for j in g if v[j]]) for g in p.groups]
        if dual:
            top = max((x / w**2 for x, w in zip(squares, p.outer, strict=True) if w), default=ZERO)
            return roots(top)[1], top
        upper = sum((w * roots(x)[1] for x, w in zip(squares, p.outer, strict=True)), ZERO)
        return upper, squares[0] * p.outer[0] ** 2 if len(squares) == 1 else None

    def nuclear(self, X: list[Q], dual: bool) -> Q:
        """sum |u||v| over the factors listed, and the columns of what they leave; dual: the spectral norm where <= 1."""
        (rows, columns), (M, den), bound = self.p.shape, common(X), ZERO
        if dual:
            A = [M[c::columns] for c in range(columns)]
            A = A if columns <= rows else [list(row) for row in zip(*A, strict=True)]
            gram = [[den * den * (a is b) - sum(map(mul, a, b)) for b in A] for a in A]
            return ONE if is_psd(gram) else length(X)
        for factor in self.spec["primal"].get("factors", []):
            u, v = entries(factor["u"], range(rows)), entries(factor["v"], range(columns))
            bound += length([*u.values()]) * length([*v.values()])
            X = [x - u.get(at // columns, ZERO) * v.get(at % columns, ZERO) for at, x in enumerate(X)]
        return bound + sum(length(X[c::columns]) for c in range(columns))

    def separable(self) -> None:
        p, terms = self.p, [*zip(self.p.free, self.x, self.z, strict=True)]
        if not self.bounded:
            self.sigma = min([ONE, *((p.alpha[j] + p.mu) / abs(z) for j, _, z in terms if z and not p.beta[j])])
        found = [slack(p.alpha[j], p.beta[j], self.psi, x, D, self.sigma * z) for (j, x, z), D in zip(terms, self.D, strict=True)]
        self.slack, self.pins = sum((s for s, _ in found), ZERO), [pin for _, pin in found]
        nums, den = common(self.theta)
        sums = sum(map(mul, p.alpha, map(abs, nums)), ZERO), sum(map(mul, p.beta, map(mul, nums, nums)), ZERO)
        self.value = sums[0] / den + sums[1] / (2 * den * den)

    def subgradient(self) -> tuple[list[Q], list[Q], list[Q]]:
        """g, and the vectors whose norms are R°(g) and R(theta): for the predictor norm B with g = V B^T, and A^T V."""
        p, (mu, curve, _), g = self.p, self.psi, [ZERO] * self.p.d
        if p.name != "predictor_norm":
            for j, z, D in zip(p.free, self.z, self.D, strict=True):
                g[j] = z - curve * D - mu * sign(D) if p.seen[j] else ZERO
            for j, x in entries(self.dual.get("g", []), range(p.d)).items():
                require(p.seen[j] or not x, "g does not vanish where R does not see theta")
                g[j] = x
            return g, g, self.theta
        m, l, A = p.m, p.l, [self.theta[j] for j in p.block]
        nu = [self.nu.get(i, ZERO) for i in range(len(p.rows))]
        if "B" in self.dual:
            listed = entries(self.dual["B"], p.groups[0])
            B = [listed.get(at, ZERO) for at in p.groups[0]]
        else:
            B = [dot(p.X[c::m], nu[o::l]) for c in range(m) for o in range(l)]
        for at, j in enumerate(p.block):
            g[j] = dot(p.V[at // m * l : (at // m + 1) * l], B[at % m * l : (at % m + 1) * l])
        return g, B, [dot(A[c::m], p.V[o::l]) for c in range(m) for o in range(l)]

    def normed(self) -> None:
        """s g in the dual ball, h = sigma J^T nu - s g; the scale is free where R and boxes are all that there is."""
        p, (mu, curve, _) = self.p, self.psi
        (self.g, b, u), free = self.subgradient(), not mu and not curve
        (self.value, self.root), (scale, top), pairing = self.norm(u, False), self.norm(b, True), dot(self.g, self.theta)
        self.s = 1 / scale if scale > 1 or (free and scale) else ONE
        rest = [z - self.g[j] for j, z in zip(p.free, self.z, strict=True)]
        if mu and not self.bounded and any(rest):
            self.s = min(self.s, mu / max(map(abs, rest)))
        self.sigma = self.s if free or not self.bounded else ONE
        h = [self.s * x + (self.sigma - self.s) * z for x, z in zip(rest, self.z, strict=True)]
        found = [slack(ZERO, ZERO, self.psi, x, D, y) for x, D, y in zip(self.x, self.D, h, strict=True)]
        aligned = free and pairing > 0 and top and self.root is not None and pairing**2 == self.root * top
        self.slack = sum((s for s, _ in found), ZERO if aligned else self.value - self.s * pairing)
        self.pins = [pin for _, pin in found]

    def count(self) -> Q:
        """What every feasible theta costs: groups that are forced, more than `exhausted` of the others, drifts of the rest."""
        p, size = self.p, self.spec.get("count", {"exhausted": -1})["exhausted"]
        forced = {p.pays[j] for j in set(range(p.d)) - set(p.free) if p.start[j]} - {-1}
        (start, den), members = common([p.start[j] for j in p.free]), {-1: []}
        for at, j in enumerate(p.free):
            members.setdefault(-1 if p.pays[j] in forced else p.pays[j], []).append(at)
        q = common([Q(sum(map(mul, p.rows[i][0], start)), den) + p.rhs[i] * p.rows[i][1] for i in self.kept])[0]
        blocks: list[list[list[int]]] = []
        for block in members.values():
            blocks.append([])
            for column in ([p.rows[i][0][at] for i in self.kept] for at in block):
                more = [*blocks[-1], column]
                blocks[-1] = more if len(echelon(more)) == len(more) or rank(more) == len(more) else blocks[-1]
        base, groups, n = blocks[0], [block for block in blocks[1:] if block], len(blocks) - 1
        require(type(size) is int and -1 <= size < max(n, 1), "there are no such sets of groups")
        tried = min(size, len(groups))
        require(math.comb(len(groups), max(tried, 0)) <= MAX_SETS, "more sets than are worth trying")
        width, ranks = len(base) + max(tried, 0) * max(map(len, groups), default=0) + 1, iter(range(MAX_RANKS))
        mix = [[pow(i + 2, r, P61) for i in range(len(q))] for r in range(width)] if width < len(q) else []

        def few(vectors: list[list[int]]) -> list[list[int]]:  # combinations of the rows have no higher ranks
            return [[sum(map(mul, m, v)) for m in mix] for v in vectors] if mix else vectors

        @lru_cache(maxsize=16)
        def found(chosen: tuple[int, ...]) -> list[tuple[int, list[int]]]:  # sets come in order and share their beginnings
            return echelon(few(groups[chosen[-1]]), P61, found(chosen[:-1])) if chosen else echelon(few(base))

        for chosen in combinations(range(len(groups)), tried) if size >= 0 else ():
            columns = base + [column for g in chosen for column in groups[g]]
            if not len(echelon(few([q]), P61, found(chosen))) > len(found(chosen)) == len(columns):
                require(next(ranks, None) is not None and rank([*columns, q]) > rank(columns), "some set of groups suffices")
        starts = [[abs(p.start[p.free[at]]) for at in block] for payer, block in members.items() if payer >= 0]
        costs = sorted(sum((p.lam / 2 * x * x + p.mu * x for x in xs), ZERO) for xs in starts if p.box is None or max(xs) <= p.box)
        bounds = [i + sum(costs[: n - i]) for i in range(size + 1, n + 1) if n - i <= len(costs)]
        return len(forced) + min(bounds, default=ZERO)

    def bounds(self) -> None:
        """lower and upper; slack is their difference unless roots are in between, and 0 if the proof is exact."""
        p = self.p
        self.place()
        if p.name in COUNTS:
            self.value, self.pins = Q(len({p.pays[j] for j, x in enumerate(self.theta) if x} - {-1})), []
            self.slack = self.value + self.drift - self.count()
        else:
            self.separable() if p.name in SEPARABLE else self.normed()
            self.slack += self.kappa / 2 * ((p.rho or 0) ** 2 - self.square)
        if not p.free and p.name != "nuclear_norm":  # theta* is the only point; values but this one are exact, or sums of roots
            self.slack = ZERO
        self.upper = self.value + self.drift
        least = roots(self.root)[0] if self.root is not None and not self.slack else self.value
        if not p.free and p.name == "group_l2":
            least = self.value * (1 - Q(1, 1 << (ROOT - 1)))
        self.lower = max(least + self.drift - self.slack, ZERO)

    def nearness(self) -> Iterator[tuple[Q, bool]]:
        """Bounds of the distance to every minimiser, and whether there is only one."""
        p, every = self.p, all(self.p.seen[j] for j in self.p.free)
        modulus = p.lam + (min((p.beta[j] for j in p.free), default=ZERO) if p.name in SEPARABLE else ZERO)
        if not p.free or (not self.upper and (every or p.lam or p.mu)):
            yield ZERO, True
        elif p.name in COUNTS:
            return
        elif modulus or self.kappa:
            yield (roots(2 * self.slack / modulus)[1], True) if modulus else (2 * roots(2 * self.slack / self.kappa)[1], not self.slack)
        elif p.name == "l2" and every and not p.mu:
            yield roots((self.upper**2 - self.lower**2 if self.slack else ZERO) / min(p.inner[j] for j in p.free))[1], True
        if not self.slack:
            columns = self.loose()
            if len(columns) <= len(self.kept) and len(echelon(columns)) == len(columns):
                yield ZERO, True
        if "distance" in self.spec:
            yield self.group_distance(self.spec["distance"]), not self.slack

    def loose(self) -> list[list[int]]:
        """J along a basis of all that another minimiser may differ by: single coordinates and, for linf, a common ray."""
        p, loose, ray = self.p, [at for at, pin in enumerate(self.pins) if not pin], {}
        if p.name == "linf":
            steps = common([sign(x) / w if x else ZERO for x, w in zip(self.g, p.inner, strict=True)])[0]
            ray = {at: steps[j] for at, j in enumerate(p.free) if steps[j] and at in set(loose)}
            ray = ray if len(ray) == sum(map(bool, steps)) else {}
            loose = [at for at in loose if not steps[p.free[at]]]
        rays = [[sum(p.rows[i][0][at] * step for at, step in ray.items()) for i in self.kept]] if ray else []
        return rays + [[p.rows[i][0][at] for i in self.kept] for at in loose]

    def group_distance(self, spec: Any) -> Q:
        """Inactive groups are short, active ones nearly parallel to g_g; a left inverse L of J on those rays does the rest."""
        p, active, at, k = self.p, spec["active"], {j: i for i, j in enumerate(self.p.free)}, len(self.p.rows)
        listed = entries(spec["L"], [a * k + i for a in range(len(active)) for i in self.kept])
        L = [[listed.get(a * k + i, ZERO) for i in range(k)] for a in range(len(active))]
        J, spread, pull = [[Q(x, unit) for x in row] for row, unit in p.rows], ZERO, ZERO
        require(p.name == "group_l2", "only groups have such a distance")
        norms = [length([self.g[j] for j in group]) for group in p.groups]
        for label, (group, w) in enumerate(zip(p.groups, p.outer, strict=True)):
            places = [at[j] for j in group if j in at]
            if label in active:
                step = 2 * roots(2 * self.slack * self.upper)[1] / w
            else:
                require(not places or self.s * norms[label] < w, "a group may be active that is not listed as such")
                step = 2 * self.slack / (w - self.s * norms[label]) if places else ZERO
            spread, pull = spread + step, pull + step * length([row[i] for row in J for i in places])
        moves = [[(at[j], self.g[j] / norms[label]) for j in p.groups[label] if j in at] for label in active]
        rays = [[dot([row[i] for i, _ in move], [x for _, x in move]) for row in J] for move in moves]
        error = length([dot(a, b) - (m == n) for m, a in enumerate(L) for n, b in enumerate(rays)])
        require(error < 1, "L is no left inverse")
        return spread + length(sum(L, [])) * pull / (1 - error)


def show(x: Q) -> str:
    """Six digits of it."""
    try:
        return f"{float(x):.6g}"
    except OverflowError:
        return f"2^{x.numerator.bit_length() - x.denominator.bit_length()}"


def evaluate(problem: Problem, spec: Any, tau: Q | None) -> Verdict:
    """The verdict; Rejected if the certificate proves nothing, or less than it claims."""
    require((spec["schema"], spec["version"]) == ("exact-unlearn/certificate", 1), "this is no certificate of version 1")
    proof, claims, kind = Proof(problem, spec), spec["claims"], spec["kind"]
    if kind == "infeasible":
        require(proof.refutes() and claims["proof"] == kind, "nu is no Farkas vector, or something else is claimed")
        return Verdict(True, ("proved: no parameters satisfy the constraints",), "infeasible")
    require(kind == "bounds", f"unknown kind {kind!s:.40}")
    proof.bounds()
    near, lower, upper, exact = [*proof.nearness()], proof.lower, proof.upper, not proof.slack or not proof.upper
    distance, unique = min((d for d, _ in near), default=None), any(u for _, u in near)
    gap = ZERO if exact else (upper - lower) / upper
    level = "exact" if exact else "enclosure" if gap * 10**30 <= 1 else "repaired"
    square = proof.root if exact and not proof.drift else None
    said = {key: number(claims[key]) for key in claims if key not in ("proof", "unique") and claims[key] is not None}
    require(claims["proof"] in LEVELS[: LEVELS.index(level) + 1], f"the proof is not {claims['proof']!s:.20} but {level}")
    require(said.get("lower", lower) <= lower, "the lower bound claimed is not proved")
    require(said.get("upper", upper) >= upper, "the upper bound claimed is not proved")
    require(said.get("gap", gap) >= gap and said.get("square", square) == square, "the gap or square claimed is not proved")
    require(unique or claims.get("unique") in (None, False), "that the minimiser is unique is claimed, but not proved")
    require("distance" not in said or (distance is not None and said["distance"] >= distance), "the distance claimed is not proved")
    text = f"proved ({level}): {show(lower)} <= optimum <= {show(upper)}, relative gap {show(gap)}"
    text += "; the minimiser is unique" * unique + (f"; it is within {show(distance)} of theta" if distance is not None else "")
    verdict = Verdict(True, (text,), level, lower, upper, gap, square, unique, distance)
    if spec.get("rows", "literal") == "literal":
        return verdict
    error, own = max((proof.errors[i] for i in set(range(len(proof.errors))) - set(proof.kept)), default=ZERO), number(spec["rows"]["tau"], 0)
    wide = own if tau is None else tau
    robust = max(ZERO, lower - wide * proof.sigma * sum(map(abs, proof.nu.values())))
    more = f"for {len(proof.kept)} of {len(proof.errors)} rows; theta violates the others by at most {show(error)}, and all theta with "
    more += f"|J D - b| <= {show(wide)} have a value >= {show(robust)}" + "; without --tau this is no proof" * (tau is None)
    fits = tau is not None and max(own, error) <= tau
    return replace(verdict, proved=fits, sentences=(text, more), residual=error, robust_lower=robust)


def check(problem: Any, certificate: Any, tau: Any = None) -> Verdict:
    """The verdict on a certificate about a problem, each a path or an object; problem None: the one that it embeds.

    Rejected (a ValueError) if the problem cannot be read.  Nothing in a certificate raises.
    """
    try:
        known = None if problem is None else Problem(read_problem(problem))
    except Exception as error:
        raise Rejected(f"the problem cannot be used: {type(error).__name__}: {error!s:.200}") from None
    try:
        if isinstance(certificate, (str, Path)):
            require(Path(certificate).stat().st_size <= MAX_BYTES, f"larger than {MAX_BYTES >> 20} MiB")
            certificate = parse_json(Path(certificate).read_bytes())
        if known:
            return evaluate(known, certificate, None if tau is None else number(tau, 0))
        verdict = evaluate(Problem(certificate["problem"]), certificate, None)
        about = f"this is about the embedded problem only, SHA-256 {digest(certificate['problem'])}"
        return replace(verdict, proved=False, sentences=(*verdict.sentences, about))
    except Exception as error:
        return Verdict(False, (f"not proved: {error!s:.200}" if isinstance(error, Rejected) else f"not proved: {error!r:.200}",))


def main(arguments: list[str]) -> int:
    """0 proved, 1 not proved, 2 unusable, 3 proved for another problem only: the embedded one, or one with fewer rows."""
    try:
        tau = float(arguments.pop(arguments.index("--tau") + 1)) if "--tau" in arguments else None
        paths = [argument for argument in arguments if argument != "--tau"]
        require(len(paths) in (1, 2), "usage: checker.py [PROBLEM] CERTIFICATE [--tau T]")
        verdict = check(paths[0] if len(paths) == 2 else None, paths[-1], tau)
    except (ValueError, IndexError) as error:
        print(error)
        return 2
    print(*verdict.sentences, sep="\n")
    return 0 if verdict.proved else 1 if verdict.proof == "none" else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
