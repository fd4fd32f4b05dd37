"""How networks are trained, by experiment and set: the paper's for its two sets, and ours for small ones."""

from __future__ import annotations

from dataclasses import dataclass

from exact_unlearn.errors import ProblemError

from .images_networks import NETWORKS
from .images_rows import COLLAPSE, ERASURE
from .images_training import Schedule


@dataclass(frozen=True)
class Recipe:
    """Network and training.

    n_train, n_test: images used of each split (equally many of every class); None: all.
    first: epochs before the main ones: with the class loss alone (label erasure, initial model only), or on gray images
    (collapse).  p_color, p_retain: shares instead of the row's, for sets so small that its shares are a handful.
    ratio: p of the sample weights p / (1 + p) and 1 / (1 + p) in collapse.
    unlearn_batch: batch size of the methods.  pretrained: the backbone starts from weights that are handed in.
    """

    network: str = "resnet18"
    width: int = 64
    stem: str = "small"
    n_train: int | None = None
    n_test: int | None = None
    first: int = 0
    epochs: int = 100
    rate: float = 3e-2
    drops: tuple[int, ...] = (50,)
    factor: float = 0.1
    weight_decay: float = 5e-4
    batch_size: int = 256
    ratio: float = 0.01
    unlearn_batch: int = 256
    p_color: float | None = None
    p_retain: float | None = None
    augment: bool = False
    pretrained: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise ProblemError(f"network: expected one of {', '.join(NETWORKS)}, got {self.network!r}")
        if self.width < 1:
            raise ProblemError(f"width: expected a positive integer, got {self.width}")

    @property
    def schedule(self) -> Schedule:
        """Of the optimiser."""
        return Schedule(self.rate, self.drops, self.factor, self.weight_decay, self.batch_size)


def _small(**changes: object) -> Recipe:
    base: dict[str, object] = {"network": "small", "width": 16}
    return Recipe(**(base | changes))  # type: ignore[arg-type]


_FASHION = {"n_train": 12_000, "n_test": 2_000, "batch_size": 64, "epochs": 9, "drops": (7,), "unlearn_batch": 60}
_FASHION_HEADS = _small(
    n_train=6_000, n_test=1_000, first=4, epochs=10, drops=(4, 8, 12), batch_size=64, unlearn_batch=30, p_retain=0.02
)
_MNIST5K = {"batch_size": 64, "epochs": 12, "drops": (9,), "unlearn_batch": 40, "p_color": 0.02, "p_retain": 0.02}
_DIGITS = {"batch_size": 32, "epochs": 20, "drops": (15,), "unlearn_batch": 36, "p_color": 0.05, "p_retain": 0.05}

RECIPES: dict[tuple[str, str], Recipe] = {
    (ERASURE, "cifar10"): Recipe(),
    (ERASURE, "tiny-imagenet"): Recipe(
        "resnet50",
        stem="large",
        first=10,
        epochs=90,
        rate=0.1,
        drops=(25, 50, 75),
        factor=0.3,
        weight_decay=1e-4,
        batch_size=512,
        unlearn_batch=512,
        augment=True,
        pretrained=True,
    ),
    (ERASURE, "fashion-mnist"): _small(**_FASHION),
    (ERASURE, "idx"): _small(**_FASHION),
    (ERASURE, "mnist5k"): _small(**_MNIST5K),
    (ERASURE, "digits"): _small(**_DIGITS, width=8),
    (COLLAPSE, "cifar10"): Recipe(first=20, epochs=50, drops=(20, 40, 60)),
    (COLLAPSE, "fashion-mnist"): _FASHION_HEADS,
    (COLLAPSE, "idx"): _FASHION_HEADS,
    (COLLAPSE, "mnist5k"): _small(
        first=6, epochs=15, drops=(6, 12, 18), batch_size=64, unlearn_batch=40, p_color=0.02, p_retain=0.02
    ),
    (COLLAPSE, "digits"): _small(
        width=8, first=20, epochs=30, drops=(20, 40), batch_size=32, unlearn_batch=36, p_color=0.05, p_retain=0.05
    ),
}
"""By experiment and set.  CIFAR-10 and Tiny ImageNet are the paper's; the others are ours, chosen for two cores."""


def recipe(experiment: str, data: str) -> Recipe:
    """ProblemError for a set that the experiment does not have."""
    if (experiment, data) not in RECIPES:
        known = [name for kind, name in RECIPES if kind == experiment]
        raise ProblemError(f"data: expected one of {', '.join(known)} for {experiment}, got {data!r}")
    return RECIPES[experiment, data]
