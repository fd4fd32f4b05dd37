"""The exact problem of any differentiable model, by short surrogates, each taken where the one before ended.

    minimise  R(theta)  subject to  f(theta, x) = y  on the retained samples

Step k solves the surrogate at theta_k, which meets the labels, held near theta_k by a drift penalty:

    minimise  R(theta_k + D) + lam/2 |D|^2   subject to   J_k D = 0        (or |D| <= radius)

and then restores the labels by Gauss-Newton steps J D = y - f.  The step is taken if R is lower after that, refused
otherwise; what it lost, and how much of the promised gain was left, decide how far the next one may go.

With g in dR(theta_k + D) and h = J_k.T nu - g, the force of the drift penalty at the answer, theta_k is stationary for
the exact problem if and only if h = 0 and D = 0, so |h| / |g| + |D| / |theta| measures how far it is from that; for
R = |theta|^2/2 this is |P theta_k| / |theta_k|, with P the projection onto the kernel of J_k, whatever lam is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from exact_unlearn import effects, interrupts, modules
from exact_unlearn.certify import certify as prove
from exact_unlearn.errors import ProblemError, RankAmbiguityError
from exact_unlearn.jacobian import Array, real_array, to_float
from exact_unlearn.path.control import Control
from exact_unlearn.path.restore import Restored, restore
from exact_unlearn.path.setting import Setting, make_setting
from exact_unlearn.path.trace import Path, PathStatus, Step
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.solution import Solution, Status
from exact_unlearn.vectors import as_number
from exact_unlearn.watch import TimeUpError, note, tick, watched

STEPS = 100
TOLERANCE = 1e-6
KEEP = 1e-10
"""Labels are met if max |f - y| is at most this times max(1, max |y|)."""

NOTHING = 2.0**-50
"""A promised gain of this share of R is rounding."""

POLISHING, RESTORING = 60, 12
"""Gauss-Newton steps before the first surrogate, and after each."""


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
    what is measured.  steps: how many surrogates are solved at most.  tol: the stationarity (walk.py) that ends the
    path.  keep: the largest |f - y| of a point that counts as meeting the labels, relative to max(1, max |y|); what is
    reached is rounding, usually.  solver: None for the CVXPY reference (models) or the torch solver (torch modules),
    else "scalable" or the name of a CVXPY solver.  certify: prove every surrogate that is solved; the steps then hold
    solutions and certificates.  time_limit: seconds.  resume: a path of the same problem, which goes on where it was,
    by the same steps as if it had never ended.

    Every step lowers R, so the path ends nowhere worse than it began; that it ends at a global optimum is not claimed.
    How it ended is `status` of the path; Ctrl-C ends it as `interrupted`, with what was done.  ReLU networks: J is that
    of one side of every kink; what happens when a pre-activation passes 0 within a step is measured like every error.

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
    None until that is done.
    """

    def __init__(self, setting: Setting, tolerance: float) -> None:
        self.setting, self.tolerance = setting, tolerance
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
        """One surrogate: the theta of its answer, restored, or the old one.  Why the path ends here, if it does."""
        setting, control = self.setting, self.control
        before = setting.value(self.theta)
        problem = setting.problem(self.theta, control.drift)
        solution = setting.solve(problem)
        if solution.status is Status.TIME_LIMIT:
            raise TimeUpError("the time is up")
        proof = _proof(problem, solution) if certify else {}
        linear = to_float(solution.theta)
        promised, lost = setting.value(linear), setting.error(linear)
        left = stationarity(solution, setting)
        if left <= tol:
            reason, restored = "stationary", Restored(self.theta, setting.error(self.theta))
        elif not promised < before * (1 - NOTHING):
            reason, restored = "promised nothing", Restored(self.theta, setting.error(self.theta))
        else:
            restored = restore(setting, linear, self.tolerance, RESTORING)
            reason = self._refusal(restored, before)
        value = setting.value(restored.theta)
        moved = float(np.linalg.norm(restored.theta - self.theta))
        numbers = (value, promised, moved, lost, restored.error, left, control.at)
        self.steps.append(Step(not reason, *numbers, reason, **proof))
        if not reason:
            self.theta = restored.theta
            self.control = control.after(lost / setting.label_scale, (before - value) / (before - promised))
            return None
        if reason == "stationary":
            return PathStatus.CONVERGED, ""
        self.control = control.refused(lost / setting.label_scale)
        if reason == "promised nothing" or self.control.stuck:
            return PathStatus.STALLED, f"The last step was refused: {reason}."
        return None

    def _refusal(self, restored: Restored, before: float) -> str:
        """Why a step is not taken; "" if it is."""
        if not restored.error <= self.tolerance:
            return f"the labels stay {restored.error:.2g} away"
        return "" if self.setting.value(restored.theta) < before else "R rose"


def stationarity(solution: Solution, setting: Setting) -> float:
    """|h| / |g| + |D| / |theta|, in units of theta* where theta or g vanish; infinity without multipliers."""
    if solution.subgradient is None or solution.drift_subgradients is None:
        return math.inf
    size = float(np.linalg.norm(setting.start))
    slope = setting.value(setting.start) / size if size else 0.0
    movable = setting.free
    force = sum(map(to_float, solution.drift_subgradients), start=np.zeros(movable.size))
    h = float(np.linalg.norm(force[movable]))
    g = max(float(np.linalg.norm(to_float(solution.subgradient)[movable])), slope)
    length = max(float(np.linalg.norm(to_float(solution.theta))), size)
    return (h / g if h else 0.0) + (float(np.linalg.norm(to_float(solution.drift))) / length if length else 0.0)


def _first(setting: Setting, radius: float | None, lam: float | None) -> Control:
    """What controls the first step."""
    length = float(np.linalg.norm(setting.start)) or 1.0
    if radius is not None:
        return Control("radius", float(radius), length)
    unit = 2.0 * setting.value(setting.start) / length**2 or 1.0
    return Control("lam", unit if lam is None else float(lam), unit)


def _proof(problem: UnlearningProblem, solution: Solution) -> dict[str, Any]:
    """Solution, certificate, and what it proves."""
    try:
        certificate = prove(problem, solution)
    except RankAmbiguityError:
        return {"proof": "none", "solution": solution}
    gap = None if certificate.gap is None else float(certificate.gap)
    return {"proof": certificate.proof, "gap": gap, "solution": solution, "certificate": certificate}


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
