"""The same problems at the size of real networks, with torch: on CPU and GPU, in float32 and float64.

In short:

    model = ModuleModel(module)                         a torch module as f(theta, x)
    J = model.jacobian(theta, x_retain)                 J as an operator; three interchangeable routes
    result = project(J, theta)                          P_row(J) theta with multipliers and an error estimate
    write_back(module, result)                          the unlearned parameters into the module
    solve(problem)                                      every other norm, to a relative gap (solve_path for many)
    stream = RetainStream(J, theta); stream.delete(i)   the same for a retain set that shrinks
"""

from exact_unlearn.errors import needed_by

with needed_by("exact_unlearn.scalable"):
    from exact_unlearn.scalable.factor import RowFactor, choleskyqr, tsqr
    from exact_unlearn.scalable.jacobian_check import KinkWarning
    from exact_unlearn.scalable.jacobian_core import DenseTorchJacobian, TorchJacobian, as_torch_jacobian
    from exact_unlearn.scalable.module import ModuleModel, write_back
    from exact_unlearn.scalable.path import solve_path
    from exact_unlearn.scalable.project import project
    from exact_unlearn.scalable.projection import Projection
    from exact_unlearn.scalable.running import FrozenStatisticsWarning
    from exact_unlearn.scalable.solve import solve
    from exact_unlearn.scalable.stream import RetainStream

__all__ = [
    "DenseTorchJacobian",
    "FrozenStatisticsWarning",
    "KinkWarning",
    "ModuleModel",
    "Projection",
    "RetainStream",
    "RowFactor",
    "TorchJacobian",
    "as_torch_jacobian",
    "choleskyqr",
    "project",
    "solve",
    "solve_path",
    "tsqr",
    "write_back",
]
