"""The trainer class.  It is made where the benchmark's own base class can be imported, and not before."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from exact_unlearn.errors import ExactUnlearnError

CONFIGS = Path(__file__).with_name("configs")
"""The folder with trainer/MinNormOG.yaml, for Hydra's search path."""

TOKENS = ("input_ids", "attention_mask", "labels")
"""What a language model of the benchmark takes; its batches carry more."""


def trainer_class() -> type[Any]:
    """MinNormOG, a subclass of the benchmark's UnlearnTrainer.

    method_args: strength, decay, final_epochs, project_every, n_perturb, seed, as in `MinNormStep`.  Every step
    projects along the retained half of its batch and then descends that half's loss; the forgotten half is not read.
    Raises ExactUnlearnError where open-unlearning's src folder is not on the path.
    """
    try:
        base = importlib.import_module("trainer.unlearn.base").UnlearnTrainer
    except ImportError as error:
        raise ExactUnlearnError(
            "open-unlearning cannot be imported; run python -m exact_unlearn.integrations.open_unlearning "
            f"PATH/TO/open-unlearning ... ({error})"
        ) from None
    # Not at the top: it imports transformers, seconds that a wrong call need not wait for.
    from exact_unlearn.integrations.transformers import MinNormMixin, MinNormStep

    class MinNormOG(MinNormMixin, base):  # type: ignore[misc, valid-type]
        """MinNorm-OG on the benchmark's trainer."""

        def __init__(
            self,
            *arguments: Any,
            strength: float = 0.1,
            decay: float = 0.9,
            final_epochs: int = 0,
            project_every: int = 1,
            n_perturb: int = 50,
            seed: int = 0,
            **keywords: Any,
        ) -> None:
            step = MinNormStep(strength, decay, final_epochs, project_every, n_perturb, seed)
            super().__init__(*arguments, minnorm=step, **keywords)

        def training_step(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
            return super().training_step(model, _tokens(inputs), *rest, **more)

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
            outputs = model(**_tokens(inputs)["retain"])
            return (outputs.loss, outputs) if return_outputs else outputs.loss

    return MinNormOG


def _tokens(inputs: Any) -> Any:
    kept = inputs["retain"]
    return {"retain": {name: kept[name] for name in TOKENS if name in kept}}


def register() -> type[Any]:
    """Put MinNormOG into the benchmark's registry, so that `handler: MinNormOG` finds it; returns the class."""
    made = trainer_class()
    importlib.import_module("trainer").TRAINER_REGISTRY[made.__name__] = made
    return made
