"""The reference solver: `solve(problem)`, by CVXPY on the explicit program, measured by the solution's own residuals.

backends.py   one explicit program, any CVXPY solver, one sign convention
polish.py     the active set's KKT equations, for QPs and LPs
counting.py   integer programs: supports, refits, and optimality by proof only
solver.py     solve(): the row space, the choice of back ends, the claim
"""

from exact_unlearn.errors import needed_by

with needed_by("exact_unlearn.solve"):
    from exact_unlearn.reference.backends import DEFAULTS, installed
    from exact_unlearn.reference.solver import ACCURACY, solve

__all__ = ["ACCURACY", "DEFAULTS", "installed", "solve"]
