"""Random torch modules, right ones and ones with a planted fault: no wrong J is handed out unnoticed.

A module is a chain of random layers on samples (n, width) or sequences (n, time, width), in float64, with a head of one
of several shapes.  In half of the cases a fault is planted at a random place: samples that see one another, derivatives
that are hidden or wrong, arithmetic in bfloat16, a forward pass that writes to its inputs.  J of a random route is
compared with differences of the whole batch that share no code with the package (`naive.whole_batch_slope`):

    right module      J is handed out and agrees, on the route it was asked for
    planted fault     refused by an error of the package, or J agrees all the same
    either            the caller's inputs and the module are as they were, bit by bit
"""

from __future__ import annotations

import copy
import random
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

from ..naive import whole_batch_slope
from .campaign import Outcome

TITLE = "Jacobians of random modules against differences of the whole batch"
FULL = 300

ROUTES = ("auto", "layers", "samples", "products", "loop")
PADDINGS: tuple[Literal["zeros", "circular"], ...] = ("zeros", "circular")

STEPS = {"float64": (2.0**-13, 1e-5), "float32": (2.0**-8, 1e-2)}
"""Steps of the differences and what they must agree to, relatively, by the arithmetic within the module."""


def run(count: int, seed: int) -> Outcome:
    """`count` modules, one after the other."""
    failures: list[str] = []
    verdicts: Counter[str] = Counter()
    worst = 0.0
    for i in range(count):
        verdict, error, complaint = attempt(seed, i)
        verdicts[verdict] += 1
        worst = max(worst, error)
        if complaint:
            failures.append(f"{complaint} (validation.attack.modules.attempt({seed}, {i}))")
    told = ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items()))
    return Outcome(count, tuple(failures), (told, f"largest difference of a J that was handed out: {worst:.1e}"))


def attempt(seed: int, i: int) -> tuple[str, float, str]:
    """The verdict on case i, how far J d is from differences, and what is wrong with that ("" if nothing is)."""
    import torch

    from exact_unlearn.errors import ExactUnlearnError
    from exact_unlearn.scalable import ModuleModel

    draw = random.Random(f"{seed} {i}")
    torch.manual_seed(draw.randrange(1 << 30))
    module, x, planted = made(draw)
    route = draw.choice(ROUTES)
    case = f"{module} with {planted or 'no fault'}, route {route}"
    kept, state = x.clone(), copy.deepcopy(module.state_dict())
    model = ModuleModel(module)
    J: Any = None
    refusal = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            J = model.jacobian(model.theta(), x, route=route)
        except ExactUnlearnError as error:
            refusal = str(error)
        except Exception as error:  # whatever else comes out is what this campaign looks for
            return "raw", 0.0, f"{case}: {type(error).__name__}: {error}"
    if not torch.equal(x, kept) or any(not torch.equal(state[name], now) for name, now in module.state_dict().items()):
        return "written to", 0.0, f"{case}: the inputs or the module were changed"
    if refusal:
        return ("refused, fault planted", 0.0, "") if planted else ("refused", 0.0, f"{case}: {refusal}")
    d = torch.randn(model.n_parameters, dtype=torch.float64) / 4
    parts = [d[part].view(shape) for part, shape in zip(model.layout.slices, model.layout.shapes, strict=True)]
    h, agrees = STEPS["float32" if planted == "float32" else "float64"]
    near, far = (whole_batch_slope(module, x, parts, step) for step in (h, 2 * h))
    slope = (4 * near - far) / 3
    off = float((J.matvec(d) - slope).norm() / (slope.norm() + 1e-300))
    if off > agrees:
        return "wrong", off, f"{case}: J d is off by {off:.1e}"
    return ("right, fault planted" if planted else "right"), off, ""


def made(draw: random.Random) -> tuple[Any, Any, str]:
    """A module, its inputs, and the name of the fault that was planted ("" for none)."""
    import torch
    from torch import nn

    n, time, width = draw.randint(2, 6), draw.choice((0, 0, 3)), draw.choice((2, 4))
    parts: list[Any] = []
    inner = width
    for _ in range(draw.randint(1, 4)):
        kind = draw.choice(SEQUENCES if time and draw.random() < 0.5 else LAYERS)
        layer, inner = kind(inner, draw)
        parts.append(layer)
    planted = draw.choice(tuple(FAULTS)) if draw.random() < 0.5 else ""
    if planted:
        parts.insert(draw.randint(0, len(parts)), piece(FAULTS[planted]))
    head = draw.choice(("plain", "squeezed", "summed")) if not time else "mean"
    parts.append(nn.Linear(inner, 1 if head == "squeezed" else 2))
    if head != "plain":
        parts.append(piece(HEADS[head]))
    x = torch.randn(n, time, width) if time else torch.randn(n, width)
    module = nn.Sequential(*parts).double().eval()
    if planted == "writes to its inputs":
        module = nn.Sequential(piece(FAULTS[planted]), *parts).double().eval()
    return module, x.double(), planted


def piece(function: Callable[[Any], Any]) -> Any:
    """A module without parameters; its name in print is that of the function."""
    from torch import nn

    class Piece(nn.Module):
        def forward(self, x: Any) -> Any:
            return function(x)

        def _get_name(self) -> str:
            return function.__name__

    return Piece()


# ---------------------------------------------------------------- right layers: (width, draw) -> (layer, new width)


def _linear(width: int, draw: random.Random) -> tuple[Any, int]:
    from torch import nn

    new = draw.choice((2, 4))
    return nn.Sequential(nn.Linear(width, new, bias=draw.random() < 0.7), _activation(draw)), new


def _activation(draw: random.Random) -> Any:
    from torch import nn

    return draw.choice((nn.Tanh, nn.SiLU, nn.GELU, nn.ReLU, nn.Softplus, nn.ELU, nn.PReLU))()


def _residual(width: int, draw: random.Random) -> tuple[Any, int]:
    from torch import nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 3), nn.Linear(3, width)

        def forward(self, x: Any) -> Any:
            return x + self.down(self.up(self.norm(x)).tanh())

    return Residual(), width


def _shared(width: int, draw: random.Random) -> tuple[Any, int]:
    from torch import nn

    layer = nn.Linear(width, width)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh()), width


def _gated(width: int, draw: random.Random) -> tuple[Any, int]:
    from torch import nn

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.both, self.scale = nn.Linear(width, 2 * width), nn.Parameter(nn.Linear(1, width).bias.detach())

        def forward(self, x: Any) -> Any:
            a, b = self.both(x).chunk(2, -1)
            return a * b.sigmoid() * (1 + self.scale)

    return Gated(), width


def _normed(width: int, draw: random.Random) -> tuple[Any, int]:
    from torch import nn
    from torch.nn.utils import parametrizations

    return nn.Sequential(parametrizations.weight_norm(nn.Linear(width, width)), nn.Tanh()), width


def _frozen(width: int, draw: random.Random) -> tuple[Any, int]:
    layer, new = _linear(width, draw)
    next(layer.parameters()).requires_grad_(False)
    return layer, new


def _recurrent(width: int, draw: random.Random) -> tuple[Any, int]:
    from torch import nn

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = draw.choice((nn.GRU, nn.LSTM, nn.RNN))(width, 4, batch_first=True)

        def forward(self, x: Any) -> Any:
            return self.cell(x)[0]

    return First(), 4


def _attention(width: int, draw: random.Random) -> tuple[Any, int]:
    from torch import nn

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixed = nn.MultiheadAttention(width, 2, batch_first=True)

        def forward(self, x: Any) -> Any:
            return x + self.mixed(x, x, x, need_weights=False)[0]

    return Attention(), width


def _convolution(width: int, draw: random.Random) -> tuple[Any, int]:
    from torch import nn

    class Along(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            groups, mode = draw.choice((1, 2)), draw.choice(PADDINGS)
            self.conv = nn.Conv1d(width, width, 3, padding=1, groups=groups, padding_mode=mode)

        def forward(self, x: Any) -> Any:
            return self.conv(x.transpose(1, 2)).transpose(1, 2).tanh()

    return Along(), width


LAYERS = (_linear, _linear, _residual, _shared, _gated, _normed, _frozen)
SEQUENCES = (_recurrent, _attention, _convolution)


# ---------------------------------------------------------------- heads, and faults


def squeezed(x: Any) -> Any:
    return x.squeeze()


def summed(x: Any) -> Any:
    return {"a": x[:, :1], "b": (x.sum(1), 3)}


def mean_over_time(x: Any) -> Any:
    return x.mean(1)


HEADS: dict[str, Callable[[Any], Any]] = {"squeezed": squeezed, "summed": summed, "mean": mean_over_time}


def minus_batch_mean(x: Any) -> Any:
    return x - x.mean(0)


def cumulative(x: Any) -> Any:
    return x.cumsum(0)


def neighbour(x: Any) -> Any:
    import torch

    return torch.cat([x[:-1], x[-1:] + 0.1 * x[:1]])


def batch_softmax(x: Any) -> Any:
    return x.softmax(0)


def ranked(x: Any) -> Any:
    return x.sort(0).values


def detached(x: Any) -> Any:
    return x.detach() if x.requires_grad else x * 1.0


def half_detached(x: Any) -> Any:
    return 0.9 * x + 0.1 * x.detach().clone()


def narrow(x: Any) -> Any:
    import torch

    return x.to(torch.bfloat16).to(x.dtype)


def in_single_precision(x: Any) -> Any:
    return x.float().to(x.dtype)


def in_place(x: Any) -> Any:
    return x.mul_(0.5) if not x.requires_grad else x * 0.5


def straight_through(x: Any) -> Any:
    return x + (x.round() - x).detach()


def noise(x: Any) -> Any:
    import numpy as np
    import torch

    return x + torch.from_numpy(np.random.default_rng().standard_normal(tuple(x.shape))).to(x)


def reentrant(x: Any) -> Any:
    import torch
    from torch.utils.checkpoint import checkpoint

    return checkpoint(torch.tanh, x, use_reentrant=True)


FAULTS: dict[str, Callable[[Any], Any]] = {
    "batch mean": minus_batch_mean,
    "cumulative sum": cumulative,
    "a neighbour": neighbour,
    "softmax over the batch": batch_softmax,
    "sorted samples": ranked,
    "detach": detached,
    "a little detach": half_detached,
    "bfloat16": narrow,
    "float32": in_single_precision,
    "writes to its inputs": in_place,
    "straight through": straight_through,
    "noise": noise,
    "reentrant checkpoint": reentrant,
}
