"""
When the solver lies: your own J under five solvers
===================================================

Solvers end with a word, such as "optimal". On ill-conditioned data the word is often wrong. Here one small
problem goes to five of them, at their default settings, and a certificate says who told the truth.
"""

import warnings

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np

import exact_unlearn as xu

# %%
# A random J of 20 rows with condition number :math:`10^8`. The trained parameters satisfy :math:`J(\theta -
# \theta^*) = 0`, so there always is an answer. Put your own J here.

rng = np.random.default_rng(0)
left, right = (
    np.linalg.qr(rng.normal(size=(20, 20)))[0],
    np.linalg.qr(rng.normal(size=(60, 20)))[0],
)
J = left @ np.diag(np.logspace(0, -8, 20)) @ right.T
theta_star = rng.normal(size=60)

# %%
# The truth first: a certificate for these very floats.

problem = xu.UnlearningProblem(theta_star, J, xu.L1())
solution = xu.solve(problem)
certificate = xu.certify(problem, solution)
assert certificate.check().proved
truth = float(certificate.upper)
print(certificate.claim)

# %%
# And what they say. `xu.solve` uses one of the same back ends, but whitens the rows first and measures its own
# residuals.

claims = {"xu.solve": (solution.status.value, solution.value)}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # some of them warn, which is honest
    for name in ("CLARABEL", "HIGHS", "OSQP", "SCIPY"):
        theta = cp.Variable(60)
        peer = cp.Problem(
            cp.Minimize(cp.norm1(theta)), [J @ theta == J @ theta_star]
        )
        try:
            peer.solve(solver=name)
            claims[name] = (peer.status, peer.value)
        except cp.SolverError:
            claims[name] = ("failed", None)
off = {}
for name, (status, value) in claims.items():
    known = value is not None and np.isfinite(value)
    off[name] = abs(value - truth) / truth if known else 1.0
    said = f"{value:.9f}, wrong by {off[name]:.1e}" if known else "no value"
    print(f"{name:9} says {status!r}: {said}")

# %%
# Errors against the proved optimum. Whoever says "optimal" to the right of the dashed line, a millionth, has
# lied, and so has who says "infeasible". Who says "inaccurate" has admitted it.

figure, ax = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
names = list(claims)[::-1]
for height, name in enumerate(names):
    lie = claims[name][0] in ("optimal", "infeasible") and off[name] > 1e-6
    ax.plot(
        max(off[name], 1e-17),
        height,
        "X" if lie else "o",
        color="#D55E00" if lie else "#0072B2",
        ms=9,
    )
    ax.annotate(
        claims[name][0],
        (max(off[name], 1e-17), height),
        xytext=(9, -3),
        textcoords="offset points",
        fontsize=9,
    )
ax.axvline(1e-6, color="#8A8A8A", linestyle="dashed")
ax.set_yticks(range(len(names)), names)
ax.set(xscale="log", xlim=(1e-18, 1e4), xlabel="relative error of the value")
plt.show()
