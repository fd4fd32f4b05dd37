"""The few exceptions of our own, and the one warning.

Everything a caller can do wrong raises a subclass of `ExactUnlearnError`, so that a program can catch all of it
at one place and the command line can turn it into one sentence. A *solver* that stops early is no exception: that is a
`Status`, and raising is the caller's choice.

Messages name the argument, what was expected and what came:

>>> raise ProblemError("theta_star must be finite, but entry 3 is nan")
Traceback (most recent call last):
exact_unlearn.errors.ProblemError: theta_star must be finite, but entry 3 is nan
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager


class ExactUnlearnError(Exception):
    """Any error that this package raises on purpose: one sentence on one line, whatever was quoted in it.

    >>> import exact_unlearn as xu
    >>> try:
    ...     xu.L1(weights=[-1.0])
    ... except xu.ExactUnlearnError as error:
    ...     print(type(error).__name__)
    ProblemError
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


class ProblemError(ExactUnlearnError, ValueError):
    """An argument does not describe an unlearning problem: wrong shape, dtype, value, name or combination.

    >>> import exact_unlearn as xu
    >>> xu.UnlearningProblem([3.0], [[1.0, 2.0]], xu.L1())
    Traceback (most recent call last):
    exact_unlearn.errors.ProblemError: jacobian: expected 1 columns, one per entry of theta_star, got 2
    """


class FileFormatError(ExactUnlearnError, ValueError):
    """A file is truncated, of another format, of a newer version, or contradicts itself.

    >>> import exact_unlearn as xu
    >>> xu.UnlearningProblem.load("missing.npz")
    Traceback (most recent call last):
    exact_unlearn.errors.FileFormatError: missing.npz: cannot be read (No such file or directory)
    """


class SolverError(ExactUnlearnError, RuntimeError):
    """A back end is not installed, or returned something that cannot be an answer to the problem it was given.

    Example: `infeasible` for a surrogate, whose constraint J D = 0 the drift D = 0 always satisfies.

    >>> import exact_unlearn as xu
    >>> impossible = xu.UnlearningProblem([3.0], [[1.0], [1.0]], xu.L1(), rhs=[1.0, 2.0])
    >>> xu.solve(impossible).require_optimal()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    exact_unlearn.errors.SolverError: ...
    """


class NotMeasuredError(ExactUnlearnError, RuntimeError):
    """Something outside of what was to be measured came between: a worker process was killed, memory ran out.

    It says nothing about what was to be measured; finished work is kept, and the same call goes on from there.
    """


class MissingExtraError(ExactUnlearnError, ImportError):
    """Something that is not installed is needed; the sentence names it and the extra that brings it.

    >>> from exact_unlearn.errors import missing_extra
    >>> print(missing_extra("a figure", "matplotlib"))
    a figure needs matplotlib; install it with: pip install 'exact-unlearn[demo]'
    """

    modules: tuple[str, ...] = ()
    """What is missing."""


class RankAmbiguityError(ExactUnlearnError, ValueError):
    """The rows of J as written have another rank than they have up to rounding.

    The literal problem and the intended one then differ, often by far, so certification asks which one is meant
    instead of answering silently.

    >>> import exact_unlearn as xu
    >>> J = [[1.0, 2.0], [1.0, 2.0 + 1e-15]]  # equal, or not?
    >>> xu.certify(xu.UnlearningProblem([3.0, 1.0], J, xu.L1()))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    exact_unlearn.errors.RankAmbiguityError: ...
    """


class InterpolationWarning(UserWarning):
    """theta* does not interpolate the data: the surrogate still solves, but the theorems do not apply.

    >>> import warnings
    >>> import exact_unlearn as xu
    >>> with warnings.catch_warnings(record=True) as heard:
    ...     warnings.simplefilter("always")
    ...     _ = xu.surrogate_problem(xu.LinearModel(2), [3.0, 1.0], [[1.0, 2.0]], xu.L2(), y_retain=[7.0])
    >>> [warning.category is xu.InterpolationWarning for warning in heard]
    [True]
    """


EXTRAS = {
    "clarabel": "solve",
    "cvxpy": "solve",
    "highspy": "solve",
    "osqp": "solve",
    "scipy": "solve",
    "joblib": "torch",
    "torch": "torch",
    "latex2mathml": "demo",
    "matplotlib": "demo",
    "sklearn": "demo",
}
"""The extra that brings a module (pyproject.toml); where several do, the one that is about it."""


def missing_extra(what: str, *modules: str) -> MissingExtraError:
    """The error that `what` needs `modules`: what is missing, and the command that brings it."""
    extras = dict.fromkeys(EXTRAS[name] for name in modules)
    if "demo" in extras:  # which contains it
        extras.pop("solve", None)
    command = f"pip install 'exact-unlearn[{','.join(extras)}]'"
    error = MissingExtraError(f"{what} needs {', '.join(modules)}; install it with: {command}")
    error.modules = modules
    return error


def require_extra(what: str, *modules: str) -> None:
    """MissingExtraError unless all of `modules` are installed; none of them is imported."""
    missing = [name for name in modules if not _installed(name)]
    if missing:
        raise missing_extra(what, *missing)


@contextmanager
def needed_by(what: str) -> Iterator[None]:
    """Imports in this context that fail for want of an extra are a MissingExtraError, which names it.

    Of contexts within each other the outermost one says what needs it: that is what was asked for.
    """
    try:
        yield
    except MissingExtraError as error:
        raise missing_extra(what, *error.modules) from None
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in EXTRAS:
            raise
        raise missing_extra(what, name) from None


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # blocked: sys.modules[name] is None
        return False
