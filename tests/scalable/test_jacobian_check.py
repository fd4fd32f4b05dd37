"""J of a module against differences of the whole batch, by a twin that shares no code with the check; and what the
check refuses, accepts and says.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable import KinkWarning, ModuleModel, RetainStream, project
from exact_unlearn.scalable.jacobian_core import DenseTorchJacobian, error_estimate
from exact_unlearn.scalable.jacobian_views import MixedRows, row_subset
from tests.scalable.modules import MODULES, Built, Conv1D, Mlp, in_place
from validation.naive import whole_batch_slope

ROUTES = ("auto", "layers", "samples", "products", "loop")


@contextmanager
def doubles() -> Iterator[None]:
    """torch.zeros(3) in float64, as a module in float64 needs it."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def in_double(x: Any) -> Any:
    if isinstance(x, dict):
        return {name: in_double(part) if isinstance(part, Tensor) else part for name, part in x.items()}
    return x.double() if x.is_floating_point() else x


def slope(module: nn.Module, x: Any, d: Tensor) -> Tensor:
    """The derivative along d from two pairs of runs, with the error of the first order taken out."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    parts = [part.view_as(p) for part, p in zip(d.split([p.numel() for p in parameters]), parameters, strict=True)]
    with doubles():
        near, far = (whole_batch_slope(module, x, parts, h) for h in (2.0**-12, 2.0**-11))
    return (4 * near - far) / 3


def padding(model: ModuleModel) -> Tensor:
    """1 where a parameter moves, 0 at embeddings of padding tokens, which torch holds constant."""
    moves = torch.ones(model.n_parameters).double()
    for name, layer in model.module.named_modules():
        if isinstance(layer, nn.Embedding) and layer.padding_idx is not None:
            start = model.blocks[f"{name}.weight"].start + layer.padding_idx * layer.embedding_dim
            moves[start : start + layer.embedding_dim] = 0
    return moves


@pytest.mark.parametrize("name", MODULES)
def test_right_modules_on_every_route(name: str) -> None:
    torch.manual_seed(0)
    make, inputs = MODULES[name]
    module, x = make().double(), in_double(inputs(4))
    model = ModuleModel(module)
    d = torch.randn(model.n_parameters).double() * padding(model) / 4
    expected = slope(module, x, d)
    for route in ROUTES:
        J = model.jacobian(model.theta(), x, route=route)
        assert torch.linalg.vector_norm(J.matvec(d) - expected) <= 1e-7 * torch.linalg.vector_norm(expected)
        assert 0 < error_estimate(J) <= 1e-7


def lstm(module: Any, x: Tensor) -> Tensor:
    return module.a(x)[0]


def causal(module: Any, x: Tensor) -> Tensor:
    mask = nn.Transformer.generate_square_subsequent_mask(len(x)).to(x)
    return module.a(x, x, x, attn_mask=mask)[0]


def capacity(module: Any, x: Tensor) -> Tensor:
    """Experts that take two samples each; the others get nothing."""
    weights = module.gate(x).softmax(1)
    choice = weights.argmax(1)
    place = F.one_hot(choice, 2).cumsum(0).gather(1, choice[:, None])
    out = torch.stack([expert(x) for expert in module.experts], 1)[torch.arange(len(x)), choice]
    return out * weights.gather(1, choice[:, None]) * (place <= 2)


def reentrant(module: Any, x: Tensor) -> Tensor:
    return module.b(checkpoint(module.a, x, use_reentrant=True))


def reentrant_within(module: Any, x: Tensor) -> Tensor:
    return module.b(checkpoint(module.a, module.c(x), use_reentrant=True))


class Twice(torch.autograd.Function):
    """A backward pass that is not the derivative."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * grad


def narrow(module: Any, x: Tensor) -> Tensor:
    return module.b(torch.tanh(module.a(x)).bfloat16().to(x.dtype))


def hidden(module: Any, x: Tensor) -> Tensor:
    return F.linear(x, module.kept[0])


def clipping(module: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        module.a.weight.clamp_(-0.1, 0.1)
    return module.a(x)


def augmented(module: Any, x: Tensor) -> Tensor:
    return module.a(x + torch.from_numpy(np.random.default_rng().standard_normal(x.shape)).to(x))


def linear(run: Callable[..., Any], *sizes: int, **parts: Any) -> Built:
    return Built(run, a=nn.Linear(*(sizes or (4, 2))), **parts)


def keeping(module: Built) -> Built:
    module.kept = [module.a.weight]
    return module


def two(run: Callable[..., Any], **parts: Any) -> Built:
    return Built(run, a=nn.Sequential(nn.Linear(4, 6), nn.Tanh()), b=nn.Linear(6, 2), **parts)


WRONG: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "LSTM, time first": (lambda: Built(lstm, a=nn.LSTM(3, 2)), (6, 4, 3), "second dimension behaves like the batch"),
    "causal attention, time first": (
        lambda: Built(causal, a=nn.MultiheadAttention(4, 2)), (5, 4, 4), "second dimension behaves like the batch",
    ),
    "capacity": (
        lambda: Built(capacity, gate=nn.Linear(4, 2), experts=nn.ModuleList(nn.Linear(4, 3) for _ in range(2))),
        (8, 4), "depend on the other samples",
    ),
    "cumsum": (lambda: linear(lambda s, x: s.a(x).cumsum(0)), (6, 4), "depend on the other samples"),
    "mean": (lambda: linear(lambda s, x: s.a(x) - s.a(x).mean(0)), (6, 4), "depend on the other samples"),
    "last sees first": (
        lambda: linear(lambda s, x: torch.cat([s.a(x)[:-1], s.a(x)[-1:] + s.a(x)[:1] ** 2])), (6, 4),
        "depend on the other samples",
    ),
    "positions along the batch": (
        lambda: linear(lambda s, x: s.a(x) * torch.arange(1.0, len(x) + 1)[:, None]), (6, 4),
        "depend on the other samples",
    ),
    "reentrant checkpoint": (lambda: two(reentrant), (5, 4), "use_reentrant"),
    "reentrant checkpoint within": (lambda: two(reentrant_within, c=nn.Linear(4, 4)), (5, 4), "use_reentrant"),
    "detached": (
        lambda: two(lambda s, x: s.b(s.a(x).detach())), (5, 4), r"a\.0\.weight, a\.0\.bias, but autograd gives 0",
    ),
    "backward of its own": (
        lambda: two(lambda s, x: s.b(Twice.apply(s.a(x)))), (5, 4), "J D differs from differences|torch cannot",
    ),
    "bfloat16": (lambda: two(narrow), (5, 4), "bfloat16, mixed precision"),
    "hidden reference": (lambda: keeping(linear(hidden)), (5, 4), "a.weight through a reference of its own"),
    "writes to its weights": (lambda: linear(clipping), (5, 4), "writes to its parameters|in-place operation"),
    "random augmentation": (lambda: linear(augmented), (5, 4), "two runs on the same x"),
    "complex outputs": (lambda: linear(lambda s, x: torch.complex(s.a(x), s.a(x))), (5, 4), "complex"),
    "a loss": (lambda: linear(lambda s, x: s.a(x).mean()), (5, 4), "one number for all of them"),
    "max_norm": (
        lambda: Built(lambda s, x: s.a((x > 0).long()).sum(1), a=nn.Embedding(2, 3, max_norm=1.0)), (5, 4), "max_norm",
    ),
}  # fmt: skip


def state_of(module: nn.Module) -> dict[str, Any]:
    out: dict[str, Any] = {name: value.clone() for name, value in module.state_dict().items()}
    for name, part in module.named_modules():
        out[f"{name} attributes"] = {key: id(value) for key, value in vars(part).items()}
        out[f"{name} lists"] = [[id(v) for v in value] for value in vars(part).values() if isinstance(value, list)]
    return out


def unchanged(before: dict[str, Any], after: dict[str, Any]) -> bool:
    same = lambda a, b: torch.equal(a, b) if isinstance(a, Tensor) else a == b  # noqa: E731
    return before.keys() == after.keys() and all(same(before[key], after[key]) for key in before)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", WRONG)
def test_wrong_modules_are_refused_in_one_sentence(name: str, route: str) -> None:
    torch.manual_seed(0)
    make, shape, words = WRONG[name]
    module, x = make().double(), torch.randn(shape).double()
    before, kept = state_of(module), x.clone()
    model = ModuleModel(module)
    theta = model.theta()
    with pytest.raises(ProblemError, match=words) as caught:
        model.jacobian(theta, x, route=route)
    assert len(str(caught.value).splitlines()) == 1
    assert torch.equal(x, kept)
    assert torch.equal(theta, model.theta())
    assert unchanged(before, state_of(module))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("route", ROUTES)
def test_inputs_are_never_written_to(route: str, dtype: torch.dtype) -> None:
    module, x = linear(in_place).to(dtype), torch.randn(5, 4).to(dtype)
    kept = x.clone()
    model = ModuleModel(module)
    J = model.jacobian(model.theta(), x, route=route)
    expected = torch.func.jacrev(lambda w: torch.func.functional_call(module, w, (x.clone(),)))(
        dict(module.named_parameters())
    )
    rows = torch.cat([part.reshape(10, -1) for part in expected.values()], 1)
    assert torch.equal(x, kept)
    torch.testing.assert_close(J.dense(), rows.detach())
    model.predict(model.theta(), x)
    assert torch.equal(x, kept)


def rms(module: Any, x: Tensor) -> Tensor:
    """The normalisation of a Llama: float32 whatever the rest is."""
    h = module.a(x)
    f = h.float() if module.single else h
    return module.b(torch.tanh((f * torch.rsqrt(f.square().mean(-1, keepdim=True) + 1e-6)).to(h.dtype)))


@pytest.mark.parametrize("route", ROUTES)
def test_normalisation_in_float32_is_accepted_with_its_error(route: str) -> None:
    torch.manual_seed(1)
    module, x = Built(rms, a=nn.Linear(6, 8), b=nn.Linear(8, 2)).double(), torch.randn(7, 6).double()
    found = {}
    for single in (True, False):
        module.single = single
        model = ModuleModel(module)
        J = model.jacobian(model.theta(), x, route=route)
        found[single] = J, project(J, model.theta())
    (J, result), (exact, truth) = found[True], found[False]
    off = torch.linalg.matrix_norm(J.dense() - exact.dense()) / torch.linalg.matrix_norm(exact.dense())
    assert 1e-9 < off <= error_estimate(J) <= 1e-3
    moved = torch.linalg.vector_norm(result.theta - truth.theta) / torch.linalg.vector_norm(truth.theta)
    assert moved <= result.error_estimate <= 1e-3
    assert truth.error_estimate <= 1e-8


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_on_kinks_are_named(route: str, dtype: torch.dtype) -> None:
    """One sample is 0 and so are all biases: every hidden unit of it is on its kink."""
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).to(dtype), torch.randn(5, 4).to(dtype)
    nn.init.zeros_(module[0].bias)
    x[2] = 0
    model = ModuleModel(module)
    with pytest.warns(KinkWarning, match=r"1 of the samples \(2\)"):
        J = model.jacobian(model.theta(), x, route=route)
    assert error_estimate(J) <= 1e-6
    assert [found.kinks for found in model.checked.values()] == [(2,)]
    model.jacobian(model.theta(), x, route=route)  # said once


def test_one_unit_on_its_kink_and_a_crossing_nearby() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0], [2.0, 1.0]]))
        module[0].bias.zero_()
    model = ModuleModel(module)
    with pytest.warns(KinkWarning, match=r"\(1\)"):
        J = model.jacobian(model.theta(), torch.tensor([[1.0, 3.0], [1.0, 1.0], [-1.0, 5.0]]).double())
    assert error_estimate(J) <= 1e-9
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # 1e-7 from the kink is no kink
        J = model.jacobian(model.theta(), torch.tensor([[1.0, 3.0], [1.0, 1.0 + 1e-7]]).double())
    assert error_estimate(J) <= 1e-5


def test_two_units_of_thirty_beside_their_kinks() -> None:
    """2e-11 and 2e-15 away from them, where a path may end; of some few parameters none is theirs."""
    generator = torch.Generator().manual_seed(18)
    module = nn.Sequential(nn.Linear(2, 30, bias=False), nn.ReLU(), nn.Linear(30, 1, bias=False)).double()
    x = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        for j, at in ((3, 2e-11), (18, 2e-15)):
            module[0].weight[j] += (at - module[0].weight[j] @ x[2]) * x[2] / (x[2] @ x[2])
    model = ModuleModel(module)
    with pytest.warns(KinkWarning, match=r"\(2\)"):
        J = model.jacobian(model.theta(), x)
    assert error_estimate(J) <= 1e-6


def test_a_wrong_sample_is_not_taken_for_a_kink() -> None:
    """Sample 0 sees sample 1, and is 0 itself, so all its units are on their kinks."""
    torch.manual_seed(0)

    def run(module: Any, x: Tensor) -> Tensor:
        out = module.b(F.relu(module.a(x)))
        return torch.cat([out[:1] + out[1:2] ** 2, out[1:]]) if len(x) > 1 else out

    module, x = Built(run, a=nn.Linear(4, 6, bias=False), b=nn.Linear(6, 2)).double(), torch.randn(5, 4).double()
    x[0] = 0
    model = ModuleModel(module)
    for route in ROUTES:
        with pytest.raises(ProblemError, match="depend on the other samples"):
            model.jacobian(model.theta(), x, route=route)


@pytest.mark.parametrize("route", ROUTES)
def test_the_check_is_made_once_for_a_shape_and_a_route(route: str) -> None:
    calls: list[int] = []
    module = Mlp()
    module.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    model, x = ModuleModel(module), torch.randn(6, 4)

    def runs(x: Tensor) -> int:
        calls.clear()
        model.jacobian(model.theta(), x, route=route)
        return len(calls)

    first, again = runs(x), runs(x + 1)
    assert again < first <= again + 5  # once more, in parts, on both sides of theta; and a product with J
    assert runs(x[:4]) > again - 6
    assert len(model.checked) == 2


def squeezed(width: int) -> Built:
    return Built(lambda s, x: s.b(torch.tanh(s.a(x))).squeeze(), a=nn.Linear(4, 3), b=nn.Linear(3, width))


@pytest.mark.parametrize("outputs", ["all", "argmax"])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("n", "width"), [(5, 1), (1, 1), (1, 3), (3, 3), (5, 3), (1, 5)])
def test_squeezed_heads(n: int, width: int, route: str, outputs: str) -> None:
    torch.manual_seed(0)
    module, x = squeezed(width).double(), torch.randn(n, 4).double()
    model = ModuleModel(module, outputs)
    plain = ModuleModel(Built(lambda s, x: s.b(torch.tanh(s.a(x))), a=module.a, b=module.b), outputs)
    J, expected = (each.jacobian(each.theta(), x, route=route) for each in (model, plain))
    assert J.shape == (n * (width if outputs == "all" else 1), 12 + 3 + 4 * width)
    torch.testing.assert_close(J.dense(), expected.dense())
    torch.testing.assert_close(model.predict(model.theta(), x), plain.predict(plain.theta(), x))


def test_a_sample_with_other_outputs_when_alone() -> None:
    """(5, 5) averaged over its first dimension looks like one output for each of five samples."""
    model = ModuleModel(linear(lambda s, x: s.a(x).mean(0), 4, 5))
    for route in ROUTES:
        with pytest.raises(ProblemError, match="depend on the other samples"):
            model.jacobian(model.theta(), torch.randn(5, 4), route=route)


def test_generators_and_counters_are_put_back() -> None:
    class Stateful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.calls, self.seen, self.table = nn.Linear(4, 2), 0, [], {"last": None}
            self.scale = torch.ones(2)
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.seen.append(x)
            self.table["last"] = x
            self.scale += 1
            self.count = self.count + 1
            self.extra = x
            return self.a(x) * self.scale

    module = Stateful()
    model, x = ModuleModel(module), torch.randn(4, 4)
    before = state_of(module)
    for route in ROUTES:
        assert torch.equal(model.jacobian(model.theta(), x, route=route).dense()[0, :4], 2 * x[0])
        assert (module.calls, module.seen, module.table, module.scale.tolist()) == (0, [], {"last": None}, [1.0, 1.0])
        assert unchanged(before, state_of(module))
    noisy = linear(lambda s, x: s.a(x) + torch.randn(2, generator=s.own))
    noisy.own = torch.Generator().manual_seed(5)
    state = noisy.own.get_state()
    with pytest.raises(ProblemError, match="two runs"):
        ModuleModel(noisy).jacobian(ModuleModel(noisy).theta(), x)
    assert torch.equal(noisy.own.get_state(), state)
    np.random.seed(3)  # noqa: NPY002
    legacy = np.random.get_state()[1].tolist()  # noqa: NPY002
    drawing = linear(lambda s, x: s.a(x) + np.random.rand())  # noqa: NPY002
    with pytest.raises(ProblemError, match="two runs"):
        ModuleModel(drawing).jacobian(ModuleModel(drawing).theta(), x)
    assert np.random.get_state()[1].tolist() == legacy  # noqa: NPY002


@pytest.mark.parametrize("route", ROUTES)
def test_autocast_and_inference_mode_around_us_change_nothing(route: str) -> None:
    torch.manual_seed(0)
    module, x = Mlp(), torch.randn(4, 4)
    plain = ModuleModel(module)
    J = plain.jacobian(plain.theta(), x, route=route)
    v = torch.randn(plain.n_parameters)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        model = ModuleModel(module)
        other = model.jacobian(model.theta(), x, route=route)
        product = other.matvec(v)
    assert torch.equal(other.dense(), J.dense())
    assert torch.equal(product, J.matvec(v))


def test_insisting_on_float32_is_compared_in_float32() -> None:
    module = Built(lambda s, x: s.b(torch.tanh(s.a(x)).to(torch.float32)), a=nn.Linear(4, 6), b=nn.Linear(6, 2))
    model = ModuleModel(module)
    J = model.jacobian(model.theta(), torch.randn(5, 4))
    assert 1e-7 < error_estimate(J) < 1e-2
    with pytest.raises(ProblemError, match="forward pass on x fails"):
        model.jacobian(model.theta().double(), torch.randn(5, 4))


def test_the_estimate_goes_along_with_rows_and_projections() -> None:
    matrix = torch.randn(6, 20).double()
    J = DenseTorchJacobian(matrix, 3e-4)
    views = (J.select(slice(0, 3)), row_subset(J, torch.tensor([1, 4])), MixedRows(J, torch.eye(6).double()[:2]))
    assert {error_estimate(view) for view in views} == {3e-4}
    assert error_estimate(matrix) == 0.0
    found = project(J, torch.randn(20).double())
    assert found.factor is not None
    assert found.error_estimate == pytest.approx(3e-4 * found.factor.size, rel=1e-6)
    stream = RetainStream(J, torch.randn(20).double())
    assert stream.delete([0, 1, 2, 3]).error_estimate >= 3e-4
    model = ModuleModel(Mlp().double())
    for route in ROUTES:
        J = model.jacobian(model.theta(), torch.randn(4, 4), route=route)
        assert error_estimate(J.select(torch.tensor([1, 2]))) == error_estimate(J) > 0


def test_conv1d_of_gpt2_has_a_rule() -> None:
    """By name and shape; a layer that only looks like it is noticed and differentiated sample by sample."""
    torch.manual_seed(0)
    other = type("Conv1D", (Conv1D,), {"forward": lambda s, x: F.linear(x, s.weight, s.bias)})
    for layer, way in ((Conv1D(60, 40), "layers"), (other(40, 40), "samples")):
        model, x = (
            ModuleModel(nn.Sequential(nn.Linear(4, 40), nn.Tanh(), layer, nn.Linear(layer.nf, 1))),
            torch.randn(3, 7, 4),
        )
        J, A = (model.jacobian(model.theta().double(), x, route=route) for route in ("auto", "loop"))
        A = A.dense()
        assert next(iter(model.checked.values())).way == way
        v, nu, weights = (
            torch.randn(A.shape[1]).double(),
            torch.randn(A.shape[0]).double(),
            torch.rand(A.shape[1]).double(),
        )
        torch.testing.assert_close(J.dense(), A)
        torch.testing.assert_close(J.matvec(v), A @ v)
        torch.testing.assert_close(J.rmatvec(nu), A.T @ nu)
        torch.testing.assert_close(J.gram(), A @ A.T)
        torch.testing.assert_close(J.gram(weights), (A * weights) @ A.T)
        torch.testing.assert_close(J.rows(torch.tensor([5, 2])), A[[5, 2]])
        if way == "layers":
            assert [type(block).__name__ for block in J.blocks].count("TransposedBlock") == 1


def test_sharded_and_complex_modules_are_refused() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import distribute_module

    with pytest.raises(ProblemError, match=r"weight: expected real numbers, got dtype torch.complex128"):
        ModuleModel(nn.Linear(3, 2, dtype=torch.complex128))
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        module = distribute_module(nn.Linear(3, 2), init_device_mesh("cpu", (1,)))
        with pytest.raises(ProblemError, match=r"weight is spread over processes.*scalable\.distributed"):
            ModuleModel(module)
    finally:
        dist.destroy_process_group()


def test_a_module_is_not_copied_and_not_compiled_again() -> None:
    module = copy.deepcopy(Mlp())
    model = ModuleModel(module)
    model.jacobian(model.theta(), torch.randn(3, 4))
    assert model.module is module
    assert all(parameter.grad is None for parameter in module.parameters())
