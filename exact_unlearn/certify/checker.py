#!/usr/bin/env python3
"""The checker: decides alone, in exact arithmetic, whether a certificate proves what it claims.

    python -I -S checker.py PROBLEM CERTIFICATE [--tau T]     # exit status 0: a proof about PROBLEM, and only then

It is one file of standard library that imports nothing of ours and may be copied anywhere.  docs/certificate_format.md
specifies what it reads; the numbers in parentheses below are those of that page.  It reads from top to bottom:

    limits, numbers       what is trusted besides this file: Python's integers
    read                  files become a `Problem` and a certificate; every index, count, length, sign and shape is
                          checked at the place where it is read
    place        (4)      the feasible point theta = theta* + D, and with it an upper bound
    bound        (5, 6)   the multipliers, or sets of groups, and with them a lower bound; what is near  (8)
    vertices     (12)     of a concave measure, all vertices instead
    origin       (11)     that the problem is the program of a network's exact problem, and leaves no cell out
    judge        (7, 9)   what is proved is compared with what is claimed; claims are never used otherwise

A float is the dyadic rational that it is.  M are the free coordinates, F the frozen ones; z = J^T nu on M.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction as Q
from functools import cached_property
from operator import mul
from pathlib import Path
from typing import Any, NamedTuple

SEPARABLE, COUNTS = {"squared_l2", "elastic_net", "l1"}, {"l0", "active_neurons"}
POWER, MAX_DEPTH_OF_POWERS = "power_sum", 64
NORMS = {"l2", "linf", "group_l2", "predictor_norm", "nuclear_norm"}
TERMS = {"square", "kink", "huber", "max", "norms", "spectral"}
LEVELS = ["repaired", "enclosure", "exact"]
ZERO, ONE = Q(0), Q(1)
ROOT = 400  # bits of roots
COARSE = 40  # bits of roots that are looked at first
FINE = 4096  # slacks are rounded up to multiples of 2^-FINE
P61 = (1 << 61) - 1  # the prime of ranks


class Rejected(ValueError):
    """One sentence: why this is not a proof, or no file that can be used."""


@dataclass(frozen=True)
class Verdict:
    """What is proved.

    proved:     True for a proof by the caller's standard, about the caller's problem.
    sentences:  for people.
    proof:      "exact", "enclosure", "repaired", "infeasible"; "none" if nothing is proved.
    lower, upper: lower <= optimum <= upper.  gap: relative.  square: of the value of an exact root.
    unique, distance: whether there is one minimiser only; a bound of |theta - minimiser| for every minimiser.
    residual:   max |J_i D - b_i| over all rows as written, if the proof is about other rows or labels; of a
                refutation: every drift misses some row by at least this.
    robust_lower: a bound of R + Rhat wherever |J D - b| <= tau.
    neurons:    of a problem with an origin: with at least so many neurons the optimum of the network lies between lower
                and upper; with fewer it is at least lower.
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
    neurons: int | None = None


def require(truth: Any, sentence: str, *found: Any) -> None:
    """Rejected, with this sentence, if it is not so; what was found instead is told briefly."""
    if not truth:
        raise Rejected(sentence + "".join(f", found {_brief(each)}" for each in found))


def _brief(value: Any) -> str:
    """Forty characters of a text or number, the type of anything else, which may be long."""
    if isinstance(value, str):
        return repr(value[:40])
    return repr(value)[:40] if isinstance(value, (float, bool)) or value is None else f"{type(value).__name__}"


# ---------------------------------------------------------------- limits

MAX_BYTES, MAX_PROBLEM = 64 << 20, 1 << 30  # of the two files
MAX_UNPACKED, MAX_RATIO = 32 << 20, 8  # an archive unpacks to so many bytes, and to this multiple of its own more
MAX_BITS, MAX_LENGTH = 1 << 19, 1 << 31  # bits of a common denominator, and of all entries over it
MAX_DEPTH = 64  # of nested lists and objects
BASE, PER_DIGIT, PER_ENTRY = 5 * 10**9, 3_000, 12_000  # work that is granted: in all, per digit, per array entry
PER_BYTE = 4_000  # and at most this per byte of a file


class Work:
    """Work that is left, in nanoseconds of a slow machine, so that no file takes more time than its size allows.

    Reading earns, computing spends: every routine states what it is about to do, as so many operations on so many
    64-bit words.  What costs more is refused; that says nothing about what the file claims.
    """

    def __init__(self, left: int = BASE, most: int = 1 << 62) -> None:
        self.left, self.most = left, most

    def earn(self, nanoseconds: int) -> None:
        """What was read is worth so much, but all of a file no more than `most`, into however much it unpacks."""
        self.left += min(nanoseconds, self.most)
        self.most -= min(nanoseconds, self.most)

    def spend(self, times: int, a: int = 0, b: int = 0, each: int = 300, hard: int = 6) -> None:
        """`times` operations on numbers of a and b bits; `hard`: per product of two words (16 or more for quotients,
        whose cost grows with the square; that of products does not beyond 32 words)."""
        short, long = sorted(((a >> 6) + 1, (b >> 6) + 1))
        if hard < 16 and short > 32:
            short = 32 + (short - 32) // 4
        self.left -= times * (each + hard * short * long)
        require(self.left >= 0, "refused: checking it takes more work than its size allows")


# ---------------------------------------------------------------- numbers

HEX = re.compile("(-?[0-9a-f]{1,65536})(?:/([0-9a-f]{1,65536}))?")
SLOTS = re.compile("[0-9a-f]*")


def ratio(text: Any, work: Work | None = None) -> tuple[int, int]:
    """(-31, 8) of "-1f/8", the only way in which certificates write numbers; not in lowest terms."""
    require(type(text) is str, "expected a number such as '-1f/8'", text)
    found = HEX.fullmatch(text)
    require(found, "expected a number such as '-1f/8'", text)
    if work is not None:
        work.earn(PER_DIGIT * len(text))
    above, below = int(found[1], 16), int(found[2] or "1", 16)  # type: ignore[index]
    require(below, "a denominator is zero", text)
    return above, below


def number(value: Any, least: float = -math.inf, work: Work | None = None) -> Q:
    """Of a text such as "-1f/8"; of floats, integers and Fractions as they are.  Booleans are no numbers."""
    if isinstance(value, str):
        above, below = ratio(value, work)
        if work is not None:
            work.spend(1, above.bit_length(), below.bit_length(), each=2000, hard=16)
        value = Q(above, below)
    elif not isinstance(value, Q):
        require(isinstance(value, (int, float)) and not isinstance(value, bool), "expected a number", value)
        require(not isinstance(value, float) or math.isfinite(value), "a number is not finite")
        value = Q(*value.as_integer_ratio())
    if value < least:
        raise Rejected(f"expected a number that is at least {least}")
    return value  # type: ignore[no-any-return]


class Vector(NamedTuple):
    """nums[i]/den, den > 0: rationals over one denominator, so that sums and products need no common divisors."""

    nums: list[int]
    den: int

    @property
    def bits(self) -> int:
        """Of its longest entry or its denominator."""
        return max(max(map(int.bit_length, self.nums), default=0), self.den.bit_length())

    def at(self, i: int) -> Q:
        return Q(self.nums[i], self.den)

    def of(self, places: Iterable[int]) -> Vector:
        return Vector([self.nums[i] for i in places], self.den)


def vector(pairs: Sequence[tuple[int, int]], work: Work) -> Vector:
    """Of numerators and denominators, over the least common denominator."""
    dens, den = {d for _, d in pairs}, 1
    for d in dens:
        work.spend(1, den.bit_length(), d.bit_length(), hard=40)
        den = math.lcm(den, d)
        require(den.bit_length() <= MAX_BITS, f"a common denominator has more than {MAX_BITS} bits")
    require(len(pairs) * den.bit_length() <= MAX_LENGTH, "numbers over one denominator take too much memory")
    work.spend(len(pairs), den.bit_length(), each=300)
    work.spend(len(dens), den.bit_length(), each=300, hard=16)
    factors = {d: den // d for d in dens}
    return Vector([n * factors[d] for n, d in pairs], den)


def common(values: Iterable[Any], work: Work) -> Vector:
    """Of Fractions or floats."""
    values = list(values)
    short = dyadic(values, work) if values and all(type(x) is float for x in values) else None
    return vector([x.as_integer_ratio() for x in values], work) if short is None else short


def dyadic(values: Sequence[float], work: Work) -> Vector | None:
    """Floats over the least power of two, as `vector` has them; None where the way there leaves the range of floats.

    A float of 2^(e-1) or more is a multiple of 2^(e-53), and so of 2^-k with k = 53 - e of the smallest one: its
    product with 2^k is an integer, exactly.
    """
    sizes = [x for x in map(abs, values) if x]
    k = max(53 - math.frexp(min(sizes, default=1.0))[1], 0)
    if k > 1022 or k + math.frexp(max(sizes, default=0.0))[1] > 1022:
        return None
    work.spend(len(values), k + 64, each=300)
    nums, ones = list(map(int, map((2.0**k).__mul__, values))), 0
    for n in nums:
        ones |= n
    spare = min((ones & -ones).bit_length() - 1, k) if ones else k
    require(len(values) * (k - spare + 1) <= MAX_LENGTH, "numbers over one denominator take too much memory")
    return Vector([n >> spare for n in nums] if spare else nums, 1 << k - spare)


def dot(x: Vector, y: Vector, work: Work) -> Q:
    """Their inner product."""
    work.spend(len(x.nums), x.bits, y.bits)
    above, below = sum(map(mul, x.nums, y.nums)), x.den * y.den
    work.spend(1, above.bit_length(), below.bit_length(), each=2000, hard=16)
    return Q(above, below)


def combine(a: Q, x: Vector, b: Q, y: Vector, work: Work) -> Vector:
    """a x + b y."""
    p, q = x.den * a.denominator, y.den * b.denominator
    work.spend(1, p.bit_length(), q.bit_length(), hard=16)
    den = math.lcm(p, q)
    require(den.bit_length() <= MAX_BITS, f"a common denominator has more than {MAX_BITS} bits")
    s, t = a.numerator * (den // p), b.numerator * (den // q)
    work.spend(len(x.nums), x.bits, s.bit_length())
    work.spend(len(x.nums), y.bits, t.bit_length())
    return Vector([s * m + t * n for m, n in zip(x.nums, y.nums, strict=True)], den)


def total(values: Iterable[Q]) -> Q:
    return sum(values, ZERO)


def roots(x: Q) -> tuple[Q, Q]:
    """lower <= sqrt(x) <= upper, to 2^-ROOT relatively, and equal for squares of rationals."""
    shift = max(0, ROOT + (x.denominator.bit_length() - x.numerator.bit_length()) // 2)
    exact = Q(math.isqrt(x.numerator), math.isqrt(x.denominator))
    if exact**2 == x:
        return exact, exact
    root = math.isqrt((x.numerator << 2 * shift) // x.denominator)
    return Q(root, 1 << shift), Q(root + 1, 1 << shift)


def integer_root(n: int, degree: int) -> int:
    """The largest r >= 0 with r^degree <= n: Newton's iteration from above, from the root of the leading half."""
    half = n.bit_length() // (2 * degree)
    if not half:  # it is below 4
        return next(r for r in range(3, -1, -1) if r**degree <= n)
    root = (integer_root(n >> degree * half, degree) + 1) << half
    while True:
        smaller = ((degree - 1) * root + n // root ** (degree - 1)) // degree
        if smaller >= root:
            return root
        root = smaller


def power(x: Q, depth: int, work: Work) -> tuple[Q, Q]:
    """(12) lower <= |x|^(2/depth) <= upper, to 2^-ROOT relatively, and equal where that is rational."""
    n, d = x.numerator**2, x.denominator**2
    work.spend(20, depth * (ROOT + 2) + max(n.bit_length(), d.bit_length()), depth * (ROOT + 2), each=3000)
    exact = Q(integer_root(n, depth), integer_root(d, depth))
    if exact**depth * d == n:
        return exact, exact
    shift = max(0, ROOT + (d.bit_length() - n.bit_length()) // depth)
    root = integer_root((n << depth * shift) // d, depth)
    return Q(root, 1 << shift), Q(root + 1, 1 << shift)


def enclosed(x: Q, work: Work) -> tuple[Q, Q]:
    """`roots`, for what they cost."""
    work.spend(4, x.numerator.bit_length() + 2 * ROOT, x.denominator.bit_length() + 2 * ROOT, each=3000, hard=16)
    return roots(x)


def length(x: Vector, work: Work) -> Q:
    """An upper bound of the Euclidean norm."""
    return enclosed(dot(x, x, work), work)[1]


def sign(x: int, zero: int = 0) -> int:
    return 1 if x > 0 else -1 if x < 0 else zero


def show(x: Q) -> str:
    """Six digits for people."""
    return f"{x.numerator / x.denominator:.6g}" if x < 1 << 1000 else f"2^{int(x).bit_length()}"


def show_up(x: Q) -> str:
    """The least float that is not below x, in full."""
    if x >= 1 << 1000:
        return show(x)
    y = x.numerator / x.denominator
    return repr(y if Q(y) >= x else math.nextafter(y, math.inf))


# ---------------------------------------------------------------- exact linear algebra


def echelon(vectors: Iterable[Sequence[int]], p: int, work: Work) -> list[tuple[int, list[int], int]]:
    """(pivot, row, index) of those vectors that do not depend, modulo the prime p, on those before; row[pivot] is 1.

    Their number is the rank modulo p, which never exceeds the rank over the rationals: a minor that is zero over the
    rationals is zero modulo p.
    """
    found: list[tuple[int, list[int], int]] = []
    for index, vector in enumerate(vectors):
        work.spend(len(vector) * (len(found) + 1))
        v = [x % p for x in vector]
        for at, top, _ in found:
            c = v[at]
            v = [(x - c * y) % p for x, y in zip(v, top, strict=True)] if c else v
        pivot = next((at for at, x in enumerate(v) if x), None)
        if pivot is not None:
            inverse = pow(v[pivot], -1, p)
            found.append((pivot, [inverse * x % p for x in v], index))
    return found


def basis(vectors: Sequence[Sequence[int]], work: Work) -> list[int]:
    """Which vectors do not depend, over the rationals, on those before: fraction-free elimination (Bareiss, 1968).

    After t steps every entry is a minor of order t + 1, so the division by the last pivot leaves no remainder.
    """
    found: list[tuple[int, list[int], int]] = []
    for index, vector in enumerate(vectors):
        v, last = list(vector), 1
        for at, top, _ in found:
            bits = max(map(int.bit_length, v), default=0)
            work.spend(2 * len(v), bits, top[at].bit_length(), hard=16)
            v, last = [(top[at] * x - v[at] * y) // last for x, y in zip(v, top, strict=True)], top[at]
        found += [(at, v, index) for at, x in enumerate(v) if x][:1]
    return [index for _, _, index in found]


def spanning(vectors: Sequence[Sequence[int]], work: Work) -> list[Sequence[int]]:
    """Independent vectors with the same span.  Modulo a prime, if it shows that all, or as many as there are entries,
    are independent; over the rationals if not."""
    found = [index for _, _, index in echelon(vectors, P61, work)]
    if len(found) < min(len(vectors), len(vectors[0]) if vectors else 0):
        found = basis(vectors, work)
    return [vectors[index] for index in found]


def is_psd(M: list[list[int]], work: Work, last: int = 1) -> bool:
    """Whether a symmetric integer matrix is positive semidefinite: fraction-free LDL^T."""
    while M:
        if M[0][0] <= 0:
            if M[0][0] < 0 or any(M[0]):
                return False
            M = [row[1:] for row in M[1:]]
            continue
        (a, *top), rest = M[0], M[1:]
        work.spend(2 * len(rest) ** 2, a.bit_length(), max(max(map(int.bit_length, row)) for row in M), hard=8)
        M, last = [[(a * x - row[0] * y) // last for x, y in zip(row[1:], top, strict=True)] for row in rest], a
    return True


# ---------------------------------------------------------------- read: files

NPY = re.compile(rb"(?s)\x93NUMPY.{4,6}{'descr': '[<|](..)', 'fortran_order': False, 'shape': \(([0-9, ]*)\), } *\n")
CODES = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "u8": "Q", "u1": "B", "b1": "?"}
CODES |= {"F64": "d", "F32": "f", "F16": "e", "BF16": "e", "I64": "q", "I32": "i", "U8": "B", "BOOL": "?"}


def _integer(text: str) -> int:
    require(len(text) < 18 and abs(int(text)) < 1 << 53, f"an integer is out of range: {text:.40}")
    return int(text)


def _refuse(text: str) -> Any:
    raise Rejected(f"a number is written as {text:.40}; expected a text such as '-1f/8'")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    require(len(found) == len(pairs), "a key occurs twice in one object")
    return found


def parse(content: bytes) -> Any:
    """JSON (RFC 8259) in UTF-8 without floats, NaN, duplicate keys, long integers, and deep nesting."""
    try:
        text = content.decode("utf-8")
        tree = json.loads(
            text, parse_int=_integer, parse_float=_refuse, parse_constant=_refuse, object_pairs_hook=_object
        )
    except RecursionError:
        raise Rejected("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise Rejected("it is no text, so it is no JSON file") from None
    except json.JSONDecodeError as error:
        raise Rejected(f"it is no JSON file: {error.msg} in line {error.lineno}") from None
    level = [tree]
    for _ in range(MAX_DEPTH + 1):
        inner = [node.values() if type(node) is dict else node for node in level if type(node) in (dict, list)]
        level = [child for each in inner for child in each if type(child) in (dict, list)]
    require(not level, "it is nested too deeply")
    return tree


def content_of(source: Any, limit: int) -> bytes:
    """The bytes of a file."""
    path = Path(source)
    require(not path.is_dir(), f"{path!s:.200} is a directory")
    require(path.is_file(), f"{path!s:.200} is no file")
    require(path.stat().st_size <= limit, f"{path!s:.200} is larger than {limit >> 20} MiB")
    content = path.read_bytes()
    require(content, f"{path!s:.200} is empty")
    return content


def stored(path: Path, content: bytes) -> dict[str, tuple[str, Sequence[int], memoryview]]:
    """Type, shape and bytes of every array in a .npz or .safetensors file, by its name."""
    found: dict[str, tuple[str, Sequence[int], memoryview]] = {}
    if path.suffix == ".safetensors":
        start = 8 + int.from_bytes(content[:8], "little")
        require(8 <= start <= len(content), "the header is longer than the file")
        body = memoryview(content)[start:]
        room = len(body)
        for name, item in mapping(parse(content[8:start]), "the header").items():
            if name != "__metadata__":
                first, last = sizes(member(item, "data_offsets"), 2, "data_offsets", len(body))
                room -= last - first
                require(first <= last and room >= 0, "arrays overlap")
                shape = sizes(member(item, "shape"), None, "shape")
                found[name] = (str(member(item, "dtype")), shape, body[first:last])
        return found
    try:
        with zipfile.ZipFile(path) as archive:
            size, names = sum(info.file_size for info in archive.infolist()), archive.namelist()
            require(size <= MAX_UNPACKED + MAX_RATIO * len(content), "it unpacks to too many bytes for its size")
            require(len(set(names)) == len(names), "a name occurs twice in it")
            files = [(name.removesuffix(".npy"), archive.read(name)) for name in names]
    except (zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError, NotImplementedError, OSError, EOFError) as error:
        raise Rejected(f"it is no archive of arrays that can be read ({error!s:.60})") from None
    for name, raw in files:
        head = NPY.match(raw)
        require(head, f"{name:.40} is no array of real numbers in row-major order")
        kind, shape = head[1].decode("latin1"), [int(n) for n in head[2].split(b",") if n.strip()]  # type: ignore[index]
        found[name] = (kind, shape, memoryview(raw)[head.end() :])  # type: ignore[union-attr]
    return found


def unpacked(kind: str, shape: Sequence[int], raw: memoryview) -> tuple[Any, ...]:
    """The entries of a stored array, booleans as integers."""
    require(kind in CODES, f"an array has the type {kind:.20}")
    code, n = CODES[kind], math.prod(shape)
    require(n * struct.calcsize(f"<{code}") == len(raw), "an array has not as many bytes as its shape says")
    if kind == "BF16":  # the upper half of a float32
        wide = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2))
        return struct.unpack(f"<{n}f", wide)
    values = struct.unpack(f"<{n}{code}", raw)
    return tuple(map(int, values)) if code == "?" else values


def read_problem(source: Any) -> Any:
    """The problem object of a path, of a mapping, or of an object with `to_tree`, in its .json form."""
    arrays: dict[str, Any] = {}

    def resolve(node: Any, depth: int = 0) -> Any:
        require(depth < MAX_DEPTH, "it is nested too deeply")
        if isinstance(node, Mapping):
            if node.keys() == {"array"}:
                name = node["array"]
                require(isinstance(name, str) and name in arrays, "there is no such array", name)
                kind, shape, raw = arrays[name]
                return {"shape": shape, "data": unpacked(kind, shape, raw)}
            return {key: resolve(value, depth + 1) for key, value in node.items()}
        if isinstance(node, list):
            return [resolve(item, depth + 1) if isinstance(item, (list, Mapping)) else item for item in node]
        if hasattr(node, "tolist"):
            flat = node.reshape(-1).tolist()
            return {"shape": node.shape, "data": [int(x) if x is True or x is False else x for x in flat]}
        return node

    if not isinstance(source, (str, Path)):
        return resolve(source if isinstance(source, Mapping) else source.to_tree())
    path, content = Path(source), content_of(source, MAX_PROBLEM)
    if path.suffix == ".json":
        return parse(content)
    require(path.suffix in (".npz", ".safetensors"), f"expected .json, .npz or .safetensors, got {path.name:.100}")
    arrays = dict(stored(path, content))
    require("spec" in arrays, f"{path!s:.200} holds no spec, so it names no regularizer")
    kind, shape, raw = arrays["spec"]
    require(CODES.get(kind) == "B" and math.prod(shape) == len(raw), "its spec is no text")
    return resolve(parse(bytes(raw)))


# ---------------------------------------------------------------- read: values of the trees


def mapping(node: Any, name: str) -> Mapping[str, Any]:
    require(isinstance(node, Mapping), f"{name} is no object")
    return node  # type: ignore[no-any-return]


def member(node: Any, key: str) -> Any:
    """node[key], of an object that has it."""
    require(isinstance(node, Mapping), f"expected an object with {key}", node)
    require(key in node, f"{key} is missing")
    return node[key]


def listing(node: Any, name: str) -> Sequence[Any]:
    require(isinstance(node, (list, tuple)), f"{name} is no list")
    return node  # type: ignore[no-any-return]


def integer(value: Any, low: int, high: int, name: str) -> int:
    """low <= value <= high."""
    if type(value) is not int or not low <= value <= high:
        raise Rejected(f"{name}: expected an integer from {low} to {high}, found {_brief(value)}")
    return value


def sizes(node: Any, n: int | None, name: str, most: int = 1 << 53) -> list[int]:
    """n integers from 0 to `most` (None: any number of them)."""
    found = [integer(x, 0, most, name) for x in listing(node, name)]
    require(n is None or len(found) == n, f"{name}: expected {n} integers")
    return found


def indices(node: Any, allowed: Any, name: str) -> list[int]:
    """Distinct integers, all of them in `allowed`."""
    found = list(listing(node, name))
    require(all(type(j) is int and j in allowed for j in found), f"{name}: an index has no place there")
    require(len(set(found)) == len(found), f"{name}: an index occurs twice")
    return found


def array(node: Any, work: Work, *shape: int | None, floats: bool = False) -> list[Any]:
    """The entries of an array of this shape (None: any length); with `floats`, floats stay what they are."""
    found = sizes(member(node, "shape"), None, "shape")
    values = listing(member(node, "data"), "data")
    fits = len(shape) == len(found) and all(n in (None, m) for n, m in zip(shape, found, strict=True))
    require(fits and len(values) == math.prod(found), f"expected an array of shape {shape}, found {found[:9]}")
    work.earn(PER_ENTRY * len(values))
    work.spend(len(values), each=400 if floats else 2000)
    if floats and all(type(x) is float for x in values):
        require(all(map(math.isfinite, values)), "a number is not finite")
        return list(values)
    return [number(x, work=work) for x in values]


def whole(node: Any, work: Work, n: int, below: int) -> list[int]:
    """The entries of an array of n integers from 0 to below - 1."""
    values = array(node, work, n)
    require(all(x.denominator == 1 and 0 <= x < below for x in values), f"expected integers from 0 to {below - 1}")
    return [int(x) for x in values]


def entries(node: Any, allowed: Sequence[int], work: Work) -> dict[int, tuple[int, int]]:
    """What a VEC lists, as numerators and denominators: every index once, and in `allowed`."""
    found: dict[int, tuple[int, int]] = {}
    places = range(len(allowed)) if allowed == range(len(allowed)) else set(allowed)
    for part in listing(node, "a vector"):
        below, den = ratio(member(part, "den"), work)
        require(den == 1 and below > 0, "the denominator of a vector is no positive integer")
        nums = listing(member(part, "nums"), "nums")
        listed = indices(part["indices"], places, "a vector") if "indices" in part else allowed
        require(len(nums) == len(listed), "a vector has not as many numbers as indices")
        work.spend(len(nums), each=1000)
        for j, text in zip(listed, nums, strict=True):
            above, one = ratio(text, work)
            require(one == 1, "the numerators of a vector are integers", text)
            require(j not in found, "a vector: an index occurs twice")
            found[j] = above, below
    return found


# ---------------------------------------------------------------- read: the problem


class Bend(NamedTuple):
    """w |x - c| (kink), w/2 (x - c)^2 (square, where c is not 0), or w h_delta(x - c) (huber), of one coordinate."""

    kind: str
    w: Q
    c: Q
    delta: Q | None

    def value(self, x: Q) -> Q:
        size = abs(x - self.c)
        if self.kind == "kink":
            return self.w * size
        near = size if self.delta is None or size <= self.delta else self.delta
        return self.w * near * (size - near / 2)


class Addend:
    """(2) A TERM: factor f(M theta - c).

    kind: of f.  rows: M as (place, value) pairs per row, or None for the identity.  centre: c.  weight: w, or w_g^2 of
    the group of each entry, with the factor; groups: entries under one root.  delta: of huber.  indices, shape: of
    spectral, whose factor is apart.
    """

    def __init__(self, term: Any, d: int, work: Work) -> None:
        kind = member(term, "term")
        require(isinstance(kind, str) and kind in TERMS, "unknown term", kind)
        self.kind, self.work, self.d = kind, work, d
        self.rows: list[list[tuple[int, Q]]] | None = None
        if "map" in term:
            self._map(term["map"])
        self.m = m = d if self.rows is None else len(self.rows)
        self.centre = [number(x) for x in array(term["centre"], work, m)] if "centre" in term else [ZERO] * m
        self.factor = number(term["factor"], 0, work) if "factor" in term else ONE
        require(self.factor > 0, "a factor is not positive")
        self.delta = number(member(term, "delta"), 0, work) if kind == "huber" else None
        require(self.delta is None or self.delta > 0, "delta is not positive")
        self.groups = [list(range(m))]
        if kind == "norms":
            self.weight = self._roots(term)
        elif kind == "spectral":
            self.shape = sizes(member(term, "shape"), 2, "shape")
            self.indices = indices(whole(member(term, "indices"), work, math.prod(self.shape), m), range(m), "indices")
            inside = set(self.indices)
            self.weight = [ONE if j in inside else ZERO for j in range(m)]
        else:
            self.weight = [self.factor * w for w in self._weights(term, "weights", m)]

    def _weights(self, term: Any, key: str, n: int) -> list[Q]:
        given = term.get(key)
        return [ONE] * n if given is None else [number(x, 0) for x in array(given, self.work, n)]

    def _roots(self, term: Any) -> list[Q]:
        if term.get("labels") is None:
            require(term.get("weights") is None, "norms without labels have no weights")
            return [self.factor**2 * q for q in self._weights(term, "inner", self.m)]
        require(term.get("inner") is None, "norms with labels have no inner weights")
        labels = whole(term["labels"], self.work, self.m, self.m)
        self.groups = [[] for _ in range(max(labels, default=-1) + 1)]
        for j, g in enumerate(labels):
            self.groups[g].append(j)
        w = self._weights(term, "weights", len(self.groups))
        return [(self.factor * w[g]) ** 2 for g in labels]

    def _map(self, spec: Any) -> None:
        work = self.work
        integer(member(spec, "columns"), self.d, self.d, "columns")
        m = integer(member(spec, "rows"), 0, 1 << 24, "rows")
        values = [number(x) for x in array(member(spec, "value"), work, None)]
        at = whole(member(spec, "row"), work, len(values), m)
        places = whole(member(spec, "column"), work, len(values), self.d)
        require(len(set(zip(at, places, strict=True))) == len(values), "an entry of a map occurs twice")
        work.spend(m + len(values), each=2000)
        self.rows = [[] for _ in range(m)]
        for i, j, x in zip(at, places, values, strict=True):
            self.rows[i].append((j, x))

    def sees(self) -> list[bool]:
        """The entries on which f depends."""
        return [w > 0 for w in self.weight]

    @cached_property
    def _integers(self) -> tuple[list[list[tuple[int, int]]], int]:
        """The rows of M as integers over one denominator."""
        assert self.rows is not None
        flat = common((x for row in self.rows for _, x in row), self.work)
        nums = iter(flat.nums)
        return [[(j, next(nums)) for j, _ in row] for row in self.rows], flat.den

    def at(self, theta: Vector) -> Vector:
        """x = M theta - c."""
        work, c = self.work, common(self.centre, self.work)
        if self.rows is None:
            return combine(ONE, theta, -ONE, c, work)
        rows, den = self._integers
        work.spend(sum(map(len, rows)), theta.bits, den.bit_length() + 64, each=200)
        image = Vector([sum(x * theta.nums[j] for j, x in row) for row in rows], den * theta.den)
        return combine(ONE, image, -ONE, c, work)

    def pull(self, g: Vector) -> Vector:
        """M^T g."""
        if self.rows is None:
            return g
        rows, den = self._integers
        self.work.spend(sum(map(len, rows)), g.bits, den.bit_length() + 64, each=200)
        nums = [0] * self.d
        for n, row in zip(g.nums, rows, strict=True):
            for j, x in row:
                nums[j] += x * n
        return Vector(nums, den * g.den)

    @cached_property
    def _scales(self) -> tuple[Vector, Vector]:
        self.work.spend(self.m, each=3000)
        return scales(self.weight, self.work)

    def value(self, x: Vector, factors: Any) -> tuple[Q, Q]:
        """factor f(x), from above and from below."""
        work = self.work
        if self.kind == "spectral":
            bound = self.factor * matrix_above(x.of(self.indices), self.shape, factors, work)
            return bound, ZERO
        if self.kind in ("square", "huber"):
            work.spend(len(x.nums), 2 * x.bits, 64, each=6000, hard=20)
            exact = total(Bend(self.kind, w, ZERO, self.delta).value(x.at(i)) for i, w in enumerate(self.weight))
            return exact, exact
        return size(self.kind, x, self._scales[0], self.groups, False, work)[:2]

    def polar(self, g: Vector) -> Q:
        """The least t with g/t in the domain of the conjugate of factor f, from above; 0 where there is no limit."""
        work = self.work
        if self.kind == "spectral":
            return matrix_polar(g.of(self.indices), self.shape, self.factor, work)
        if self.kind == "square":
            return ZERO
        if self.kind == "huber":
            return size("kink", g, self._scales[1], self.groups, True, work)[0] / self.delta  # type: ignore[operator]
        return size(self.kind, g, self._scales[1], self.groups, True, work)[0]

    def conjugate(self, g: Vector) -> Q:
        """Of g in that domain: sum g^2/2w for squares and huber, 0 for norms."""
        if self.kind not in ("square", "huber"):
            return ZERO
        v = self._scales[1]
        self.work.spend(len(g.nums), 2 * g.bits, v.bits)
        return Q(sum(n * n * w for n, w in zip(g.nums, v.nums, strict=True)), 2 * g.den**2 * v.den)


def matrix_above(x: Vector, shape: Sequence[int], factors: Any, work: Work) -> Q:
    """(5.4) |X|_* <= sum |u||v| + sum_c |E[:, c]| with E = X - sum u v^T, for any u and v, which are listed."""
    (p, q), bound = shape, ZERO
    for factor in listing(factors, "factors"):
        u, v = entries(member(factor, "u"), range(p), work), entries(member(factor, "v"), range(q), work)
        U = vector([u.get(i, (0, 1)) for i in range(p)], work)
        V = vector([v.get(c, (0, 1)) for c in range(q)], work)
        work.spend(p * q, U.bits, V.bits)
        bound += length(U, work) * length(V, work)
        x = combine(ONE, x, -ONE, Vector([a * b for a in U.nums for b in V.nums], U.den * V.den), work)
    return bound + total(length(Vector(x.nums[c::q], x.den), work) for c in range(q))


def matrix_polar(g: Vector, shape: Sequence[int], factor: Q, work: Work) -> Q:
    """(5.4) The spectral norm of G/factor: 1 if factor^2 I - G^T G is positive semidefinite, which LDL^T decides; if
    not, |G|_F / factor."""
    (p, q), M, short = shape, g.nums, min(shape)
    A = [M[i * q : (i + 1) * q] for i in range(p)] if p < q else [M[c::q] for c in range(q)]
    work.spend(short * len(M), g.bits, g.bits)
    n, m = (factor.numerator * g.den) ** 2, factor.denominator**2
    gram = [[n * (a == b) - m * sum(map(mul, A[a], A[b])) for b in range(short)] for a in range(short)]
    return ONE if is_psd(gram, work) else length(g, work) / factor


class Problem:
    """minimise R(theta* + D) + Rhat(D) subject to J D = b, D_F = 0, in the normal form of section 2.

    at_least: the rows that read J_i D >= b_i instead; equal: the others, the equations.  start, rhs: theta* and b.
    free: M in increasing order; at: the place of each in M.  rows: integers over one denominator for each row of J on
    M.  lam, mu, rho, box: Rhat = lam/2 |D|^2 + mu |D|_1 where |D|_2 <= rho and |D|_inf <= box (None: anywhere).  R: see
    `_regularizer`.
    """

    def __init__(self, tree: Any, work: Work | None = None) -> None:
        self.version = _expect(tree, "exact-unlearn/problem", "a problem")
        self.work = work = work or Work()
        self.start, self.rhs = array(member(tree, "theta_star"), work, None), array(member(tree, "rhs"), work, None)
        self.d, k = len(self.start), len(self.rhs)
        drift: dict[str, list[Q]] = {"squared_drift": [], "l1_drift": [], "2": [], "inf": []}
        for term in listing(member(tree, "drift_penalty"), "drift_penalty"):
            name = member(term, "name")
            require(name in ("squared_drift", "l1_drift", "trust_region"), "unknown drift penalty", name)
            if name == "trust_region":
                norm = member(term, "norm")
                require(isinstance(norm, str) and norm in ("2", "inf"), "unknown norm", norm)
                drift[norm].append(number(member(term, "radius"), 0, work))
            else:
                drift[name].append(number(member(term, "lam"), 0, work))
        self.lam, self.mu = total(drift["squared_drift"]), total(drift["l1_drift"])
        self.rho, self.box = min(drift["2"], default=None), min(drift["inf"], default=None)
        require(self.version > 1 or "at_least" not in tree, "at_least: version 1 has no rows that read >=")
        least = whole(tree["at_least"], work, k, 2) if "at_least" in tree else [0] * k
        self.at_least = [i for i in range(k) if least[i]]
        self.equal = [i for i in range(k) if not least[i]] if self.at_least else range(k)
        mask = whole(member(tree, "free"), work, self.d, 2)
        self.free = [j for j in range(self.d) if mask[j] and 0 not in (self.rho, self.box)]
        self.at = {j: at for at, j in enumerate(self.free)}
        work.spend(k * self.d, each=50)
        rows, every = self._jacobian(member(tree, "jacobian"), k), len(self.free) == self.d
        self.rows = [common(row if every else [row[j] for j in self.free], work) for row in rows]
        self._regularizer(member(tree, "regularizer"), mask)
        require(self.version > 1 or "origin" not in tree, "origin: version 1 has no origins")
        self.origin = origin_of(tree["origin"], work) if "origin" in tree else None

    def _jacobian(self, spec: Any, k: int) -> Iterator[Sequence[Any]]:
        """The rows of J over all coordinates."""
        kind, d = member(spec, "kind"), self.d
        if kind == "dense":
            flat = array(member(spec, "matrix"), self.work, k, d, floats=True)
            return (flat[i * d : (i + 1) * d] for i in range(k))
        require(kind == "product", "unknown kind of jacobian", kind)
        (h, l), (n, m) = (sizes(member(member(spec, name), "shape"), 2, "shape") for name in ("V", "X"))
        V, self.X = array(spec["V"], self.work, h, l), array(member(spec, "X"), self.work, n, m)
        start, stop = sizes(member(spec, "block"), 2, "block", d)
        require(stop - start == h * m and k == n * l, "the factors of the jacobian do not fit")
        integer(member(spec, "n_parameters"), d, d, "n_parameters")
        bits = [max((x.numerator.bit_length() + x.denominator.bit_length() for x in M), default=0) for M in (V, self.X)]
        self.work.spend(k * h * m, bits[0], bits[1], each=3000, hard=16)
        return (
            [ZERO] * start + [v * x for v in V[o::l] for x in self.X[i * m : (i + 1) * m]] + [ZERO] * (d - stop)
            for i in range(n)
            for o in range(l)
        )

    def _regularizer(self, spec: Any, mask: list[int]) -> None:
        """R = sum alpha_j |x_j| + beta_j/2 x_j^2, or a norm, or the number of those who pay.

        Norms: `seen` are the coordinates that R depends on, `weight` the w_j of l2 and linf (w_g^2 for groups),
        `groups` the coordinates under one root; of the predictor norm in terms of B and A^T V, not of theta.
        """
        name, d, work = member(spec, "name"), self.d, self.work
        known = SEPARABLE | NORMS | COUNTS | ({"form", POWER} if self.version > 1 else set())
        require(isinstance(name, str) and name in known, "unknown regularizer", name)
        self.parts: list[Addend] = []
        self.bends: list[list[Bend]] = []
        if name == POWER:
            self.name = name
            self.depth = integer(member(spec, "depth"), 3, MAX_DEPTH_OF_POWERS, "depth")
            still = not self.lam and not self.mu and self.rho is None and self.box is None and not self.at_least
            require(still, "power_sum has no drift penalty beside it, and no rows that read >=")
            return
        if name == "form":
            self._form(spec)
            return
        grouped, labels = name == "group_l2", list(range(d))
        if grouped or (name == "l0" and spec.get("labels") is not None):
            labels = whole(member(spec, "labels"), work, d, d)
        n = max(labels, default=-1) + 1 if grouped else d
        w = [ONE] * n
        if name in ("squared_l2", "l1", "linf", "l2", "group_l2") and spec.get("weights") is not None:
            w = [number(x, 0) for x in array(spec["weights"], work, n)]
        self.name, self.pays, self.seen, self.outer = name, labels, [w[g] > 0 for g in labels], w
        self.alpha, self.beta = ([ZERO] * d, w) if name != "l1" else (w, [ZERO] * d)
        self.groups: list[list[int]] = [[] for _ in range(n)] if grouped else [list(range(d))]
        for j, g in enumerate(labels if grouped else ()):
            self.groups[g].append(j)
        self.weight = [w[g] ** 2 for g in labels] if grouped else w
        if name == "elastic_net":
            alpha, beta = number(member(spec, "alpha"), 0, work), number(member(spec, "beta"), 0, work)
            self.alpha, self.beta, self.seen = [alpha] * d, [beta] * d, [alpha + beta > 0] * d
        elif name == "predictor_norm":
            (h, self.l), shape = sizes(member(member(spec, "V"), "shape"), 2, "shape"), member(spec, "shape")
            self.m, (start, stop) = sizes(shape, 2, "shape")[1], sizes(member(spec, "block"), 2, "block", d)
            require(shape[0] == h and stop - start == h * self.m, "the block of the predictor norm does not fit")
            work.spend(self.m * self.l, each=1000)
            self.V, self.block, self.seen = array(spec["V"], work, h, self.l), range(start, stop), [False] * d
            self.weight, self.groups = [ONE] * (self.m * self.l), [list(range(self.m * self.l))]
        elif name == "nuclear_norm":
            self.shape = sizes(member(spec, "shape"), 2, "shape")
            self.indices = indices(whole(member(spec, "indices"), work, math.prod(self.shape), d), range(d), "indices")
            inside = set(self.indices)
            self.seen = [j in inside for j in range(d)]
        elif name == "active_neurons":
            m, h, l = (integer(member(spec, key), 0, d, key) for key in ("n_inputs", "width", "n_outputs"))
            require(d == h * (l + m) and not any(mask[h * l :]), "the regularizer does not fit, or more than C is free")
            live = [any(self.start[h * l + i * m : h * l + (i + 1) * m]) for i in range(h)]
            self.pays = [i if live[i] else -1 for i in range(h)] * l + [-1] * (h * m)

    def _form(self, spec: Any) -> None:
        """R = sum of TERMs: separable ones without a map as bends of each coordinate, the others as parts."""
        d, work = self.d, self.work
        self.name, self.seen = "form", [False] * d
        self.alpha, self.beta, self.bends = [ZERO] * d, [ZERO] * d, [[] for _ in range(d)]
        for term in listing(member(spec, "terms"), "terms"):
            part = Addend(term, d, work)
            if part.rows is None:
                self.seen = [seen or own for seen, own in zip(self.seen, part.sees(), strict=True)]
            if part.rows is not None or part.kind not in ("square", "kink", "huber"):
                self.parts.append(part)
                continue
            for j, (w, c) in enumerate(zip(part.weight, part.centre, strict=True)):
                work.spend(1, each=2000)
                if part.kind == "square":
                    self.beta[j] += w
                elif part.kind == "kink" and not c:
                    self.alpha[j] += w
                if w and (c or part.kind == "huber"):
                    self.bends[j].append(Bend(part.kind, w, c, part.delta))

    def powers(self, values: Iterable[Q]) -> tuple[Q, Q]:
        """(12) L/2 sum |x_j|^(2/L), from below and from above."""
        pairs = [power(x, self.depth, self.work) for x in values if x]
        return Q(self.depth, 2) * total(low for low, _ in pairs), Q(self.depth, 2) * total(high for _, high in pairs)

    def separable_value(self, theta: Vector) -> Q:
        """sum phi_j(theta_j) of a separable R."""
        work, a, b = self.work, common(self.alpha, self.work), common(self.beta, self.work)
        work.spend(len(theta.nums), 2 * theta.bits, max(a.bits, b.bits, theta.bits))
        linear = Q(sum(map(mul, a.nums, map(abs, theta.nums))), a.den * theta.den)
        squares = Q(sum(map(mul, b.nums, map(mul, theta.nums, theta.nums))), b.den * theta.den**2)
        return linear + squares / 2

    def bent_value(self, theta: Vector) -> Q:
        """sum phi_j(theta_j) of a form."""
        work, found = self.work, ZERO
        for j, bends in enumerate(self.bends):
            work.spend(1 + len(bends), 2 * theta.bits, 64, each=9000, hard=40)
            x = theta.at(j)
            centred = total(bend.w for bend in bends if bend.kind == "square")
            found += self.alpha[j] * abs(x) + (self.beta[j] - centred) / 2 * x * x
            found += total(bend.value(x) for bend in bends)
        return found

    @cached_property
    def longest(self) -> int:
        """Bits of the longest entry of J."""
        return max((row.bits for row in self.rows), default=0)

    @cached_property
    def _scales(self) -> tuple[Vector, Vector]:
        return scales(self.weight, self.work)

    def norm(self, v: Vector, dual: bool) -> tuple[Q, Q, Q | None]:
        """(5.3) R(v), or R°(v), from above and from below; and its square where that is rational."""
        kind = "max" if self.name == "linf" else "norms"
        return size(kind, v, self._scales[dual], self.groups, dual, self.work)


SLOPES = {"relu": ZERO, "abs": -ONE, "leaky_relu": None}


class TwoLayer:
    """(11) The exact problem of f(x) = sum_j c_j phi(a_j . x), with phi(z) = z for z >= 0 and slope * z for z < 0.

    x: integers over `den`, one list per sample; below: slope * x over the same.  live: the samples that are not 0.
    """

    def __init__(self, spec: Any, work: Work) -> None:
        self.activation = member(spec, "activation")
        require(isinstance(self.activation, str) and self.activation in SLOPES, "unknown activation", self.activation)
        own, self.slope = SLOPES[self.activation], number(member(spec, "slope"), work=work)
        require(own is None or own == self.slope, "the slope is not that of the activation")
        self.width, self.R = integer(member(spec, "width"), 1, 1 << 53, "width"), member(spec, "R")
        require(isinstance(self.R, str) and self.R in ("squared", "path"), "unknown measure of a network", self.R)
        (n, m), self.work = sizes(member(member(spec, "x"), "shape"), 2, "shape"), work
        require(m > 0, "samples have no entries")
        flat, self.y = common(array(spec["x"], work, n, m), work), array(member(spec, "y"), work, n)
        p, q = self.slope.as_integer_ratio()
        work.spend(2 * n * m, flat.bits, max(p.bit_length(), q.bit_length()))
        rows = [flat.nums[i * m : (i + 1) * m] for i in range(n)]
        self.m, self.den = m, flat.den * q
        self.x, self.below = [[q * v for v in row] for row in rows], [[p * v for v in row] for row in rows]
        self.bits = max(self.den.bit_length(), flat.bits + max(p.bit_length(), q.bit_length()))
        self.live = [i for i, row in enumerate(rows) if any(row)]

    def patterns(self, tree: Any) -> list[list[int]]:
        """(11.1) The signs at the leaves of a tree of all sign patterns, 0 at samples that are 0.

        A node divides what is left by the sign of one more sample, + first.  A branch may end without a leaf where no u
        has s_i x_i . u > 0 for all signs s chosen there.  So every open cell has a leaf; as no x_i here is 0, their
        closures cover the space.  Of slope -1, u and -u are one: the first sample has the sign +.
        """
        places, found = set(self.live), []
        left: list[dict[int, int]] = [dict.fromkeys(self.live[:1], 1) if self.slope == -1 else {}]
        for node in listing(tree, "tree"):
            require(left, "the tree goes on after its end")
            signs = left.pop()
            self.work.spend(1 + 2 * len(self.live))
            if node is None:
                require(len(signs) == len(places), "a leaf of the tree leaves the sign of a sample open")
                self.work.spend(len(self.x), each=100)
                found.append([signs.get(i, 0) for i in range(len(self.x))])
            elif type(node) is int:
                require(node in places and node not in signs, "the tree divides by a sample that is 0, or twice")
                left += {**signs, node: -1}, {**signs, node: 1}
            else:
                self._cut(node, signs)
        require(not left, "the tree ends before all its branches do")
        require(found, "the tree has no leaf")
        return found

    def _cut(self, node: Any, signs: dict[int, int]) -> None:
        """Gordan: lambda >= 0, not all 0, and sum lambda_i s_i x_i = 0, so that not all s_i x_i . u are positive."""
        listed = entries(node, sorted(signs), self.work)
        weights = vector(list(listed.values()), self.work).nums
        require(any(weights) and min(weights) >= 0, "a branch is cut by weights that are negative, or all 0")
        self.work.spend(len(weights) * self.m, max(map(int.bit_length, weights)), self.bits)
        signed = [w * signs[i] for i, w in zip(listed, weights, strict=True)]
        columns = zip(*(self.x[i] for i in listed), strict=True)
        require(not any(sum(map(mul, signed, column)) for column in columns), "a branch is cut where cells may be")

    def verify(self, problem: Problem, certificate: Any) -> None:
        """The problem is the program of the patterns that the certificate's tree proves complete."""
        self.program(problem, self.patterns(member(certificate, "tree")))

    def program(self, problem: Problem, patterns: list[list[int]]) -> None:
        """(11.2) The problem is the convex program of these patterns, to the last bit.

        Blocks v_p and w_p in turn; sum D_p X (v_p - w_p) = y, then S_p X v_p >= 0 and S_p X w_p >= 0 without the rows
        of zeros.  Of slope 0 the pattern without + has no block: its neurons are 0 on all samples.
        """
        n, m, work = len(self.x), self.m, self.work
        used = [s for s in patterns if self.slope or max(s, default=0) > 0 or not any(s)]
        d, k = 2 * len(used) * m, n + 2 * len(used) * len(self.live)
        shape = problem.d == d and len(problem.rhs) == k and list(problem.at_least) == list(range(n, k))
        require(shape, "the problem has not as many parameters and rows as its origin")
        bare(problem)
        require(problem.rhs == [*self.y, *[ZERO] * (k - n)], "the labels are not those of the origin")
        grouped = problem.name == "group_l2" and problem.pays == [j // m for j in range(d)]
        fits = grouped if self.R == "squared" else problem.name == "l1"
        require(fits and all(w == 1 for w in problem.outer), "the regularizer is not that of the origin")
        work.spend(k * d, problem.longest, self.bits, each=100)
        for i in range(n):
            own = [(self.x if s[i] > 0 else self.below)[i] for s in used]
            row = [sign * v for values in own for sign in (1, -1) for v in values]
            same(problem.rows[i], row, self.den, i)
        at = n
        for block, s in enumerate(each for each in used for _ in range(2)):
            for i in self.live:
                row = [0] * d
                row[block * m : (block + 1) * m] = [s[i] * v for v in self.x[i]]
                same(problem.rows[at], row, self.den, at)
                at += 1

    def neurons(self, theta: Vector) -> int:
        """How many are enough: one per block; more than there are samples depend on each other, and may be pruned."""
        blocks = sum(any(theta.nums[j : j + self.m]) for j in range(0, len(theta.nums), self.m))
        return min(blocks, len(self.live))

    def sentence(self, neurons: int) -> str:
        """What a proof about the program is about."""
        measure = "1/2 |theta|^2" if self.R == "squared" else "sum |c||a|_1"
        text = f"this is the least {measure} of two layers of {self.activation} that fit {len(self.x)} samples"
        text += f", at every width of {neurons} neurons or more"
        return text if self.width >= neurons else f"{text}; at the width {self.width} it is a lower bound"


class Predictor:
    """(11.3) The exact problem of a network that is linear in x, or in x x^T, as one about its predictor.

    x: integers over `den`, one list per sample.  name: the regularizer of the convex problem.
    """

    def __init__(self, spec: Any, work: Work) -> None:
        self.model, self.R, self.work = member(spec, "model"), member(spec, "R"), work
        widths = [integer(width, 1, 1 << 53, "widths") for width in listing(member(spec, "widths"), "widths")]
        require(len(widths) > 1, "a network has two widths or more")
        self.m, self.l, self.depth, self.least = widths[0], widths[-1], len(widths) - 1, min(widths[1:-1], default=1)
        known = {"linear": self.depth == 1, "linear_network": True, "square": self.depth == 2 and self.l == 1}
        known["diagonal"] = self.l == 1 and set(widths[:-1]) == {self.m}
        require(isinstance(self.model, str) and known.get(self.model), "no model has these widths", self.model)
        name = self._name()
        require(name, "the exact problem of this network is neither convex nor concave in its predictor")
        self.name, (self.n, m) = name, sizes(member(member(spec, "x"), "shape"), 2, "shape")
        require(m == self.m, "samples have not as many entries as the first width")
        flat = common(array(spec["x"], work, self.n, m), work)
        self.y = array(member(spec, "y"), work, self.n, self.l)
        self.x, self.den = [flat.nums[i * m : (i + 1) * m] for i in range(self.n)], flat.den
        self.bits = max(self.den.bit_length(), flat.bits)

    def _name(self) -> str | None:
        """The least R of all networks with a predictor, as a regularizer of the predictor; None where it is
        neither convex nor concave."""
        if self.model == "square" or self.R not in ("squared", "path"):
            return "nuclear_norm" if self.model == "square" and self.R == "nuclear" else None
        if self.R == "path" or (self.model == "diagonal" and self.depth == 2):
            return "l1"
        if self.depth == 1:
            return "squared_l2"
        if self.model == "diagonal":
            return POWER
        return "l2" if self.l == 1 else "nuclear_norm" if self.depth == 2 else None

    def verify(self, problem: Problem, certificate: Any) -> None:
        """The problem is that of the predictor, to the last bit."""
        m, n, square = self.m, self.n, self.model == "square"
        l = 1 if square else self.l
        shape, k = (m if square else l, m), n * l
        d = math.prod(shape)
        fits = problem.d == d and len(problem.rhs) == k and not problem.at_least
        require(fits, "the problem has not as many parameters and rows as its origin")
        bare(problem)
        require(problem.rhs == self.y, "the labels are not those of the origin")
        fits = problem.name == self.name
        if fits and self.name == POWER:
            fits = problem.depth == self.depth
        elif fits:
            fits = all(w == 1 for w in problem.outer)
        if fits and self.name == "nuclear_norm":
            fits = tuple(problem.shape) == shape and list(problem.indices) == list(range(d))
        require(fits, "the regularizer is not that of the origin")
        self.work.spend(k * d, problem.longest, (1 + square) * self.bits, each=200)
        for i, x in enumerate(self.x):
            if square:
                same(problem.rows[i], [a * b for a in x for b in x], self.den**2, i)
                continue
            for o in range(l):
                same(problem.rows[i * l + o], [0] * (o * m) + x + [0] * ((l - 1 - o) * m), self.den, i * l + o)

    def neurons(self, theta: Vector) -> int:
        """How many per hidden layer are enough; 0 where there is nothing to choose."""
        return {"linear": 0, "diagonal": 0, "linear_network": min(self.m, self.l), "square": self.m}[self.model]

    def sentence(self, neurons: int) -> str:
        """What a proof about the program is about."""
        measure = {"squared": "1/2 |theta|^2", "path": "path norm", "nuclear": "sum |c||a|_2^2"}[self.R]
        L, models = self.depth, f"{self.model.replace('_', ' ')} models, layers: {self.depth},"
        text = f"the least {measure} of {models} that fit {self.n} samples"
        root = self.name == "l2" and L > 2
        text = f"{L}/2 v^(2/{L}) of this optimum v is {text}" if root else f"this is {text}"
        if not neurons:
            return text
        text += f", at every width of {neurons} neurons or more"
        return text if self.least >= neurons else f"{text}; at these widths it is a lower bound"


def origin_of(spec: Any, work: Work) -> TwoLayer | Predictor:
    """(11) The network whose exact problem a problem says that it stands for."""
    kind = member(spec, "kind")
    require(isinstance(kind, str) and kind in ("two_layer", "predictor"), "unknown kind of origin", kind)
    return TwoLayer(spec, work) if kind == "two_layer" else Predictor(spec, work)


def bare(problem: Problem) -> None:
    """All is free, theta* is 0, and there is no drift penalty."""
    require(problem.free == list(range(problem.d)) and not any(problem.start), "origin: all is free, and theta* is 0")
    still = not problem.lam and not problem.mu and problem.rho is None and problem.box is None
    require(still, "origin: there is no drift penalty")


def same(row: Vector, own: list[int], den: int, at: int) -> None:
    """A row of the problem is the origin's, integers over `den`."""
    equal = len(row.nums) == len(own) and all(a * den == b * row.den for a, b in zip(row.nums, own, strict=True))
    require(equal, f"row {at} is not that of the origin")


def scales(weight: Sequence[Q], work: Work) -> tuple[Vector, Vector]:
    """Weights and their inverses, of what a norm sees; 0 elsewhere."""
    return common(weight, work), common([1 / x if x else ZERO for x in weight], work)


def size(
    kind: str, v: Vector, w: Vector, groups: Sequence[Sequence[int]], dual: bool, work: Work
) -> tuple[Q, Q, Q | None]:
    """(5.3) A norm of v or its dual, from above and from below; and its square where that is rational.

    Dual to (sum w v^2)^(1/2) is (sum v^2/w)^(1/2); to sum_g w_g |v_g|, max |v_g|/w_g, w_g^2 being the weights here; to
    max w |v| ("max"), sum |v|/w; to sum w |v| ("kink"), max |v|/w.
    """
    work.spend(len(v.nums), 2 * v.bits, w.bits)
    if kind != "norms":
        sizes = list(map(mul, map(abs, v.nums), w.nums))
        bound = Q(sum(sizes) if dual == (kind == "max") else max(sizes, default=0), v.den * w.den)
        return bound, bound, bound**2
    den = v.den**2 * w.den
    squares = [Q(sum(v.nums[j] ** 2 * w.nums[j] for j in group), den) for group in groups] or [ZERO]
    squares = [max(squares)] if dual else squares
    below, above = (total(each) for each in zip(*(enclosed(x, work) for x in squares), strict=True))
    return above, below, squares[0] if len(squares) == 1 else None


def _expect(tree: Any, schema: str, what: str) -> int:
    """The version of the file."""
    require(isinstance(tree, Mapping), f"it is no object, so it is not {what}")
    found, version = tree.get("schema"), tree.get("version")
    require(found == schema, f"it is not {what}: expected the schema {schema!r}", found)
    require(type(version) is int and version in (1, 2), f"this is not version 1 or 2 of {schema}", version)
    return version  # type: ignore[no-any-return]


# ---------------------------------------------------------------- one coordinate


class Coordinates(NamedTuple):
    """f_j(x) = alpha_j |x| + beta_j/2 x^2 + curve/2 (x - t_j)^2 + mu |x - t_j| where |x - t_j| <= box, t = theta*.

    All integers: x, D = x - t, z and box over `den`; alpha, beta, curve and mu over `unit`.  Of forms, beta_j/2 (x^2 -
    2 shift_j x) in the place of the square, and more kinks (place, weight) and hubers (place, weight, delta).
    """

    alpha: Sequence[int]
    beta: Sequence[int]
    curve: int
    mu: int
    box: int | None
    unit: int
    den: int
    shift: Sequence[int] = ()
    kinks: Sequence[Sequence[tuple[int, int]]] = ()
    hubers: Sequence[Sequence[tuple[int, int, int]]] = ()

    def slack(self, j: int, x: int, D: int, z: int) -> tuple[int, bool]:
        """(5.2) f_j(x) - z x above its minimum, as a multiple of 2^-FINE rounded up; and whether it is 0 at x only.

        The derivative is known on both sides of x.  If 0 lies between them x is the minimiser.  If not, go downhill
        from break to break; what the derivative encloses with the axis on the way is what f_j loses.
        """
        alpha, q, mu, box = self.den * self.alpha[j], self.beta[j] + self.curve, self.den * self.mu, self.box
        slope = self.beta[j] * x + self.curve * D - self.unit * z  # of the smooth part, times unit * den
        left, right = slope + alpha * sign(x, -1) + mu * sign(D, -1), slope + alpha * sign(x, 1) + mu * sign(D, 1)
        before = after = q  # curvatures on both sides of x
        breaks: list[tuple[int, int | None, int]] = [(0, 2 * alpha, 0), (x - D, 2 * mu, 0)]  # place, jump, change of q
        if self.shift:
            left, right = left - self.shift[j], right - self.shift[j]
            for place, w in self.kinks[j]:
                left, right = left + self.den * w * sign(x - place, -1), right + self.den * w * sign(x - place, 1)
                breaks.append((place, 2 * self.den * w, 0))
            for place, w, delta in self.hubers[j]:
                pull = w * max(-delta, min(delta, x - place))
                left, right = left + pull, right + pull
                before += w * (-delta < x - place <= delta)
                after += w * (-delta <= x - place < delta)
                breaks += [(place - delta, 0, w), (place + delta, 0, -w)]
        if box is not None:
            left, right = -1 if -box == D else left, 1 if box == D else right
        if left <= 0 <= right:
            return 0, (left < 0 or before > 0) and (right > 0 or after > 0)
        if left > 0:  # downhill is to the left: look at it in a mirror
            x, D, right, after = -x, -D, -left, before
            breaks = [(-place, jump, -bend) for place, jump, bend in breaks]
        if box is not None:
            breaks.append((x - D + box, None, 0))
        slope, at, q, twice = right, x, after, 0
        for place, jump, bend in sorted((each for each in breaks if each[0] > x), key=lambda each: each[0]):
            end = slope + q * (place - at)
            if end >= 0:
                break  # the derivative is 0 before the break
            twice -= (place - at) * (slope + end)
            if jump is None or end + jump >= 0:
                return -((-twice << FINE) // (2 * self.unit * self.den**2)), False
            slope, at, q = end + jump, place, q + bend
        require(q, "J^T nu is larger than what could absorb it")
        return -((-(twice * q + slope**2) << FINE) // (2 * q * self.unit * self.den**2)), False


def slacks(
    problem: Problem, alpha: Sequence[Q], beta: Sequence[Q], curve: Q, vectors: tuple[Vector, Vector, Vector]
) -> tuple[Q, list[bool]]:
    """The sum of the slacks of x, D and z on M, and which of these coordinates are pinned."""
    work, m = problem.work, len(problem.free)
    box = ZERO if problem.box is None else problem.box
    bends = [problem.bends[j] for j in problem.free] if problem.bends else []
    own = [bend for each in bends for bend in each]
    unit = common([*alpha, *beta, curve, problem.mu, *(bend.w for bend in own)], work)
    pairs = [(n, v.den) for v in vectors for n in v.nums]
    edges = [box, *(bend.c for bend in own), *(bend.delta or ZERO for bend in own)]
    nums, den = vector([*pairs, *(edge.as_integer_ratio() for edge in edges)], work)
    longest = den.bit_length() + max(v.bits - v.den.bit_length() for v in vectors)
    work.spend(m, longest, unit.bits, each=2500, hard=9)
    work.spend(len(own), longest, unit.bits, each=5000, hard=18)
    edge = None if problem.box is None else nums[3 * m]
    f = Coordinates(unit.nums[:m], unit.nums[m : 2 * m], unit.nums[2 * m], unit.nums[2 * m + 1], edge, unit.den, den)
    if bends:
        count, start = len(own), 3 * m + 1
        each = zip(own, unit.nums[2 * m + 2 :], nums[start : start + count], nums[start + count :], strict=True)
        f = bent(f, bends, each)
    found, pins, params = 0, [], unit.bits
    for j, (x, D, z) in enumerate(zip(nums[:m], nums[m : 2 * m], nums[2 * m : 3 * m], strict=True)):
        above, pin = f.slack(j, x, D, z)
        if above:
            bits = max(map(int.bit_length, (x, D, z, den))) + params + 256
            work.spend(1, bits, bits, each=4000, hard=40)
        found += above
        pins.append(pin)
    return Q(found, 1 << FINE), pins


def bent(f: Coordinates, bends: list[list[Bend]], integers: Iterator[tuple[Bend, int, int, int]]) -> Coordinates:
    """f with the bends of each coordinate, given also as integers: weight, place and delta."""
    shift, kinks, hubers = [], [], []
    for each in bends:
        mine = [(bend.kind, w, c, delta) for bend, w, c, delta in (next(integers) for _ in each)]
        shift.append(sum(w * c for kind, w, c, _ in mine if kind == "square"))
        kinks.append([(c, w) for kind, w, c, _ in mine if kind == "kink"])
        hubers.append([(c, w, delta) for kind, w, c, delta in mine if kind == "huber"])
    return f._replace(shift=shift, kinks=kinks, hubers=hubers)


# ---------------------------------------------------------------- the proof


class Proof:
    """What a certificate says about a problem: rows, labels and multipliers; then a point, a bound, a distance."""

    def __init__(self, problem: Problem, spec: Any) -> None:
        version = _expect(spec, "exact-unlearn/certificate", "a certificate")
        require(version == problem.version, f"it is of version {version}, the problem of version {problem.version}")
        self.problem, self.spec, self.work = problem, spec, problem.work
        work, equal = self.work, problem.equal
        self.kept: Sequence[int] = equal  # of the equations; rows that read >= are never dropped
        self.labels, self.tau = problem.rhs, ZERO
        rows = spec.get("rows", "literal")
        if rows != "literal":
            self.kept = sorted(indices(member(rows, "kept"), equal, "kept"))
            self.tau = number(_text(rows, "tau"), 0, work)
            moved = entries(rows.get("rhs", []), equal, work)
            self.labels = [Q(*moved[i]) if i in moved else b for i, b in enumerate(problem.rhs)]
        self.literal = len(self.kept) == len(equal) and self.labels == problem.rhs
        self.used = sorted([*self.kept, *problem.at_least]) if problem.at_least else self.kept
        dual = mapping(spec.get("dual", {"nu": []}), "dual")
        nu = entries(member(dual, "nu"), self.used, work)
        self.nu = dict(zip(nu, vector(list(nu.values()), work).nums, strict=True))
        self.nu_den = vector(list(nu.values()), work).den
        self._upright(self.nu)
        self.kappa = number(_text(dual, "ball"), 0, work) if "ball" in dual else ZERO
        require(not self.kappa or problem.rho is not None, "a multiplier for a trust region that is not there")
        self.dual, self.curve, self.sigma = dual, problem.lam + self.kappa, ONE  # Lambda of the page
        self.bounded = self.curve > 0 or problem.box is not None
        self.z = self._pulled_back(self.nu, self.nu_den)

    def _upright(self, nu: dict[int, int]) -> dict[int, int]:
        """Multipliers of rows that read >= are not negative."""
        least = all(nu.get(i, 0) >= 0 for i in self.problem.at_least)
        require(least, "a multiplier of a row that reads >= is negative")
        return nu

    def _pulled_back(self, nu: Mapping[int, int], den: int) -> Vector:
        """z = J^T nu on M."""
        rows, work = self.problem.rows, self.work
        scaled = vector([(x, den * rows[i].den) for i, x in nu.items()], work)
        work.spend(len(nu) * len(self.problem.free), scaled.bits, self.problem.longest, each=100)
        columns = zip(*(rows[i].nums for i in nu), strict=True) if nu else [()] * len(self.problem.free)
        return Vector([sum(map(mul, scaled.nums, column)) for column in columns], scaled.den)

    def inner_nu(self, values: Sequence[Q]) -> Q:
        """<nu, values>."""
        chosen = common((values[i] for i in self.nu), self.work)
        return dot(Vector(list(self.nu.values()), self.nu_den), chosen, self.work)

    @property
    def nu_length(self) -> Q:
        """|nu|_1."""
        return Q(sum(map(abs, self.nu.values())), self.nu_den)

    # ------------------------------------------------------------ place

    def place(self) -> None:
        """(4) theta, in M as listed or by the rule of its base, in F that of theta*; J D = b in every kept equation,
        J D >= b in the other rows, D within the regions, so that upper = R(theta) + Rhat(D) whatever else is true.
        """
        problem, work = self.problem, self.work
        primal = mapping(member(self.spec, "primal"), "primal")
        self.near = Near(self, primal["near"]) if "near" in primal else None
        base, listed = member(primal, "base"), entries(member(primal, "parts"), problem.free, work)
        plain = not problem.mu and problem.box is None and problem.name in SEPARABLE | {"l2"}
        require(base in ("zero", "theta_star") or (base == "dual" and plain), "this base does not apply", base)
        if base == "dual":
            derived = self._derived([j for j in problem.free if j not in listed])
        else:
            derived = {} if base == "theta_star" else dict.fromkeys(problem.free, (0, 1))
        if self.near is not None:
            derived = self.near.rounded(derived)
        pairs = {**{j: x.as_integer_ratio() for j, x in enumerate(problem.start)}, **derived, **listed}
        self.theta = vector(list(pairs.values()), work)
        self.x = self.theta.of(problem.free)
        self.D = combine(ONE, self.x, -ONE, common((problem.start[j] for j in problem.free), work), work)
        self.error = self._residual()
        self.square = farthest = dot(self.D, self.D, work)
        reach = self.D
        if self.near is not None:  # of theta + e, from above
            reach = self.near.enlarged(self.D, problem.free)
            farthest = dot(reach, reach, work)
        inside = problem.box is None or max(map(abs, reach.nums), default=0) <= problem.box * reach.den
        inside = inside and (problem.rho is None or farthest <= problem.rho**2)
        require(inside, "theta lies outside the trust region")
        self.drift = self._drift(self.D)

    def _drift(self, D: Vector) -> Q:
        """Rhat(D), within the regions."""
        square = self.square if D is self.D else dot(D, D, self.work)
        return self.problem.lam / 2 * square + self.problem.mu * Q(sum(map(abs, D.nums)), D.den)

    def _derived(self, chosen: list[int]) -> dict[int, tuple[int, int]]:
        """The minimiser of alpha |x| + beta/2 x^2 + curve/2 (x - theta*)^2 - z x: z + curve theta*, moved by alpha
        towards 0, over beta + curve."""
        problem, work, m = self.problem, self.work, len(chosen)
        own = [f[j] for f in (problem.alpha, problem.beta) for j in chosen]
        unit = common([*own, self.curve], work)
        curve, z = unit.nums[-1], self.z.of(problem.at[j] for j in chosen)
        y = combine(ONE, z, self.curve, common((problem.start[j] for j in chosen), work), work)
        work.spend(m, y.bits, unit.bits, each=1000)
        bends = [beta + curve for beta in unit.nums[m : 2 * m]]
        require(all(bends), "the base dual does not apply where R + Rhat is not strictly convex")
        joint = 1
        for bend in set(bends):
            work.spend(1, joint.bit_length(), bend.bit_length(), hard=16)
            joint = math.lcm(joint, bend)
            require(joint.bit_length() <= MAX_BITS, f"a common denominator has more than {MAX_BITS} bits")
        work.spend(m, y.bits + unit.bits, joint.bit_length())
        found = {}
        for j, n, alpha, bend in zip(chosen, y.nums, unit.nums[:m], bends, strict=True):
            moved = sign(n) * max(abs(n) * unit.den - alpha * y.den, 0)
            found[j] = moved * (joint // bend), y.den * joint
        return found

    def _residual(self) -> Q:
        """The largest |J_i D - b_i| over all equations as written; kept ones meet their labels exactly, and rows that
        read >= hold: <nu, J D - b> of these is `idle`, which is not negative.

        With `near` all this is so of D + e; `idle` is <nu, J D - b-hat> of all rows, of either sign.
        """
        problem, near, moved = self.problem, self.near, [at for at, n in enumerate(self.D.nums) if n]
        steps, kept, largest = [self.D.nums[at] for at in moved], set(self.kept), ZERO
        least, self.idle = set(problem.at_least), ZERO
        self.work.spend(len(problem.rows) * len(moved), self.D.bits, problem.longest, each=100)
        every = len(moved) == len(problem.free)
        values = [sum(map(mul, row.nums if every else map(row.nums.__getitem__, moved), steps)) for row in problem.rows]
        if near is not None:
            self.idle = near.settle(values, self.D.den)
        for i, (row, got, b, label) in enumerate(zip(problem.rows, values, problem.rhs, self.labels, strict=True)):
            den = row.den * self.D.den
            if near is not None and i in near.solved:
                largest = max(largest, abs(label - b))
                continue
            if i in least:
                fits = got * b.denominator >= b.numerator * den if near is None else Q(got, den) - near.shift(i) >= b
                require(fits, f"J D >= b fails in row {i}")
                if self.nu.get(i) and near is None:
                    self.work.spend(3, den.bit_length() + b.denominator.bit_length(), self.nu_den.bit_length(), hard=40)
                    self.idle += Q(self.nu[i], self.nu_den) * (Q(got, den) - b)
                continue
            fits = near is None and got * label.denominator == label.numerator * den
            require(fits or i not in kept, f"J D = b fails in row {i}")
            if not fits:
                self.work.spend(1, den.bit_length(), den.bit_length(), hard=40)
                largest = max(largest, abs(Q(got, den) - b) + (ZERO if near is None else near.shift(i)))
            largest = max(largest, abs(label - b))
        return largest

    # ------------------------------------------------------------ bound

    def bound(self) -> None:
        """(5.1) lower = upper - slacks; the proof is exact if every slack is 0.

        For g + z - g = J^T nu on M and kappa >= 0, every feasible theta satisfies
            R(theta) + Rhat(D) >= <g, theta*> + <nu, b> - R*(g) - sum_M psi*(z_j - g_j) - kappa/2 rho^2,
        psi(x) = (lam + kappa)/2 x^2 + mu |x| on |x| <= box: add R(theta) >= <g, theta> - R*(g), psi(D_j) >= h_j D_j -
        psi*(h_j), 0 >= kappa/2 (|D|^2 - rho^2) and 0 >= <nu, b - J D>, of rows that read >=, where nu >= 0.  The slacks
        are by how much each of the four fails to be equal.
        """
        problem = self.problem
        self.root: Q | None = None
        self.pins: list[bool] = []
        require(self.near is None or problem.name not in COUNTS | {POWER}, "near does not apply to counts and powers")
        if problem.name == POWER:
            self.concave()
        elif problem.name in COUNTS:
            paying = {problem.pays[j] for j, n in enumerate(self.theta.nums) if n}
            self.value = self.least = Q(len(paying - {-1}))
            self.slack = self.value + self.drift - self.count()
        else:
            bounds = {True: self.separable, False: self.normed} if problem.name != "form" else {False: self.summed}
            bounds[problem.name in SEPARABLE]()
            self.slack += self.kappa / 2 * ((problem.rho or 0) ** 2 - self.square)
        if not problem.free and problem.name != "nuclear_norm" and all(p.kind != "spectral" for p in problem.parts):
            self.slack = ZERO  # theta* is the only point
        self.upper, low = self.value + self.drift, self.value if self.slack else self.least
        self.below = low + self.drift - self.slack
        if self.near is not None:  # the point that exists is another one
            self.upper = self.near.above()
            self.slack = self.upper - self.below
            require(self.slack >= 0, "the bounds contradict each other")
        self.lower = max(self.below, ZERO)

    def separable(self) -> None:
        """(5.2) R = sum phi_j: the best g and h leave the slacks of phi_j(x) + psi(x - theta*_j) - z_j x.

        Where that has no minimum, nu is scaled first by the largest sigma <= 1 that cures it.
        """
        problem, work = self.problem, self.work
        alpha, beta = ([f[j] for j in problem.free] for f in (problem.alpha, problem.beta))
        if not self.bounded:
            flat = [(a + problem.mu, abs(n)) for a, b, n in zip(alpha, beta, self.z.nums, strict=True) if not b and n]
            if any(limit * self.z.den < n for limit, n in flat):
                work.spend(len(flat), self.z.bits, self.z.bits, each=3000, hard=40)
                self.sigma = min(limit * self.z.den / n for limit, n in flat)
        z = Vector([n * self.sigma.numerator for n in self.z.nums], self.z.den * self.sigma.denominator)
        self.slack, self.pins = slacks(problem, alpha, beta, self.curve, (self.x, self.D, z))
        self.slack += self.sigma * self.idle
        self.value = self.least = problem.separable_value(self.theta)

    def subgradient(self) -> tuple[Vector, Vector, Vector]:
        """(5.3) g over all coordinates, and the vectors whose norms are R°(g) and R(theta): g and theta themselves, for
        the predictor norm B of g = V B^T, and A^T V."""
        problem, work = self.problem, self.work
        if problem.name == "predictor_norm":
            return self._factored()
        signs = Vector([sign(n) for n in self.D.nums], 1)
        own = combine(ONE, combine(ONE, self.z, -self.curve, self.D, work), -problem.mu, signs, work)
        pairs = dict.fromkeys(range(problem.d), (0, 1)) | {j: (own.nums[at], own.den) for j, at in problem.at.items()}
        pairs |= entries(self.dual.get("g", []), range(problem.d), work)
        g = vector([pair if problem.seen[j] else (0, 1) for j, pair in sorted(pairs.items())], work)
        return g, g, self.theta

    def _factored(self) -> tuple[Vector, Vector, Vector]:
        problem, work, m, l = self.problem, self.work, self.problem.m, self.problem.l
        V, A = common(problem.V, work), self.theta.of(problem.block)
        if "B" in self.dual:
            listed = entries(self.dual["B"], range(m * l), work)
            B = vector([listed.get(at, (0, 1)) for at in range(m * l)], work)
        else:  # X^T N, with which g = J^T nu
            require(hasattr(problem, "X"), "B is missing")
            X, nu = common(problem.X, work), [self.nu.get(i, 0) for i in range(len(problem.rows))]
            require(len(nu) * m == len(X.nums) * l, "the jacobian and the predictor norm do not fit each other")
            work.spend(len(nu) * m, X.bits, max(map(int.bit_length, nu), default=0))
            columns = [(X.nums[c::m], nu[o::l]) for c in range(m) for o in range(l)]
            B = Vector([sum(map(mul, *pair)) for pair in columns], X.den * self.nu_den)
        work.spend(len(A.nums) * l, B.bits + A.bits, V.bits)
        g = [0] * problem.d
        for at, j in enumerate(problem.block):
            g[j] = sum(map(mul, V.nums[at // m * l : (at // m + 1) * l], B.nums[at % m * l : (at % m + 1) * l]))
        u = [sum(map(mul, A.nums[c::m], V.nums[o::l])) for c in range(m) for o in range(l)]
        return Vector(g, V.den * B.den), B, Vector(u, A.den * V.den)

    def normed(self) -> None:
        """(5.3) s g in the dual ball and h = sigma z - s g; where R and boxes are all there is, s = sigma = 1/R°(g).

        There R has no slack either if <g, theta> > 0 and <g, theta>^2 = R(theta)^2 R°(g)^2, which has no roots in it.
        """
        problem, work = self.problem, self.work
        self.g, b, u = self.subgradient()
        scale_free, own = not problem.mu and not self.curve, self.g.of(problem.free)
        if problem.name == "nuclear_norm":
            places, shape, factors = problem.indices, problem.shape, self.spec["primal"].get("factors", [])
            self.value = self.least = matrix_above(u.of(places), shape, factors, work)
            polar, top, self.root = matrix_polar(b.of(places), shape, ONE, work), None, None
        else:
            self.value, self.least, self.root = problem.norm(u, False)
            polar, _, top = problem.norm(b, True)
        rest, pairing = combine(ONE, self.z, -ONE, own, work), dot(self.g, self.theta, work)
        limits = [1 / polar if polar > 1 or (scale_free and polar) else ONE]
        if problem.mu and not self.bounded and any(rest.nums):
            limits.append(problem.mu * rest.den / max(map(abs, rest.nums)))
        self.s = min(limits)
        self.sigma = self.s if scale_free or not self.bounded else ONE
        nothing = [ZERO] * len(problem.free)
        if self.sigma == self.s:
            h = Vector([n * self.s.numerator for n in rest.nums], rest.den * self.s.denominator)
        else:
            h = combine(self.sigma, self.z, -self.s, own, work)
        others, self.pins = slacks(problem, nothing, nothing, self.curve, (self.x, self.D, h))
        others += self.sigma * self.idle
        aligned = scale_free and not others and pairing > 0 and top and self.root and pairing**2 == self.root * top
        aligned = aligned and self.near is None
        self.slack = others if aligned else others + self.value - self.s * pairing

    def summed(self) -> None:
        """(5.5) R = sum phi_j(theta_j) + sum f_k(M_k theta - c_k).  With any g_k, and sigma and s_k from 0 to 1, every
        feasible theta satisfies R + Rhat >= upper - slacks, which are those of

            f_k(x) + f_k*(s_k g_k) - s_k <g_k, x>  at x = M_k theta - c_k,   and of phi_j + psi - h_j x with
            h = sigma z - sum s_k M_k^T g_k  on M,

        of the ball and of idle rows.  s_k g_k is in the domain of f_k*; where neither curvature nor a box absorbs h,
        |h_j| is at most the sum of the weights of the kinks: if there is such a place, one sigma = s_k cures it all.
        """
        problem, work, free = self.problem, self.work, self.problem.free
        points = [part.at(self.theta) for part in problem.parts]
        gs, pulls = self._shares(points)
        curved = [problem.beta[j] + self.curve > 0 or problem.box is not None for j in free]
        polars = [part.polar(g) for part, g in zip(problem.parts, gs, strict=True)]
        limits = [1 / polar if polar > 1 else ONE for polar in polars]
        if not all(curved):
            limits = [self._joint(limits, pulls, curved)] * len(limits)
            self.sigma = limits[0] if limits else self._joint([], pulls, curved)
        h = Vector([n * self.sigma.numerator for n in self.z.nums], self.z.den * self.sigma.denominator)
        for s, pull in zip(limits, pulls, strict=True):
            h = combine(ONE, h, -s, pull.of(free), work)
        alpha, beta = ([f[j] for j in free] for f in (problem.alpha, problem.beta))
        self.slack, self.pins = slacks(problem, alpha, beta, self.curve, (self.x, self.D, h))
        self.slack += self.sigma * self.idle
        self.value = self.least = problem.bent_value(self.theta)
        matrices = iter(listing(self.spec["primal"].get("factors", []), "factors"))
        for part, x, g, s in zip(problem.parts, points, gs, limits, strict=True):
            above, below = part.value(x, next(matrices, []) if part.kind == "spectral" else [])
            scaled = Vector([n * s.numerator for n in g.nums], g.den * s.denominator)
            self.slack += above + part.conjugate(scaled) - dot(scaled, x, work)
            self.value, self.least = self.value + above, self.least + below

    def _joint(self, limits: list[Q], pulls: list[Vector], curved: list[bool]) -> Q:
        """The largest sigma <= 1 that puts every g into its domain, and what no curvature absorbs below the kinks."""
        problem, work, rest = self.problem, self.work, self.z
        for pull in pulls:
            rest = combine(ONE, rest, -ONE, pull.of(problem.free), work)
        for j, n, bends in zip(problem.free, rest.nums, curved, strict=True):
            if n and not bends:
                reach = problem.alpha[j] + problem.mu
                reach += total(bend.w * (bend.delta or ONE) for bend in problem.bends[j] if bend.kind != "square")
                work.spend(1, rest.bits, reach.denominator.bit_length(), each=4000, hard=40)
                if reach * rest.den < abs(n):
                    limits = [*limits, reach * rest.den / abs(n)]
        return min(limits, default=ONE)

    def _shares(self, points: list[Vector]) -> tuple[list[Vector], list[Vector]]:
        """g_k of every part, and M_k^T g_k.  What is not listed is 0, but of the first part without a map: there it is,
        on M, what z leaves after the other parts and the slopes of phi_j + psi at theta_j (0 at a kink)."""
        problem, work, d = self.problem, self.work, self.problem.d
        listed = listing(self.dual.get("shares", []), "shares")
        require(len(listed) in (0, len(problem.parts)), "expected one share for every part of the regularizer")
        given = [entries(listed[k] if listed else [], range(part.m), work) for k, part in enumerate(problem.parts)]
        gs, pulls, first = [], [], None
        for k, (part, own) in enumerate(zip(problem.parts, given, strict=True)):
            first = k if first is None and part.rows is None else first
            seen = part.sees()
            g = vector([own.get(i, (0, 1)) if seen[i] else (0, 1) for i in range(part.m)], work)
            gs.append(g)
            pulls.append(part.pull(g))
        if first is not None:
            rest = combine(ONE, self.z, -ONE, self._slopes(), work)
            for k, pull in enumerate(pulls):
                if k != first:
                    rest = combine(ONE, rest, -ONE, pull.of(problem.free), work)
            seen, own = problem.parts[first].sees(), given[first]
            pairs = {j: (n, gs[first].den) for j, n in enumerate(gs[first].nums)}
            pairs |= {j: (rest.nums[at], rest.den) for j, at in problem.at.items() if seen[j] and j not in own}
            gs[first] = pulls[first] = vector([pairs[j] for j in range(d)], work)
        return gs, pulls

    def _slopes(self) -> Vector:
        """Of phi_j + psi at theta_j on M, 0 for what is at a kink."""
        problem, work = self.problem, self.work
        found = []
        for at, j in enumerate(problem.free):
            work.spend(1 + len(problem.bends[j]), self.x.bits + self.D.bits, 64, each=9000, hard=40)
            x, D = self.x.at(at), self.D.at(at)
            slope = problem.alpha[j] * sign(x.numerator) + problem.beta[j] * x + self.curve * D
            slope += problem.mu * sign(D.numerator)
            for bend in problem.bends[j]:
                u = x - bend.c
                if bend.kind == "square":
                    slope -= bend.w * bend.c
                elif bend.kind == "kink":
                    slope += bend.w * sign(u.numerator)
                else:
                    slope += bend.w * max(-bend.delta, min(bend.delta, u))  # type: ignore[operator, type-var]
            found.append(slope)
        return common(found, work)

    # ------------------------------------------------------------ vertices

    def concave(self) -> None:
        """(12) R = L/2 sum |x_j|^(2/L) is concave on every orthant, so that some vertex of {J_M x = q}, cut with an
        orthant, has the least value: a solution whose columns are independent.  With `vertices` all are tried.

        Without, sum |x_j|^(2/L) >= |x|_1^(2/L) on M, and |x|_1 >= <nu, q> / |J^T nu|_inf.
        """
        problem, work = self.problem, self.work
        self.least, self.value = problem.powers(self.theta.at(j) for j in range(problem.d))
        tried = self.spec.get("vertices", False)
        require(type(tried) is bool, "vertices is true or false")
        self.alone = not any(self.x.nums)  # whether theta is the only minimiser: so it is where all that moves is 0
        if self.alone or tried:
            excess = ZERO if self.alone else self.vertices()
            self.slack = excess + self.value - self.least if excess else ZERO
            return
        start, nothing = common((problem.start[j] for j in problem.free), work), ZERO
        top = max(map(abs, self.z.nums), default=0)
        reach = (self.inner_nu(self.labels) + dot(self.z, start, work)) * self.z.den / top if top else nothing
        fixed = problem.powers(x for j, x in enumerate(problem.start) if j not in problem.at)[0]
        self.slack = self.value - fixed - problem.powers([max(reach, nothing)])[0]

    def vertices(self) -> Q:
        """(12.1) By how much some vertex may be better than theta; 0 where all are proved to be no better."""
        problem, work, free = self.problem, self.work, len(self.problem.free)
        start = common((problem.start[j] for j in problem.free), work)
        work.spend(len(self.kept) * free, start.bits, problem.longest, each=100)
        rows = []
        for i in self.kept:  # J_i and q_i over one denominator; what does not depend on the rows before
            own = problem.rows[i]
            q = Q(sum(map(mul, own.nums, start.nums)), start.den) + self.labels[i] * own.den
            work.spend(free, own.bits, q.denominator.bit_length())
            rows.append([n * q.denominator for n in own.nums] + [q.numerator])
        rows = [list(row) for row in spanning(rows, work)]
        rivals = Rivals(self.x, problem.depth, work)
        worst = max((rivals.excess(*vertex) for vertex in basic_solutions(rows, work)), default=ZERO)
        self.alone = not rivals.tied
        return Q(problem.depth, 2) * max(worst, ZERO)

    # ------------------------------------------------------------ counts

    def count(self) -> Q:
        """(6) What every feasible theta costs: the groups that are forced, more than `exhausted` others, and the
        drift of those that stay zero.

        q = J_M theta*_M + b is out of the range of J_Z and any `exhausted` groups, Z being the coordinates that nobody
        pays for, or a forced group; or one of the vectors `apart` pulls at none of them (see `blind`).
        """
        problem, work, kept = self.problem, self.work, self.kept
        start = common((problem.start[j] for j in problem.free), work)
        work.spend(len(kept) * len(problem.free), start.bits, problem.longest, each=100)
        q = common(
            (Q(sum(map(mul, problem.rows[i].nums, start.nums)), start.den) + self.labels[i] * problem.rows[i].den
             for i in kept), work)  # fmt: skip
        forced = {problem.pays[j] for j in range(problem.d) if j not in problem.at and problem.start[j]} - {-1}
        blocks: dict[int, list[int]] = {-1: []}
        for j in problem.free:
            blocks.setdefault(-1 if problem.pays[j] in forced else problem.pays[j], []).append(j)
        base, *groups = blocks.values()
        n, size = len(groups), -1
        if "count" in self.spec:
            size = integer(member(self.spec["count"], "exhausted"), -1, n - 1, "exhausted")
        if size >= 0:
            rows = [problem.rows[i].nums for i in kept]
            columns = ([[row[problem.at[j]] for row in rows] for j in block] for block in (base, *groups))
            free, *others = [spanning(block, work) for block in columns]
            apart = listing(self.spec["count"].get("apart", []), "apart") if problem.version > 1 else ()
            blind = [self.blind(spec, blocks) for spec in apart]
            Exhaustion(q.nums, free, others, work, blind).try_all(size)
        moves = [[abs(problem.start[j]) for j in group] for group in groups]
        moves = [xs for xs in moves if problem.box is None or max(xs) <= problem.box]
        costs = sorted(total(problem.lam / 2 * x * x + problem.mu * x for x in xs) for xs in moves)
        sums = [ZERO]
        for cost in costs:
            sums.append(sums[-1] + cost)
        return len(forced) + min(i + sums[n - i] for i in range(size + 1, n + 1) if n - i < len(sums))

    def blind(self, spec: Any, blocks: Mapping[int, list[int]]) -> int:
        """(6b) The groups with J_g^T nu = 0, as bits in the order of `blocks`; J_Z^T nu = 0 and <nu, q> > 0.

        These groups alone are not enough: <nu, b> <= <nu, J D> would be <nu, b> <= - <nu, J_M theta*_M>.
        """
        problem, work = self.problem, self.work
        listed = entries(spec, self.used, work)
        found = vector(list(listed.values()), work)
        nu = self._upright(dict(zip(listed, found.nums, strict=True)))
        z, start = self._pulled_back(nu, found.den), common((problem.start[j] for j in problem.free), work)
        labels = common((self.labels[i] for i in nu), work)
        excess = dot(z, start, work) + dot(Vector(list(nu.values()), found.den), labels, work)
        require(excess > 0, "apart: a vector does not tell q from 0")
        seen = [any(z.nums[problem.at[j]] for j in block) for block in blocks.values()]
        require(not seen[0], "apart: a vector pulls at what nobody pays for")
        return sum(1 << g for g, moves in enumerate(seen[1:]) if not moves)

    # ------------------------------------------------------------ what is near

    def nearness(self) -> list[tuple[Q, bool]]:
        """(8) Bounds of the distance to every minimiser, and whether there is only one."""
        self.tight = [*self.kept, *(i for i in self.problem.at_least if self.sigma and self.nu.get(i))]
        problem, work, name = self.problem, self.work, self.problem.name
        if name == POWER:
            return [(ZERO, True)] * self.alone
        every, positive = all(problem.seen[j] for j in problem.free), problem.lam > 0 or problem.mu > 0
        if name in COUNTS:
            return []
        if not problem.free:
            return [(ZERO, True)]
        if not self.upper and (every or positive):
            return [(ZERO if self.near is None else self.near.length(), True)]
        found: list[tuple[Q, bool]] = []
        separable = name in SEPARABLE or name == "form"
        modulus = problem.lam + (min(problem.beta[j] for j in problem.free) if separable else 0)
        if modulus:  # modulus/2 |theta - minimiser|^2 <= gap
            found.append((enclosed(2 * self.slack / modulus, work)[1], True))
        elif self.kappa:  # with kappa/2 |D|^2 in place of the ball; both points are that near to its minimiser
            found.append((2 * enclosed(2 * self.slack / self.kappa, work)[1], not self.slack))
        elif name == "l2" and every and not problem.mu:  # of two points the middle has no less than lower
            square = (self.upper**2 - self.lower**2) * (self.slack != 0)
            found.append((enclosed(square / min(problem.weight[j] for j in problem.free), work)[1], True))
        found += [(ZERO, True)] * (not self.slack and self.near is None and self._pinned())
        if "distance" in self.spec:
            found.append((self.rays(self.spec["distance"]), not self.slack))
        if self.near is not None:  # all this is about theta + e
            found += [(ZERO, True)] * self.near.is_vertex()
            found = [(bound + self.near.length(), one) for bound, one in found]
        return found

    def _pinned(self) -> bool:
        """Every minimiser has the same zero slacks, so that coordinates which are not pinned alone may differ, and the
        difference lies in the kernel of the tight rows, equations and those with a positive multiplier: is there none?

        Of linf, w |theta| is the maximum wherever g is not 0, so that these coordinates move along one ray.
        """
        problem, work, steps = self.problem, self.work, [0] * self.problem.d
        loose = {at for at, pin in enumerate(self.pins) if not pin}
        if problem.name == "linf":
            signs = zip(self.g.nums, problem.weight, strict=True)
            steps = common((sign(n) / w if n else ZERO for n, w in signs), work).nums
        ray = {problem.at.get(j, -1): step for j, step in enumerate(steps) if step}
        moves = [{at: 1} for at in sorted(loose) if not steps[problem.free[at]]]
        moves += [ray] * bool(ray and ray.keys() <= loose)
        if len(moves) > len(self.tight):
            return False
        work.spend(len(self.tight) * (len(moves) + len(ray)), max(map(int.bit_length, steps), default=0), 2000)
        rows = [problem.rows[i].nums for i in self.tight]
        columns = [[sum(row[at] * x for at, x in move.items()) for row in rows] for move in moves]
        return len(echelon(columns, P61, work)) == len(moves)

    def rays(self, spec: Any) -> Q:
        """(8.5) The distance for groups: inactive ones are short, active ones nearly parallel to g_g, and L J sees how
        long these are: of the difference of two minimisers, J sees nothing in equations, and where a multiplier is
        positive no more than the slack allows.
        """
        problem, work, tight = self.problem, self.work, self.tight
        require(problem.name == "group_l2", "only groups have such a distance")
        active, k = indices(member(spec, "active"), range(len(problem.groups)), "active"), len(problem.rows)
        listed = entries(member(spec, "L"), sorted(a * k + i for a in range(len(active)) for i in tight), work)
        L = vector([listed.get(a * k + i, (0, 1)) for a in range(len(active)) for i in range(k)], work)
        spread, columns = ZERO, {}
        for label, (group, w) in enumerate(zip(problem.groups, problem.outer, strict=True)):
            places = [j for j in group if j in problem.at]
            norm = length(self.g.of(group), work)
            if label in active:
                require(norm and w, "an active group without a direction")
                spread += 2 * enclosed(2 * self.slack * self.upper, work)[1] / w
                at, own = [problem.at[j] for j in places], self.g.of(places)
                work.spend(k * len(at), own.bits, problem.longest, each=300)
                work.spend(k, own.bits, own.bits, each=5000, hard=40)
                columns[label] = [
                    Q(sum(row.nums[a] * n for a, n in zip(at, own.nums, strict=True)), row.den * own.den) / norm
                    for row in problem.rows
                ]
            elif places:
                require(self.s * norm < w, "a group may be active that is not listed as such")
                spread += 2 * self.slack / (w - self.s * norm)
        ready = {label: common(column, work) for label, column in columns.items()}
        inverse = [Vector(L.nums[a * k : (a + 1) * k], L.den) for a in range(len(active))]
        errors = [dot(row, ready[b], work) - (a == c) for a, row in enumerate(inverse) for c, b in enumerate(active)]
        error = length(common(errors, work), work)
        require(error < 1, "L is no left inverse")
        work.spend(k * len(problem.free), problem.longest, problem.longest)
        size = total(Q(sum(map(mul, row.nums, row.nums)), row.den**2) for row in problem.rows)
        seen = spread * enclosed(size, work)[1]
        for i in problem.at_least:
            if i in tight and self.slack:
                work.spend(1, self.nu_den.bit_length(), self.slack.denominator.bit_length(), each=5000, hard=40)
                seen += self.slack * self.nu_den / (self.sigma * self.nu[i])
        return spread + length(L, work) * seen / (1 - error)

    def robust(self, tau: Q) -> Q:
        """(7) A bound of R + Rhat wherever no row is missed by more than tau, b as written: there <nu, J D> >= <nu, b>
        - tau |nu|_1, and `below` holds with <nu, b-hat> in the place of <nu, J D>."""
        if not self.problem.free or self.problem.name in COUNTS | {POWER}:
            return self.lower if not self.problem.free and self.problem.name not in COUNTS else ZERO
        moved = self.inner_nu([a - b for a, b in zip(self.labels, self.problem.rhs, strict=True)])
        return max(ZERO, self.below - self.sigma * (moved + tau * self.nu_length))


def _text(node: Any, key: str) -> str:
    value = member(node, key)
    require(isinstance(value, str), f"{key}: expected a text such as '-1f/8'", value)
    return value  # type: ignore[no-any-return]


class Near:
    """(4.1) A feasible point theta + e exists near theta: e moves the `columns` only, |e_j| <= eps_j there.

    C: the entries of J in `rows` and `columns`, as many of each.  Its rows, and then its columns, are divided by powers
    of two so that no entry exceeds 1: S = 2^-rho C 2^-gamma.  `inverse` lists integers Lambda with S Lambda near 2^t I.
    With T = floor(2^c S), of which S 2^c exceeds no entry by 1 or more,

        |I - S Lambda / 2^t|_F  <=  delta = (|2^(c+t) I - T Lambda|_F + r |Lambda|_F) / 2^(c+t)  <  1,

    so that S L, L = Lambda / 2^t, has an inverse, and e = 2^-gamma L (S L)^-1 2^-rho (b-hat - J D) meets these rows:
    |e_j| <= 2^-gamma_j |L_j| |2^-rho (b-hat - J D)| / (1 - delta).
    """

    def __init__(self, proof: Proof, spec: Any) -> None:
        problem, self.proof, self.work = proof.problem, proof, proof.work
        self.columns = indices(member(spec, "columns"), problem.at, "columns")
        self.rows = indices(member(spec, "rows"), set(proof.used), "rows")
        require(len(self.rows) == len(self.columns), "near: there are not as many rows as columns")
        self.digits = integer(member(spec, "digits"), 0, 1 << 14, "digits")
        self.width = integer(member(spec, "width"), 1, 6, "width")
        self.t = integer(member(spec, "scale"), 0, 128, "scale")
        self.solved = set(self.rows) | self._implied(spec.get("implied", []))
        self._invert(listing(member(spec, "inverse"), "inverse"))

    def _implied(self, spec: Any) -> set[int]:
        """Equations that are combinations of the rows: what meets these meets them."""
        proof, problem, work, found = self.proof, self.proof.problem, self.work, set()
        for item in listing(spec, "implied"):
            i = integer(member(item, "row"), 0, len(problem.rows) - 1, "implied")
            of = entries(member(item, "of"), self.rows, work)
            own = vector([(n, den * problem.rows[k].den) for k, (n, den) in of.items()], work)
            work.spend(len(problem.free) * (1 + len(of)), own.bits + problem.rows[i].bits, problem.longest)
            den, columns = problem.rows[i].den, zip(*(problem.rows[k].nums for k in of), strict=True)
            sums = [sum(map(mul, own.nums, column)) for column in columns] if of else [0] * len(problem.free)
            same = all(a * den == b * own.den for a, b in zip(sums, problem.rows[i].nums, strict=True))
            label = total(Q(n, d) * proof.labels[k] for k, (n, d) in of.items())
            require(same and label == proof.labels[i], f"near: row {i} is not implied by the others")
            found.add(i)
        return found

    def _invert(self, texts: Sequence[Any]) -> None:
        """rho, gamma, |Lambda_j| for each column, and 1 - delta as a fraction; Rejected if delta >= 1."""
        problem, work, r, t = self.proof.problem, self.work, len(self.rows), self.t
        require(len(texts) == r, "near: the inverse has not as many rows as there are columns")
        half, digits = 1 << (8 * self.width - 1), 2 * self.width * r
        c = 8 * self.width + 4
        slot = (8 * self.width + c + r.bit_length()) // 8 + 1  # bytes that hold every entry of T Lambda
        work.spend(r * r, 8 * slot * r, 64, each=900)
        packed, sizes = [], []
        for text in texts:
            fits = type(text) is str and len(text) == digits and SLOTS.fullmatch(text)
            require(fits, "near: a row of the inverse is no text of its size")
            work.earn(PER_DIGIT * digits)
            raw = bytes.fromhex(text)
            row = [int.from_bytes(raw[at : at + self.width], "big") - half for at in range(0, len(raw), self.width)]
            sizes.append(sum(map(mul, row, row)))
            packed.append(in_slots(row, slot))
        at = [problem.at[j] for j in self.columns]
        C = [[problem.rows[i].nums[j] for j in at] for i in self.rows]
        work.spend(r * r, problem.longest, 64, each=600)
        self.rho = [max(map(int.bit_length, row)) for row in C]
        bits = [[n.bit_length() - rho if n else -MAX_BITS for n in row] for row, rho in zip(C, self.rho, strict=True)]
        self.gamma = [max(column) for column in zip(*bits, strict=True)]
        require(min(self.rho, default=1) > 0 and min(self.gamma, default=0) > -MAX_BITS, "near: a row or column is 0")
        one, missing = 1 << c + t, 0
        half, halves = 1 << 8 * slot - 1, halves_of(slot, r)
        for a, (row, rho) in enumerate(zip(C, self.rho, strict=True)):
            cut = [shifted(n, c - rho - gamma) for n, gamma in zip(row, self.gamma, strict=True)]
            product = (sum(map(mul, cut, packed)) + halves).to_bytes(slot * r, "little")
            found = [int.from_bytes(product[k : k + slot], "little") - half for k in range(0, slot * r, slot)]
            found[a] -= one
            missing += sum(map(mul, found, found))
        delta = math.isqrt(missing) + 1 + r * (math.isqrt(sum(sizes)) + 1)
        require(r == 0 or delta < one, "near: the inverse is none")
        self.lengths, self.rest = [math.isqrt(size) + 1 for size in sizes], Q(one - delta * (r > 0), one)

    def rounded(self, derived: Mapping[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
        """Derived coordinates, rounded down to multiples of 2^-digits."""
        bits = max((n.bit_length() + den.bit_length() for n, den in derived.values()), default=0)
        self.work.spend(len(derived), bits + self.digits, bits, each=500, hard=16)
        return {j: ((n << self.digits) // den, 1 << self.digits) for j, (n, den) in derived.items()}

    def settle(self, values: Sequence[int], den: int) -> Q:
        """The radii eps, of J D = values (over row.den * den); and <nu, J D - b-hat>."""
        proof, rows, work = self.proof, self.proof.problem.rows, self.work
        labels = common(proof.labels, work)
        bits = max(map(int.bit_length, values), default=0) + labels.bits
        work.spend(len(proof.used), bits, bits, each=5000, hard=40)
        excess = {i: Q(values[i] * labels.den - labels.nums[i] * rows[i].den * den, rows[i].den * den * labels.den)
                  for i in proof.used}  # fmt: skip
        own = common((excess[i] * rows[i].den / (1 << rho) for i, rho in zip(self.rows, self.rho, strict=True)), work)
        reach = length(own, work) / self.rest
        work.spend(len(self.rows), reach.numerator.bit_length() + 128, reach.denominator.bit_length(), hard=16)
        fine, self.eps = self.digits + 64, {}
        for j, gamma, size in zip(self.columns, self.gamma, self.lengths, strict=True):
            self.eps[j] = -(shifted(-reach.numerator * size, fine - self.t - gamma) // reach.denominator)
        self.unit = 1 << fine
        nu = Vector(list(proof.nu.values()), proof.nu_den)
        return dot(nu, common((excess[i] for i in proof.nu), work), work)

    def shift(self, i: int) -> Q:
        """How far e may move J_i D."""
        row, at = self.proof.problem.rows[i], self.proof.problem.at
        self.work.spend(len(self.eps), row.bits, self.digits, each=500)
        self.work.spend(2, row.bits + self.digits, row.bits + self.digits, each=5000, hard=40)
        return Q(sum(abs(row.nums[at[j]]) * eps for j, eps in self.eps.items()), row.den * self.unit)

    def enlarged(self, x: Vector, places: Sequence[int] | None = None) -> Vector:
        """|x_j| + eps_j, at least |x_j + e_j|; of all coordinates, or at these places."""
        self.work.spend(len(x.nums), x.bits, self.digits, each=300)
        den = math.lcm(x.den, self.unit)
        a, b = den // x.den, den // self.unit
        every = range(len(x.nums)) if places is None else places
        return Vector([abs(n) * a + self.eps.get(j, 0) * b for j, n in zip(every, x.nums, strict=True)], den)

    def length(self) -> Q:
        """|e|, from above."""
        return length(Vector(list(self.eps.values()), self.unit), self.work)

    def is_vertex(self) -> bool:
        """(8.6) Whether theta + e is the one minimiser of an l1 norm without drift: its signs on the columns are known,
        it is 0 elsewhere, and multipliers with J_c^T nu = w_c sign(theta_c) exactly, which exist near sigma nu, pull at
        everything else with less than its weight.

        The change of sigma nu is Delta, C^T Delta = t: u_a = 2^rho_a Delta_a / den_a solves S^T u = 2^-gamma t, so that
        |u| <= |L^T 2^-gamma t| / (1 - delta) and |J_j^T Delta| <= |u| sum_a 2^-rho_a max |N_a|.
        """
        proof, problem, work = self.proof, self.proof.problem, self.work
        drift = proof.curve or problem.mu or problem.box is not None
        if problem.name != "l1" or drift or problem.at_least:
            return False
        w, z, sigma = common(problem.alpha, work), proof.z, proof.sigma
        inside, theta = set(self.columns), proof.theta
        work.spend(2 * self.proof.problem.d, theta.bits + self.digits, 64, each=1000)
        known = all(abs(theta.nums[j]) * self.unit > self.eps[j] * theta.den for j in self.columns)
        if not known or any(theta.nums[j] for j in problem.free if j not in inside):
            return False
        work.spend(len(self.columns) + 2, z.bits + sigma.denominator.bit_length(), w.bits, each=9000, hard=40)
        missed = ZERO
        for j, gamma, size in zip(self.columns, self.gamma, self.lengths, strict=True):
            pull = w.at(j) * sign(theta.nums[j]) - sigma * z.at(problem.at[j])
            missed += abs(pull) * size / Q(2) ** (gamma + self.t)
        longest = (
            max(map(int.bit_length, problem.rows[i].nums)) - rho for i, rho in zip(self.rows, self.rho, strict=True)
        )
        room = missed / self.rest * total(Q(2) ** bits for bits in longest)
        a, b = sigma.numerator * w.den * room.denominator, sigma.denominator * z.den
        work.spend(len(problem.free), z.bits + w.bits, a.bit_length(), each=900)
        return all(
            abs(z.nums[at]) * a < (w.nums[j] * room.denominator - room.numerator * w.den) * b
            for j, at in problem.at.items()
            if j not in inside
        )

    def above(self) -> Q:
        """R + Rhat of theta + e, from above: they are monotone functions of the |theta_j| and |D_j|."""
        proof, problem = self.proof, self.proof.problem
        theta, drift = self.enlarged(proof.theta), proof._drift(self.enlarged(proof.D, problem.free))
        if problem.name in SEPARABLE:
            return problem.separable_value(theta) + drift
        if problem.name in ("l2", "linf", "group_l2"):
            return problem.norm(theta, False)[0] + drift
        raise Rejected(f"near does not apply to {problem.name}")


def shifted(n: int, by: int) -> int:
    """floor(n 2^by)."""
    return n << by if by >= 0 else n >> -by


def halves_of(slot: int, count: int) -> int:
    """2^(8 slot - 1) in each of so many slots of so many bytes: what makes signed slots unsigned."""
    return int.from_bytes((1 << 8 * slot - 1).to_bytes(slot, "little") * count, "little")


def in_slots(values: Sequence[int], slot: int) -> int:
    """sum values[k] 2^(8 slot k), of values below 2^(8 slot - 1), so that one product multiplies all of them."""
    half = 1 << 8 * slot - 1
    content = b"".join((v + half).to_bytes(slot, "little") for v in values)
    return int.from_bytes(content, "little") - halves_of(slot, len(values))


class Exhaustion:
    """(6) Whether q lies out of the range of `base` and any so many of the groups, all given by independent columns.

    A depth-first elimination modulo P61.  A step takes a column, subtracts multiples of it from all that is still to
    come so that one entry vanishes there, and forgets that entry.  What is left of q is not 0 if and only if q depends
    modulo P61 on none of the columns taken; as these are then independent, the rank over the rationals grows by q.
    Columns that depend modulo P61 on those before leave that open: rational ranks decide.
    """

    def __init__(
        self, q: list[int], base: list[Any], groups: list[list[Any]], work: Work, blind: Sequence[int] = ()
    ) -> None:
        self.q, self.base, self.groups, self.work, self.blind = q, base, groups, work, blind

    def try_all(self, size: int) -> None:
        """Rejected, if there is a set of `size` groups that could do."""
        work, rows = self.work, len(self.q)
        width = len(self.base) + size * max(map(len, self.groups), default=0) + 1
        # a random mixture of the rows, of a full rank if there are few of them: ranks do not grow
        mix = [[pow(i + 2, r, P61) for i in range(rows)] for r in range(width)] if width < rows else None
        work.spend((len(self.base) + 1 + sum(map(len, self.groups))) * rows * (1 + (width if mix else 0)))

        def mixed(v: Sequence[int]) -> list[int]:
            v = [x % P61 for x in v]
            return [sum(map(mul, m, v)) % P61 for m in mix] if mix else v

        groups = [(at, [mixed(v) for v in group]) for at, group in enumerate(self.groups)]
        (q, groups), sure = self._without([mixed(v) for v in self.base], mixed(self.q), groups)
        self._descend(size, q, groups, (), sure)

    def _without(self, columns: list[list[int]], q: list[int], groups: Any) -> tuple[tuple[list[int], Any], bool]:
        """q and the groups after the elimination of these columns; and whether these are independent modulo P61."""
        later, sure = columns, True
        while later:
            top, *later = later
            at = next((i for i, x in enumerate(top) if x), None)
            if at is None:
                sure = False
                continue
            pivot = top[at]
            self.work.spend(len(later) + 1 + sum(len(vs) for _, vs in groups), each=500 + 200 * len(top))
            rest = top[:at] + top[at + 1 :]

            def less(v: list[int], at: int = at, pivot: int = pivot, rest: list[int] = rest) -> list[int]:
                c = v[at]
                v = v[:at] + v[at + 1 :]
                return [(pivot * x - c * y) % P61 for x, y in zip(v, rest, strict=True)] if c else v

            later, q = [less(v) for v in later], less(q)
            groups = [(name, [less(v) for v in vs]) for name, vs in groups]
        return (q, groups), sure

    def _descend(self, size: int, q: list[int], groups: Any, chosen: tuple[int, ...], sure: bool) -> None:
        if size == 0:
            self._require_outside(chosen, sure and any(q))
            return
        for i in range(len(groups) - size + 1):
            name, columns = groups[i]
            if size == len(columns) == 1:  # q and the last column are proportional, or they are not
                (v,) = columns
                self.work.spend(1, each=2500)
                c, pivot = next(((y, x) for x, y in zip(v, q, strict=True) if x), (0, 0))
                outside = pivot and any((pivot * y - c * x) % P61 for x, y in zip(v, q, strict=True))
                self._require_outside((*chosen, name), sure and outside)
                continue
            later = groups[i + 1 :] if size > 1 else []
            (rest, others), independent = self._without(columns, q, later)
            self._descend(size - 1, rest, others, (*chosen, name), sure and independent)

    def _require_outside(self, chosen: tuple[int, ...], proved: Any) -> None:
        if not proved and not self._told_apart(sum(1 << g for g in chosen)):
            columns = [*self.base, *(v for g in chosen for v in self.groups[g])]
            require(basis([*columns, self.q], self.work)[-1:] == [len(columns)], "some groups suffice")

    def _told_apart(self, chosen: int) -> bool:
        """Whether one of the vectors is blind for all of these groups."""
        self.work.spend(len(self.blind), len(self.groups), each=100)
        return any(chosen & ~groups == 0 for groups in self.blind)


def basic_solutions(rows: list[list[int]], work: Work) -> Iterator[tuple[list[int], list[int], int]]:
    """(12.1) All solutions of A x = q with independent columns, as places, numerators there and their denominator.

    rows: A with q as the last entry of each, independent.  Every set of as many independent columns comes once; one
    solution may come from several.  Depth first, by the elimination of Bareiss and Jordan: a step takes a column and
    clears it in all other rows.  As in `basis`, entries are minors, and the division by the last pivot leaves no
    remainder.
    """
    order, longest = len(rows), max((max(map(int.bit_length, row)) for row in rows), default=0)

    def descend(
        left: list[list[int]], taken: list[tuple[int, list[int]]], first: int, last: int
    ) -> Iterator[tuple[list[int], list[int], int]]:
        """left, taken: rows without and with a column of their own, from column `first` on."""
        bits = (len(taken) + 1) * (longest + order.bit_length())
        for at in range(len(left[0]) - len(left)):
            work.spend(len(left), each=100)
            top = next((row for row in left if row[at]), None)
            if top is None:
                continue
            pivot, others = top[at], [row for row in left if row is not top]
            if not others:  # what is left of q is all that is needed
                work.spend(2 * len(taken) + 1, bits, bits, each=500, hard=16)
                nums = [(pivot * row[-1] - row[at] * top[-1]) // last for _, row in taken]
                yield [place for place, _ in taken] + [first + at], [*nums, top[-1]], pivot
                continue
            work.spend(2 * (order - 1) * (len(top) - at), bits, bits, hard=16)
            rest = top[at + 1 :]

            def cleared(row: list[int], at: int = at, pivot: int = pivot, rest: list[int] = rest) -> list[int]:
                c = row[at]
                return [(pivot * x - c * y) // last for x, y in zip(row[at + 1 :], rest, strict=True)]

            own = [(place, cleared(row)) for place, row in taken] + [(first + at, rest)]
            yield from descend([cleared(row) for row in others], own, first + at + 1, pivot)

    if not rows:
        yield [], [], 1
        return
    yield from descend(rows, [], 0, 1)


class Rivals:
    """(12.1) Vertices against a point x that is not 0: sums of |.|^(2/depth), first to a few bits.

    tied: whether some other vertex is not proved to be worse.
    """

    def __init__(self, x: Vector, depth: int, work: Work) -> None:
        self.x, self.depth, self.work, self.tied = x, depth, work, False
        self.at = {j: n for j, n in enumerate(x.nums) if n}
        most = max(map(abs, x.nums)).bit_length() - x.den.bit_length()
        self.shift = COARSE - 2 * most // depth  # units of 2^-shift
        roots = [self._coarse(n, x.den) for n in self.at.values()]
        self.above = sum(roots) + len(roots)

    def _coarse(self, n: int, den: int) -> int:
        """|n/den|^(2/depth) in these units, from below."""
        up = self.depth * self.shift
        bits = 2 * max(n.bit_length(), den.bit_length()) + abs(up)
        self.work.spend(1, bits, 2 * den.bit_length(), hard=16)
        x = (n * n << up) // den**2 if up >= 0 else n * n // (den**2 << -up)
        self.work.spend(6, x.bit_length(), x.bit_length(), each=2000)
        return integer_root(x, self.depth)

    def excess(self, places: list[int], nums: list[int], den: int) -> Q:
        """By how much the sum of x may be larger than that of a vertex: no more than this; 0 or less if it is not."""
        size = 0
        for n in nums:
            size += self._coarse(n, den) if n else 0
            if size > self.above:
                return ZERO
        work, bits = self.work, max(map(int.bit_length, nums), default=0)
        work.spend(2 * len(nums), max(bits, den.bit_length()), self.x.bits)
        own = {j: n for j, n in zip(places, nums, strict=True) if n}
        if own.keys() == self.at.keys() and all(n * self.x.den == self.at[j] * den for j, n in own.items()):
            return ZERO  # x itself
        work.spend(len(nums) + len(self.at), bits + self.x.bits, den.bit_length() + self.x.den.bit_length(), hard=40)
        mine, theirs = ([Q(abs(n), d) for n in each.values()] for each, d in ((self.at, self.x.den), (own, abs(den))))
        for v in list(mine):  # what both have is equal, irrational or not
            if v in theirs:
                mine.remove(v)
                theirs.remove(v)
        most = total(power(v, self.depth, work)[1] for v in mine)
        least = total(power(v, self.depth, work)[0] for v in theirs)
        self.tied = self.tied or most >= least
        return most - least


# ---------------------------------------------------------------- judge


def judge(problem: Problem, spec: Any, tau: Q | None) -> Verdict:
    """The verdict; Rejected, if the certificate proves nothing, or less than it claims."""
    proof, origin = Proof(problem, spec), problem.origin
    if origin is not None:
        origin.verify(problem, spec)
    claims, kind = mapping(member(spec, "claims"), "claims"), member(spec, "kind")
    require(kind in ("bounds", "infeasible"), "unknown kind", kind)
    if kind == "infeasible":
        return refutation(proof, claims, tau)
    proof.place()
    proof.bound()
    near, exact = proof.nearness(), not proof.slack or not proof.upper
    lower, upper, unique = proof.lower, proof.upper, any(one for _, one in near)
    found = Verdict(
        proved=True,
        sentences=(),
        lower=lower,
        upper=upper,
        gap=ZERO if exact else (upper - lower) / upper,
        square=proof.root if exact and not proof.drift else None,
        unique=unique,
        distance=min((bound for bound, _ in near), default=None),
    )
    level = "exact" if exact else "enclosure" if found.gap * 10**30 <= 1 else "repaired"  # type: ignore[operator]
    text = f"proved ({level}): {show(lower)} <= optimum <= {show(upper)}, relative gap {show(found.gap or ZERO)}"
    text += "; the minimiser is unique" * unique
    text += "" if found.distance is None else f"; distance <= {show(found.distance)}"
    found = replace(found, proof=level, sentences=(text,))
    if origin is not None and proof.literal:  # of other rows or labels it is another network's problem
        neurons = origin.neurons(proof.theta if proof.near is None else proof.near.enlarged(proof.theta))
        found = replace(found, neurons=neurons, sentences=(text, origin.sentence(neurons)))
    compare(claims, found, problem.work)
    return found if proof.literal else intended(proof, found, tau)


def compare(claims: Mapping[str, Any], found: Verdict, work: Work) -> None:
    """(9) Claims must not be stronger than what is proved."""
    level = member(claims, "proof")
    require(level in LEVELS, "unknown proof", level)
    require(LEVELS.index(level) <= LEVELS.index(found.proof), f"not {level}, but {found.proof}")
    require(claims.get("unique") is None or type(claims["unique"]) is bool, "unique is true, false or null")
    require(found.unique or not claims.get("unique"), "that the minimiser is unique is claimed, but not proved")
    holds: dict[str, Callable[[Q, Q], bool]] = {
        "lower": Q.__le__, "upper": Q.__ge__, "gap": Q.__ge__, "distance": Q.__ge__, "square": Q.__eq__,
    }  # fmt: skip
    for name, fair in holds.items():
        if claims.get(name) is not None:
            claimed, own = number(_text(claims, name), work=work), getattr(found, name)
            require(own is not None and fair(claimed, own), f"more is claimed than is proved: {name}")
    if claims.get("neurons") is not None:
        enough = found.neurons is not None and integer(claims["neurons"], 0, 1 << 53, "neurons") >= found.neurons
        require(enough, "more is claimed than is proved: neurons")


def intended(proof: Proof, found: Verdict, tau: Q | None) -> Verdict:
    """(7) A proof about the kept rows and moved labels counts if the caller accepts a tau that covers both."""
    rows, used = len(proof.problem.rows), proof.used
    needed = max(proof.tau, proof.error)
    accepted = tau is not None and needed <= tau
    wide = needed if tau is None else tau
    robust = proof.robust(wide)
    dropped = sorted(set(range(rows)) - set(used))
    moved = sum(a != b for a, b in zip(proof.labels, proof.problem.rhs, strict=True))
    said = [f"this is about {len(used)} of {rows} rows" + f", without {dropped!s:.200}" * bool(dropped)]
    said[0] += f", with {moved} labels moved" * bool(moved)
    said[0] += f"; theta misses the rows as written by at most {show_up(proof.error)}"
    said.append(f"where |J D - b| <= {show_up(wide)} in every row, values are >= {show(robust)}")
    if not accepted:
        said.append(f"proved for tau = {show_up(needed)}: give it to accept")
    return replace(
        found,
        proved=accepted,
        sentences=(*found.sentences, *said),
        residual=proof.error,
        robust_lower=robust,
    )


def refutation(proof: Proof, claims: Mapping[str, Any], tau: Q | None) -> Verdict:
    """(10) Farkas: no D fits if <nu, b> exceeds the supremum of <J^T nu, D> over the D allowed.

    For any D, <nu, b> - supremum <= <nu, b - J D> <= |nu|_1 max |b - J D|: some row is missed by at least that.  Of a
    row that reads >= nu is not negative, so that b - J D where it is positive is all that counts.
    """
    problem, work = proof.problem, proof.work
    require(proof.labels == problem.rhs, "a refutation is about b as written")
    reach = [ZERO] * (not any(proof.z.nums))
    if problem.box is not None:
        reach.append(problem.box * Q(sum(map(abs, proof.z.nums)), proof.z.den))
    if problem.rho is not None:
        reach.append(problem.rho * length(proof.z, work))
    require(reach, "nu is no Farkas vector: J^T nu is not 0, and no region bounds D")
    excess = proof.inner_nu(problem.rhs) - min(reach)
    require(excess > 0, "nu is no Farkas vector: <nu, b> is not above the supremum")
    require(claims.get("proof") == "infeasible", "something else is claimed than that nothing fits")
    others = [claims.get(key) for key in ("lower", "upper", "gap", "square", "unique", "distance", "neurons")]
    require(all(claim is None or claim is False for claim in others), "more is claimed than that nothing fits")
    missed = excess / proof.nu_length
    text = f"proved: no parameters satisfy the constraints; every drift misses some row by at least {show(missed)}"
    text += "; so no network of any width fits" * (problem.origin is not None)
    if tau is None or tau < missed:
        return Verdict(True, (text,), "infeasible", residual=missed)
    within = f"that is within tau = {show_up(tau)}, so it refutes the rows as written only"
    return Verdict(False, (text, within), "infeasible", residual=missed)


def check(problem: Any, certificate: Any, tau: Any = None) -> Verdict:
    """The verdict about a problem (None: the embedded one) and a certificate, each a path or an object.

    tau: the caller's standard.  None: only a proof about all rows as written is one; a number: see `intended`.
    Rejected, one sentence, if the problem or tau cannot be used.
    """
    if tau is not None:
        try:
            tau = number(tau, 0)
        except Rejected:
            raise Rejected(f"tau: expected a finite number that is at least 0, got {tau!r:.60}") from None
    about = None
    if problem is not None:
        try:
            tree = read_problem(problem)
            work = Work(most=PER_BYTE * Path(problem).stat().st_size) if isinstance(problem, (str, Path)) else Work()
            about = Problem(tree, work)
        except Exception as error:  # a file may be hostile: whatever it makes fail, it is not usable
            raise Rejected(f"the problem cannot be used: {_sentence(error)}") from None
    try:
        if isinstance(certificate, (str, Path)):
            content = content_of(certificate, MAX_BYTES)
            certificate = parse(content)
            if about is not None:
                about.work.most += PER_BYTE * len(content)
        _expect(certificate, "exact-unlearn/certificate", "a certificate")
        if about is not None:
            return judge(about, certificate, tau)
        require("problem" in certificate, "the certificate embeds no problem; give the one it is about")
        found = judge(Problem(certificate["problem"]), certificate, tau)
        text = json.dumps(certificate["problem"], sort_keys=True, separators=(",", ":"))
        said = f"this is about the embedded problem only, SHA-256 {hashlib.sha256(text.encode()).hexdigest()}"
        return replace(found, proved=False, sentences=(*found.sentences, said))
    except Exception as error:  # and whatever fails in a certificate, it is no proof
        return Verdict(False, (f"not proved: {_sentence(error)}",))


def _sentence(error: Exception) -> str:
    if isinstance(error, Rejected):
        return str(error)
    return f"it is damaged ({type(error).__name__}: {error!s:.100})"


USAGE = "usage: checker.py [PROBLEM] CERTIFICATE [--tau T]"


def main(arguments: list[str]) -> int:
    """0: proved; 1: not proved; 2: the command or the problem cannot be used; 3: proved, but for the embedded problem
    only, or for some rows only and by no tau of the caller."""
    try:
        paths, tau = [], None
        rest = iter(arguments)
        for argument in rest:
            if argument == "--tau" or argument.startswith("--tau="):
                text = argument[6:] if "=" in argument else next(rest, "")
                try:
                    tau = float(text)
                except ValueError:
                    raise Rejected(f"--tau needs a number, not {text!r:.60}") from None
            else:
                require(not argument.startswith("--"), USAGE)
                paths.append(argument)
        require(len(paths) in (1, 2), USAGE)
        found = check(paths[0] if len(paths) == 2 else None, paths[-1], tau)
    except Rejected as error:
        print(error)
        return 2
    print(*found.sentences, sep="\n")
    return 0 if found.proved else 1 if found.proof == "none" else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
