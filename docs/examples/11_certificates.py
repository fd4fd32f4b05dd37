"""
Read, break and mend a certificate
==================================

A certificate is a file that proves its claim to anybody. Here we read one, change a digit and see it refused,
try to make it claim more than it proves, and mend it.
"""

import copy
import json
import tempfile
from fractions import Fraction as F
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import exact_unlearn as xu
from exact_unlearn.certify import checker

# %%
# A problem with three weights, in fractions, and its proof.

theta_star = np.array([F(3), F(1), F(-2)])
problem = xu.UnlearningProblem(theta_star, np.array([[F(1), F(2), F(1)]]), xu.L1())
certificate = xu.certify(problem, xu.solve(problem))
print(certificate.claim)

# %%
# What the file holds: a feasible point, which bounds the optimum from above, and multipliers :math:`\nu`, which
# bound it from below. Numbers are hexadecimal fractions. Nothing in it says which solver found it, for that
# does not matter.

folder = tempfile.TemporaryDirectory()
path, about = (
    Path(folder.name, "certificate.json"),
    Path(folder.name, "problem.json"),
)
certificate.save(path)
problem.save(about)
tree = json.loads(path.read_text())
for key in ("primal", "dual", "claims"):
    print(key, "=", json.dumps(tree[key]))


def verdict(changed):
    path.write_text(json.dumps(changed))
    try:
        return checker.check(about, path)
    except checker.Rejected as error:
        return error


# %%
# Break it in two ways: a point that is smaller but does not fit, and a claim that is larger than the proof.

smaller = copy.deepcopy(tree)
smaller["primal"]["parts"][0]["nums"] = ["1"]
print(
    "a smaller point:", *getattr(verdict(smaller), "sentences", [verdict(smaller)])
)
bolder = copy.deepcopy(tree)
bolder["claims"]["lower"] = "2"
print("a bolder claim: ", *getattr(verdict(bolder), "sentences", [verdict(bolder)]))

# %%
# Other multipliers are no lie, they only prove less. Here is a problem with two rows, and what multipliers
# prove that are turned away from the best ones.

rng = np.random.default_rng(1)
two = xu.UnlearningProblem(
    rng.normal(size=8), rng.normal(size=(2, 8)), xu.SquaredL2()
)
proved = xu.certify(two)
best = xu.solve(two).nu
turns = np.linspace(-np.pi, np.pi, 41)
bounds = []
for turn in turns:
    rotation = np.array(
        [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    )
    bounds.append(
        float(
            xu.judge(
                two, proved.theta, nu=rotation @ best, certificate=proved
            ).nu_lower
        )
    )

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(
    np.degrees(turns),
    bounds,
    "o-",
    color="#0072B2",
    ms=3.5,
    label="what the turned multipliers prove",
)
ax.axhline(
    float(proved.upper), color="#D55E00", linestyle="dashed", label="the optimum"
)
ax.set(
    xlabel="degrees that ν is turned",
    ylabel="lower bound",
    xticks=range(-180, 181, 60),
)
ax.legend(loc="center left")
plt.show()

# %%
# Mend it: put the honest numbers back. Certificates need no repair shop, for anybody can make a new one from
# any solution.

mended = verdict(tree)
assert mended.proved
assert not getattr(verdict(smaller), "proved", False)
assert not getattr(verdict(bolder), "proved", False)
print(*mended.sentences)
folder.cleanup()
