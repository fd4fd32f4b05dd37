"""J of a module against differences of its outputs: J d beside (f(theta + h d) - f(theta - h d)) / 2h.

f is the whole batch at once, run forwards only, in float64 copies of parameters, buffers and inputs: automatic
differentiation, its batching rules and our layer rules have no part in it, so whatever they get wrong (samples that
see one another, derivatives lost in a checkpoint, layers misread) shows.  A first look takes one direction and one
h, that is two forward passes; only what it leaves open is looked at again, with three h and up to three directions:

    small h     ReLUs that change their side between theta - h d and theta + h d are few
    large h     outputs that are known to float32 only still differ by more than their rounding

What differences themselves cannot resolve is measured by how far those of neighbouring h are apart.  A sample
whose one-sided derivatives differ, one of them being J's, sits on a kink: J is right there, as far as that can
be said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable.evaluation import Evaluation, take
from exact_unlearn.scalable.jacobian_core import TorchJacobian

DIRECTIONS = 3
"""How many random directions are tried before J is called wrong."""

CEILING = 1e-2
"""Relative difference of a row of J d up to which coarse arithmetic within the module is accepted (and reported)."""

SAFETY = 30.0
"""A row of J d is wrong if it is further from a difference than this many times what differences resolve."""

ADJOINT = 1e-4
"""How far J d and J.T nu may be from one another's transpose, relatively; what is left counts as error of J."""

CONTROLS = 4
"""Samples that agreed already which are looked at again beside those that did not, at least."""

PROBES, ALL = 24, 300
"""Single coordinates that are moved where a sample sits on several kinks at once; up to so many parameters all are, for
a few may be none of those that bend.
"""


class KinkWarning(UserWarning):
    """Some samples sit where the module has a kink in its parameters: their rows of J are those of one side.

    >>> from exact_unlearn.scalable import KinkWarning
    >>> issubclass(KinkWarning, UserWarning)
    True
    """


@dataclass(frozen=True)
class Steps:
    """Step lengths relative to the parameters, and what is asked of a row of J d; by precision of J and of the
    outputs.

    first: h of the first look; others: those of the second.  rows: relative agreement that settles a row at the
    first look; floor: what rounding of J itself may make of a row.
    """

    first: float
    others: tuple[float, float]
    rows: float
    floor: float
    unit: float

    @staticmethod
    def of(jacobian: torch.dtype, outputs: torch.dtype) -> Steps:
        if outputs == torch.float32:
            return Steps(2.0**-8, (2.0**-12, 2.0**-5), 1e-2, 1e-2, 2.0**-24)
        if jacobian == torch.float32:  # 1e-3 is soon agreed on: the smaller h, the fewer ReLUs change their side
            return Steps(2.0**-24, (2.0**-27, 2.0**-9), 1e-3, 1e-3, 2.0**-53)
        return Steps(2.0**-17, (2.0**-27, 2.0**-9), 1e-6, 1e-8, 2.0**-53)


def precision(jacobian: TorchJacobian) -> torch.dtype:
    """The arithmetic that J was made with."""
    return torch.float64 if getattr(jacobian, "is_wide", False) else jacobian.dtype


@dataclass(frozen=True)
class Checked:
    """What was found out about J, once per module, shape of its inputs and route.

    way: how J is made.  difference: |J d - differences| relative to |J d|, over all rows or for half of them,
    whichever is larger; it counts what J, the module's arithmetic and the differences themselves contribute.
    kinks: samples whose one-sided derivatives differ, with J on one side.
    """

    way: str
    difference: float
    kinks: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Function:
    """theta -> the chosen outputs of the whole batch, (n l,) in float64; no derivatives, no per-sample calls."""

    evaluation: Evaluation

    @property
    def dtype(self) -> torch.dtype:
        """The arithmetic of its outputs: float64 unless the module insists on another."""
        return self.evaluation.theta.dtype

    @property
    def theta(self) -> Tensor:
        return self.evaluation.theta.double()

    def at(self, theta: Tensor) -> Tensor:
        evaluation = self.evaluation
        with evaluation.still(), torch.no_grad():
            parameters = evaluation.layout.split(theta.to(self.dtype, copy=True))
            return evaluation.call(parameters).double().reshape(-1)


def direction(own: Evaluation, seed: int) -> Tensor:
    """Random numbers (d,) of the size of the parameters, tensor by tensor; zero ones move as the others do on
    average, the embedding of a padding token not at all: by torch's convention it is a constant.
    """
    layout, theta = own.layout, own.theta
    generator = torch.Generator().manual_seed(seed)
    out = torch.randn(layout.size, generator=generator, dtype=torch.float64).to(theta.device)
    typical = float(theta.double().square().mean().sqrt()) or 1.0
    for part in layout.slices:
        size = float(theta[part].double().square().sum().sqrt()) / max(1, part.stop - part.start) ** 0.5
        out[part] *= max(size, 1e-3 * typical) if size else typical
    for part in _padding(own):
        out[part] = 0.0
    return out.to(theta.dtype).double()


def _padding(own: Evaluation) -> Iterator[slice]:
    """Where the embeddings of padding tokens lie in theta."""
    name_of = {id(part): name for name, part in own.module.named_parameters()}
    places = dict(zip(own.layout.names, own.layout.slices, strict=True))
    for layer in own.module.modules():
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.padding_idx is not None:
            place = places.get(name_of.get(id(layer.weight), ""))
            if place is not None:
                start = place.start + layer.padding_idx * layer.embedding_dim
                yield slice(start, start + layer.embedding_dim)


@dataclass(frozen=True, eq=False)
class Looks:
    """J d and differences along one direction: product (k,), values f(theta) or None, and (k,) per step length."""

    product: Tensor
    steps: tuple[float, ...]
    up: tuple[Tensor, ...]
    down: tuple[Tensor, ...]

    def central(self) -> Tensor:
        """(steps, k)."""
        return torch.stack([(u - v) / (2 * h) for h, u, v in zip(self.steps, self.up, self.down, strict=True)])

    def sided(self, values: Tensor) -> Tensor:
        """Forward and backward differences, (2, steps, k)."""
        forward = [(u - values) / h for h, u in zip(self.steps, self.up, strict=True)]
        backward = [(values - v) / h for h, v in zip(self.steps, self.down, strict=True)]
        return torch.stack([torch.stack(forward), torch.stack(backward)])

    def rounding(self, unit: float, h: float) -> Tensor:
        """What rounding of the outputs may make of a difference at h, (k,)."""
        sizes = self.up[0].abs()
        return 64.0 * unit * torch.maximum(sizes, sizes.square().mean().sqrt()) / h


def look(function: Function, jacobian: TorchJacobian, d: Tensor, steps: tuple[float, ...]) -> Looks:
    """J d, and the outputs on both sides of theta along d."""
    product = jacobian.matvec(d.to(precision(jacobian))).double()
    if not bool(torch.isfinite(product).all()):
        raise ProblemError("module: its derivative on x has NaN or infinity, so there is no Jacobian")
    theta = function.theta
    up = tuple(function.at(theta + h * d) for h in steps)
    down = tuple(function.at(theta - h * d) for h in steps)
    return Looks(product, steps, up, down)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What differences say about J: difference as in `Checked`; wrong and kinks: samples."""

    difference: float
    wrong: tuple[int, ...]
    kinks: tuple[int, ...] = ()


def first_look(jacobian: TorchJacobian, own: Evaluation) -> tuple[Function, Comparison, Looks]:
    """One direction, one h; the function is that of float64 copies, or of the module in its own precision where its
    forward pass takes no other.
    """
    d = direction(own, 0)
    function = Function(own.widened())
    steps = Steps.of(precision(jacobian), function.dtype)
    try:
        seen = look(function, jacobian, d, (steps.first,))
    except (RuntimeError, TypeError, ValueError) as error:
        if own.theta.dtype == torch.float64 or isinstance(error, torch.OutOfMemoryError):
            raise
        function = Function(own)
        steps = Steps.of(precision(jacobian), function.dtype)
        seen = look(function, jacobian, d, (steps.first,))
    slope = seen.central()[0]
    off, size = (slope - seen.product).abs(), torch.maximum(slope.abs(), seen.product.abs())
    good = off <= steps.rows * size + seen.rounding(steps.unit, steps.first)
    wrong = _samples(~good, own)
    return function, Comparison(_relative(off, size), wrong), seen


def second_look(
    function: Function, jacobian: TorchJacobian, own: Evaluation, before: Looks, found: Comparison
) -> Comparison:
    """Three h, and directions until every sample agrees, at most `DIRECTIONS`: of the samples that the first look left
    open, and of as many others to compare them with, where these can be run without the rest of the batch.
    """
    index = _chosen(found.wrong, own)
    rows = _rows_of(index, own, before.product.device)
    few, few_own = Function(_some(function.evaluation, index)), _some(own, index)
    d, (h,) = direction(own, 0), before.steps
    if len(index) == own.n or not _same(few.at(function.theta + h * d), before.up[0][rows], function.dtype):
        return _second_look(function, jacobian, own, before)
    seen = Looks(before.product[rows], before.steps, (before.up[0][rows],), (before.down[0][rows],))
    verdict = _second_look(few, jacobian.select(rows), few_own, seen)
    rest = _rows_of([i for i in range(own.n) if i not in index], own, before.product.device)
    slope, product = before.central()[0, rest], before.product[rest]
    agreed = _relative((slope - product).abs(), torch.maximum(slope.abs(), product.abs())) if rest.numel() else 0.0
    wrong, kinks = (tuple(sorted(index[i] for i in part)) for part in (verdict.wrong, verdict.kinks))
    return Comparison(max(agreed, verdict.difference), wrong, kinks)


def _chosen(open_: tuple[int, ...], own: Evaluation) -> list[int]:
    """The samples in question, and others, evenly spread over the batch; all where these would be most of it."""
    others = [i for i in range(own.n) if i not in open_]
    wanted = max(len(open_), CONTROLS)
    if len(open_) + wanted > own.n // 2:
        return list(range(own.n))
    return sorted([*open_, *others[:: len(others) // wanted][:wanted]])


def _some(evaluation: Evaluation, index: list[int]) -> Evaluation:
    """The function of some of the samples."""
    which = torch.tensor(index, device=evaluation.theta.device)
    choice = None if evaluation.choice is None else evaluation.choice[which]
    return replace(evaluation, inputs=take(evaluation.inputs, which), n=len(index), choice=choice)


def _same(part: Tensor, whole: Tensor, dtype: torch.dtype) -> bool:
    """Whether samples say by themselves what they say in the whole batch, up to rounding."""
    allowed = 1e3 * torch.finfo(dtype).eps * float(whole.abs().max())
    return part.shape == whole.shape and float((part - whole).abs().max()) <= allowed


def _second_look(function: Function, jacobian: TorchJacobian, own: Evaluation, before: Looks) -> Comparison:
    steps = Steps.of(precision(jacobian), function.dtype)
    values = function.at(function.theta)
    seen: list[Looks] = []
    wrong: tuple[int, ...] = ()
    kinks: tuple[int, ...] = ()
    for seed in range(DIRECTIONS):
        d = direction(own, seed)
        if seed == 0:
            more = look(function, jacobian, d, steps.others)
            more = Looks(more.product, (*more.steps, *before.steps), more.up + before.up, more.down + before.down)
        else:
            more = look(function, jacobian, d, (*steps.others, steps.first))
        order = sorted(range(3), key=lambda i: more.steps[i])
        seen.append(
            Looks(
                more.product,
                tuple(more.steps[i] for i in order),
                tuple(more.up[i] for i in order),
                tuple(more.down[i] for i in order),
            )
        )
        wrong, kinks = _judged(seen, values, steps, own)
        if not wrong:
            break
    if wrong:
        wrong, kinks = _on_several_kinks(function, jacobian, own, values, steps, wrong, kinks)
    return Comparison(_difference(seen, kinks, own), wrong, kinks)


def _judged(
    seen: list[Looks], values: Tensor, steps: Steps, own: Evaluation
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The samples that disagree in some direction, and those that agree with one-sided differences only, on a kink."""
    product = torch.stack([part.product for part in seen])[:, None]  # (directions, 1, k)
    central = torch.stack([part.central() for part in seen])  # (directions, steps, k)
    sided = torch.stack([part.sided(values) for part in seen])  # (directions, 2, steps, k)
    size = torch.maximum(product.abs(), central[:, 1:2].abs()).amax(0)[0]  # (k,)
    off = (central - product).abs()
    apart = (central[:, 1:] - central[:, :-1]).abs()
    resolved = torch.maximum(apart, apart.median(2, keepdim=True).values).amin(1)  # (directions, k)
    rounding = seen[0].rounding(steps.unit, steps.first)
    limit = torch.minimum(steps.floor * size + SAFETY * resolved, CEILING * size) + rounding
    good = off.amin(1) <= limit
    one_sided = (sided - product[:, None]).abs().amin(1)  # (directions, steps, k)
    kink = ((one_sided <= 0.1 * off) & (one_sided <= max(1e-3, steps.floor) * size + rounding)).any(1)
    bad = _samples((~good & ~kink).any(0), own)
    return bad, tuple(i for i in _samples((~good).any(0), own) if i not in bad)


def _difference(seen: list[Looks], kinks: tuple[int, ...], own: Evaluation) -> float:
    """`Checked.difference` without the samples on kinks: the worst direction, each at its best h."""
    rest = _rows_of([i for i in range(own.n) if i not in kinks], own, seen[0].product.device)
    if not rest.numel():
        return 0.0
    worst = 0.0
    for part in seen:
        product = part.product[rest]
        sizes = [(slope[rest] - product, torch.maximum(slope[rest].abs(), product.abs())) for slope in part.central()]
        worst = max(worst, min(_relative(off.abs(), size) for off, size in sizes))
    return worst


def _on_several_kinks(
    function: Function,
    jacobian: TorchJacobian,
    own: Evaluation,
    values: Tensor,
    steps: Steps,
    suspected: tuple[int, ...],
    kinks: tuple[int, ...],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Samples on several kinks at once (zero biases under a zero input), where J is on the one side of some and on
    the other side of others: single coordinates are moved instead, and each must agree with one side.
    """
    suspects = _rows_of(list(suspected), own, values.device)
    good = torch.ones_like(suspects, dtype=torch.bool)
    moved, bent = torch.zeros_like(good), torch.zeros_like(good)
    h = 2.0**-22 if function.dtype == torch.float64 else steps.first
    for d in _coordinates(own):
        part = look(function, jacobian, d, (h,))
        product, slope, sides = part.product[suspects], part.central()[0, suspects], part.sided(values)[:, 0, suspects]
        size = torch.maximum(product.abs(), torch.maximum(slope.abs(), sides.abs().amax(0)))
        allowed = max(1e-4, steps.floor) * size + part.rounding(steps.unit, h)[suspects]
        central = (slope - product).abs() <= allowed
        one = ((sides - product).abs() <= allowed).any(0)
        good &= central | one
        moved |= size > allowed
        bent |= one & ~central
    off, kinked = _samples_of(suspects[~(good & moved)], own), _samples_of(suspects[bent], own)
    wrong = tuple(i for i in suspected if i in off or i not in kinked)
    return wrong, tuple(sorted({*kinks, *suspected} - {*wrong}))


def _coordinates(own: Evaluation) -> Iterator[Tensor]:
    """Directions along single parameters, some of every tensor, or all."""
    generator = torch.Generator().manual_seed(1)
    scale = direction(own, 1)
    parts = [part for part in own.layout.slices if part.stop > part.start]
    last = parts[-1:] + parts[:-1]
    drawn = (last[turn % len(last)] for turn in range(PROBES))
    places = [(int(torch.randint(part.start, part.stop, (1,), generator=generator)), part) for part in drawn]
    if own.layout.size <= ALL:
        places = [(j, part) for part in parts for j in range(part.start, part.stop)]
    for j, part in places:
        d = torch.zeros_like(scale)
        d[j] = scale[part].abs().amax() if bool(scale[j]) else 0.0
        yield d.to(own.theta.dtype).double()


def adjoint(jacobian: TorchJacobian, own: Evaluation, function: Function, seen: Looks) -> float:
    """How far J.T nu is from the transpose of J d, relatively: <nu, J d> = <J.T nu, d> for one random nu and the d of
    the first look, less what differences cannot resolve (rows of a saturated softmax are rounding and nothing else).
    """
    generator = torch.Generator().manual_seed(2)
    product, steps = seen.product, Steps.of(precision(jacobian), function.dtype)
    nu = torch.randn(product.numel(), generator=generator, dtype=torch.float64).to(product.device)
    pull = jacobian.rmatvec(nu.to(jacobian.dtype)).double() * direction(own, 0)
    push = nu * product
    size, hidden = float(pull.norm() + push.norm()), float((nu * seen.rounding(steps.unit, steps.first)).norm())
    return max(0.0, abs(float(pull.sum()) - float(push.sum())) - hidden) / size if size else 0.0


def _relative(off: Tensor, size: Tensor) -> float:
    """|off| / |size| over all rows, or the median of it, whichever is larger."""
    total = float(size.norm())
    if total == 0.0:
        return 0.0
    single = off[size > 0] / size[size > 0]
    return max(float(off.norm()) / total, float(single.median()))


def _samples(rows: Tensor, own: Evaluation) -> tuple[int, ...]:
    """Samples with a marked row."""
    marked = rows.reshape(own.n, own.n_outputs).any(1)
    return tuple(int(i) for i in marked.nonzero()[:, 0])


def _samples_of(rows: Tensor, own: Evaluation) -> tuple[int, ...]:
    return tuple(sorted({int(row) // own.n_outputs for row in rows}))


def _rows_of(samples: list[int], own: Evaluation, device: torch.device) -> Tensor:
    """The rows of J that belong to some samples."""
    index = torch.tensor(samples, dtype=torch.long, device=device)
    return (index[:, None] * own.n_outputs + torch.arange(own.n_outputs, device=device)).reshape(-1)
