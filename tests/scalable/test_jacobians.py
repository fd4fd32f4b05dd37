"""Every route to J against the loop of backward passes, on modules that use torch in every way we could think
of.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exact_unlearn.jacobian import Jacobian
from exact_unlearn.scalable import DenseTorchJacobian, ModuleModel, TorchJacobian, as_torch_jacobian, project
from exact_unlearn.scalable.jacobian_layers import LayerJacobian
from exact_unlearn.scalable.jacobian_views import MixedRows, row_subset
from tests.scalable.modules import MODULES, Mlp, OwnLinear, TimeFirst

N = 4
ROUTES = ("layers", "samples", "products")


def made(name: str, seed: int = 0) -> tuple[ModuleModel, Tensor, object]:
    torch.manual_seed(seed)
    make, inputs = MODULES[name]
    model = ModuleModel(make())
    return model, model.theta().double(), inputs(N)


def close(found: Tensor, expected: Tensor) -> bool:
    return bool(torch.linalg.vector_norm(found - expected) <= 1e-12 * (1e-30 + torch.linalg.vector_norm(expected)))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", MODULES)
def test_route_equals_naive_twin(name: str, route: str) -> None:
    model, theta, x = made(name)
    J, expected = model.jacobian(theta, x, route=route), model.jacobian(theta, x, route="loop").dense()
    assert close(J.dense(), expected)
    by_rules = route == "layers" and name != "time first"
    assert isinstance(J, LayerJacobian) == by_rules  # the rules were right, not saved by the check against them


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", MODULES)
def test_products_and_gram_are_those_of_the_matrix(name: str, route: str) -> None:
    model, theta, x = made(name)
    J, A = model.jacobian(theta, x, route=route), model.jacobian(theta, x, route="loop").dense()
    drift, nu, weights = (
        torch.randn(A.shape[1]).double(),
        torch.randn(A.shape[0]).double(),
        torch.rand(A.shape[1]).double(),
    )
    frozen = (torch.arange(A.shape[1]) < A.shape[1] // 2).double()
    assert close(J.matvec(drift), A @ drift)
    assert close(J.matvec(theta), A @ theta)
    assert close(J.rmatvec(nu), A.T @ nu)
    assert close(J.gram(), A @ A.T)
    assert close(J.gram(weights), (A * weights) @ A.T)
    assert close(J.gram(frozen), (A * frozen) @ A.T)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", ["mlp", "conv group norm", "text", "two heads", "repeated", "functional"])
def test_rows_and_column_blocks(name: str, route: str) -> None:
    model, theta, x = made(name)
    J, A = model.jacobian(theta, x, route=route), model.jacobian(theta, x, route="loop").dense()
    chosen = torch.tensor([A.shape[0] - 1, 0, 2])
    assert close(J.rows(chosen), A[chosen])
    part = J.select(chosen)
    assert close(part.gram(), A[chosen] @ A[chosen].T)
    assert close(part.rmatvec(torch.arange(3.0).double()), A[chosen].T @ torch.arange(3.0).double())
    pieces = torch.zeros_like(A)
    for columns, block in J.column_blocks(torch.float64):
        pieces[:, columns] += block
    assert close(pieces, A)


@pytest.mark.parametrize("outputs", ["all", "argmax"])
@pytest.mark.parametrize("name", ["two heads", "repeated", "conv", "text"])
def test_largest_logit_of_each_head(name: str, outputs: str) -> None:
    torch.manual_seed(1)
    make, inputs = MODULES[name]
    module, x = make().double(), inputs(N)
    x = x.double() if x.is_floating_point() else x
    model = ModuleModel(module, outputs=outputs)
    heads = {"two heads": lambda out: [out["left"], out["more"][0]], "repeated": list}.get(name, lambda out: [out])(
        module(x)
    )
    largest = [head.max(1, keepdim=True).values for head in heads]
    values = torch.cat(largest if outputs == "argmax" else heads, 1)
    parameters = list(module.parameters())
    rows = [
        torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True) for value in values.reshape(-1)
    ]
    flat = [torch.zeros_like(p) if g is None else g for row in rows for p, g in zip(parameters, row, strict=True)]
    expected = torch.cat([g.reshape(-1) for g in flat]).reshape(values.numel(), -1)
    torch.testing.assert_close(model.predict(model.theta(), x), values.detach())
    for route in ROUTES:
        assert close(model.jacobian(model.theta(), x, route=route).dense(), expected)


def test_rules_cover_what_they_should() -> None:
    """Columns are stored for biases, and for the one weight that is used beside its layer; never for the others."""

    class Wide(nn.Module):
        def __init__(self, beside: bool) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(40, 60), nn.Linear(60, 60), nn.Linear(60, 40)
            self.beside = beside

        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(self.b(torch.tanh(self.a(x))))
            return (self.c(h) + (nn.functional.linear(h, self.a.weight.T) if self.beside else 0)).sum(1)

    x = torch.randn(N, 40)
    for beside, columns in ((False, 160), (True, 160 + 2400)):
        model = ModuleModel(Wide(beside))
        J = model.jacobian(model.theta().double(), x, route="layers")
        assert isinstance(J, LayerJacobian)
        assert J.dense_parameters == columns
        assert close(J.dense(), model.jacobian(model.theta().double(), x, route="loop").dense())


def test_a_layer_fed_time_first_is_not_misread() -> None:
    """As many steps as samples: the shapes fit, the meaning does not, and the check against one backward pass
    notices.
    """
    torch.manual_seed(0)
    model, x = ModuleModel(TimeFirst()), torch.randn(5, 5, 3)
    theta = model.theta().double()
    J = model.jacobian(theta, x, route="layers")
    assert isinstance(J, DenseTorchJacobian)
    assert close(J.dense(), model.jacobian(theta, x, route="loop").dense())


def test_subclasses_patched_and_hooked_layers_have_no_rule() -> None:
    torch.manual_seed(0)
    patched = nn.Linear(4, 3)
    patched.forward = lambda x: torch.tanh(nn.functional.linear(x, patched.weight, patched.bias))  # type: ignore[method-assign]
    hooked = nn.Linear(3, 3)
    hooked.register_forward_hook(lambda module, inputs, output: 2 * output)
    model = ModuleModel(nn.Sequential(patched, hooked, OwnLinear(3, 2)))
    theta, x = model.theta().double(), torch.randn(N, 4)
    J = model.jacobian(theta, x, route="layers")
    assert isinstance(J, LayerJacobian)
    assert J.dense_parameters == model.n_parameters
    assert close(J.dense(), model.jacobian(theta, x, route="loop").dense())


def test_operations_without_batching_rules_fall_back_to_the_loop() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3))

        def forward(self, x: Tensor) -> Tensor:
            total = (x * self.weight).sum(1, keepdim=True)
            return total if float(total.detach().sum()) > -1e9 else -total  # data-dependent: vmap refuses

    model, x = ModuleModel(Branch()), torch.randn(N, 3)
    J = model.jacobian(model.theta().double(), x, route="samples")
    torch.testing.assert_close(J.dense(), x.double())


def test_chunks_do_not_matter() -> None:
    model, theta, x = made("two heads")
    whole = model.jacobian(theta, x, route="samples").dense()
    assert all(close(model.jacobian(theta, x, route="samples", chunk=c).dense(), whole) for c in (1, 3))


@pytest.mark.parametrize("route", [*ROUTES, "loop"])
def test_float32_is_float32(route: str) -> None:
    model, theta, x = made("conv group norm")
    single = model.jacobian(theta.float(), x, route=route)
    assert single.dtype == torch.float32
    assert single.matvec(theta.float()).dtype == torch.float32
    expected = model.jacobian(theta, x, route="loop").dense()
    assert torch.linalg.vector_norm(single.dense() - expected) <= 1e-5 * torch.linalg.vector_norm(expected)


@pytest.mark.parametrize("route", ROUTES)
def test_the_numpy_door(route: str) -> None:
    """Arrays in, float64 arrays out: a torch Jacobian is a Jacobian like any other."""
    model, theta, x = made("two heads")
    J = model.jacobian(theta.float(), x, route=route)
    assert isinstance(J, Jacobian)
    assert isinstance(J, TorchJacobian)
    A = J.dense().double().numpy()
    for found, expected in (
        (J.matvec(theta.numpy()), A @ theta.numpy()),
        (J.rmatvec(np.arange(float(len(A)))), A.T @ np.arange(float(len(A)))),
    ):
        assert isinstance(found, np.ndarray)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_projection_does_not_depend_on_the_route() -> None:
    model, theta, x = made("conv group norm")
    results = [project(model.jacobian(theta, x, route=route), theta) for route in (*ROUTES, "loop")]
    assert len({result.rank for result in results}) == 1
    for result in results[:-1]:
        gap = torch.linalg.vector_norm(result.theta - results[-1].theta) / torch.linalg.vector_norm(results[-1].theta)
        assert gap <= result.error_estimate + results[-1].error_estimate


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dense_gram_by_panels(dtype: torch.dtype) -> None:
    """More rows than fit one panel, more columns than fit one chunk."""
    rows = torch.randn(230, 3001, dtype=dtype)
    J = DenseTorchJacobian(rows)
    exact = rows.double() @ rows.double().T
    assert torch.linalg.matrix_norm(J.gram() - exact) <= (
        1e-6 if dtype == torch.float32 else 1e-14
    ) * torch.linalg.matrix_norm(exact)
    assert close(J.gram(dtype=torch.float64), exact)
    weights = torch.rand(3001).double()
    assert close(J.gram(weights, torch.float64), (rows.double() * weights) @ rows.double().T)


def test_views_of_rows() -> None:
    rows, mix, v = torch.randn(9, 40).double(), torch.randn(3, 9).double(), torch.randn(40).double()
    J = DenseTorchJacobian(rows)
    index = torch.tensor([7, 2, 3])
    for view, expected in ((row_subset(J, index), rows[index]), (MixedRows(J, mix), mix @ rows)):
        assert close(view.dense(), expected)
        assert close(view.matvec(v), expected @ v)
        assert close(view.rmatvec(torch.ones(3).double()), expected.sum(0))
        assert close(view.gram(v**2), (expected * v**2) @ expected.T)
        assert close(torch.cat([block for _, block in view.column_blocks()], 1), expected)
    twice = row_subset(row_subset(J, index), torch.tensor([2, 0]))
    assert close(twice.dense(), rows[[3, 7]])


def test_as_torch_jacobian_shares_memory_and_widens() -> None:
    array = np.random.default_rng(0).standard_normal((3, 5))
    J = as_torch_jacobian(array)
    assert np.shares_memory(J.dense().numpy(), array)
    assert as_torch_jacobian(torch.ones(2, 3, dtype=torch.bfloat16)).dtype == torch.float32
    assert as_torch_jacobian(np.ones((2, 3), dtype=int)).dtype == torch.float64
    assert as_torch_jacobian(array[:, ::-1]).dense().tolist() == array[:, ::-1].tolist()
    assert as_torch_jacobian(J) is J


def test_a_module_without_influence_has_a_zero_jacobian() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.sign(self.layer(x)) * x[:, :2]

    model = ModuleModel(Constant())
    for route in (*ROUTES, "loop"):
        J = model.jacobian(model.theta(), torch.randn(N, 4), route=route)
        assert not J.dense().any()
        assert project(J, model.theta()).rank == 0


def test_mlp_twin_by_hand() -> None:
    """A Jacobian written out by the chain rule, so that not every comparison is with autograd."""
    torch.manual_seed(0)
    module = Mlp().double()
    x = torch.randn(N, 4).double()
    h1 = module.first(x)
    h2 = module.second(nn.functional.silu(h1))
    slope = lambda h: torch.sigmoid(h) * (1 + h * (1 - torch.sigmoid(h)))  # noqa: E731
    up = module.last.weight[None] * slope(h2)[:, None]  # (n, 2, 5)
    down = (up @ module.second.weight) * slope(h1)[:, None]  # (n, 2, 6)
    outer = lambda d, a: (d[..., None] * a[:, None, None]).flatten(2)  # noqa: E731
    eye = torch.eye(2).double().expand(N, 2, 2)
    parts = [
        outer(down, x), down, outer(up, nn.functional.silu(h1)), outer(eye, nn.functional.silu(h2)), eye,
    ]  # fmt: skip
    expected = torch.cat(parts, 2).flatten(0, 1).detach()
    model = ModuleModel(module)
    assert close(model.jacobian(model.theta(), x).dense(), expected)


@pytest.mark.parametrize("route", ["auto", "samples"])
def test_where_a_batching_rule_of_torch_is_wrong_another_way_is_taken(route: str) -> None:
    """torch.func.vmap of the derivative of PReLU by its one weight is wrong for as many samples as outputs (2.13)."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 3), nn.PReLU(), nn.Linear(3, 2)).double()
    x = torch.randn(2, 4).double()
    model = ModuleModel(module)
    J = model.jacobian(model.theta(), x, route=route)
    rows = [torch.autograd.grad(f, list(module.parameters()), retain_graph=True) for f in module(x).reshape(-1)]
    right = torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])
    columns = [J.matvec(column) for column in torch.eye(model.n_parameters, dtype=torch.float64)]
    assert torch.allclose(torch.stack(columns, 1), right, atol=1e-12)
