"""Forged local certificates: edited by somebody who knows the format, or as text by somebody who knows JSON."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

import exact_unlearn as xu
from tests.local_cases import NETWORKS, certified

ACTIVATIONS = ("tanh", "sigmoid", "softplus", "silu", "gelu", "erf", "sin", "square", "identity", "relu", "")
CASES = (*NETWORKS, "saddle", "nothing retained")
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 10**12, "", "-", "0", "1", "-1", "1/0", "1/-1", "0x1", "1_0", " 1", "1.5", "1e3",
    "inf", "nan", "F", "\u0661", "f" * 600, [], [[]], ["1"], {}, {"shape": [0, 0], "data": []},
)  # fmt: skip


@cache
def original(name: str) -> Any:
    """The file of a case, as an object."""
    if name == "saddle":
        alone = xu.certify_local(xu.SmoothNetwork((1, 1, 1), "tanh"), [1.0, 1.0], [[1.0]], [3.0])
        theta = [alone.theta[0], 0.0, alone.theta[1], 0.0]
        return dict(xu.certify_local(xu.SmoothNetwork((1, 2, 1), "tanh"), theta, [[1.0]], [3.0]).tree)
    if name == "nothing retained":
        network = xu.SmoothNetwork((2, 2, 1), "tanh")
        return dict(xu.certify_local(network, [1.0] * 6, np.zeros((0, 2)), np.zeros((0, 1)), centre=[0.5] * 6).tree)
    return dict(certified(name).tree)


def forgery(seed: str) -> tuple[str, bytes]:
    """What was done to which case, and the file."""
    rng = random.Random(seed)
    name = rng.choice(CASES)
    tree = copy.deepcopy(original(name))
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kind = rng.choice(tuple(KINDS))
        done.append(kind)
        KINDS[kind](tree, rng)
    text = json.dumps(tree)
    if rng.random() < 0.05:
        done.append("text")
        text = _as_text(text, rng)
    return f"{name}: {', '.join(done)}", text.encode()


# ---------------------------------------------------------------- kinds


def _integer(text: str, rng: random.Random) -> str:
    """Another integer: a unit off, a bit flipped, negated, scaled, gone."""
    value = int(text, 16)
    changes: tuple[Callable[[], int], ...] = (
        lambda: value + rng.choice((-1, 1)),
        lambda: value ^ (1 << rng.randrange(max(1, value.bit_length()))),
        lambda: -value,
        lambda: 0,
        lambda: value * rng.choice((2, 3, 16, 1 << 40)),
        lambda: value + (rng.choice((-1, 1)) << rng.randrange(260)),
    )
    return format(rng.choice(changes)(), "x")


def _rational(text: str, rng: random.Random) -> str:
    above, _, below = text.partition("/")
    if rng.random() < 0.3:
        return f"{above}/{_integer(below or '1', rng).lstrip('-') or '1'}"
    return f"{_integer(above, rng)}/{below or '1'}"


def _entry(values: list[Any], rng: random.Random, change: Callable[[str, random.Random], str]) -> None:
    if values:
        at = rng.randrange(len(values))
        values[at] = change(values[at], rng) if isinstance(values[at], str) and values[at] else "1"


def _safe(action: Callable[[Any, random.Random], None]) -> Callable[[Any, random.Random], None]:
    """A change that finds the place already changed leaves it."""

    def tried(tree: Any, rng: random.Random) -> None:
        try:
            action(tree, rng)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return

    return tried


def _point(tree: Any, rng: random.Random) -> None:
    _entry(tree[rng.choice(("theta", "nu"))], rng, _integer)


def _nudge(tree: Any, rng: random.Random) -> None:
    """The point by a little: within the ball it stays a true statement, with claims that are none."""
    values, power = tree[rng.choice(("theta", "theta", "nu"))], rng.randrange(256)
    if values:
        at = rng.randrange(len(values))
        values[at] = format(int(values[at], 16) + (1 << power), "x")


def _radius(tree: Any, rng: random.Random) -> None:
    key = rng.choice(("radius", "nu_radius"))
    above, _, below = tree[key].partition("/")
    power = rng.choice((1, 1, 2, 3, 4, 8, 30, 100, 240))
    shift = format(1 << power, "x")
    tree[key] = (
        f"{int(above, 16) << power:x}/{below or '1'}" if rng.random() < 0.6
        else f"{above}/{int(below or '1', 16) * int(shift, 16):x}"
    )  # fmt: skip


def _inverse(tree: Any, rng: random.Random) -> None:
    if rng.random() < 0.2:
        tree["inverse"]["bits"] += rng.choice((-1, 1, 2))
        return
    _entry(rng.choice(tree["inverse"]["rows"]), rng, _integer)


def _factor(tree: Any, rng: random.Random) -> None:
    node = tree.get("minimum")
    if node is None:
        _entry(tree["saddle"], rng, _integer)
    elif rng.random() < 0.5:
        key = rng.choice(("rho", "sigma"))
        node[key] = _rational(node[key], rng) if key == "sigma" else _integer(node[key], rng)
    elif rng.random() < 0.2:
        node["bits"] += rng.choice((-1, 1))
    else:
        _entry(rng.choice(node["factor"]), rng, _integer)


def _data(tree: Any, rng: random.Random) -> None:
    key = rng.choice(("x", "y", "centre"))
    values = tree[key] if key == "centre" else tree[key]["data"]
    if rng.random() < 0.5 and values:  # by so little that the ball may still hold it
        at = rng.randrange(len(values))
        above, _, below = values[at].partition("/")
        power = rng.randrange(20, 300)
        values[at] = f"{(int(above, 16) << power) + int(below or '1', 16):x}/{int(below or '1', 16) << power:x}"
        return
    _entry(values, rng, _rational)


def _swap(tree: Any, rng: random.Random) -> None:
    """Two samples' labels, or two parameters, change places."""
    values = rng.choice((tree["y"]["data"], tree["theta"], tree["nu"]))
    if len(values) > 1:
        a, b = rng.sample(range(len(values)), 2)
        values[a], values[b] = values[b], values[a]


def _network(tree: Any, rng: random.Random) -> None:
    layer = rng.choice(tree["network"]["layers"])
    key = rng.choice(("activation", "activation", "bias", "width"))
    if key == "activation":
        layer[key] = rng.choice(ACTIVATIONS)
    elif key == "bias":
        layer[key] = rng.choice((True, False, 0, 1, None))
    else:
        layer[key] += rng.choice((-1, 1, 1000))


def _claim(tree: Any, rng: random.Random) -> None:
    claims = tree["claims"]
    key = rng.choice(("lower", "upper", "distance", "growth", "minimum", "proof"))
    if key == "minimum":
        claims[key] = rng.choice((True, False, None, 1, "true"))
    elif key == "proof":
        claims[key] = rng.choice(("local", "exact", "enclosure", None))
    elif claims.get(key) is None:
        claims[key] = rng.choice(("0", "1", "-1", "1/100"))
    else:
        above, _, below = claims[key].partition("/")
        more = rng.choice((-1, 1))
        claims[key] = rng.choice((f"{int(above, 16) + more:x}/{below or '1'}", _rational(claims[key], rng), "0", "1"))


def _drop(tree: Any, rng: random.Random) -> None:
    """A key gone, or an entry of a list."""
    node = rng.choice((tree, tree["claims"], tree["network"], tree["inverse"], tree["x"], tree["y"]))
    if rng.random() < 0.5:
        node.pop(rng.choice(tuple(node)))
    else:
        values = rng.choice((tree["theta"], tree["nu"], tree["centre"], tree["inverse"]["rows"], tree["x"]["data"]))
        values.pop() if rng.random() < 0.5 else values.append(values[0])


def _strange(tree: Any, rng: random.Random) -> None:
    """Anything in the place of anything."""
    node: Any = tree
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        if not keys:
            return
        key = rng.choice(list(keys))
        if isinstance(node[key], dict | list) and rng.random() < 0.75:
            node = node[key]
            continue
        node[key] = copy.deepcopy(rng.choice(STRANGE))
        return


def _bits(tree: Any, rng: random.Random) -> None:
    """The same point in other units, or other bits with the same numbers."""
    if rng.random() < 0.5:
        more = rng.choice((1, 16, 64))
        tree["bits"] += more
        for key in ("theta", "nu"):
            tree[key] = [format(int(text, 16) << more, "x") for text in tree[key]]
    else:
        tree["bits"] += rng.choice((-200, -1, 1, 100, 5000))


def _evidence(tree: Any, rng: random.Random) -> None:
    """A minimum called a saddle, and the other way round."""
    d = len(tree["theta"])
    node = tree.pop("minimum", None)
    if node is not None and rng.random() < 0.7:
        tree["saddle"] = [format(rng.randrange(-100, 100), "x") for _ in range(d)]
        tree["claims"] |= {"minimum": False, "growth": None}
        return
    tree["minimum"] = {"rho": "1", "sigma": "1/1000", "bits": 20,
                       "factor": [["0"] * a + [format(1 << 20, "x")] for a in range(d)]}  # fmt: skip
    tree["claims"] |= {"minimum": True}


def _as_text(text: str, rng: random.Random) -> str:
    """JSON that is none, or says a thing twice."""
    at = rng.randrange(len(text))
    return rng.choice((
        text[:at], text[:at] + rng.choice('{}[]",:0a-/') + text[at + 1 :], text + " []",
        text.replace('"bits": ', '"bits": 1, "bits": ', 1), text.replace('"1"', "1.0", 1),
        text.replace('"1"', "NaN", 1), "[" * 3000 + text, text.replace("false", "0"),
    ))  # fmt: skip


KINDS = {
    name: _safe(action)
    for name, action in {
        "point": _point, "nudge": _nudge, "radius": _radius, "inverse": _inverse, "factor": _factor, "data": _data,
        "swap": _swap, "network": _network, "claim": _claim, "drop": _drop, "strange": _strange, "bits": _bits,
        "evidence": _evidence,
    }.items()
}  # fmt: skip
