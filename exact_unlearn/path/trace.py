"""What `unlearn_path` returns: where it got to, every step of the way, and why it ended."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from exact_unlearn import codec, report, summary
from exact_unlearn.certify import Certificate
from exact_unlearn.effects import Effect
from exact_unlearn.errors import FileFormatError, ProblemError
from exact_unlearn.formats import COUNT, FLAG, MASK, MATRIX, NUMBER, TEXT, VECTOR, ListOf, OrNull, Record, require, word
from exact_unlearn.jacobian import Array
from exact_unlearn.path.control import Control
from exact_unlearn.solution import Solution

SCHEMA = "exact-unlearn/path"


class PathStatus(Enum):
    """Why a path ended.  `advice` says what to try.

    >>> import exact_unlearn as xu
    >>> xu.PathStatus.CONVERGED.value, xu.PathStatus("stalled").name
    ('converged', 'STALLED')
    """

    CONVERGED = "converged"
    STEPS_USED_UP = "steps_used_up"
    STALLED = "stalled"
    NOT_INTERPOLATING = "not_interpolating"
    TIME_LIMIT = "time_limit"
    INTERRUPTED = "interrupted"

    @property
    def advice(self) -> str:
        """One sentence: what the status means and what to do about it."""
        return _ADVICE[self]


_ADVICE = {
    PathStatus.CONVERGED: (
        "The labels are met, and no short step promises less: a stationary point of the exact problem, to the "
        "tolerance, not necessarily its global optimum."
    ),
    PathStatus.STEPS_USED_UP: "The labels are met and the steps are used up; go on with resume=path.",
    PathStatus.STALLED: (
        "The labels are met, but no short step lowers R any more; start elsewhere, or go on from here with another R."
    ),
    PathStatus.NOT_INTERPOLATING: (
        "No parameters near theta* meet the labels, so no step was taken; labels that contradict each other, or too "
        "small a model, are the usual reasons."
    ),
    PathStatus.TIME_LIMIT: "The time is up, and what was done is kept; go on with resume=path.",
    PathStatus.INTERRUPTED: "Somebody interrupted, and what was done is kept; go on with resume=path.",
}


@dataclass(frozen=True, eq=False, repr=False)
class Step(summary.Summarised):
    """One surrogate, and what became of it.

    value: R after it, whether it was taken or not; promised: R of the surrogate's answer; moved: |theta_{k+1} -
    theta_k|, the labels restored, the step made longer where R went on falling; linear_error: max |f - y| of the
    surrogate's answer, what the linearisation lost; error: the same after the labels were restored; stationarity: how
    far theta_k, where the step begins, is from stationary (walk.py); at: the lam or the radius of the step; midway:
    whether its Jacobian is that of the middle of the step, because the one of its beginning promised too much; kinks:
    how many it began at, where it is on one of the pieces that meet there (pieces.py), else 0; note: why it was
    refused; gap, proof: of its certificate, None where none was asked for.  solution, certificate: of the
    step, where certificates were asked for; files do not hold them.
    """

    accepted: bool
    value: float
    promised: float
    moved: float
    linear_error: float
    error: float
    stationarity: float
    at: float
    midway: bool = False
    kinks: int = 0
    note: str = ""
    gap: float | None = None
    proof: str | None = None
    solution: Solution | None = field(default=None)
    certificate: Certificate | None = field(default=None)

    def lines(self) -> summary.Lines:
        """In one line."""
        taken = "taken" if self.accepted else "refused"
        numbers = (
            f"R {report.number(self.value)}, moved {report.number(self.moved, 3)}, error {report.small(self.error)}"
        )
        return [("step", f"{taken}: {numbers}{f' ({self.note})' if self.note else ''}")]


@dataclass(frozen=True, eq=False, repr=False)
class Path(summary.Summarised):
    """Where a path of short surrogates has got to.

    theta: (d,) the parameters now; theta_star: (d,) those where it began; start: (d,) theta* with the labels restored,
    where the first step began; y: (n, l) what the retained outputs shall be; value: R(theta); start_value: R(start);
    error: max |f(theta, x) - y|; stationarity: of the last point that was examined; kind: "lam" or "radius", what
    controls the steps; effect: what all of it does to the outputs.  `control` is what `resume` goes on with.

    >>> import numpy as np
    >>> import exact_unlearn as xu
    >>> model = xu.Perceptron(n_inputs=2, width=3, activation="tanh")
    >>> theta_star = np.linspace(-1.0, 1.0, model.n_parameters)
    >>> x = np.array([[1.0, 0.5], [-0.5, 1.0]])
    >>> path = xu.unlearn_path(model, theta_star, x, xu.SquaredL2(), steps=2)
    >>> path.status.value, len(path.steps), path.theta.shape
    ('steps_used_up', 2, (9,))
    """

    theta: Array
    theta_star: Array
    start: Array
    y: Array
    free: Array
    status: PathStatus
    value: float
    start_value: float
    error: float
    steps: tuple[Step, ...]
    control: Control
    effect: Effect
    regularizer: str
    message: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.status, PathStatus):
            raise ProblemError(f"status: expected a PathStatus, got {self.status!r:.60}")
        for name in ("theta", "theta_star", "start", "y", "free"):
            array = np.array(getattr(self, name))
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def drift(self) -> Array:
        """theta - theta*, (d,)."""
        return np.asarray(self.theta - self.theta_star)

    @property
    def accepted(self) -> tuple[Step, ...]:
        """The steps that were taken."""
        return tuple(step for step in self.steps if step.accepted)

    @property
    def stationarity(self) -> float:
        """That of the last point at which a surrogate was solved; infinity before the first."""
        return self.steps[-1].stationarity if self.steps else np.inf

    @property
    def advice(self) -> str:
        """What the status means for the caller."""
        return self.status.advice

    def lines(self) -> summary.Lines:
        """Where it got to, and why it ended."""
        taken, size = len(self.accepted), len(self.steps)
        lines = [
            ("path", f"{self.status.value}, R {report.number(self.start_value)} to {report.number(self.value)}"),
            ("status", " ".join(part for part in (self.message, self.advice) if part)),
            ("steps", f"{taken} taken, {size - taken} refused; {self.kind} now {report.number(self.control.at, 3)}"),
            ("regularizer", self.regularizer),
            ("moved", f"{report.number(float(np.linalg.norm(self.drift)), 3)} from theta*"),
            ("error", f"largest |f - y| on the retained samples {report.small(self.error)}"),
            ("stationarity", report.small(self.stationarity) if self.steps else "not known: no step was tried"),
        ]
        gaps = [step.gap for step in self.steps if step.gap is not None]
        if gaps:
            lines.append(("certified", f"{len(gaps)} surrogates, largest gap {report.small(max(gaps))}"))
        return [*lines, *self.effect.lines()]

    @property
    def kind(self) -> str:
        """What controls the steps: "lam" or "radius"."""
        return self.control.kind

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw R, the errors and the control along the steps, as a PNG file."""
        from exact_unlearn.path.figure import draw_path

        draw_path(self, path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to .npz, .safetensors or .json, without pickle; solutions and certificates of steps are left out."""
        codec.save_object(path, self.to_tree())

    def to_tree(self) -> dict[str, Any]:
        """Plain values and arrays."""
        steps = [{name: getattr(step, name) for name in _STEP.fields} for step in self.steps]
        tree = {"schema": SCHEMA, "version": 1, "status": self.status.value, "message": self.message}
        tree |= {name: getattr(self, name) for name in ("theta", "theta_star", "start", "y", "value", "start_value")}
        tree |= {"free": self.free.astype(np.uint8), "error": self.error, "regularizer": self.regularizer}
        tree |= {"steps": [{k: _finite(v) for k, v in step.items()} for step in steps]}
        tree |= {"control": {name: getattr(self.control, name) for name in _CONTROL.fields}}
        return tree | {"effect": {name: _finite(getattr(self.effect, name)) for name in _EFFECT.fields}}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Path:
        """Read what `save` wrote; FileFormatError, one sentence, on a damaged or foreign file."""
        tree = codec.load_object(path, SCHEMA)
        require(_PATH, tree, str(path))
        sizes = {tree[name].size for name in ("theta", "theta_star", "start", "free")}
        if len(sizes) != 1:
            raise FileFormatError(f"{path}: theta, theta_star, start and free have different lengths")
        control = tree["control"]
        return cls(
            theta=tree["theta"],
            theta_star=tree["theta_star"],
            start=tree["start"],
            y=tree["y"],
            free=np.asarray(tree["free"]).astype(bool),
            status=PathStatus(tree["status"]),
            value=_float(tree["value"]),
            start_value=_float(tree["start_value"]),
            error=_float(tree["error"]),
            steps=tuple(
                Step(**{k: _parsed(k, v) for k, v in step.items() if k in _STEP.fields}) for step in tree["steps"]
            ),
            control=Control(control["kind"], _float(control["at"]), _float(control["unit"])),
            effect=Effect(**{k: _parsed(k, v) for k, v in tree["effect"].items() if k in _EFFECT.fields}),
            regularizer=tree["regularizer"],
            message=tree["message"],
        )


_STEP = Record(
    {
        "accepted": FLAG,
        **dict.fromkeys(("value", "promised", "moved", "linear_error", "error", "stationarity"), OrNull(NUMBER)),
        "at": NUMBER,
        "midway": FLAG,
        "kinks": COUNT,
        "note": TEXT,
        "gap": OrNull(NUMBER),
        "proof": OrNull(TEXT),
    }
)
_CONTROL = Record({"kind": word("lam", "radius"), "at": NUMBER, "unit": NUMBER})
_EFFECT = Record(
    {
        **dict.fromkeys(("retained_change", "tolerance", "holds_until"), OrNull(NUMBER)),
        **dict.fromkeys(("retained_error", "forgotten_change", "lam"), OrNull(NUMBER)),
    }
)
_PATH = Record(
    {
        **dict.fromkeys(("theta", "theta_star", "start"), VECTOR),
        "y": MATRIX,
        "free": MASK,
        "status": word(*(status.value for status in PathStatus)),
        "message": TEXT,
        "regularizer": TEXT,
        **dict.fromkeys(("value", "start_value", "error"), NUMBER),
        "steps": ListOf(_STEP),
        "control": _CONTROL,
        "effect": _EFFECT,
    }
)
_MAY_LACK = frozenset({"gap", "proof", "retained_error", "forgotten_change", "lam"})


def _finite(value: Any) -> Any:
    """Infinity as null, for files hold rational numbers."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _float(text: Any) -> float:
    return float(codec.number(text))


def _parsed(name: str, value: Any) -> Any:
    """A stored field of a step or an effect."""
    if value is None:
        return None if name in _MAY_LACK else np.inf
    return value if name in ("accepted", "midway", "kinks", "note", "proof") else _float(value)
