"""Theorem 4: the shortest parameters of a linear network that fit the retain data."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .descent import shortest_found
from .finding import Claim, Measurement, Result, above, at_least, close, differ, equal, worst_of
from .instances import Rng, fractions, integers, network_widths, unit_vector

DEPTHS = (1, 2, 3, 4, 5, 6)

# ---------------------------------------------------------------- instances


def _rational_instance(rng: Rng, depth: int) -> tuple[xu.LinearNetwork, Any, Any, Fraction, Any]:
    """(network, X_r, w_r, rho^(1/L), unit vectors v): rho is an L-th power of a rational, so every formula is rational.

    w_r = rho u with a rational unit vector u that is a combination of the rows of X_r; then w_r is min-norm.
    """
    network = xu.LinearNetwork(network_widths(rng, depth, 4))
    root = Fraction(int(rng.integers(1, 5)), int(rng.integers(1, 4)))
    u = unit_vector(rng, 4)
    X = np.array([3 * u, integers(rng, 4)], dtype=object)
    return network, X, root**depth * u, root, [unit_vector(rng, h) for h in network.widths[1:-1]]


def _stated(network: xu.LinearNetwork, w: Any, root: Fraction, v: list[Any]) -> Any:
    """The parameters of the theorem, written out: A_1 = rho^((1-L)/L) v_1 w^T, A_i = rho^(1/L) v_i v_{i-1}^T, c =
    rho^(1/L) v_{L-1}.
    """
    if network.depth == 1:
        return w
    layers = {"A1": root ** (1 - network.depth) * np.outer(v[0], w), "c": root * v[-1][None, :]}
    layers |= {f"A{i + 1}": root * np.outer(v[i], v[i - 1]) for i in range(1, network.depth - 1)}
    return network.join(layers)


def float_instance(rng: Rng, depth: int, l: int = 1) -> tuple[xu.LinearNetwork, Any, Any, Any]:
    """(network, X_r, Y_r, W_r) in floats; W_r exact on these floats, then rounded."""
    network = xu.LinearNetwork(network_widths(rng, depth, 4, l))
    x = np.round(16 * rng.standard_normal((2, 4))) / 16
    y = np.round(16 * rng.standard_normal((2, l))) / 16
    return network, x, y, naive.min_norm_matrix(x, y).astype(float)


# ---------------------------------------------------------------- claims


def _exact(rng: Rng, case: Any) -> Measurement:
    """The parameters as stated: they fit, have the min-norm predictor, and |theta|^2 = L rho^(2/L); all rational."""
    network, X, w, root, v = _rational_instance(rng, case)
    theta = _stated(network, w, root, v)
    y = X.dot(w)
    predictor = naive.linear_network(network.widths, theta, fractions(np.eye(4)))[:, 0]
    fitted = equal([*y, *naive.min_norm(X, y, 4)], [*naive.linear_network(network.widths, theta, X)[:, 0], *predictor])
    value = equal(case * root**2, naive.square_norm(theta))
    return worst_of([value, Measurement(value.predicted, value.measured, fitted.deviation, "exact")])


def _closed_form(rng: Rng, case: Any) -> Measurement:
    """The package's parameters and value, in floats, random directions."""
    network, x, y, W = float_instance(rng, case)
    theta = closed_form.theorem_4_parameters(network, W, rng)
    square = float(naive.square_norm(W))
    value = case * square ** (1 / case)
    found = naive.linear_network(network.widths, theta, x)
    return worst_of(
        [
            close(
                [value, value],
                [float(theta @ theta), closed_form.theorem_4_value(W, case)],
                1e-12,
                shown=(value, float(theta @ theta)),
            ),
            close(y, found, 1e-12, shown=(value, float(theta @ theta))),
        ]
    )


def _semidefinite(rng: Rng, case: Any) -> Measurement:
    """L = 2, a lower bound for every width: min tr G subject to G >= 0 and X G[:m, m] = y, with G = [A c]^T [A c].

    Its dual is max y.nu subject to |X^T nu| <= 2.  The solver's nu is taken as rational, scaled into the disc, and the
    bound y.nu, a rational number, is compared with 2 rho on squares: rho^2 is rational.
    """
    import cvxpy as cp

    X = integers(rng, case, 4)
    while naive.rank(X) < case:
        X = integers(rng, case, 4)
    y = X.dot(integers(rng, 4))
    x_float = X.astype(float)
    G = cp.Variable((5, 5), PSD=True)
    equations = x_float @ G[:4, 4] == y.astype(float)
    cp.Problem(cp.Minimize(cp.trace(G)), [equations]).solve(solver="CLARABEL")
    nu = fractions(np.asarray(equations.dual_value))
    bound_square = 4 * naive.dot(y, nu) ** 2 / max(naive.square_norm(X.T.dot(nu)), Fraction(1, 10**30))
    truth_square = 4 * naive.square_norm(naive.min_norm(X, y, 4))  # (2 rho)^2
    shown = float(truth_square) ** 0.5, float(bound_square) ** 0.5
    valid = max(bound_square - truth_square, 0)
    missing = float((truth_square - bound_square) / truth_square) if truth_square else 0.0
    tight = Measurement(*shown, float(valid / truth_square) + 1 if valid else missing, "enclosure", 1e-9)
    feasible = []
    for width in (1, 2, 5):  # random networks that fit are no shorter than the bound, on fourth powers
        theta = xu.LinearNetwork((4, width, 1)).interpolating_parameters(X, y[:, None], rng)
        feasible.append(at_least(bound_square, naive.square_norm(theta) ** 2))
    return worst_of([tight, *feasible])


def _geometric(rng: Rng, case: Any) -> Measurement:
    """Every L and rho: min rho^2 t_1 + t_2 + ... + t_L subject to t_1 ... t_L = 1 bounds |theta|^2 from below.

    |w| <= |c| prod |A_i|_F and rho <= |w| for every feasible theta, so t_1 = |A_1|^2 / rho^2 and t_i = |A_i|^2 may be
    scaled down to product 1.  Solved as a geometric program.
    """
    import cvxpy as cp

    _, _, _, W = float_instance(rng, case)
    square = float(naive.square_norm(W))
    t = cp.Variable(case, pos=True)
    objective = square * t[0] + sum(t[i] for i in range(1, case))
    problem = cp.Problem(cp.Minimize(objective), [cp.prod(t) == 1])
    problem.solve(gp=True, solver="CLARABEL")
    return close(closed_form.theorem_4_value(W, case), float(problem.value), 1e-6)


def _submultiplicative(rng: Rng, case: Any) -> Measurement:
    """The two inequalities behind that bound, for random feasible rational theta: rho <= |w| <= |c| prod |A_i|_F, and
    (|theta|^2 / L)^L >= |c|^2 prod |A_i|^2, all on squares."""
    network = xu.LinearNetwork(network_widths(rng, case, 4))
    x = integers(rng, 2, 4)
    y = x.dot(integers(rng, 4))[:, None]
    theta = network.interpolating_parameters(x, y, rng)
    w = naive.linear_network(network.widths, theta, fractions(np.eye(4)))
    layers = [naive.square_norm(theta[block]) for block in network.blocks.values()]
    product = Fraction(1)
    for square in layers:
        product *= square
    rho = naive.square_norm(naive.min_norm_matrix(x, y))
    mean = (naive.square_norm(theta) / case) ** case
    return worst_of(
        [at_least(rho, naive.square_norm(w)), at_least(naive.square_norm(w), product), at_least(product, mean)]
    )


def _descent(rng: Rng, case: Any) -> Measurement:
    """Descent from random starts never ends below the value."""
    depth, l = case
    network, x, y, W = float_instance(rng, depth, l)
    value = closed_form.theorem_4_value(W, depth)
    found = shortest_found(network, x, y, rng, 1)
    return at_least(value, found, tolerance=1e-9, proof="none")


def _reached(rng: Rng, case: Any) -> Measurement:
    """Descent from a few random starts does reach the value: the bound is tight, not just valid."""
    network, x, y, W = float_instance(rng, case)
    found = shortest_found(network, x, y, rng, 4)
    return close(closed_form.theorem_4_value(W, case), found, 1e-4)


def _zero(rng: Rng, case: Any) -> Measurement:
    """rho = 0: theta = 0, value 0; no division by rho."""
    network = xu.LinearNetwork(network_widths(rng, case, 4))
    theta = closed_form.theorem_4_parameters(network, np.zeros(4), rng)
    return equal([0.0, 0.0], [float(np.abs(theta).max()), closed_form.theorem_4_value(np.zeros(4), case)])


def _one_layer(rng: Rng, case: Any) -> Measurement:
    """L = 1: theta = w_r."""
    network = xu.LinearNetwork((5, 1))
    w = rng.standard_normal(5)
    return close(
        [*w, float(w @ w)], [*closed_form.theorem_4_parameters(network, w), closed_form.theorem_4_value(w, 1)], 1e-15
    )


def _other_predictor(rng: Rng, case: Any) -> Measurement:
    """The same parameters built on another predictor that fits, w_r + z: they fit as well, but the norm is larger,
    exactly.

    L |w|^(2/L) is compared by L-th powers, which are rational.
    """
    _, X, w, _, _ = _rational_instance(rng, case)
    basis, _ = xu.rational.nullspace(X)
    z = basis.dot(integers(rng, basis.shape[1]))
    while not any(z):
        z = basis.dot(integers(rng, basis.shape[1]))
    least, larger = naive.square_norm(w), naive.square_norm(w + z)
    return worst_of([above(least, larger), equal(X.dot(w), X.dot(w + z), shown=(least, larger))])


def _not_unit(rng: Rng, case: Any) -> Measurement:
    """v_1 of length 2: the predictor is no longer w_r."""
    network, X, w, root, v = _rational_instance(rng, case)
    v[0] = 2 * v[0]
    found = naive.linear_network(network.widths, _stated(network, w, root, v), X)[0, 0]
    return differ(naive.dot(X[0], w), found)


def _outputs(rng: Rng, case: Any) -> Measurement:
    """Several outputs: the package's parameters fit, and have the value L sum sigma_i(W_r)^(2/L)."""
    depth, l = case
    network, x, y, W = float_instance(rng, depth, l)
    theta = closed_form.theorem_4_parameters(network, W, rng)
    sigma = np.sqrt(np.linalg.eigvalsh(W.T @ W).clip(0))
    rank = np.linalg.matrix_rank(W)
    value = float(depth * np.sum(np.sort(sigma)[::-1][:rank] ** (2 / depth)))
    shown = value, float(theta @ theta)
    values = [float(theta @ theta), closed_form.theorem_4_value(W, depth)]
    return worst_of(
        [
            close([value, value], values, 1e-6, shown=shown),
            close(y, naive.linear_network(network.widths, theta, x), 1e-9, shown=shown),
        ]
    )


def _nuclear(rng: Rng, case: Any) -> Measurement:
    """L = 2, two outputs, orthogonal columns of W_r with rational lengths: 2 (s_1 + s_2) is a proved lower bound.

    min tr G with G[:m, m:] = W has the dual 2 max <Z, W>, |Z|_2 <= 1, and Z = [w_1/s_1, w_2/s_2] has orthonormal
    columns. The value for one output, 2 |W|_F = 2 sqrt(s_1^2 + s_2^2), is smaller: it fails here.
    """
    s = [Fraction(int(rng.integers(1, 6))), Fraction(int(rng.integers(1, 6)))]
    u = unit_vector(rng, 4)
    t = np.array([-u[1], u[0], -u[3], u[2]], dtype=object)  # orthogonal to u, of length 1
    Z = np.array([u, t], dtype=object).T
    W = Z * np.array(s, dtype=object)
    identity = equal(fractions(np.eye(2)), Z.T.dot(Z))
    bound = 2 * naive.dot(Z.reshape(-1), W.reshape(-1))
    wrong = 4 * naive.square_norm(W)  # the square of 2 |W|_F
    shown = float(wrong) ** 0.5, float(bound)
    return worst_of(
        [
            Measurement(*shown, above(wrong, bound**2).deviation, "exact"),
            Measurement(*shown, identity.deviation, "exact"),
            equal(2 * sum(s), bound, shown=(2 * sum(s), bound)),
        ]
    )


def _orthonormal(rng: Rng, size: int) -> Any:
    """Two orthonormal rational columns of length `size`, 2 or 4."""
    u = unit_vector(rng, size)
    other = [-u[1], u[0]] if size == 2 else [-u[1], u[0], -u[3], u[2]]
    return np.array([u, other], dtype=object).T


def _unimodular(rng: Rng, size: int) -> tuple[Any, Any]:
    """A random rational matrix and its inverse."""
    while True:
        G = integers(rng, size, size)
        if naive.rank(G) == size:
            return G, xu.rational.solve(G, xu.rational.identity(size))


def _outputs_bound(rng: Rng, case: Any) -> Measurement:
    """Two outputs, W_r = P diag(t^L) Q^T with rational orthonormal P, Q: L sum t_i^2 is attained, and other factors
    of W_r, and of other predictors W_r + Z that fit, are no shorter; exactly.

    Z^T W_r = 0, so W^T W = W_r^T W_r + Z^T Z: all singular values grow.
    """
    widths = [4, *(int(rng.choice([2, 4])) for _ in range(case - 1)), 2]
    t = np.array([Fraction(int(a), int(b)) for a, b in rng.integers(1, 5, size=(2, 2))], dtype=object)
    frames = [_orthonormal(rng, width) for width in widths]
    layers = [(frames[i + 1] * t).dot(frames[i].T) for i in range(case)]
    W = (frames[0] * t**case).dot(frames[-1].T)
    X = (_unimodular(rng, 2)[0]).dot(frames[0].T)  # W_r is the min-norm predictor of (X, X W)
    bound = case * naive.dot(t, t)
    length = sum(naive.square_norm(layer) for layer in layers)

    def product(factors: list[Any]) -> Any:
        out = xu.rational.identity(4)
        for factor in factors:
            out = factor.dot(out)
        return out.T

    attained = worst_of(
        [
            equal(bound, length),
            equal(W, product(layers), shown=(bound, length)),
            equal(W, naive.min_norm_matrix(X, X.dot(W)), shown=(bound, length)),
        ]
    )
    others = []
    for _ in range(4):
        mixed = [layer.copy() for layer in layers]
        kernel = integers(rng, len(mixed[0]), 4) * int(rng.integers(0, 2))
        mixed[0] = mixed[0] + kernel - np.array([naive.project(X, row) for row in kernel], dtype=object)
        for i in range(case - 1):
            G, inverse = _unimodular(rng, len(mixed[i]))
            mixed[i], mixed[i + 1] = G.dot(mixed[i]), mixed[i + 1].dot(inverse)
        fits = equal(X.dot(W), X.dot(product(mixed)), shown=(bound, length))
        others += [fits, at_least(bound, sum(naive.square_norm(layer) for layer in mixed))]
    return worst_of([attained, *others])


FEASIBLE = ("one output", r"$\rho = \|w_r\|_2 > 0$")

RESULT = Result(
    name="Theorem 4",
    title="The shortest network that fits",
    statement=(
        r"For $R = \|\theta\|_2$ on an $L$-layer linear network let $w_r$ be the min-norm predictor of "
        r"$\mathcal{D}_r$, $\rho = \|w_r\|_2$, and $v_\ell$ unit vectors. Then $A_1 = \rho^{(1-L)/L} v_1 "
        r"w_r^\top$, $A_\ell = \rho^{1/L} v_\ell v_{\ell-1}^\top$, $c = \rho^{1/L} v_{L-1}$ is an exact unlearning "
        r"solution, with $\|\theta\|_2^2 = L\rho^{2/L}$. Ours: with several outputs the value is $L\sum_i "
        r"\sigma_i(W_r)^{2/L}$."
    ),
    tried=(
        r"Networks of 1 to 6 layers. With $\rho$ a rational $L$-th power everything is rational and exact. Lower "
        "bounds that do not know the formula: a semidefinite program with a rational dual certificate for two "
        "layers, a geometric program for every depth, and the two inequalities behind it in rational arithmetic. "
        "And an attack: non-convex descent from random starts. Several outputs with rational singular values: random "
        "other factors of the same predictor, and of others that fit, in rational arithmetic."
    ),
    claims=(
        Claim(
            "exact",
            (
                r"The parameters as stated fit, have the predictor $w_r$, and $\|\theta\|_2^2 = L\rho^{2/L}$, "
                "exactly."
            ),
            _exact,
            r"$\|\theta\|_2^2$",
            cases=DEPTHS,
            quick=11,
            assumptions=FEASIBLE,
        ),
        Claim(
            "closed-form",
            "The package's parameters and value, in floating point, with random directions.",
            _closed_form,
            r"$\|\theta\|_2^2$",
            cases=DEPTHS,
            quick=11,
            assumptions=FEASIBLE,
        ),
        Claim(
            "inequalities",
            (
                r"$\rho \le \|w\|_2 \le \|c\|_2\prod\|A_\ell\|_F$ and $(\|\theta\|_2^2/L)^L \ge "
                r"\|c\|_2^2\prod\|A_\ell\|_F^2$ for random feasible $\theta$."
            ),
            _submultiplicative,
            "a lower side, an upper side",
            cases=DEPTHS,
            quick=11,
        ),
        Claim(
            "semidefinite",
            (
                r"$L = 2$: the semidefinite program proves the lower bound $2\rho$, for every width, by a rational "
                "dual point; random networks of width 1, 2 and 5 that fit are no shorter, exactly."
            ),
            _semidefinite,
            r"$\|\theta\|_2^2$",
            cases=(1, 2, 3),
            quick=21,
            full=30,
            assumptions=FEASIBLE,
        ),
        Claim(
            "geometric",
            r"Every $L$: the geometric program has the value $L\rho^{2/L}$.",
            _geometric,
            r"$\|\theta\|_2^2$",
            cases=DEPTHS[1:],
            quick=13,
            full=20,
            assumptions=FEASIBLE,
        ),
        Claim(
            "descent",
            "Descent from random starts never ends below it.",
            _descent,
            r"$\|\theta\|_2^2$ (value, best found)",
            cases=tuple((d, 1) for d in DEPTHS),
            quick=4,
            full=40,
            assumptions=FEASIBLE,
        ),
        Claim(
            "reached",
            "The best of four random starts reaches it.",
            _reached,
            r"$\|\theta\|_2^2$",
            cases=DEPTHS[1:],
            quick=1,
            full=20,
            assumptions=FEASIBLE,
        ),
        Claim(
            "several-outputs",
            r"Several outputs: the value is $L\sum_i\sigma_i(W_r)^{2/L}$.",
            _outputs,
            r"$\|\theta\|_2^2$",
            kind="ours",
            cases=((1, 2), (2, 2), (3, 2), (4, 3)),
            quick=16,
        ),
        Claim(
            "several-outputs-exact",
            (
                r"Several outputs, rational singular values: $L\sum_i\sigma_i(W_r)^{2/L}$ is attained, and no other "
                "network that fits was shorter, exactly."
            ),
            _outputs_bound,
            r"$\|\theta\|_2^2$",
            kind="ours",
            cases=(2, 3, 4, 5, 6),
            quick=4,
            full=60,
            assumptions=("two outputs",),
        ),
        Claim(
            "several-outputs-descent",
            "Several outputs: descent never ends below it.",
            _descent,
            r"$\|\theta\|_2^2$ (value, best found)",
            kind="ours",
            cases=((2, 2), (3, 2)),
            quick=1,
            full=30,
        ),
        Claim(
            "one-output-only",
            (
                r"With two outputs the value is not $L\rho^{2/L}$, $\rho = \|W_r\|_F$: $2(\sigma_1 + \sigma_2)$ is "
                "a proved lower bound for $L = 2$."
            ),
            _nuclear,
            r"$\|\theta\|_2^2$ (formula for one output, proved bound)",
            kind="assumption",
            quick=24,
            assumptions=("broken: one output",),
        ),
        Claim(
            "other-predictor",
            "Built on another predictor that fits, the parameters fit as well but are longer.",
            _other_predictor,
            r"$\|w\|_2^2$ (min-norm, other)",
            kind="assumption",
            cases=(2, 3, 5),
            quick=21,
            assumptions=("broken: $w_r$ is the min-norm predictor",),
        ),
        Claim(
            "not-unit",
            r"With $\|v_1\| = 2$ they do not fit.",
            _not_unit,
            "retain output (wanted, found)",
            kind="assumption",
            cases=(2, 3),
            quick=24,
            assumptions=(r"broken: $v_\ell$ are unit vectors",),
        ),
        Claim(
            "zero",
            r"$\rho = 0$: $\theta = 0$.",
            _zero,
            r"$\|\theta\|_2^2$",
            kind="degenerate",
            cases=DEPTHS,
            quick=11,
            full=5,
        ),
        Claim(
            "one-layer",
            r"$L = 1$: $\theta = w_r$.",
            _one_layer,
            r"largest entry of $\theta$",
            kind="degenerate",
            quick=24,
        ),
    ),
    figure="theorem_4",
    caption=(
        r"Every curve is a run of non-convex descent from a random start: $\|\theta\|_2^2$ of its iterates, each "
        r"made feasible, divided by $L\rho^{2/L}$. All of them come down to 1, and none goes below."
    ),
)
