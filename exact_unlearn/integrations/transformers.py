"""MinNorm-OG on Hugging Face's Trainer: a mixin and a callback.

Both move the parameters *before the forward pass* of an optimizer step, so that the gradient which the optimizer then
uses belongs to the point where it is applied.  (A hook after the backward pass would leave the gradient of the old
point for the new one: neither old nor new.)

    class Unlearner(MinNormMixin, Trainer): ...
    Unlearner(model, args, train_dataset=retain, minnorm=MinNormStep(strength=0.1)).train()

descends the loss of the retained samples in `train_dataset` and projects along the batch that it is about to descend,
as Algorithm 1 of the paper does.  `MinNormCallback(retain, ...)` does the same for a Trainer that cannot be subclassed,
with draws of its own from the retained samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainerCallback, default_data_collator

from exact_unlearn.algorithms.run import check
from exact_unlearn.errors import ProblemError
from exact_unlearn.integrations.logits import project_away


@dataclass
class MinNormStep:
    """The projections of one training run, Algorithm 1's symbols under the names of `exact_unlearn.algorithms`.

    In epoch t, if t < T - final_epochs and t mod project_every = 0, before every optimizer step:
    theta <- theta - strength * decay^k P_perp(theta), k counting projections, P_perp orthogonal to the gradients of
    n_perturb largest logits (one per sample, or per labelled token of a language model).  records: one entry per
    projection, {"step", "epoch", "strength", "distance", "rows", "rank"}.
    """

    strength: float = 0.1
    decay: float = 0.9
    final_epochs: int = 0
    project_every: int = 1
    n_perturb: int = 50
    seed: int = 0
    records: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        check(0 <= self.strength <= 1, "strength", "a number in [0, 1]", self.strength)
        check(0 <= self.decay <= 1, "decay", "a number in [0, 1]", self.decay)
        check(self.final_epochs >= 0, "final_epochs", "an integer >= 0", self.final_epochs)
        check(self.project_every >= 1, "project_every", "an integer >= 1", self.project_every)
        check(self.n_perturb >= 1, "n_perturb", "an integer >= 1", self.n_perturb)
        self.generator = torch.Generator().manual_seed(self.seed)

    def before(self, model: Any, inputs: Mapping[str, Any], args: Any, state: Any) -> None:
        """Project, if this optimizer step has not seen its projection and its epoch is one of those that project."""
        if args.world_size > 1 or args.n_gpu > 1:
            raise ProblemError(
                "args: MinNormStep projects in one process on one device; with several, every one of them would move "
                "elsewhere (exact_unlearn.scalable.distributed shards the projection itself)"
            )
        if self.records and self.records[-1]["step"] == state.global_step:
            return  # a later micro-batch of the same step
        epoch = int(state.epoch or 0)
        if epoch >= state.num_train_epochs - self.final_epochs or epoch % self.project_every:
            return
        strength = self.strength * self.decay ** len(self.records)
        found = project_away(model, inputs, strength, self.n_perturb, self.generator)
        self.records.append({"step": state.global_step, "epoch": epoch, "strength": strength} | found)


class MinNormMixin:
    """For subclasses of Trainer, to the left of it: `class Unlearner(MinNormMixin, Trainer)`.

    minnorm: a MinNormStep.  train_dataset: the retained samples; where the inputs are {"forget": ..., "retain": ...},
    as in open-unlearning, the retained half is used and descended.
    """

    def __init__(self, *arguments: Any, minnorm: MinNormStep | None = None, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.minnorm = MinNormStep() if minnorm is None else minnorm

    def training_step(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
        """Project along this batch, then do what the Trainer does with it."""
        trainer: Any = self
        kept = trainer._prepare_inputs(retained(inputs))
        self.minnorm.before(model, kept, trainer.args, trainer.state)
        return super().training_step(model, inputs, *rest, **more)  # type: ignore[misc]

    def compute_loss(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
        """The loss of the retained samples."""
        return super().compute_loss(model, retained(inputs), *rest, **more)  # type: ignore[misc]


def retained(inputs: Any) -> Any:
    """The retained half of a batch that has two."""
    return inputs["retain"] if isinstance(inputs, Mapping) and "retain" in inputs else inputs


class MinNormCallback(TrainerCallback):  # type: ignore[misc]
    """For any Trainer: `callbacks=[MinNormCallback(retain_dataset, MinNormStep(strength=0.1))]`.

    retain: a dataset of the retained samples (with __len__ and __getitem__).  batch_size: how many of them are drawn
    before each optimizer step; None: as many as the step wants rows.  collator: None for the Trainer's default.
    """

    def __init__(
        self, retain: Any, step: MinNormStep | None = None, batch_size: int | None = None, collator: Any = None
    ) -> None:
        self.retain, self.minnorm = retain, MinNormStep() if step is None else step
        self.batch_size = self.minnorm.n_perturb if batch_size is None else batch_size
        check(self.batch_size >= 1, "batch_size", "an integer >= 1", self.batch_size)
        self.collator = default_data_collator if collator is None else collator
        if not len(retain):
            raise ProblemError("retain: the dataset is empty, so there is nothing to project along")

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **others: Any) -> None:
        """Before the forward pass of every optimizer step."""
        chosen = torch.randperm(len(self.retain), generator=self.minnorm.generator)[: self.batch_size]
        batch = self.collator([self.retain[int(index)] for index in chosen])
        device = next(model.parameters()).device
        inputs = {name: value.to(device) for name, value in batch.items() if isinstance(value, torch.Tensor)}
        self.minnorm.before(model, inputs, args, state)
