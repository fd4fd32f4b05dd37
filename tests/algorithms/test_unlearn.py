"""What `unlearn` promises for every method: the caller's model is untouched, frozen is frozen, draws are explicit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from exact_unlearn.algorithms import METHODS, MinNormOG, unlearn
from exact_unlearn.algorithms.samples import Samples, balanced_indices, pairs
from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable.jacobian_check import first_look


def net(seed: int = 0) -> nn.Module:
    """A classifier with everything that could leak: batch statistics, dropout, a buffer."""
    module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.ReLU(), nn.Linear(6, 3))
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws))
    return module


def data(seed: int, size: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(size, 4, generator=draws), torch.randint(0, 3, (size,), generator=draws)


RETAIN, FORGET = data(1, 12), data(2, 6)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("method", METHODS)
def test_module_modes_buffers_gradients_and_global_draws_are_untouched(method: str, training: bool) -> None:
    module = net().train(training)
    module[0].bias.requires_grad_(False)  # type: ignore[index, union-attr]
    module[4].weight.grad = torch.ones(3, 6)  # type: ignore[index]
    before, global_draws = state(module), torch.get_rng_state()
    unlearned, history = unlearn(module, RETAIN, FORGET, method, epochs=2, batch_size=2)
    assert same(state(module), before)
    assert module.training == training
    assert torch.equal(module[4].weight.grad, torch.ones(3, 6))  # type: ignore[index, arg-type]
    assert all(p.grad is None for p in unlearned.parameters())
    assert torch.equal(torch.get_rng_state(), global_draws)
    assert unlearned.training == training
    assert [p.requires_grad for p in unlearned.parameters()] == [p.requires_grad for p in module.parameters()]
    assert torch.equal(unlearned[0].bias, module[0].bias)  # type: ignore[index]
    assert not same(state(unlearned), before)
    assert history.steps == 6  # two epochs of three forget batches


@pytest.mark.parametrize("method", METHODS)
def test_equal_generators_give_equal_results(method: str) -> None:
    def run(seed: int) -> dict[str, Tensor]:
        draws = torch.Generator().manual_seed(seed)
        return state(unlearn(net(), RETAIN, FORGET, method, epochs=2, batch_size=3, generator=draws)[0])

    assert same(run(1), run(1))
    assert not same(run(1), run(2))


@pytest.mark.parametrize("method", METHODS)
def test_frozen_means_frozen(method: str) -> None:
    module = net().eval()
    total = sum(p.numel() for p in module.parameters())
    mask = torch.rand(total, generator=torch.Generator().manual_seed(3)) < 0.5
    for free in (["4.weight"], ["4"], "0.*", mask):
        unlearned, _ = unlearn(module, RETAIN, FORGET, method, free, epochs=3, learning_rate=0.1, weight_decay=0.1)
        names = [name for name, _ in module.named_parameters()]
        chosen = {"4.weight": ["4.weight"], "4": ["4.weight", "4.bias"], "0.*": ["0.weight", "0.bias"]}
        may = (
            mask
            if isinstance(free, Tensor)
            else torch.cat(
                [
                    torch.full((p.numel(),), n in chosen[free[0] if isinstance(free, list) else free])
                    for n, p in zip(names, module.parameters(), strict=True)
                ]
            )
        )
        old, new = (torch.nn.utils.parameters_to_vector(m.parameters()).detach() for m in (module, unlearned))
        assert torch.equal(old[~may], new[~may])
        assert not torch.equal(old[may], new[may])


def test_datasets_and_tensors_are_the_same_samples() -> None:
    as_tensors, _ = unlearn(net().eval(), RETAIN, FORGET, "neggrad+", epochs=2, batch_size=2)
    as_datasets, _ = unlearn(
        net().eval(), TensorDataset(*RETAIN), TensorDataset(*FORGET), "neggrad+", epochs=2, batch_size=2
    )
    assert same(state(as_tensors), state(as_datasets))


def test_zero_epochs_change_nothing_and_progress_is_told() -> None:
    module, told = net(), []
    unlearned, history = unlearn(module, RETAIN, FORGET, "gd", epochs=0)
    assert same(state(unlearned), state(module))
    assert history.loss == ()
    _, history = unlearn(module, RETAIN, FORGET, "gd", epochs=3, progress=lambda t, loss: told.append((t, loss)))
    assert told == [(t + 1, loss) for t, loss in enumerate(history.loss)]


# --- MinNorm-OG's schedule -----------------------------------------------------------------------------------------


def test_projections_happen_on_schedule_with_decaying_strength() -> None:
    method = MinNormOG(strength=0.8, decay=0.5, final_epochs=3, project_every=2)
    _, history = unlearn(net().eval(), RETAIN, FORGET, method, epochs=8)
    assert [record["epoch"] for record in history.projections] == [0, 2, 4]
    assert [record["strength"] for record in history.projections] == [0.8, 0.4, 0.2]
    assert all(record["distance"] > 0 for record in history.projections)
    assert all(0 < record["error"] < 1e-4 for record in history.projections)
    _, history = unlearn(net().eval(), RETAIN, FORGET, MinNormOG(final_epochs=8), epochs=8)
    assert history.projections == ()


def test_projection_comes_before_the_gradient_that_is_taken_where_it_leads() -> None:
    """One epoch by hand: project, then the gradient there, then AdamW; the other orders give something else."""
    torch_module = net().double().eval()
    x, y = RETAIN[0].double(), RETAIN[1]
    projected, _ = unlearn(torch_module, (x, y), FORGET, epochs=1, learning_rate=0.0, strength=0.5)
    both, _ = unlearn(torch_module, (x, y), FORGET, epochs=1, learning_rate=0.1, strength=0.5)

    def step(at: nn.Module, gradient_at: nn.Module) -> Tensor:
        gradient = torch.autograd.grad(nn.functional.cross_entropy(gradient_at(x), y), list(gradient_at.parameters()))
        moved = copy.deepcopy(at)
        optimizer = torch.optim.AdamW(moved.parameters(), lr=0.1)
        for parameter, piece in zip(moved.parameters(), gradient, strict=True):
            parameter.grad = piece
        optimizer.step()
        return torch.nn.utils.parameters_to_vector(moved.parameters()).detach()

    found = torch.nn.utils.parameters_to_vector(both.parameters()).detach()
    torch.testing.assert_close(found, step(projected, projected), rtol=1e-9, atol=1e-9)
    assert (found - step(projected, torch_module)).abs().max() > 1e-3


def test_gradients_are_those_of_evaluation_mode_and_of_the_largest_logit() -> None:
    module = net().double().train()
    x, y = RETAIN[0].double(), RETAIN[1]
    moved, _ = unlearn(module, (x, y), FORGET, epochs=1, learning_rate=0.0, strength=1.0, rows="largest")
    twin = copy.deepcopy(module).eval()
    rows = []
    for sample in x:
        logit = twin(sample.unsqueeze(0)).max()
        rows.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(logit, list(twin.parameters()))]))
    jacobian = torch.stack(rows)
    theta = torch.nn.utils.parameters_to_vector(module.parameters()).detach()
    expected = torch.linalg.pinv(jacobian) @ (jacobian @ theta)
    found = torch.nn.utils.parameters_to_vector(moved.parameters()).detach()
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


# --- batches and subsets --------------------------------------------------------------------------------------------


def test_an_epoch_is_a_pass_over_forget_beside_retain_batches_of_equal_size() -> None:
    x, z = torch.arange(7.0), torch.arange(5.0)
    draws = torch.Generator().manual_seed(0)
    epochs = [list(e) for e in pairs(Samples((x, x), "retain"), Samples((z, z), "forget"), 2, 7, draws)]
    for epoch in epochs:
        assert sorted(torch.cat([forget.x for _, forget in epoch]).tolist()) == z.tolist()
        assert [len(retain) for retain, _ in epoch] == [len(forget) for _, forget in epoch] == [2, 2, 1]
    used = torch.cat([retain.x for epoch in epochs for retain, _ in epoch])
    # 35 samples in 5 passes over 7: each pass uses every sample once, across batch and epoch borders.
    assert all(sorted(part.tolist()) == x.tolist() for part in used.split(7))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 20])
def test_balanced_subsets_are_balanced_and_never_empty(count: int) -> None:
    labels = torch.tensor([0] * 10 + [1] * 3 + [2] * 7 + [9])
    for seed in range(20):
        chosen = balanced_indices(labels, count, torch.Generator().manual_seed(seed))
        assert len(chosen) == min(count, len(labels)) > 0
        assert len(set(chosen.tolist())) == len(chosen)
        taken = {int(label): int((labels[chosen] == label).sum()) for label in labels.unique()}
        most = max(taken.values())
        for label, number in taken.items():
            # A class lags behind only if it has no more to give, and otherwise by one turn at most.
            assert number >= min(most - 1, int((labels == label).sum()))


def test_two_hundred_classes_and_fifty_samples() -> None:
    labels = torch.arange(200).repeat(3)
    chosen = balanced_indices(labels, 50, torch.Generator().manual_seed(0))
    assert len(labels[chosen].unique()) == 50


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"retain": 3}, "retain: expected"),
        ({"retain": (RETAIN[0], FORGET[1])}, "retain: 12 inputs but 6 targets"),
        ({"retain": (RETAIN[0], (RETAIN[1], RETAIN[1]))}, "targets: the model has 1 heads, but 2 were given"),
        ({"free": ["nothing"]}, "free: no parameter is called 'nothing'"),
        ({"free": torch.ones(3, dtype=torch.bool)}, "free: expected names or a boolean mask"),
        ({"free": []}, "free: no parameter may move"),
        ({"epochs": -1}, "epochs"),
        ({"batch_size": 0}, "batch_size: expected a positive integer or None"),
        ({"loss": "hinge"}, "loss: expected a function or one of cross-entropy, mse"),
        ({"loss": ["mse", "mse"]}, "loss: expected one per head"),
        ({"forget": (FORGET[0][:0], FORGET[1][:0]), "batch_size": 2}, "forget: an epoch"),
    ],
)
def test_wrong_arguments_are_one_clear_sentence(arguments: dict[str, Any], words: str) -> None:
    full = {"retain": RETAIN, "forget": FORGET, "method": "gd", **arguments}
    with pytest.raises(ProblemError, match=words):
        unlearn(net(), **full)


@pytest.mark.parametrize("method", ["gd", "ga", "neggrad+", "scrub", "npo", "salun", "minnorm-og"])
def test_an_empty_set_is_no_accident(method: str) -> None:
    nothing = (RETAIN[0][:0], RETAIN[1][:0])
    for retain, forget in ((RETAIN, nothing), (nothing, FORGET)):
        unlearned, history = unlearn(net().eval(), retain, forget, method, epochs=2)
        assert all(bool(torch.isfinite(p).all()) for p in unlearned.parameters())
        assert len(history.loss) == 2


class ClassAndValue(nn.Module):
    """A head of three classes and a head of two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.label, self.value = nn.Linear(4, 5), nn.Linear(5, 3), nn.Linear(5, 2)
        draws = torch.Generator().manual_seed(9)
        self.double()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=draws))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.body(x))
        return self.label(hidden), self.value(hidden)


@pytest.mark.parametrize("free", [None, ["body"], "mask"])
@pytest.mark.parametrize("rows", [None, "all", "largest"])
def test_rows_of_the_projection_head_by_head(rows: Any, free: Any) -> None:
    """Class heads give their largest logit and value heads every output, unless told otherwise."""
    module = ClassAndValue()
    x, labels = RETAIN[0][:2].double(), RETAIN[1][:2]
    targets = (labels, torch.zeros(2, 2).double())
    size = sum(p.numel() for p in module.parameters())
    mask = torch.ones(size, dtype=torch.bool)
    if free == "mask":
        mask = free = torch.rand(size, generator=torch.Generator().manual_seed(1)) < 0.7
    elif free:
        mask[25:] = False
    data = (x, targets)
    moved, _ = unlearn(module, data, data, free=free, epochs=1, learning_rate=0.0, strength=1.0, rows=rows)
    gradients = []
    for sample in x:
        label, value = module(sample.unsqueeze(0))
        scalars = [label.max()] if rows in (None, "largest") else list(label[0])
        scalars += [value.max()] if rows == "largest" else list(value[0])
        for scalar in scalars:
            pieces = torch.autograd.grad(
                scalar, list(module.parameters()), retain_graph=True, allow_unused=True, materialize_grads=True
            )
            gradients.append(torch.cat([piece.reshape(-1) for piece in pieces])[mask])
    jacobian = torch.stack(gradients)
    theta, found = (torch.nn.utils.parameters_to_vector(m.parameters()).detach() for m in (module, moved))
    assert torch.equal(found[~mask], theta[~mask])
    expected = torch.linalg.pinv(jacobian) @ (jacobian @ theta[mask])
    torch.testing.assert_close(found[mask], expected, rtol=1e-8, atol=1e-9)


def test_gradients_of_heads_of_both_kinds_that_depend_on_one_another() -> None:
    """Samples that occur twice retain no more than once."""
    module, x = ClassAndValue(), RETAIN[0][:3].double()
    found = []
    for times in (1, 2):
        many, targets = x.repeat(times, 1), (RETAIN[1][:3].repeat(times), torch.zeros(3 * times, 2).double())
        data = (many, targets)
        moved, history = unlearn(module, data, data, epochs=1, learning_rate=0.0, strength=1.0)
        found.append(torch.nn.utils.parameters_to_vector(moved.parameters()).detach())
        assert history.projections[0]["error"] < 1e-8
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rows", [None, "all", "largest"])
def test_gradients_are_held_against_differences_once(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where heads of both kinds are taken one by one; samples that see one another are refused."""
    checks: list[int] = []

    def counted(*arguments: Any) -> Any:
        checks.append(1)
        return first_look(*arguments)

    monkeypatch.setattr("exact_unlearn.scalable.module.first_look", counted)
    module, x = ClassAndValue(), RETAIN[0].double()
    data = (x, (RETAIN[1], torch.zeros(len(x), 2).double()))
    _, history = unlearn(module, data, data, epochs=5, rows=rows)
    assert len(history.projections) == 5
    assert len(checks) == (2 if rows is None else 1)

    class Coupled(ClassAndValue):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            label, value = super().forward(x)
            return label, value.cumsum(0)

    with pytest.raises(ProblemError, match="depend on the other samples"):
        unlearn(Coupled(), data, data, epochs=1, rows=rows)


def test_minnorm_og_in_the_other_order_descends_and_then_projects() -> None:
    """One epoch of "descend-project" is one of gradient descent, then a projection that moves alone."""
    settings: dict[str, Any] = {"strength": 0.7, "n_perturb": 12, "rows": "all"}
    still = {"learning_rate": 0.0, "weight_decay": 0.0, "epochs": 1}
    module = net().double().eval()
    retain, forget = ((x.double(), y) for x, y in (RETAIN, FORGET))
    both, history = unlearn(
        module, retain, forget, MinNormOG(**settings, order="descend-project"), epochs=1, learning_rate=0.1
    )
    half, _ = unlearn(module, retain, forget, "gd", epochs=1, learning_rate=0.1)
    parts, _ = unlearn(half, retain, forget, MinNormOG(**settings), **still)
    for first, second in zip(both.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)
    other, _ = unlearn(module, retain, forget, MinNormOG(**settings), epochs=1, learning_rate=0.1)
    assert not torch.equal(other[0].weight, both[0].weight)  # type: ignore[index]
    assert [record["step"] for record in history.projections] == [0]


def test_both_orders_project_equally_often() -> None:
    def told(order: str) -> list[tuple[float, float, float]]:
        method = MinNormOG(strength=0.8, decay=0.5, final_epochs=3, project_every=2, order=order)  # type: ignore[arg-type]
        _, history = unlearn(net().eval(), RETAIN, FORGET, method, epochs=8, batch_size=3)
        return [(record["step"], record["epoch"], record["strength"]) for record in history.projections]

    assert told("descend-project") == told("project-descend")
    with pytest.raises(ProblemError, match="order: expected 'project-descend'"):
        MinNormOG(order="both")  # type: ignore[arg-type]
