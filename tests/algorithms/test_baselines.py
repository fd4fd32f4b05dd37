"""Every baseline against its formula, written out again with explicit probabilities, and against near misses of it.

The trajectory of `unlearn` must be that of AdamW on the formula, and must not be that of a formula with one line
changed
(a sign, the teacher, the schedule, the direction of the divergence): what a wrong line would pass proves nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from exact_unlearn.algorithms import GA, SCRUB, MinNormOG, NegGradPlus, SalUn, unlearn
from exact_unlearn.errors import ProblemError

EPOCHS, RATE = 6, 0.05
Objective = Callable[[nn.Module, nn.Module, int], Tensor]
"""(module, frozen teacher, epoch) -> what the step descends."""


def classifier(seed: int = 0, classes: int = 3) -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, classes)).double()
    return drawn(module, seed)


def drawn(module: nn.Module, seed: int) -> nn.Module:
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws))
    return module


def data(seed: int, size: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(size, 4, generator=draws).double(), torch.randint(0, classes, (size,), generator=draws)


RETAIN, FORGET = data(1, 8), data(2, 5)


def pi(module: nn.Module, x: Tensor) -> Tensor:
    return torch.softmax(module(x), dim=1)


def nll(module: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    return -pi(module, x)[torch.arange(len(y)), y].log().mean()


def forward_kl(teacher: nn.Module, module: nn.Module, x: Tensor) -> Tensor:
    """KL(pi_teacher || pi_module)."""
    p, q = pi(teacher, x), pi(module, x)
    return (p * (p / q).log()).sum(1).mean()


def size_of(module: nn.Module, power: int) -> Tensor:
    return torch.stack([p.abs().pow(power).sum() for p in module.parameters()]).sum()


def scrub(ascent: float, distill: float, end: int, direction: str = "forward", parity: int = 0) -> Objective:
    def objective(module: nn.Module, teacher: nn.Module, t: int) -> Tensor:
        def divergence(x: Tensor) -> Tensor:
            if direction == "forward":
                return forward_kl(teacher, module, x)
            return forward_kl(module, teacher, x)

        if t % 2 == parity or t >= EPOCHS - end:
            return nll(module, RETAIN) + distill * divergence(RETAIN[0])
        return -ascent * divergence(FORGET[0])

    return objective


def npo(beta: float, flip: float = 1.0, live_teacher: bool = False) -> Objective:
    def objective(module: nn.Module, teacher: nn.Module, t: int) -> Tensor:
        x, y = FORGET
        rows = torch.arange(len(y))
        old = pi(copy.deepcopy(module) if live_teacher else teacher, x)[rows, y].detach()
        ratio = pi(module, x)[rows, y] / old
        return 2 / beta * (1 + ratio ** (flip * beta)).log().mean()

    return objective


CASES: dict[str, tuple[dict[str, Any], Objective, dict[str, Objective]]] = {
    "gd": (
        {},
        lambda m, s, t: nll(m, RETAIN),
        {"ascent": lambda m, s, t: -nll(m, RETAIN), "forget set": lambda m, s, t: nll(m, FORGET)},
    ),
    "ga": (
        {},
        lambda m, s, t: -nll(m, FORGET),
        {"descent": lambda m, s, t: nll(m, FORGET), "retain set": lambda m, s, t: -nll(m, RETAIN)},
    ),
    "neggrad+": (
        {"ascent": 0.3},
        lambda m, s, t: nll(m, RETAIN) - 0.3 * nll(m, FORGET),
        {
            "plus": lambda m, s, t: nll(m, RETAIN) + 0.3 * nll(m, FORGET),
            "convex combination": lambda m, s, t: 0.7 * nll(m, RETAIN) - 0.3 * nll(m, FORGET),
        },
    ),
    "ridge": (
        {"strength": 0.5, "decay": 0.6},
        lambda m, s, t: nll(m, RETAIN) + 0.5 * 0.6**t * size_of(m, 2),
        {
            "half": lambda m, s, t: nll(m, RETAIN) + 0.25 * 0.6**t * size_of(m, 2),
            "decay one late": lambda m, s, t: nll(m, RETAIN) + 0.5 * 0.6 ** max(t - 1, 0) * size_of(m, 2),
            "no decay": lambda m, s, t: nll(m, RETAIN) + 0.5 * size_of(m, 2),
        },
    ),
    "l1-sparse": (
        {"strength": 0.1},
        lambda m, s, t: nll(m, RETAIN) + 2 * (1 - t / EPOCHS) * 0.1 * size_of(m, 1),
        {
            "one step late": lambda m, s, t: nll(m, RETAIN) + 2 * (1 - max(t - 1, 0) / EPOCHS) * 0.1 * size_of(m, 1),
            "zero at the last": lambda m, s, t: nll(m, RETAIN) + 2 * (1 - t / (EPOCHS - 1)) * 0.1 * size_of(m, 1),
            "constant": lambda m, s, t: nll(m, RETAIN) + 0.1 * size_of(m, 1),
        },
    ),
    "scrub": (
        {"ascent": 0.4, "distill": 0.7, "final_epochs": 1},
        scrub(0.4, 0.7, 1),
        {
            "reverse divergence": scrub(0.4, 0.7, 1, direction="reverse"),
            "odd first": scrub(0.4, 0.7, 1, parity=1),
            "descent": scrub(-0.4, 0.7, 1),
            "no final epochs": scrub(0.4, 0.7, 0),
            "knobs exchanged": scrub(0.7, 0.4, 1),
        },
    ),
    "npo": (
        {"beta": 0.5},
        npo(0.5),
        {"ratio upside down": npo(0.5, flip=-1), "moving teacher": npo(0.5, live_teacher=True), "beta 1": npo(1.0)},
    ),
}


def theta_of(module: nn.Module) -> Tensor:
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach()


def descend(objective: Objective) -> Tensor:
    """AdamW on a formula from the common starting point."""
    module, teacher = classifier(), classifier()
    optimizer = torch.optim.AdamW(module.parameters(), lr=RATE)
    for t in range(EPOCHS):
        optimizer.zero_grad()
        objective(module, teacher, t).backward()
        optimizer.step()
    return theta_of(module)


@pytest.mark.parametrize("method", CASES)
def test_method_follows_its_formula_and_no_near_miss(method: str) -> None:
    knobs, right, wrong = CASES[method]
    unlearned, _ = unlearn(classifier(), RETAIN, FORGET, method, epochs=EPOCHS, learning_rate=RATE, **knobs)
    theta = theta_of(unlearned)
    torch.testing.assert_close(theta, descend(right), rtol=1e-9, atol=1e-9)
    for name, objective in wrong.items():
        assert (theta - descend(objective)).abs().max() > 1e-4, name


def test_noise_is_added_to_the_gradient_of_every_coordinate() -> None:
    # With a huge noise the gradient hardly counts, and the first AdamW step is the sign of the noise.
    module, draws = classifier(), torch.Generator().manual_seed(7)
    unlearned, _ = unlearn(module, RETAIN, FORGET, "ngd", epochs=1, weight_decay=0, generator=draws, noise=1e9)
    step = theta_of(unlearned) - theta_of(module)
    torch.testing.assert_close(step.abs(), torch.full_like(step, 1e-3), rtol=1e-5, atol=0)
    assert 0.2 < float((step > 0).double().mean()) < 0.8
    silent, _ = unlearn(module, RETAIN, FORGET, "ngd", epochs=3, noise=0.0)
    plain, _ = unlearn(module, RETAIN, FORGET, "gd", epochs=3)
    assert torch.equal(theta_of(silent), theta_of(plain))


# --- retrain --------------------------------------------------------------------------------------------------------


def test_retrain_remembers_nothing_of_theta_star() -> None:
    results = [theta_of(unlearn(classifier(seed), RETAIN, FORGET, "retrain", epochs=3)[0]) for seed in (0, 1)]
    assert torch.equal(results[0], results[1])
    start, _ = unlearn(classifier(), RETAIN, FORGET, "retrain", epochs=0)
    assert float(theta_of(start).abs().max()) <= 0.5  # torch's default: at most 1/sqrt(fan in), fan in 4 or 5


def test_retrain_keeps_frozen_parameters_and_refuses_parts_that_cannot_start_anew() -> None:
    module = classifier()
    unlearned, _ = unlearn(module, RETAIN, FORGET, "retrain", free=["2"], epochs=2)
    assert torch.equal(unlearned[0].weight, module[0].weight)  # type: ignore[index]
    assert not torch.equal(unlearned[2].weight, module[2].weight)  # type: ignore[index]

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4, 3).double())

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.scale

    with pytest.raises(ProblemError, match=r"Bare.*no reset_parameters"):
        unlearn(Bare(), RETAIN, FORGET, "retrain")


def test_retrain_leaves_running_statistics_alone_where_nothing_may_move() -> None:
    """A frozen body without its statistics would be another network."""
    norms = nn.BatchNorm1d(5), nn.BatchNorm1d(5, affine=False)
    module = nn.Sequential(nn.Linear(4, 5), *norms, nn.Linear(5, 3)).double()
    module.train()(RETAIN[0])
    module.eval()
    head_only, _ = unlearn(module, RETAIN, FORGET, "retrain", free=["3"], epochs=1)
    x = FORGET[0]
    assert torch.equal(head_only[:3](x), module[:3](x))  # type: ignore[index]
    assert not torch.equal(head_only(x), module(x))
    afresh, _ = unlearn(module, RETAIN, FORGET, "retrain", epochs=0)
    for norm in (afresh[1], afresh[2]):  # type: ignore[index]
        assert torch.equal(norm.running_mean, torch.zeros(5).double())
    scaled, _ = unlearn(module, RETAIN, FORGET, "retrain", free=["0"], epochs=0)
    assert torch.equal(scaled[1].running_mean, module[1].running_mean)  # type: ignore[index]


def test_retrain_asks_only_what_moves_to_start_anew_and_parents_after_their_parts() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.full((4,), 2.0).double())

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor

    class Block(nn.Module):
        """Sets its inner layer to zero when it is made, as residual blocks do."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 3).double()
            self.reset_parameters()

        def reset_parameters(self) -> None:
            nn.init.zeros_(self.inner.weight)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.inner(x)
            return out

    module = nn.Sequential(Scale(), Block())
    with torch.no_grad():
        module[1].inner.weight.fill_(1.0)  # type: ignore[union-attr]
    start, _ = unlearn(module, RETAIN, FORGET, "retrain", free=["1"], epochs=0)
    assert torch.equal(start[0].factor, module[0].factor)  # type: ignore[index]
    assert torch.equal(start[1].inner.weight, torch.zeros(3, 4).double())  # type: ignore[index]
    with pytest.raises(ProblemError, match=r"Scale.*no reset_parameters"):
        unlearn(module, RETAIN, FORGET, "retrain", epochs=0)


@pytest.mark.parametrize("method", ["ridge", "l1-sparse"])
def test_penalties_in_the_objective_are_those_of_all_of_theta(method: str) -> None:
    module, power = classifier(), 2 if method == "ridge" else 1
    weight = 0.5 if method == "ridge" else 2 * 0.5
    size = sum(p.numel() for p in module.parameters())
    for free in (None, ["2"], torch.arange(size) % 3 == 0):
        _, history = unlearn(module, RETAIN, FORGET, method, free, epochs=1, strength=0.5)
        expected = nll(module, RETAIN) + weight * size_of(module, power)
        assert history.loss[0] == pytest.approx(float(expected.detach()), rel=1e-12)


# --- SalUn ----------------------------------------------------------------------------------------------------------


def two_classes() -> tuple[nn.Module, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    return classifier(3, classes=2), data(4, 8, classes=2), data(5, 5, classes=2)


def test_salun_follows_its_formula_on_the_salient_half_only() -> None:
    module, retain, forget = two_classes()
    gradient = torch.autograd.grad(nll(module, forget), list(module.parameters()))
    sizes = torch.cat([g.reshape(-1) for g in gradient]).abs()
    salient = sizes >= sizes.sort().values[(len(sizes) - 1) // 2 : len(sizes) // 2 + 1].mean()
    # With two classes the wrong label is no matter of chance.
    twin = copy.deepcopy(module)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=RATE)
    start = theta_of(module)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        (nll(twin, retain) + 0.3 * nll(twin, (forget[0], 1 - forget[1]))).backward()
        optimizer.step()
        torch.nn.utils.vector_to_parameters(torch.where(salient, theta_of(twin), start), twin.parameters())
    unlearned, _ = unlearn(module, retain, forget, "salun", epochs=EPOCHS, learning_rate=RATE, ascent=0.3)
    theta = theta_of(unlearned)
    torch.testing.assert_close(theta, theta_of(twin), rtol=1e-9, atol=1e-9)
    # Frozen means frozen: not even weight decay moves these, to the last bit.
    assert torch.equal(theta[~salient], start[~salient])
    assert bool((theta[salient] != start[salient]).all())
    assert 0.4 < float(salient.double().mean()) < 0.6


def test_wrong_labels_are_wrong_and_of_every_other_class() -> None:
    module = classifier(classes=4)
    x, y = data(6, 400, classes=4)
    from exact_unlearn.algorithms.classifiers import _SalUnSteps
    from exact_unlearn.algorithms.samples import Batch
    from exact_unlearn.algorithms.unlearn import _prepare

    run = _prepare(module, (x, y), (x, y), None, 1, torch.Generator().manual_seed(0), None)
    steps = SalUn(0.1).begin(run)
    assert isinstance(steps, _SalUnSteps)
    (wrong,) = steps._mislabelled(Batch(x, (y,))).targets
    assert bool((wrong != y).all())
    for label in range(4):
        counts = torch.bincount(wrong[y == label], minlength=4)
        assert counts[label] == 0
        assert sorted(counts.tolist())[1] > 0.2 * int((y == label).sum())


def test_salun_with_nothing_to_forget_freezes_nothing() -> None:
    """All gradients are 0, none is below the median."""
    module, retain, forget = two_classes()
    unlearned, _ = unlearn(module, retain, (forget[0][:0], forget[1][:0]), "salun", epochs=1)
    plain, _ = unlearn(module, retain, (forget[0][:0], forget[1][:0]), "gd", epochs=1)
    assert torch.equal(theta_of(unlearned), theta_of(plain))
    assert not torch.equal(theta_of(unlearned), theta_of(module))


@pytest.mark.parametrize("method", [*CASES, "ngd", "salun", "minnorm-og"])
def test_bfloat16_is_no_obstacle(method: str) -> None:
    module = classifier().bfloat16()
    (x, y), (u, v) = RETAIN, FORGET
    unlearned, _ = unlearn(module, (x.bfloat16(), y), (u.bfloat16(), v), method, epochs=2, learning_rate=0.1)
    assert bool(torch.isfinite(theta_of(unlearned)).all())
    assert not torch.equal(theta_of(unlearned), theta_of(module))


@pytest.mark.parametrize("method", ["gd", "scrub", "npo"])
def test_masked_classes_have_probability_zero_and_make_no_nan(method: str) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = classifier(classes=4)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x).masked_fill(torch.tensor([False, False, False, True]), -torch.inf)

    unlearned, history = unlearn(Masked(), RETAIN, FORGET, method, epochs=3)
    assert all(bool(torch.isfinite(p).all()) for p in unlearned.parameters())
    assert bool(torch.isfinite(torch.tensor(history.loss)).all())


# --- several heads, bad arguments -----------------------------------------------------------------------------------


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 3), nn.Linear(5, 2)
        self.double()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.body(x))
        return self.first(hidden), self.second(hidden)


@pytest.mark.parametrize("method", [*CASES, "ngd", "salun", "retrain", "minnorm-og"])
def test_two_heads_count_as_the_sum_of_both(method: str) -> None:
    module = drawn(TwoHeads(), 8)
    retain, forget = ((d[0], (d[1], d[1] % 2)) for d in (RETAIN, FORGET))
    unlearned, history = unlearn(module, retain, forget, method, epochs=2)
    assert len(history.loss) == 2
    assert not torch.equal(theta_of(unlearned), theta_of(module))
    if method == "gd":
        x, (first, second) = retain
        outputs = module(x)
        both = nn.functional.cross_entropy(outputs[0], first) + nn.functional.cross_entropy(outputs[1], second)
        assert history.loss[0] == pytest.approx(float(both.detach()), rel=1e-12)


@pytest.mark.parametrize("method", ["scrub", "npo", "salun"])
def test_methods_for_classifiers_say_so(method: str) -> None:
    x, y = RETAIN
    with pytest.raises(ProblemError, match=f"{method}.*classifiers"):
        unlearn(classifier(classes=1), (x, y.double()), (x, y.double()), method)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NegGradPlus(-1.0), "ascent: expected a number >= 0, got -1.0"),
        (lambda: MinNormOG(strength=3.0), r"strength: expected a number in \[0, 1\], got 3.0"),
        (lambda: MinNormOG(project_every=0), "project_every: expected an integer >= 1, got 0"),
        (lambda: SCRUB(final_epochs=-1), "final_epochs"),
        (lambda: unlearn(classifier(), RETAIN, FORGET, weight_decay=-1.0), "weight_decay: expected a number >= 0"),
        (lambda: unlearn(classifier(), RETAIN, FORGET, learning_rate=float("inf")), "learning_rate: expected"),
        (lambda: unlearn(classifier().half(), RETAIN, FORGET), "float16.*AdamW.*bfloat16"),
        (lambda: unlearn(classifier(), RETAIN, FORGET, "gd", strength=0.1), "'gd' has no hyper-parameters"),
        (lambda: unlearn(classifier(), RETAIN, FORGET, "ridge", noise=0.1), "'ridge' has strength, decay"),
        (lambda: unlearn(classifier(), RETAIN, FORGET, "magic"), "method: expected one of minnorm-og"),
        (lambda: unlearn(classifier(), RETAIN, FORGET, GA(), noise=0.1), "unknown argument 'noise'"),
    ],
)
def test_wrong_hyper_parameters_are_one_clear_sentence(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        make()
