"""
Bring your own θ* and J: files, command line, another solver
============================================================

Nothing here needs to know your framework. Trained parameters and the gradients of the retained outputs are two
arrays; from them a file, from the file an answer with a proof, and from the problem the matrices that any other
solver takes.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import milp

import exact_unlearn as xu
from exact_unlearn.certify import checker
from exact_unlearn.cli import main
from exact_unlearn.exports import scipy_arguments

# %%
# Two arrays, written by whatever program has them.

rng = np.random.default_rng(0)
theta_star, J = rng.normal(size=30), rng.normal(size=(8, 30))
temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
np.savez(folder / "mine.npz", theta_star=theta_star, jacobian=J)

# %%
# The command line solves, proves and checks. In a shell the first of these is `exact-unlearn solve mine.npz -r
# l1`.

main(
    [
        "solve",
        f"{folder / 'mine.npz'}",
        "-r",
        "l1",
        "-o",
        f"{folder / 'mine.solution.npz'}",
        "--quiet",
    ]
)
status = main(
    [
        "check",
        f"{folder / 'mine.problem.npz'}",
        f"{folder / 'mine.certificate.json'}",
    ]
)
print("exit status of the checker:", status)
print("files:", *sorted(path.name for path in folder.iterdir()))

# %%
# The files carry everything: they load as objects again.

problem = xu.UnlearningProblem.load(folder / "mine.problem.npz")
certificate = xu.Certificate.load(folder / "mine.certificate.json", problem)
solution = xu.Solution.load(folder / "mine.solution.npz")
print(problem, certificate, solution, sep="\n")

# %%
# Another solver: the explicit linear program as arguments of SciPy. Its answer is judged like anybody's.

program = xu.explicit_program(problem)
theta = program.theta(milp(**scipy_arguments(program)).x)
verdict = xu.judge(problem, theta, certificate=certificate)
print(
    f"{program.kind} with matrices of shape {program.A.shape}. SciPy's answer is {verdict.outcome}."
)

# %%
# The proved point beside the trained parameters. Eight weights are left, one per gradient.

certificate.plot()
plt.show()

# %%
# The proof once more, by the checker alone, from the two files.

outcome = checker.check(
    folder / "mine.problem.npz", folder / "mine.certificate.json"
)
temporary.cleanup()
assert outcome.proved
assert verdict.optimal
print(*outcome.sentences)
