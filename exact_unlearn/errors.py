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


class ExactUnlearnError(Exception):
    """Any error that this package raises on purpose."""


class ProblemError(ExactUnlearnError, ValueError):
    """An argument does not describe an unlearning problem: wrong shape, dtype, value, name or combination."""


class FileFormatError(ExactUnlearnError, ValueError):
    """A file is truncated, of another format, of a newer version, or contradicts itself."""


class SolverError(ExactUnlearnError, RuntimeError):
    """A back end is not installed, or returned something that cannot be an answer to the problem it was given.

    Example: `infeasible` for a surrogate, whose constraint J D = 0 the drift D = 0 always satisfies.
    """


class NotMeasuredError(ExactUnlearnError, RuntimeError):
    """Something outside of what was to be measured came between: a worker process was killed, memory ran out.

    It says nothing about what was to be measured; finished work is kept, and the same call goes on from there.
    """


class RankAmbiguityError(ExactUnlearnError, ValueError):
    """The rows of J as written have another rank than they have up to rounding.

    The literal problem and the intended one then differ, often by far, so certification asks which one is meant
    instead of answering silently.
    """


class InterpolationWarning(UserWarning):
    """theta* does not interpolate the data: the surrogate still solves, but the theorems do not apply."""
