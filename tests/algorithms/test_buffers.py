"""Running statistics are a policy; and what else `unlearn` can be told: fresh networks, shares, measures, one-hot."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from exact_unlearn.algorithms import METHODS, Retrain, unlearn
from exact_unlearn.algorithms.buffers import POLICIES
from exact_unlearn.errors import ProblemError


def net(seed: int = 0, dropout: float = 0.0) -> nn.Sequential:
    module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(dropout), nn.ReLU(), nn.Linear(6, 3))
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws))
    return module.double()


def data(seed: int, size: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(size, 4, generator=draws).double() + seed, torch.arange(size) % 3


RETAIN, FORGET = data(1, 12), data(2, 6)


def statistics(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_moves_in_evaluation_mode_so_policies_are_one(method: str, policy: Any) -> None:
    plain, _ = unlearn(net().eval(), RETAIN, FORGET, method, epochs=2, batch_size=4)
    told, history = unlearn(net().eval(), RETAIN, FORGET, method, epochs=2, batch_size=4, buffers=policy)
    assert same(plain.state_dict(), told.state_dict())
    assert history.buffers == policy


@pytest.mark.parametrize("method", METHODS)
def test_frozen_moves_parameters_only_and_is_the_model_in_evaluation_mode(method: str) -> None:
    module = net().train()
    found, _ = unlearn(module, RETAIN, FORGET, method, epochs=2, batch_size=4, buffers="frozen")
    assert all(part.training for part in found.modules())
    expected, _ = unlearn(net().eval(), RETAIN, FORGET, method, epochs=2, batch_size=4)
    assert same(found.state_dict(), expected.state_dict())
    if method != "retrain":  # whose statistics are those of a fresh network
        assert same(statistics(found), statistics(module))


def test_buffers_of_other_modules_are_put_back_after_every_step() -> None:
    """Spectral normalisation turns its vectors in every forward pass of training mode."""
    module = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)
    ).double()
    frozen, _ = unlearn(module.train(), RETAIN, FORGET, "gd", epochs=3, buffers="frozen")
    used, _ = unlearn(module.train(), RETAIN, FORGET, "gd", epochs=3)
    assert same(statistics(frozen), statistics(module))
    assert not same(statistics(used), statistics(module))


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"retrain"}))
def test_statistics_follow_the_policy_by_the_formula(method: str) -> None:
    """Written out: running <- .9 running + .1 batch, for the batches that each policy forwards, in its order.

    With learning rate 0 nothing but statistics can move (MinNorm-OG's projections are switched off).
    """
    module = net().train()
    options: dict[str, Any] = {"strength": 0.0} if method == "minnorm-og" else {}
    uses = {"ga": "f", "npo": "f", "neggrad+": "rf", "salun": "rf", "scrub": "r"}.get(method, "r")
    for policy, order in (("frozen", ""), ("as-used", uses), ("both-batches", "rf")):
        found, _ = unlearn(module, RETAIN, FORGET, method, epochs=1, learning_rate=0.0, buffers=policy, **options)
        mean, variance = module[1].running_mean.clone(), module[1].running_var.clone()
        for batch in order:
            inner = module[0]((RETAIN if batch == "r" else FORGET)[0]).detach()
            mean = 0.9 * mean + 0.1 * inner.mean(0)
            variance = 0.9 * variance + 0.1 * inner.var(0)
        torch.testing.assert_close(found[1].running_mean, mean, rtol=1e-12, atol=1e-12)  # type: ignore[index]
        torch.testing.assert_close(found[1].running_var, variance, rtol=1e-12, atol=1e-12)  # type: ignore[index]
        assert int(found[1].num_batches_tracked) == len(order)  # type: ignore[index]
        assert all(torch.equal(a, b) for a, b in zip(found.parameters(), module.parameters(), strict=True))
        changed = not torch.equal(found.eval()(FORGET[0]), module.eval()(FORGET[0]))
        module.train()
        assert changed == bool(order), "a learning rate of 0 changes the model, unless buffers are frozen"


def test_a_batch_is_forwarded_once_a_step_and_teachers_move_no_statistics() -> None:
    for method in ("scrub", "npo", "salun"):
        found, history = unlearn(net().train(), RETAIN, FORGET, method, epochs=4, batch_size=3, buffers="both-batches")
        assert int(found[1].num_batches_tracked) == 2 * history.steps  # type: ignore[index]


def test_wrong_policies_and_shares() -> None:
    for options, words in (
        ({"buffers": "thawed"}, "buffers: expected one of frozen, as-used, both-batches, got 'thawed'"),
        ({"retain_share": 0.0}, r"retain_share: expected a number in \(0, 1\] or None, got 0.0"),
        ({"retain_share": 1.5}, "retain_share: expected"),
        ({"retain_share": float("nan")}, "retain_share: expected"),
        ({"retain_share": 0.01}, "retain_share: 0.01 of 12 samples are none"),
        ({"method": "retrain", "fresh": 3}, "fresh: expected a function that makes a network, got 3"),
        ({"method": "retrain", "fresh": lambda: 3}, "fresh: expected a function that returns a module, got int"),
        (
            {"method": "retrain", "fresh": lambda: nn.Sequential(nn.Linear(4, 7))},
            r"fresh: expected a network with 0.weight of shape \(6, 4\), got \(7, 4\)",
        ),
        (
            {"method": "retrain", "fresh": lambda: nn.Sequential(nn.Linear(4, 6))},
            r"fresh: expected a network with 1.weight of shape \(6,\), got none",
        ),
    ):
        with pytest.raises(ProblemError, match=words):
            unlearn(net(), RETAIN, FORGET, **options)


# --- what the method may see ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_dataset", [False, True])
def test_a_share_of_the_retain_set_is_drawn_without_replacement(as_dataset: bool) -> None:
    seen: list[Tensor] = []

    class Spy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach())
            return super().forward(x)

    retain: Any = torch.utils.data.TensorDataset(*RETAIN) if as_dataset else RETAIN
    for seed in (0, 1):
        draws = torch.Generator().manual_seed(seed)
        module = nn.Sequential(Spy(4, 3).double())
        unlearn(module, retain, FORGET, "gd", epochs=3, batch_size=2, retain_share=0.45, generator=draws)
    kinds = [torch.unique(torch.cat(part), dim=0) for part in (seen[: len(seen) // 2], seen[len(seen) // 2 :])]
    for kind in kinds:
        assert len(kind) == 5  # floor(.45 * 12)
        assert all(any(torch.equal(row, x) for x in RETAIN[0]) for row in kind)
    assert not torch.equal(*kinds)


def test_a_share_is_the_floor_of_decimal_products() -> None:
    """.29 * 100 is 28.999999999999996 in floats, and 29 samples."""
    from exact_unlearn.algorithms.samples import Samples, accessible

    samples = Samples((torch.arange(100.0), torch.arange(100)), "retain")
    assert [len(accessible(samples, share, torch.Generator())) for share in (0.29, 0.01, 0.999, 1.0)] == [
        29,
        1,
        99,
        100,
    ]


# --- fresh networks -------------------------------------------------------------------------------------------------


def test_a_factory_makes_the_fresh_network_from_the_runs_draws() -> None:
    made: list[nn.Module] = []

    def fresh() -> nn.Module:
        module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.0), nn.ReLU(), nn.Linear(6, 3)).double()
        nn.init.normal_(module[0].weight, std=7.0)
        module[1].running_mean.fill_(5.0)
        made.append(module)
        return module

    module, before = net(), torch.get_rng_state()
    found, _ = unlearn(module, RETAIN, FORGET, "retrain", epochs=0, fresh=fresh)
    again, _ = unlearn(module, RETAIN, FORGET, Retrain(fresh), epochs=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(found.state_dict(), made[0].state_dict())
    assert same(found.state_dict(), again.state_dict())
    other, _ = unlearn(
        net(), RETAIN, FORGET, "retrain", epochs=0, fresh=fresh, generator=torch.Generator().manual_seed(9)
    )
    assert not torch.equal(found[0].weight, other[0].weight)  # type: ignore[index]
    # Only the last layer may move: everything else, statistics included, stays as it was.
    part, _ = unlearn(net(), RETAIN, FORGET, "retrain", ["4"], epochs=0, fresh=fresh)
    assert torch.equal(part[4].weight, made[-1][4].weight)  # type: ignore[index]
    assert torch.equal(part[0].weight, net()[0].weight)  # type: ignore[index]
    assert same(statistics(part), statistics(net()))


# --- measures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_measures_are_taken_in_evaluation_mode_and_disturb_nothing(policy: Any) -> None:
    modes: list[bool] = []

    def accuracy(module: nn.Module) -> float:
        modes.append(any(part.training for part in module.modules()))
        assert not torch.is_grad_enabled()
        torch.rand(3)  # draws of its own
        return float((module(RETAIN[0]).argmax(1) == RETAIN[1]).double().mean())

    options: dict[str, Any] = {"epochs": 3, "batch_size": 3, "buffers": policy, "learning_rate": 0.1}
    module = net(dropout=0.4).train()
    watched, history = unlearn(module, RETAIN, FORGET, "gd", measure=accuracy, **options)
    alone, plain = unlearn(module, RETAIN, FORGET, "gd", **options)
    assert same(watched.state_dict(), alone.state_dict())
    assert all(part.training for part in watched.modules())
    assert modes == [False] * 4
    assert plain.measures == ()
    assert history.measures[0] == accuracy_of(module)
    assert history.measures[-1] == accuracy_of(watched)


def accuracy_of(module: nn.Module) -> float:
    with torch.no_grad():
        return float((module.eval()(RETAIN[0]).argmax(1) == RETAIN[1]).double().mean())


# --- targets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_labels_and_their_one_hot_rows_are_the_same_targets(loss: str) -> None:
    rows = tuple((x, torch.nn.functional.one_hot(y, 3).double()) for x, y in (RETAIN, FORGET))
    for method in ("gd", "ga", "neggrad+", "ridge", "minnorm-og"):
        options = {"rows": "all"} if method == "minnorm-og" else {}
        a, _ = unlearn(net(), RETAIN, FORGET, method, loss=loss, epochs=2, **options)
        b, _ = unlearn(net(), *rows, method, loss=loss, epochs=2, **options)
        for first, second in zip(a.parameters(), b.parameters(), strict=True):
            torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)
    with pytest.raises(ProblemError, match="is for classifiers"):
        unlearn(net(), *rows, "npo", loss=loss)


def test_squared_loss_of_labels_is_that_of_one_hot_rows_written_out() -> None:
    module = nn.Linear(4, 3).double()
    _, history = unlearn(module, RETAIN, FORGET, "gd", loss="mse", epochs=1, learning_rate=0.0)
    with torch.no_grad():
        residual = module(RETAIN[0]) - torch.eye(3).double()[RETAIN[1]]
    assert history.loss[0] == pytest.approx(float(residual.square().mean()), rel=1e-12)
