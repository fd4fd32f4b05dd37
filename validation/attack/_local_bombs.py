"""Local certificates of at most a megabyte that cost as much as they can: wide, deep, long numbers, slow series."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

MEGABYTE = 1_000_000


def local(
    widths: list[int], n: int, phi: str = "tanh", bits: int = 96, theta: str = "1", x: str = "1", **more: Any
) -> dict[str, Any]:
    """A file of the right shape, with an inverse of zeros."""
    inputs, *rest = widths
    layers = [{"width": width, "activation": phi, "bias": False} for width in rest]
    d = sum(a * b for a, b in zip(rest, widths, strict=False))
    k = n * rest[-1]
    tree: dict[str, Any] = {
        "schema": "exact-unlearn/local-certificate",
        "version": 1,
        "network": {"inputs": inputs, "layers": layers},
        "x": {"shape": [n, inputs], "data": [x] * (n * inputs)},
        "y": {"shape": [n, rest[-1]], "data": ["0"] * k},
        "centre": ["0"] * d,
        "bits": bits,
        "theta": [theta] * d,
        "nu": [theta] * k,
        "radius": "1",
        "nu_radius": "1",
        "inverse": {"bits": 0, "rows": [["0"] * (a + 1) for a in range(d + k)]},
        "claims": {"proof": "local"},
    }
    return tree | more


def _bytes(tree: Any) -> bytes:
    return json.dumps(tree, separators=(",", ":")).encode()


ONE = format(1 << 96, "x")
FAR = format(12 << 96, "x")

BOMBS: dict[str, Callable[[], bytes]] = {
    "as large as allowed": lambda: _bytes(local([1, 340, 1], 10)),
    "many samples": lambda: _bytes(local([1, 50, 1], 380, theta=ONE)),
    "many neurons, many samples": lambda: _bytes(local([1, 160, 1], 200, theta=ONE)),
    "deep": lambda: _bytes(local([5, *[5] * 15, 1], 100, theta=ONE)),
    "deep and square": lambda: _bytes(local([5, *[5] * 15, 1], 10, "square", theta=format(1 << 159, "x"))),
    "narrow and deep": lambda: _bytes(local([1, *[1] * 16], 400, theta=ONE)),
    "gelu far out": lambda: _bytes(local([1, 150, 1], 200, "gelu", 1024, theta=format(38 << 1024, "x"))),
    "erf far out": lambda: _bytes(local([1, 150, 1], 200, "erf", 1024, theta=format(32 << 1024, "x"))),
    "sin of huge numbers": lambda: _bytes(
        local([1, 100, 1], 100, "sin", 1024, theta=format((1 << 1087) + 1, "x"), x=format((1 << 63) + 1, "x"))
    ),
    "softplus at many bits": lambda: _bytes(local([1, 100, 1], 200, "softplus", 1024, theta=format(3 << 1022, "x"))),
    "far out": lambda: _bytes(local([1, 100, 1], 200, "tanh", 96, theta=FAR)),
    "many outputs": lambda: _bytes(local([3, 3, 100], 2, theta=ONE)),
    "a long inverse": lambda: _bytes(
        local([1, 20, 1], 10, inverse={"bits": 1024, "rows": [["f" * 512] * (a + 1) for a in range(50)]})
    ),
    "a long factor": lambda: _bytes(
        local([1, 20, 1], 10, minimum={"rho": "1", "sigma": "1", "bits": 0,
                                       "factor": [["f" * 512] * (a + 1) for a in range(40)]})
    ),
    "long data": lambda: _bytes(local([40, 1, 1], 20, x=f"{'f' * 512}/{'e' * 511}1")),
    "brackets": lambda: b"[" * MEGABYTE,
    "a long key": lambda: b'{"' + b"a" * MEGABYTE + b'": 1}',
    "many keys": lambda: _bytes({format(i, "x"): [] for i in range(80_000)}),
    "a long integer": lambda: b'{"bits": ' + b"9" * (MEGABYTE // 2) + b"}",
}  # fmt: skip
