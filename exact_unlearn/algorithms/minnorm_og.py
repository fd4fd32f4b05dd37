"""MinNorm-OG, Algorithm 1 of the paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from exact_unlearn.algorithms.losses import Rows, is_label
from exact_unlearn.algorithms.projection import Projector
from exact_unlearn.algorithms.run import PlainSteps, Run, check
from exact_unlearn.algorithms.samples import Batch, subset

Order = Literal["project-descend", "descend-project"]
ORDERS = ("project-descend", "descend-project")


@dataclass(frozen=True)
class MinNormOG:
    """Shrink what the retained predictions do not depend on (to first order), then descend the retain loss.

    In epoch t, if t < T - final_epochs and t mod project_every = 0, before every step:

        theta <- theta - strength_k P_perp(theta),   strength_k = strength * decay^k   (k counts projections)

    with P_perp orthogonal to the gradients of n_perturb samples of the retain batch.  Then one AdamW step on
    J(theta; B_r), whose gradient is taken at the projected point.  That is Algorithm 1 (order "project-descend");
    Appendix F.1.10 describes the step first and the projection at its end, on the same batch ("descend-project").

    strength: lambda_reg in [0, 1]; decay: gamma_reg in [0, 1]; final_epochs: T_GD; project_every: T_Proj;
    n_perturb: n_pert. rows: "all" outputs of a head or its "largest" logit; None: largest for class labels, all
    otherwise. order: "project-descend" or "descend-project".

    >>> import torch
    >>> from exact_unlearn.algorithms import MinNormOG, unlearn
    >>> net, x = torch.nn.Linear(3, 1, bias=False).double(), torch.eye(3, dtype=torch.float64)
    >>> module, history = unlearn(net, (x[:2], net(x[:2]).detach()), (x[2:], net(x[2:]).detach()),
    ...                           method=MinNormOG(strength=1.0), epochs=1, learning_rate=0.0)
    >>> bool(module.weight[0, 2].abs() < 1e-12), bool(torch.allclose(module.weight[0, :2], net.weight[0, :2]))
    (True, True)
    """

    strength: float = 0.1
    decay: float = 0.9
    final_epochs: int = 0
    project_every: int = 1
    n_perturb: int = 50
    rows: Rows | None = None
    order: Order = "project-descend"

    def __post_init__(self) -> None:
        check(0 <= self.strength <= 1, "strength", "a number in [0, 1]", self.strength)
        check(0 <= self.decay <= 1, "decay", "a number in [0, 1]", self.decay)
        check(self.final_epochs >= 0, "final_epochs", "an integer >= 0", self.final_epochs)
        check(self.project_every >= 1, "project_every", "an integer >= 1", self.project_every)
        check(self.n_perturb >= 1, "n_perturb", "an integer >= 1", self.n_perturb)
        check(self.rows in (None, "all", "largest"), "rows", "'all', 'largest' or None", self.rows)
        check(self.order in ORDERS, "order", "'project-descend' or 'descend-project'", self.order)

    def begin(self, run: Run) -> MinNormSteps:
        """Start."""
        return MinNormSteps(run, self, self.strength, Projector(run.module, run.masks))


@dataclass
class MinNormSteps(PlainSteps):
    """MinNorm-OG under way."""

    method: MinNormOG
    strength: float
    projector: Projector
    records: list[dict[str, float]] = field(default_factory=list)
    step: int = 0
    due: tuple[int, Batch] | None = None

    def before(self, t: int, retain: Batch) -> None:
        """Project; the forward pass comes after, so that gradient and point belong together."""
        method, run = self.method, self.run
        if t < run.epochs - method.final_epochs and t % method.project_every == 0:
            self.due = t, retain
        if method.order == "project-descend":
            self._project()
        self.step += 1

    def after_step(self) -> None:
        """Project at the end of the step, if that is the order."""
        self._project()

    def _project(self) -> None:
        """One projection on the batch of this step, if one is due."""
        if self.due is None:
            return
        (t, retain), self.due = self.due, None
        method, run = self.method, self.run
        labels = tuple(is_label(target) for target in retain.targets)
        rows: tuple[Rows, ...] = tuple(method.rows or ("largest" if label else "all") for label in labels)
        chosen = subset(retain, method.n_perturb, labels[0], run.generator)
        distance, error = self.projector.step(chosen.x, self.strength, rows)
        step = self.step - (method.order == "descend-project")
        record = {"step": step, "epoch": t, "strength": self.strength, "distance": distance, "error": error}
        self.records.append(record)
        self.strength *= method.decay
