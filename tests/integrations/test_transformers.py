"""The Trainer mixin and the callback, on the real transformers and on tiny models made from their configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainingArguments

from exact_unlearn.errors import ProblemError
from exact_unlearn.integrations.logits import project_away
from exact_unlearn.integrations.transformers import MinNormCallback, MinNormMixin, MinNormStep
from tests.integrations.language_models import batch, bert, every_row, flat, gpt2, projected, records

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")

MODELS = {"causal": (gpt2, True), "classifier": (bert, False)}


class Unlearner(MinNormMixin, Trainer):
    """What the documentation tells users to write."""


def arguments(folder: Path, **more: Any) -> TrainingArguments:
    settings: dict[str, Any] = {"per_device_train_batch_size": 10, "num_train_epochs": 1, "learning_rate": 0.0}
    settings |= {
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    return TrainingArguments(output_dir=str(folder), **(settings | more))


@pytest.mark.parametrize("kind", MODELS)
def test_a_step_without_descent_is_the_projection(kind: str, tmp_path: Path) -> None:
    """Learning rate 0 leaves the projection alone; against a singular value decomposition of rows made one by one."""
    make, causal = MODELS[kind]
    model, samples = make(), records(causal)
    before = flat(model).numpy()
    expected = projected(before, every_row(model, batch(samples), causal), 0.5)
    trainer = Unlearner(
        model, arguments(tmp_path), train_dataset=samples, minnorm=MinNormStep(strength=0.5, n_perturb=1000)
    )
    trainer.train()
    after = flat(model).numpy()
    moved = np.linalg.norm(after - before)
    assert moved > 0.1 * np.linalg.norm(before)
    assert np.linalg.norm(after - expected) < 1e-5 * moved
    (record,) = trainer.minnorm.records
    assert record["distance"] == pytest.approx(moved, rel=1e-5)
    assert record["rows"] == len(every_row(model, batch(samples), causal))


def test_the_gradient_belongs_to_the_projected_point(tmp_path: Path) -> None:
    """One SGD step after the projection: theta_1 = P theta_0 - eta grad(P theta_0), not grad(theta_0)."""
    samples, rate = records(False), 0.05
    model = bert()
    step = MinNormStep(strength=0.5, n_perturb=1000)
    trainer = Unlearner(
        model, arguments(tmp_path, learning_rate=rate, optim="sgd", lr_scheduler_type="constant", max_grad_norm=0.0),
        train_dataset=samples, minnorm=step,
    )  # fmt: skip
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    twin = bert().eval()
    project_away(twin, batch(samples), 0.5, 1000, torch.Generator())
    loss = twin(**batch(samples)).loss
    gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(twin.parameters()))]).double()
    old = bert().eval()
    stale_gradient = torch.cat(
        [g.reshape(-1) for g in torch.autograd.grad(old(**batch(samples)).loss, list(old.parameters()))]
    ).double()
    trainer.train()
    assert (gradient - stale_gradient).norm() > 0.1 * gradient.norm()  # otherwise the test could not tell
    assert (flat(model) - (flat(twin) - rate * gradient)).norm() < 1e-5


def test_once_per_optimizer_step_in_the_epochs_that_project(tmp_path: Path) -> None:
    """Two micro-batches a step: one projection each; none in the last epoch; the strength decays per projection."""
    step = MinNormStep(strength=0.4, decay=0.5, final_epochs=1, n_perturb=3)
    settings = arguments(tmp_path, num_train_epochs=3, per_device_train_batch_size=5, gradient_accumulation_steps=2)
    Unlearner(bert(), settings, train_dataset=records(False), minnorm=step).train()
    assert [record["step"] for record in step.records] == [0, 1]
    assert [record["epoch"] for record in step.records] == [0, 1]
    assert [record["strength"] for record in step.records] == [0.4, 0.2]
    assert all(record["rows"] == 3 for record in step.records)


@pytest.mark.parametrize("kind", MODELS)
def test_the_callback_projects_along_samples_of_its_own(kind: str, tmp_path: Path) -> None:
    make, causal = MODELS[kind]
    model, samples = make(), records(causal)
    before = flat(model).numpy()
    expected = projected(before, every_row(model, batch(samples), causal), 0.5)
    callback = MinNormCallback(samples, MinNormStep(strength=0.5, n_perturb=1000))
    Trainer(model, arguments(tmp_path), train_dataset=records(causal, seed=1), callbacks=[callback]).train()
    after = flat(model).numpy()
    assert np.linalg.norm(after - expected) < 1e-5 * np.linalg.norm(after - before)


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    model = bert()
    model.bert.embeddings.requires_grad_(False)
    frozen = model.bert.embeddings.word_embeddings.weight.detach().clone()
    before = flat(model)
    Unlearner(model, arguments(tmp_path), train_dataset=records(False), minnorm=MinNormStep(strength=0.5)).train()
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, frozen)
    assert (flat(model) - before).norm() > 0.01


def test_dropout_does_not_reach_the_projection(tmp_path: Path) -> None:
    """Rows are those of the module in evaluation mode; the mode comes back."""
    first, second = bert().train(), bert().train()
    for model, seed in ((first, 1), (second, 2)):
        torch.manual_seed(seed)
        project_away(model, batch(records(False)), 0.5, 1000, torch.Generator())
        assert model.training
    assert torch.equal(flat(first), flat(second))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft's own call
def test_lora_adapters_are_what_moves() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        gpt2(), LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False)
    )
    adapters, samples = flat(model).numpy(), batch(records(True))
    J = every_row(model, samples, True)
    project_away(model, samples, 1.0, 1000, torch.Generator())
    assert J.shape[1] == len(adapters) < 1000
    expected = projected(adapters, J, 1.0)
    assert np.linalg.norm(flat(model).numpy() - expected) < 1e-5 * np.linalg.norm(adapters)


def test_what_cannot_be_done_is_one_sentence(tmp_path: Path) -> None:
    model, inputs = bert(), batch(records(False))
    with pytest.raises(ProblemError, match=r"strength: expected a number in \[0, 1\], got 2"):
        MinNormStep(strength=2)
    with pytest.raises(ProblemError, match="retain: the dataset is empty"):
        MinNormCallback([])
    with pytest.raises(ProblemError, match="no parameter has requires_grad"):
        project_away(bert().requires_grad_(False), inputs, 0.5, 5, torch.Generator())
    with pytest.raises(ProblemError, match="expected outputs with logits"):
        project_away(model.bert, inputs | {"labels": None}, 0.5, 5, torch.Generator())
    settings = arguments(tmp_path)
    settings._n_gpu = 2
    with pytest.raises(ProblemError, match="one process on one device"):
        MinNormStep().before(model, inputs, settings, None)


class Classifier(torch.nn.Module):
    """Two layers; `cut` may take a part of the gradient away that the outputs have."""

    def __init__(self, cut: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.cut = torch.nn.Linear(5, 16), torch.nn.Linear(16, 3), cut

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = torch.relu(self.first(x))
        return {"logits": self.second(self.cut(hidden))}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    ("cut", "right"),
    [
        (lambda h: h, True),
        (lambda h: h - h.mean(0), True),  # samples that see one another have the gradients that autograd says
        (lambda h: h.detach(), False),
        (lambda h: h + h.detach(), False),
    ],
    ids=["plain", "coupled", "detached", "half"],
)
def test_gradients_are_held_against_differences(cut: Any, right: bool, dtype: torch.dtype) -> None:
    """What refuses to be differentiated is refused, and the parameters are as they were."""
    model = Classifier(cut).to(dtype)
    before = flat(model)
    inputs = {"x": torch.randn(12, 5, generator=torch.Generator().manual_seed(1)).to(dtype)}
    if right or dtype == torch.bfloat16:  # differences resolve nothing there
        found = project_away(model, inputs, 0.5, 6, torch.Generator())
        assert found["rows"] == 6
        assert (flat(model) - before).norm() > 0
    else:
        with pytest.raises(ProblemError, match="are not the derivatives of its outputs"):
            project_away(model, inputs, 0.5, 6, torch.Generator())
        assert torch.equal(flat(model), before)
