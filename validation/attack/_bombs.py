"""Inputs of at most a megabyte that cost as much as they can: long numbers, many of them, wide problems, many sets."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import partial
from typing import Any

Pair = tuple[bytes, bytes]
MEGABYTE = 1_000_000


def problem(d: int, rows: list[list[str]], name: str = "l1", **more: Any) -> dict[str, Any]:
    """theta* = 1, b = 0, everything free."""
    tree: dict[str, Any] = {
        "schema": "exact-unlearn/problem",
        "version": 1,
        "theta_star": {"shape": [d], "data": ["1"] * d},
        "jacobian": {"kind": "dense", "matrix": {"shape": [len(rows), d], "data": [x for row in rows for x in row]}},
        "rhs": {"shape": [len(rows)], "data": ["0"] * len(rows)},
        "free": {"shape": [d], "data": ["1"] * d},
        "regularizer": {"name": name, "weights": None},
        "drift_penalty": [],
    }
    return tree | more


def certificate(nums: list[str] | None = None, den: str = "1", nu: Any = None, **more: Any) -> dict[str, Any]:
    """theta*, or these numbers in its place, and these multipliers."""
    parts = [] if nums is None else [{"nums": nums, "den": den}]
    tree: dict[str, Any] = {"schema": "exact-unlearn/certificate", "version": 1, "kind": "bounds"}
    tree |= {"primal": {"base": "theta_star", "parts": parts}, "dual": {"nu": nu or []}, "claims": {"proof": "exact"}}
    return tree | more


def pair(about: dict[str, Any], claim: dict[str, Any]) -> Pair:
    return tuple(json.dumps(tree, separators=(",", ":")).encode() for tree in (about, claim))  # type: ignore[return-value]


def digits(n: int, last: str = "f") -> str:
    """n hexadecimal digits."""
    return "d" + "3a7" * (n // 3) + last


def one_long_entry(d: int) -> Pair:
    """The forgery of 131 kB that took 21.7 s at d = 20 and more than ten minutes at d = 1000."""
    long, other = digits(65_500), digits(65_500, "b")
    tree = problem(d, [], drift_penalty=[{"name": "squared_drift", "lam": "1"}, {"name": "l1_drift", "lam": "1/3"}])
    return pair(tree, certificate(nums=[long] + ["1"] * (d - 1), den=other))


def long_entries(name: str, drift: list[dict[str, Any]], d: int = 14, n: int = 30_000) -> Pair:
    """As many long numbers as fit, over coprime denominators."""
    dens = [digits(n, "1379bdf"[j % 7] + f"{j:x}") for j in range(d)]
    parts = [{"indices": [j], "nums": [digits(n, "b")], "den": den} for j, den in enumerate(dens)]
    tree = problem(d, [["1"] * d], name, rhs={"shape": [1], "data": ["0"]}, drift_penalty=drift)
    claim = certificate(nu=[{"indices": [0], "nums": [digits(n)], "den": digits(n, "7")}])
    claim["rows"] = {"kept": [], "tau": "1"}
    claim["dual"]["nu"] = []
    claim["primal"]["parts"] = parts
    return pair(tree, claim)


def long_multipliers(d: int, k: int, n: int) -> Pair:
    """z = J^T nu with long nu: every coordinate has a long slope, and a slack."""
    rows = [["1" if (i + j) % 3 else "2" for j in range(d)] for i in range(k)]
    nu = [{"indices": list(range(k)), "nums": [digits(n, f"{i % 10}") for i in range(k)], "den": digits(n, "b")}]
    drift = [{"name": "squared_drift", "lam": "1/3"}, {"name": "l1_drift", "lam": "1/7"}]
    return pair(problem(d, rows, drift_penalty=drift), certificate(nu=nu, claims={"proof": "repaired"}))


def many_coordinates(name: str, d: int) -> Pair:
    drift = [{"name": "squared_drift", "lam": "1/3"}, {"name": "l1_drift", "lam": "1/7"}]
    return pair(problem(d, [], name, drift_penalty=drift), certificate(claims={"proof": "repaired"}))


def many_weights(d: int, base: str) -> Pair:
    """Every coordinate over a denominator of its own."""
    weights = {"shape": [d], "data": [f"{2 * j + 3:x}/{(2 * j + 1) * 977 + 2:x}" for j in range(d)]}
    tree = problem(d, [["1"] * d], "squared_l2", drift_penalty=[{"name": "squared_drift", "lam": "1/3"}])
    tree["regularizer"]["weights"] = weights
    claim = certificate(nu=[{"indices": [0], "nums": ["1"], "den": "3"}], claims={"proof": "repaired"})
    claim["primal"]["base"] = base
    return pair(tree, claim)


def many_sets(n: int, size: int, k: int, members: int = 1) -> Pair:
    """C(n, size) ranks."""
    d = n * members
    rows = [[f"{(i * 7919 + j * j * 104_729 + i * j * 31) % 65_521:x}" for j in range(d)] for i in range(k)]
    tree = problem(d, rows, "l0")
    tree["regularizer"] = {"name": "l0", "labels": {"shape": [d], "data": [f"{j // members:x}" for j in range(d)]}}
    return pair(tree, certificate(count={"exhausted": size}, claims={"proof": "repaired"}))


def dependent_sets(n: int, size: int, k: int) -> Pair:
    """Columns that repeat one another, so that rational ranks decide."""
    rows = [[digits(40, f"{(i + j % 3) % 9 + 1}") for j in range(n)] for i in range(k)]
    tree = problem(n, rows, "l0")
    tree["regularizer"] = {"name": "l0", "labels": None}
    return pair(tree, certificate(count={"exhausted": size}, claims={"proof": "repaired"}))


def free_columns(d: int, k: int, n: int) -> Pair:
    """Coordinates that nobody pays for, of a rank that only the rationals can tell."""
    half = [[digits(n, f"{(i * j) % 7 + 1}") for j in range(d)] for i in range(k // 2)]
    tree = problem(2 * d, [row + ["0"] * d for row in (*half, *half)])
    tree["regularizer"] = {"name": "l0", "labels": {"shape": [2 * d], "data": ["0"] * d + ["1"] * d}}
    tree["free"]["data"][-1] = tree["free"]["data"][0] = "0"
    return pair(tree, certificate(count={"exhausted": 0}, claims={"proof": "repaired"}))


def wide_product(size: int) -> Pair:
    """Two factors that fit in a file, of a matrix that fits nowhere."""
    tree = problem(size * size, [])
    factor = {"shape": [size, size], "data": ["1"] * size**2}
    tree["jacobian"] = {
        "kind": "product", "V": factor, "X": factor, "block": [0, size * size], "n_parameters": size * size,
    }  # fmt: skip
    tree["rhs"] = {"shape": [size * size], "data": ["0"] * size**2}
    return pair(tree, certificate())


def tall_and_wide(d: int) -> Pair:
    """Lists of zeros around a block: d rows of d zeros, from two short lists."""
    tree = problem(d, [])
    tree["jacobian"] = {
        "kind": "product", "V": {"shape": [1, 1], "data": ["1"]}, "X": {"shape": [d, 1], "data": ["1"] * d},
        "block": [0, 1], "n_parameters": d,
    }  # fmt: skip
    tree["rhs"] = {"shape": [d], "data": ["0"] * d}
    return pair(tree, certificate())


def spectral(n: int, digit_count: int) -> Pair:
    """I - G^T G of long numbers."""
    d = n * n
    tree = problem(d, [])
    tree["regularizer"] = {
        "name": "nuclear_norm", "indices": {"shape": [d], "data": [f"{j:x}" for j in range(d)]}, "shape": [n, n],
    }  # fmt: skip
    g = [{"nums": [digits(digit_count, f"{j % 9}") for j in range(d)], "den": digits(digit_count + 4)}]
    return pair(tree, certificate(dual={"nu": [], "g": g}, claims={"proof": "repaired"}))


def many_factors(n: int, m: int) -> Pair:
    d = m * m
    tree = problem(d, [])
    tree["regularizer"] = {
        "name": "nuclear_norm", "indices": {"shape": [d], "data": [f"{j:x}" for j in range(d)]}, "shape": [m, m],
    }  # fmt: skip
    u = [{"indices": [0], "nums": ["1"], "den": "3"}]
    claim = certificate(claims={"proof": "repaired"})
    claim["primal"]["factors"] = [{"u": u, "v": u}] * n
    return pair(tree, claim)


def many_groups(d: int) -> Pair:
    tree = problem(d, [])
    labels = {"shape": [d], "data": [f"{j:x}" for j in range(d)]}
    tree["regularizer"] = {"name": "group_l2", "labels": labels, "weights": None}
    g = [{"nums": ["1"] * d, "den": "3"}]
    return pair(tree, certificate(dual={"nu": [], "g": g}, claims={"proof": "repaired"}))


def left_inverse(groups: int, k: int) -> Pair:
    """The distance of many active groups."""
    rows = [[f"{(i * 31 + j * j) % 97:x}" for j in range(groups)] for i in range(k)]
    tree = problem(groups, rows)
    labels = {"shape": [groups], "data": [f"{j:x}" for j in range(groups)]}
    tree["regularizer"] = {"name": "group_l2", "labels": labels, "weights": None}
    L = [{"nums": ["1"] * (groups * k), "den": "3"}]
    return pair(
        tree,
        certificate(
            dual={"nu": [], "g": [{"nums": ["1"] * groups, "den": "1"}]},
            distance={"active": list(range(groups)), "L": L},
            claims={"proof": "repaired"},
        ),
    )


def zipped_zeros(megabytes: int) -> Pair:
    """An archive that unpacks to much more than it is."""
    n = megabytes * 125_000
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({n},), }}".ljust(117) + "\n"
    array = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + bytes(8 * n)
    spec = problem(1, [])
    spec["theta_star"] = spec["free"] = {"array": "x"}
    spec["jacobian"]["matrix"] = {"shape": [0, n], "data": []}
    text = json.dumps(spec).encode()
    about = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(text)},), }}".ljust(117) + "\n"
    stored = b"\x93NUMPY\x01\x00" + len(about).to_bytes(2, "little") + about.encode() + text
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", array)
        archive.writestr("spec.npy", stored)
    return buffer.getvalue(), json.dumps(certificate()).encode()


def text_around(inner: bytes) -> Pair:
    """A certificate that is mostly something else, under a key that means nothing."""
    about, claim = pair(problem(2, []), certificate(claims={"proof": "repaired"}))
    return about, claim[:-1] + b',"comment":' + inner + b"}"


SQUARED = {"name": "squared_drift", "lam": "1/3"}
BOX = {"name": "trust_region", "norm": "inf", "radius": "f" * 30_100}
BALL = {"name": "trust_region", "norm": "2", "radius": "f" * 30_100}


def of_a_network(x: list[list[str]], tree: list[Any], slope: str = "0") -> Pair:
    """The exact problem of a network with a label 0 for every sample, of two patterns, and any tree."""
    n, m = len(x), len(x[0])
    origin: dict[str, Any] = {"kind": "two_layer", "activation": "leaky_relu", "slope": slope, "width": 1, "R": "path"}
    origin |= {"x": {"shape": [n, m], "data": [v for row in x for v in row]}, "y": {"shape": [n], "data": ["0"] * n}}
    tree_of = problem(4 * m, [], version=2, origin=origin)
    return pair(tree_of, certificate(version=2, tree=tree))


def full_tree(n: int) -> list[Any]:
    """All sign patterns of n samples, none of them cut."""
    tree: list[Any] = [None]
    for sample in range(n - 1, -1, -1):
        tree = [sample, *tree, *tree]
    return tree


def long_cuts(n: int, size: int) -> Pair:
    """Long samples on one line, and long weights that cut every branch beside it."""
    x = [[digits(size, f"{i + 1:x}")] for i in range(n)]
    cut = [{"indices": [0, 1], "nums": [digits(size), digits(size, "b")], "den": digits(size, "7")}]
    return of_a_network(x, [0, 1, *[cut, None] * (2 * n)], digits(size) + "/" + digits(size, "1"))


def many_cells(n: int) -> Pair:
    """An honest proof: n samples of one input and a bias, each with the label 0, which the zero network fits."""
    import exact_unlearn as xu
    from exact_unlearn import codec

    x = [[float(i), 1.0] for i in range(n)]
    made = xu.global_problem(xu.Perceptron(2, 1), x, [0.0] * n, "path")
    nodes = made.origin.cells.tree
    tree = [
        [{"indices": list(node), "nums": [f"{w:x}" for w in node.values()], "den": "1"}]
        if isinstance(node, dict)
        else node
        for node in nodes
    ]
    return pair(codec.to_json(made.to_tree()), certificate(version=2, tree=tree))


def many_vertices(rows: list[list[str]], depth: int = 3) -> Pair:
    """A sum of powers on these rows, at theta* = 1."""
    about = problem(len(rows[0]), rows, version=2, regularizer={"name": "power_sum", "depth": depth})
    return pair(about, certificate(version=2, vertices=True, claims={"proof": "repaired"}))


def spread(r: int, m: int) -> list[list[str]]:
    """Small integers without a pattern."""
    return [[f"{(7 * i + 3 * j * j + i * j * j) % 13 + 1:x}" for j in range(m)] for i in range(r)]


def nearly_tied(m: int) -> list[list[str]]:
    """Columns that hardly differ, so that roots are looked at to the end."""
    return [[f"{(1 << 80) + j:x}" for j in range(m)], [f"{(1 << 80) + j * j:x}" for j in range(m)]]


def nearly_parallel(m: int) -> list[list[str]]:
    """Nearly all columns depend on two of three rows: hardly a set of three is a basis."""
    return [["1"] * m, [f"{j:x}" for j in range(m)], ["1" if j == 1 else "0" for j in range(m)]]


def nearby(
    r: int, long: int = 0, digits_: int = 0, implied: int = 0, least: int = 0, parts: list[str] | None = None
) -> Pair:
    """r rows of the identity, or of long numbers on its diagonal, with a right inverse.

    implied: so many statements that a row of zeros follows.  least: so many rows that read >=.
    """
    one = digits(long) if long else "1"
    own = [[one if a == b else "0" for b in range(r)] for a in range(r)]
    rows = own + [["0"] * r] * (implied > 0) + [["1"] * r] * least
    k = len(rows)
    tree = problem(r, rows, rhs={"shape": [k], "data": ["0"] * (k - least) + ["-1"] * least})
    near: dict[str, Any] = {
        "rows": list(range(r)),
        "columns": list(range(r)),
        "digits": digits_,
        "width": 2,
        "scale": 13,
    }
    size = int(one[:8], 16) / 2 ** int(one[:8], 16).bit_length()  # 2^-rho of the diagonal
    own_entry = format(round(2**13 / size) + 0x8000, "04x")
    near["inverse"] = ["8000" * a + own_entry + "8000" * (r - 1 - a) for a in range(r)]
    near["implied"] = [{"row": r, "of": [{"indices": list(range(r)), "nums": ["0"] * r, "den": "1"}]}] * implied
    claim = certificate(nums=parts)
    if least:
        tree["version"] = claim["version"] = 2
        tree["at_least"] = {"shape": [k], "data": ["0"] * (k - least) + ["1"] * least}
    claim["primal"]["near"] = near
    claim["claims"] = {"proof": "repaired"}
    return pair(tree, claim)


BOMBS: dict[str, Callable[[], Pair]] = {
    "one long entry, d = 20": lambda: one_long_entry(20),
    "one long entry, d = 1000": lambda: one_long_entry(1000),
    "one long entry, d = 50 000": lambda: one_long_entry(50_000),
    **{
        f"long entries, {name}, {len(drift)} regions": partial(long_entries, name, drift)
        for name in ("l1", "squared_l2", "linf", "l2")
        for drift in ([], [SQUARED, BOX, BALL])
    },
    "short denominators, d = 2000": lambda: long_entries("l1", [SQUARED, BOX], 2000, 180),
    "long multipliers, d = 10": lambda: long_multipliers(10, 5, 65_000),
    "long multipliers, d = 1000": lambda: long_multipliers(1000, 60, 5_000),
    "long multipliers, d = 10 000": lambda: long_multipliers(10_000, 8, 30_000),
    "many coordinates, l1": lambda: many_coordinates("l1", 120_000),
    "many coordinates, l2": lambda: many_coordinates("l2", 120_000),
    "many coordinates, linf": lambda: many_coordinates("linf", 120_000),
    "many coordinates, l0": lambda: many_coordinates("l0", 120_000),
    "many weights, theta_star": lambda: many_weights(40_000, "theta_star"),
    "many weights, dual": lambda: many_weights(10_000, "dual"),
    "many sets of one": lambda: many_sets(200, 3, 8),
    "many sets of five": lambda: many_sets(60, 4, 40, 5),
    "deep sets": lambda: many_sets(24, 12, 16),
    "one set of many": lambda: many_sets(400, 1, 380),
    "dependent sets": lambda: dependent_sets(300, 2, 60),
    "free columns": lambda: free_columns(60, 60, 200),
    "wide product": lambda: wide_product(400),
    "tall and wide": lambda: tall_and_wide(40_000),
    "spectral norm, long": lambda: spectral(12, 3_000),
    "spectral norm, large": lambda: spectral(150, 10),
    "many factors": lambda: many_factors(5_000, 70),
    "many groups": lambda: many_groups(50_000),
    "left inverse": lambda: left_inverse(300, 300),
    "a point nearby, 300 rows": lambda: nearby(300),
    "a point nearby, long rows": lambda: nearby(20, 20_000, 1 << 14),
    "a point nearby, long coordinates": lambda: nearby(16, 10, 1 << 14, parts=[digits(30_000)] * 16),
    "a point nearby, many implied rows": lambda: nearby(30, implied=1_500),
    "a point nearby, many rows that read >=": lambda: nearby(60, 10, 1 << 14, least=2_500),
    "all sign patterns": lambda: of_a_network([["1"]] * 16, full_tree(16)),
    "long cuts": lambda: long_cuts(2, 60_000),
    "many long cuts": lambda: long_cuts(9, 15_000),
    "many cells": lambda: many_cells(17),
    "many vertices": lambda: many_vertices(spread(6, 60)),
    "vertices of few columns": lambda: many_vertices(spread(2, 4_000)),
    "vertices of many columns": lambda: many_vertices(spread(30, 34)),
    "vertices of long numbers": lambda: many_vertices(
        [[digits(9_000, f"{i}{j:x}") for j in range(30)] for i in range(3)]
    ),
    "vertices nearly tied": lambda: many_vertices(nearly_tied(400), 64),
    "columns nearly parallel": lambda: many_vertices(nearly_parallel(3_000)),
    "columns of zeros": lambda: many_vertices([["0"] * 3_000 + ["1", "2"], ["0"] * 3_000 + ["3", "4"]]),
    "many deep powers": lambda: many_vertices([[f"{j:x}" for j in range(1, 20_000)]], 64),
    "zipped zeros, 30 MB": lambda: zipped_zeros(30),
    "zipped zeros, 500 MB": lambda: zipped_zeros(500),
    "deep lists": lambda: text_around(b"[" * 400_000 + b"]" * 400_000),
    "deep objects": lambda: text_around(b'{"":' * 200_000 + b"1" + b"}" * 200_000),
    "many objects": lambda: text_around(b"[" + b"{}," * 300_000 + b"{}]"),
    "many integers": lambda: text_around(b"[" + b"1," * 480_000 + b"1]"),
    "a long integer": lambda: text_around(b"9" * 900_000),
    "a long text": lambda: text_around(b'"' + b"\\u0061" * 150_000 + b'"'),
    "many parts": lambda: pair(
        problem(2, []), certificate(nu=[{"indices": [], "nums": [], "den": "1"}] * 25_000, claims={"proof": "repaired"})
    ),
}  # fmt: skip
TRUE = {"many coordinates, l1", "many coordinates, l2", "many coordinates, linf", "many coordinates, l0"}
TRUE |= {"many cells", "many factors", "many groups", "many integers", "many objects", "a long text", "many parts"}
TRUE |= {"many weights, theta_star", "many weights, dual", "long multipliers, d = 1000"}
TRUE |= {"vertices of long numbers", "columns of zeros"}
TRUE |= {f"a point nearby, {name}" for name in ("300 rows", "long rows", "long coordinates", "many implied rows")}
TRUE |= {"a point nearby, many rows that read >="}
TRUE |= {"dependent sets", "one set of many", "many sets of one"}
"""Those that prove something, however little, and may be accepted."""
