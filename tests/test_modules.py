"""A torch module at the front door: taken like any model, solved, proved, saved, checked and written back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import exact_unlearn as xu
from exact_unlearn import scalable
from exact_unlearn.certify import checker
from exact_unlearn.errors import ProblemError

N, M, H = 6, 4, 8


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(N, M, generator=torch.Generator().manual_seed(7))


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(M, H), nn.Tanh(), nn.Linear(H, 1))


def proved(problem: xu.UnlearningProblem) -> xu.Certificate:
    certificate = xu.certify(problem, xu.solve(problem))
    assert certificate.check().proved
    return certificate


# --- from a module to an answer ---------------------------------------------------------------------------------------


def test_from_a_network_to_a_certified_answer_in_the_network(net: nn.Sequential, x: torch.Tensor) -> None:
    """The last layer is affine in its parameters, so the retained outputs stay, to the rounding of float32."""
    before = net(x).detach()
    problem = xu.surrogate_problem(net, None, x, xu.L1(), free="2")
    certificate = proved(problem)
    assert certificate.write_back(net) is net
    assert torch.allclose(net(x), before, atol=1e-6)
    assert int((net[2].weight != 0).sum() + (net[2].bias != 0).sum()) <= N  # a vertex of an LP with N rows
    size = sum(float(part.detach().double().abs().sum()) for part in net.parameters())
    assert size == pytest.approx(float(certificate.upper), rel=1e-6)


def test_the_words_are_those_of_the_other_world(x: torch.Tensor) -> None:
    """A perceptron written as a module has the perceptron's J, and its problem the same optimum."""
    ours = xu.Perceptron(M, H, "tanh")
    theta = np.random.default_rng(0).standard_normal(ours.n_parameters)
    twin = nn.Sequential(nn.Linear(M, H, bias=False), nn.Tanh(), nn.Linear(H, 1, bias=False)).double()
    parts = ours.split(theta)
    with torch.no_grad():
        twin[0].weight.copy_(torch.as_tensor(parts["A"]))
        twin[2].weight.copy_(torch.as_tensor(parts["c"]))
    one = xu.surrogate_problem(ours, theta, x, xu.GroupL2("neuron"), free="c")
    other = xu.surrogate_problem(twin, None, x, xu.GroupL2("neuron"), free="2.weight")
    assert np.allclose(one.jacobian.matrix[:, one.free], other.jacobian.matrix[:, other.free], rtol=1e-12)
    assert one.regularizer.weights.size == other.regularizer.weights.size == H + 1
    assert float(proved(one).upper) == pytest.approx(float(proved(other).upper), rel=1e-12)


def test_inputs_come_as_they_are_at_hand(net: nn.Sequential, x: torch.Tensor) -> None:
    y = torch.zeros(N)
    forms: dict[str, Any] = {
        "tensor": x,
        "array": x.numpy(),
        "lists": x.tolist(),
        "tuple": (x,),
        "dict": {"input": x},
        "loader": DataLoader(TensorDataset(x, y), batch_size=4),
        "loader of inputs": DataLoader(x, batch_size=4),
        "loader of one": DataLoader(TensorDataset(x), batch_size=4),
        "loader of dicts": DataLoader([{"input": row, "labels": 0} for row in x], batch_size=4),
    }
    expected = xu.surrogate_problem(net, None, x, xu.L2()).jacobian.matrix
    for name, form in forms.items():
        found = xu.surrogate_problem(net, None, form, xu.L2()).jacobian.matrix
        assert np.array_equal(found, expected), name
    assert torch.equal(scalable.ModuleModel(net).jacobian(scalable.ModuleModel(net).theta(), forms["loader"]).dense(),
                       scalable.ModuleModel(net).jacobian(scalable.ModuleModel(net).theta(), x).dense())  # fmt: skip
    numpy_world = xu.LinearModel(M)
    assert xu.surrogate_problem(numpy_world, np.ones(M), forms["loader"], xu.L2()).n_constraints == N


def test_a_module_with_two_inputs_and_two_heads(x: torch.Tensor) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(M, 2), nn.Linear(M, 1)

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"sum": self.left(a) + self.right(b), "right": self.right(b)}

    torch.manual_seed(0)
    module = Two()
    pairs = DataLoader([((row, -row), 0.0) for row in x], batch_size=2)
    shapes = set()
    for form in ((x, -x), {"a": x, "b": -x}, pairs):
        problem = xu.surrogate_problem(module, None, form, xu.L2(), free=["left", "right.bias"])
        shapes.add((problem.n_constraints, int(problem.free.sum())))
    assert shapes == {(3 * N, 2 * M + 2 + 1)}


def test_what_interpolates_and_what_does_not(net: nn.Sequential, x: torch.Tensor) -> None:
    y = net.double()(x.double()).detach()
    xu.surrogate_problem(net, None, x, xu.L2(), y_retain=y)
    with pytest.warns(xu.InterpolationWarning, match="does not interpolate"):
        xu.surrogate_problem(net, None, x, xu.L2(), y_retain=y + 1)
    with pytest.raises(xu.ProblemError, match=r"y_retain: expected shape \(6, 1\), got \(5,\)"):
        xu.surrogate_problem(net, None, x, xu.L2(), y_retain=y[:5, 0])


def test_nothing_retained(net: nn.Sequential) -> None:
    problem = xu.surrogate_problem(net, None, torch.zeros(0, M), xu.L1())
    assert problem.n_constraints == 0
    assert proved(problem).upper == 0


# --- names and groups -------------------------------------------------------------------------------------------------


class Mixed(nn.Module):
    """Convolutions, a linear layer, attention and a normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3, groups=2)
        self.up = nn.ConvTranspose1d(4, 6, 2, groups=2)
        self.norm = nn.LayerNorm(6)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.fc = nn.Linear(6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.up(self.conv(x)).transpose(1, 2))
        out: torch.Tensor = self.fc(self.attention(x, x, x, need_weights=False)[0].mean(1))
        return out


def test_groups_cut_the_module_where_its_parts_are() -> None:
    """Switching a group off silences exactly one part: seen from the outside, at hooks, not from the labels."""
    torch.manual_seed(0)
    module = Mixed()
    model = scalable.ModuleModel(module)
    theta = model.theta()
    counts = {by: int(model.groups(by).max()) + 1 for by in ("layer", "neuron", "filter", "head")}
    assert counts == {"layer": 6, "neuron": 4 + 6 + 1, "filter": 4 + 4 + 6, "head": 4 + 1 + 2}
    x = torch.randn(3, 2, 7)

    def at(layer: nn.Module, values: torch.Tensor) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        handle = layer.register_forward_hook(lambda _m, _i, out: seen.append(out.detach()))
        torch.func.functional_call(module, model.layout.split(values), (x,))
        handle.remove()
        return seen[0]

    for layer, width in ((module.conv, 4), (module.up, 6)):
        place = next(name for name, part in module.named_children() if part is layer)
        labels = model.groups("filter")
        own = np.unique(labels[model.mask(place).numpy()])
        assert own.size == width
        silenced = []
        for group in own:
            out = at(layer, torch.where(torch.as_tensor(labels == group), 0.0, theta))
            silenced += [c for c in range(width) if bool((out[:, c] == 0).all())]
        assert sorted(silenced) == list(range(width))


def test_heads_are_cut_where_the_attention_cuts_them() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(6, 3, batch_first=True)
    model = scalable.ModuleModel(attention)
    labels, theta = model.groups("head"), model.theta()
    out_bias = model.blocks["out_proj.bias"]
    x = torch.randn(2, 5, 6)
    for group in range(3):
        kept = torch.as_tensor(labels != labels[model.blocks["in_proj_weight"]].reshape(3, 3, 2, 6)[0, group, 0, 0])
        state = model.layout.split(torch.where(kept, theta, 0.0))
        _, weights = torch.func.functional_call(attention, state, (x, x, x), {"average_attn_weights": False})
        uniform = (weights - 1 / 5).abs().amax((0, 2, 3)) < 1e-6  # no queries: every key counts alike
        assert uniform.tolist() == [head == group for head in range(3)]
        assert bool(kept[out_bias].all())


def test_names_patterns_and_tied_names(x: torch.Tensor) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Linear(M, 3), nn.Linear(M, 3)
            self.decode.weight = self.encode.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.encode(x) + self.decode(x).square()
            return out

    problem = xu.surrogate_problem(Tied(), None, x, xu.L2(), free="decode")
    assert problem.n_parameters == 3 * M + 6
    assert int(problem.free.sum()) == 3 * M + 3  # the shared matrix and decode's own bias
    same = [xu.surrogate_problem(Tied(), None, x, xu.L2(), free=free).free for free in ("decode.weight", "encode.w*")]
    assert np.array_equal(*same)
    both = xu.surrogate_problem(xu.Perceptron(M, H), np.ones(5 * H), x, xu.L2(), free=["?"])
    assert both.free.all()


# --- every Jacobian is saved and checked ------------------------------------------------------------------------------


def test_an_operator_is_saved_and_checked(
    net: nn.Sequential, x: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too large to be written out at once can still be written out when somebody asks for a file."""
    dense = xu.surrogate_problem(net, None, x, xu.L2(), free="2")
    monkeypatch.setattr("exact_unlearn.problem.MODULE_LIMIT", 0)
    problem = xu.surrogate_problem(net, None, x, xu.L2(), free="2")
    assert type(problem.jacobian).__name__ != "DenseJacobian"
    certificate = xu.certify(problem, scalable.solve(problem))
    assert certificate.check().proved
    problem.save(tmp_path / "p.npz")
    certificate.save(tmp_path / "c.json", embed_problem=True)
    assert checker.check(tmp_path / "p.npz", tmp_path / "c.json").proved
    loaded = xu.UnlearningProblem.load(tmp_path / "p.npz")
    assert np.allclose(loaded.jacobian.matrix, dense.jacobian.matrix, rtol=1e-13, atol=1e-15)
    assert float(certificate.upper) == pytest.approx(float(proved(dense).upper), rel=1e-12)
    monkeypatch.setattr("exact_unlearn.jacobian.DENSE_LIMIT", 10)
    with pytest.raises(xu.ProblemError, match=r"jacobian: 6 x 49 entries are more than the 10 .*requires_grad_"):
        problem.save(tmp_path / "q.npz")


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_mistakes_are_one_sentence(net: nn.Sequential, x: torch.Tensor) -> None:
    solution = xu.solve(xu.surrogate_problem(net, None, x, xu.L2()))
    model = scalable.ModuleModel(net)
    whole = TensorDataset(x, torch.zeros(N))
    ragged = DataLoader([torch.zeros(2), torch.zeros(3)], batch_size=1)
    three = DataLoader(TensorDataset(x, x, x), batch_size=2)
    cases: list[tuple[Any, str]] = [
        (lambda: xu.surrogate_problem(net, None, x, xu.GroupL2("filter")), "groups: 'filter'"),
        (lambda: xu.GroupL2("neurone"), "groups: expected labels, index sequences or one of layer, neuron"),
        (lambda: xu.surrogate_problem(xu.LinearModel(M), np.ones(M), x, xu.L0("head")), "groups: expected one of lay"),
        (lambda: xu.UnlearningProblem([1.0], [[1.0]], xu.GroupL2("layer")), "groups: 'layer' are groups of a model"),
        (lambda: xu.surrogate_problem(net, None, x, xu.L1(), free="fc"), "free: unknown block 'fc'; the model has 0"),
        (lambda: xu.surrogate_problem(net, None, x[:, :3], xu.L1()), "module: its forward pass on x fails"),
        (lambda: xu.surrogate_problem(net, None, None, xu.L1()), "x_retain: expected tensors"),
        (lambda: xu.surrogate_problem(net, None, DataLoader(whole, 4, drop_last=True), xu.L1()), "leaves out samples"),
        (lambda: xu.surrogate_problem(net, None, three, xu.L1()), "x_retain: expected batches .*got 3 entries"),
        (lambda: xu.surrogate_problem(net, None, ragged, xu.L1()), "x_retain: samples of different shapes"),
        (lambda: xu.surrogate_problem(net, None, DataLoader([], 2), xu.L1()), "x_retain: the DataLoader gives no"),
        (lambda: xu.surrogate_problem(net, np.ones(3), x, xu.L1()), "theta_star: expected 49 parameters .*got 3"),
        (lambda: xu.surrogate_problem(net, model.theta, x, xu.L1()), "theta_star: .*has to be called"),
        (lambda: xu.surrogate_problem(net, None, x, "l1"), "regularizer: expected an instance"),
        (lambda: xu.surrogate_problem("net", None, x, xu.L1()), "model: expected .*got str"),
        (lambda: xu.surrogate_problem(nn.Sequential, None, x, xu.L1()), "model: expected .*got type"),
        (lambda: xu.surrogate_problem(xu.LinearModel(M), None, x, xu.L1()), "theta_star: needed"),
        (lambda: scalable.write_back(solution, net), "module: expected a torch.nn.Module, got Solution"),
        (lambda: solution.write_back(nn.Linear(2, 2)), "theta: expected 6 parameters"),
        (lambda: scalable.write_back(net, model.theta), "theta: expected 49 numbers or an answer"),
        (lambda: scalable.write_back(net, None), "theta: expected 49 numbers or an answer"),
        (lambda: scalable.write_back(net, "theta"), "theta: expected real numbers"),
    ]  # fmt: skip
    for call, sentence in cases:
        with pytest.raises(xu.ExactUnlearnError, match=sentence) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_what_failed_is_not_written_back(net: nn.Sequential, x: torch.Tensor) -> None:
    problem = xu.surrogate_problem(net, None, x, xu.L2())
    solution = xu.solve(problem)
    with pytest.raises(xu.SolverError, match="write_back: there is no answer to write, for the status is infeasible"):
        solution.with_message(xu.Status.INFEASIBLE, "").write_back(net)
    certificate = xu.certify(xu.UnlearningProblem([1.0], [[0.0]], xu.L1(), rhs=[1.0]))
    with pytest.raises(xu.ProblemError, match="write_back: there is no proved point"):
        certificate.write_back(net)


def test_rows_of_a_module_that_must_not_fall() -> None:
    """The module takes its inputs apart itself, several of them too, so every output has its entry in the mask."""
    module = torch.nn.Linear(2, 3).double()
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]]).double()
    mask = np.array([[True, False, True], [False, False, True]])
    for inputs in (x, {"input": x}):
        problem = xu.surrogate_problem(module, None, inputs, xu.L1(), at_least=mask)
        assert problem.at_least.tolist() == mask.ravel().tolist()
    with pytest.raises(ProblemError, match="at_least: expected a boolean mask of 6 entries, one per output"):
        xu.surrogate_problem(module, None, x, xu.L1(), at_least=[True, False])
