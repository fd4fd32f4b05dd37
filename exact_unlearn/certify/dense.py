"""Dense float linear algebra that bears badly scaled columns and rows."""

from __future__ import annotations

import numpy as np

from exact_unlearn.jacobian import Array

WELL = 1e13
"""A matrix of larger condition is treated as singular."""

EQUILIBRATIONS = 6


def range_basis(columns: Array) -> Array:
    """An orthonormal basis of the range, (r, rank), decided on columns of equal length."""
    lengths = np.linalg.norm(columns, axis=0)
    columns = columns[:, lengths > 0] / lengths[lengths > 0]
    if not columns.shape[1]:
        return np.zeros((columns.shape[0], 0))
    U, s, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(U[:, s > 1e-10 * s[0]])


def robust_inverse(M: Array) -> Array:
    """M^-1 of an equilibrated M, or its pseudo-inverse where coordinates that nothing penalises leave it singular."""
    left, right = _equilibrating(M)
    scaled = left[:, None] * M * right
    try:
        inverse = np.linalg.inv(scaled)
        if not np.linalg.norm(scaled) * np.linalg.norm(inverse) < WELL:
            inverse = np.linalg.pinv(scaled, rcond=1 / WELL)
    except np.linalg.LinAlgError:
        inverse = np.linalg.pinv(scaled, rcond=1 / WELL)
    return np.asarray(right[:, None] * inverse * left)


def graded_inverse(H: Array, K: Array) -> Array:
    """[[H, -K.T], [K, 0]]^-1 for a semidefinite H whose entries differ by far more than floats have digits, and a K of
    full row rank: by the null space of K, on which H is scaled to a unit diagonal.
    """
    r, k = K.shape
    Q, R = np.linalg.qr(K.T, mode="complete")
    Y, Z, right = Q[:, :r], Q[:, r:], np.linalg.inv(R[:r].T)
    reduced = Z.T @ H @ Z
    size = np.sqrt(np.maximum(np.diag(reduced), 0.0))
    unit = 1 / np.where(size > 0, size, 1.0)
    inner = unit[:, None] * np.linalg.pinv(unit[:, None] * reduced * unit, rcond=1 / WELL, hermitian=True) * unit
    x_of_dual = Z @ inner @ Z.T
    x_of_primal = Y @ right - x_of_dual @ (H @ (Y @ right))
    y_of_dual = right.T @ Y.T @ (H @ x_of_dual - np.eye(k))
    y_of_primal = right.T @ Y.T @ (H @ x_of_primal)
    return np.block([[x_of_dual, x_of_primal], [y_of_dual, y_of_primal]])


def pseudo_inverse(M: Array) -> Array:
    """A generalised inverse of a consistent system, of any shape, decided on an equilibrated M."""
    left, right = _equilibrating(M)
    inverse = np.linalg.pinv(left[:, None] * M * right, rcond=1e-11)
    return np.asarray(right[:, None] * inverse * left)


def _equilibrating(M: Array) -> tuple[Array, Array]:
    """Factors of rows and columns after which their largest entries are near 1."""
    left, right = np.ones(M.shape[0]), np.ones(M.shape[1])
    for _ in range(EQUILIBRATIONS):  # powers of two, so that nothing is rounded
        scaled = np.abs(left[:, None] * M * right)
        left = left * _root_of_power(np.max(scaled, axis=1, initial=0.0))
        right = right * _root_of_power(np.max(scaled, axis=0, initial=0.0))
    return left, right


def _root_of_power(sizes: Array) -> Array:
    """A power of two near 1/sqrt(size); 1 for 0."""
    return np.asarray(np.ldexp(1.0, -(np.frexp(np.where(sizes > 0, sizes, 1.0))[1] // 2)))
