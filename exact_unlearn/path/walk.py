"""The exact problem of any differentiable model, by short surrogates, each taken where the one before ended.

    minimise  R(theta)  subject to  f(theta, x) = y  on the retained samples

Step k solves the surrogate at theta_k, which meets the labels, held near theta_k by a drift penalty:

    minimise  R(theta_k + D) + lam/2 |D|^2   subject to   J_k D = 0        (or |D| <= radius)

and then restores the labels by Gauss-Newton steps J D = y - f.  If R is not lower after that, or less than half of the
gain is left that was promised, the surrogate is posed once more with the Jacobian halfway to its answer.  The better of
the two is taken if R is lower, refused otherwise, and made longer along its line while R falls; what it lost, and how
much of the promised gain was left, decide how far the next step may go.  Two-layer networks with kinks: where neither
does, the pieces that meet at theta_k are looked at (pieces.py), and a path ends only where none of them goes down.

With g in dR(theta_k + D) and h = J_k.T nu - g, the force of the drift penalty at the answer, theta_k is stationary for
the exact problem if and only if h = 0 and D = 0, so |h| / |g| + |D| / |theta| measures how far it is from that; for
R = |theta|^2/2 this is |P theta_k| / |theta_k|, with P the projection onto the kernel of J_k, whatever lam is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from exact_unlearn import effects, interrupts, modules
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, real_array, to_float
from exact_unlearn.path.bent import bent
from exact_unlearn.path.control import LEAPS, Control
from exact_unlearn.path.pieces import around
from exact_unlearn.path.restore import restore
from exact_unlearn.path.setting import Setting, make_setting
from exact_unlearn.path.trace import Path, PathStatus, Step
from exact_unlearn.path.tried import Tried, further, in_the_middle, stationarity, tried
from exact_unlearn.vectors import as_number
from exact_unlearn.watch import TimeUpError, note, tick, watched

STEPS = 100
TOLERANCE = 1e-6
KEEP = 1e-10
"""Labels are met if max |f - y| is at most this times max(1, max |y|)."""

POLISHING = 60
"""Gauss-Newton steps before the first surrogate."""

FAIR = 0.5
"""Where less of the promised gain is left, the surrogate is posed once more."""


def unlearn_path(
    model: Any,
    theta_star: Any,
    x_retain: Any,
    regularizer: Any,
    y_retain: Any = None,
    *,
    x_forget: Any = None,
    free: Any = None,
    radius: float | None = None,
    lam: float | None = None,
    steps: int = STEPS,
    tol: float = TOLERANCE,
    keep: float = KEEP,
    solver: str | None = None,
    certify: bool = False,
    time_limit: float | None = None,
    resume: Path | None = None,
) -> Path:
    """Lower R along parameters that meet the retained labels, by short surrogates; the labels are restored after each.

    model: one of exact_unlearn.models, an object with their face, or a torch module (theta_star=None then: its
    parameters).  x_retain, free and regularizer: as in `surrogate_problem`.  y_retain: (n,) or (n, l), the labels; None
    for what the network says at theta*, so that no label is used.  Where theta* misses them it is polished first.
    x_forget: samples whose outputs the effect report looks at too.  radius or lam: how far the first step may go, a
    ball or a squared drift; both None: lam = 2 R(theta*) / |theta*|^2, which is 1 for SquaredL2.  Later ones follow
    what is measured.  steps: how many are tried at most, taken or not.  tol: the stationarity (walk.py) that ends the
    path.  keep: the largest |f - y| of a point that counts as meeting the labels, relative to max(1, max |y|); what is
    reached is rounding, usually.  solver: None for the CVXPY reference (models) or the torch solver (torch modules),
    else "scalable" or the name of a CVXPY solver.  certify: prove every surrogate that is solved; the steps then hold
    solutions and certificates.  time_limit: seconds.  resume: a path of the same problem, which goes on where it was,
    by the same steps as if it had never ended.

    Every step lowers R, so the path ends nowhere worse than it began; that it ends at a global optimum is not claimed.
    How it ended is `status` of the path; Ctrl-C ends it as `interrupted`, with what was done.  ReLU networks: J is that
    of one side of every kink; what happens when a pre-activation passes 0 within a step is measured like every error,
    and a second Jacobian, in the middle of the step, often sees the other side.  A Perceptron with relu, leaky_relu or
    abs, or a torch Sequential of Linear, ReLU or LeakyReLU, and Linear has surrogates with rows that keep or flip the
    sides of its units, so that it does not stay at a kink beyond which R falls.

    Raises ProblemError, one sentence, on arguments that do not fit, and on regularizers that count.

    >>> import numpy as np
    >>> import exact_unlearn as xu
    >>> model = xu.Perceptron(n_inputs=2, width=3, activation="tanh")
    >>> theta_star = np.linspace(-1.0, 1.0, model.n_parameters)
    >>> x = np.array([[1.0, 0.5], [-0.5, 1.0]])
    >>> path = xu.unlearn_path(model, theta_star, x, xu.SquaredL2(), steps=5)
    >>> path.value < path.start_value, path.error < 1e-9
    (True, True)
    """
    _check_numbers(radius, lam, steps, tol, keep, time_limit)
    if not isinstance(certify, bool):
        raise ProblemError(f"certify: expected True or False, got {certify!r:.60}")
    setting = make_setting(model, theta_star, x_retain, regularizer, y_retain, free, solver)
    forgotten = None if x_forget is None else outputs_at(setting.model, x_forget, "x_forget")
    walk = _Walk(setting, float(keep) * setting.label_scale)
    if resume is None:
        walk.control = _first(setting, radius, lam)
    else:
        walk.go_on(resume, radius, lam)
    status, message = walk.ended(steps, float(tol), certify, None if time_limit is None else float(time_limit))
    seen = effects.measure(
        setting.outputs, setting.start, walk.theta, None if y_retain is None else setting.y, forgotten
    )
    return Path(
        theta=walk.theta,
        theta_star=setting.start,
        start=setting.start if walk.start is None else walk.start,
        y=setting.y,
        free=setting.free,
        status=status,
        value=setting.value(walk.theta),
        start_value=setting.value(setting.start if walk.start is None else walk.start),
        error=setting.error(walk.theta),
        steps=tuple(walk.steps),
        control=walk.control,
        effect=seen,
        regularizer=setting.name,
        message=message,
    )


def outputs_at(model: Any, x: Any, name: str) -> effects.Outputs:
    """theta -> the outputs of the model at x, which `name` calls in errors."""
    inputs = modules.inputs_of(x, name)
    if modules.is_module_model(model):
        inputs = model.inputs(inputs, name)
    else:
        inputs = real_array(name, inputs, ndim=2)
        if inputs.shape[1] != model.n_inputs:
            raise ProblemError(f"{name}: expected {model.n_inputs} columns, got shape {inputs.shape}")
    return lambda theta: to_float(model.predict(theta, inputs))


class _Walk:
    """The path while it is walked: where it is, and the trace so far.

    tolerance: the largest error of a point that counts as meeting the labels.  start: theta* with the labels restored,
    None until that is done.  network: where its kinks are known.
    """

    def __init__(self, setting: Setting, tolerance: float) -> None:
        self.setting, self.tolerance = setting, tolerance
        self.network = bent(setting.model, setting.x)
        self.theta: Array = setting.start
        self.start: Array | None = None
        self.steps: list[Step] = []
        self.control: Control

    def go_on(self, path: Path, radius: Any, lam: Any) -> None:
        """From where `path` is; ProblemError unless it is about the same problem."""
        if not isinstance(path, Path):
            raise ProblemError(f"resume: expected a Path, got {path!r:.60}")
        if radius is not None or lam is not None:
            raise ProblemError("resume: the path knows how far its next step may go; leave out radius and lam")
        setting = self.setting
        same = {
            "theta_star": np.array_equal(path.theta_star, setting.start),
            "y_retain": np.array_equal(path.y, setting.y),
            "free": np.array_equal(path.free, setting.free),
            "regularizer": path.regularizer == setting.name
            and math.isclose(setting.value(path.theta), path.value, rel_tol=1e-12),
        }
        other = next((name for name, holds in same.items() if not holds), None)
        if other is not None:
            raise ProblemError(f"resume: expected a path of this problem, but {other} is another")
        self.theta, self.steps, self.control = path.theta, list(path.steps), path.control
        self.start = path.start if path.steps else None

    def ended(self, steps: int, tol: float, certify: bool, time_limit: float | None) -> tuple[PathStatus, str]:
        """Walk; why it ended, and what there is to say about it."""
        try:
            with watched(time_limit):
                if self.start is None:
                    note("restoring the labels at theta*")
                    self.start = self.theta = restore(self.setting, self.setting.start, self.tolerance, POLISHING).theta
                error = self.setting.error(self.theta)
                if not error <= self.tolerance:
                    return PathStatus.NOT_INTERPOLATING, f"max |f - y| stays at {error:.3g}."
                for _ in range(steps):
                    tick(f"step {len(self.steps) + 1}, {self.control.kind} {self.control.at:.3g}")
                    end = self.step(tol, certify)
                    if end is not None:
                        return end
                return PathStatus.STEPS_USED_UP, ""
        except TimeUpError:
            return PathStatus.TIME_LIMIT, ""
        except BaseException as error:
            if not interrupts.behind(error):
                raise
            return PathStatus.INTERRUPTED, ""

    def step(self, tol: float, certify: bool) -> tuple[PathStatus, str] | None:
        """One surrogate, or two where the first one promised too much.  Why the path ends here, if it does."""
        setting, control = self.setting, self.control
        first = tried(setting, setting.problem(self.theta, control.drift), self.tolerance)
        left, taken, midway, kinks = stationarity(first.solution, setting), first, False, 0
        if left > tol and first.gain < FAIR and not first.idle:
            second = in_the_middle(setting, first, self.tolerance)
            if not second.refusal and (first.refusal or second.value < first.value):
                taken, midway = second, True
        if self.network is not None and (left <= tol or taken.gain < FAIR):
            found = around(setting, self.network, self.theta, control.drift, self.tolerance, FAIR)
            left = found.stationarity
            if found.best is not None and (taken.refusal or found.best.value < taken.value):
                taken, midway, kinks = found.best, False, found.kinks
        if left <= tol:
            self.steps.append(first.step(control.at, left, False, "stationary", certify))
            return PathStatus.CONVERGED, ""
        lost = taken.lost / setting.label_scale
        if not taken.refusal:
            gain = min(taken.gain, FAIR) if midway else taken.gain  # the first Jacobian wanted a shorter step
            longer = further(setting, taken, self.tolerance)
            self.take(longer.step(control.at, left, midway, "", certify, kinks), longer, control.after(lost, gain))
            return None
        self.steps.append(taken.step(control.at, left, midway, taken.refusal, certify))
        self.control = control.refused(lost)
        if (taken.idle or self.control.stuck) and not self.leap(left, certify):
            return PathStatus.STALLED, f"The last step was refused: {taken.refusal}."
        return None

    def take(self, step: Step, found: Tried, control: Control) -> None:
        """All at once, after everything that an interrupt might end."""
        self.theta, self.control = found.restored.theta, control
        self.steps.append(step)

    def leap(self, left: float, certify: bool) -> bool:
        """Whether one of some longer steps lowers R after all; it is taken."""
        for share in LEAPS:
            control = self.control.leaping(share)
            far = tried(self.setting, self.setting.problem(self.theta, control.drift), self.tolerance)
            if not far.refusal:
                self.take(far.step(control.at, left, False, "", certify), far, control)
                return True
        return False


def _first(setting: Setting, radius: float | None, lam: float | None) -> Control:
    """What controls the first step."""
    length = float(np.linalg.norm(setting.start)) or 1.0
    if radius is not None:
        return Control("radius", float(radius), length)
    unit = 2.0 * setting.value(setting.start) / length**2 or 1.0
    return Control("lam", unit if lam is None else float(lam), unit)


def _check_numbers(radius: Any, lam: Any, steps: Any, tol: Any, keep: Any, time_limit: Any) -> None:
    given = {"radius": radius, "lam": lam, "tol": tol, "keep": keep, "time_limit": time_limit}
    for name, value in given.items():
        if value is None and name not in ("tol", "keep"):
            continue
        if not as_number(name, value) and name not in ("lam", "tol"):
            raise ProblemError(f"{name}: expected a number > 0, got {value!r:.60}")
    if radius is not None and lam is not None:
        raise ProblemError("radius: expected radius or lam, got both")
    if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or not 0 <= steps < 2**31:
        raise ProblemError(f"steps: expected a whole number from 0 to 2^31, got {steps!r:.60}")
