"""That a feasible point exists next to an approximate one: a float right inverse that integers verify.

Where J_B, m well-chosen columns of J, has an approximate inverse L with |I - J_B L| < 1, every point that misses
J D = b by r has a feasible point within |L| |r| / (1 - |I - J_B L|), which moves the coordinates B alone (Krawczyk,
Computing 4, 1969).  Nobody needs to know that point; the checker finds the same bound in integers
(docs/certificate_format.md, 4.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exact_unlearn.certify.encode import Tree
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.jacobian import Array

WIDTHS = (2, 3, 4, 5, 6)
"""Bytes of an entry of the inverse."""

ENOUGH = 0.25
"""Of |I - J_B L|, as it will be bounded."""

BLOCK = 32


@dataclass(frozen=True)
class Inverse:
    """columns (m,): places of B among the columns of J.  width, scale: bytes and exponent of `rows`, the integers.
    reach: |e_j| / |r| is at most 2^reach, for rows of J in units of their own."""

    columns: Array
    width: int
    scale: int
    rows: Array
    reach: int

    def tree(self, free: Array, rows: list[int], digits: int) -> Tree:
        """As the certificate writes it; free: coordinates of the columns."""
        m, half = len(rows), 1 << (8 * self.width - 1)
        raw = (self.rows + half).astype(">u8").view(np.uint8).reshape(m, m, 8)[:, :, 8 - self.width :]
        return {
            "rows": rows,
            "columns": [int(free[j]) for j in self.columns],
            "digits": digits,
            "width": self.width,
            "scale": self.scale,
            "inverse": [row.tobytes().hex() for row in np.ascontiguousarray(raw)],
        }


def inverse(J: Array, allowed: Array) -> Inverse:
    """Of m columns among `allowed`.  J: (m, n), rows in units of their own.  FaceError where floats find none."""
    m = J.shape[0]
    if not m:
        return Inverse(np.zeros(0, dtype=int), 1, 0, np.zeros((0, 0)), 0)
    lengths = np.einsum("ij,ij->j", J[:, allowed], J[:, allowed])
    longest = allowed[np.argsort(-lengths, kind="stable")[: 3 * m]]
    if longest.size < m:
        raise FaceError("fewer coordinates may move than there are rows")
    columns = longest[independent_rows(np.ascontiguousarray(J[:, longest].T))]
    S = J[:, columns]
    if not (S.any(axis=0).all() and S.any(axis=1).all()):
        raise FaceError("the rows depend on each other as far as floats see")
    S = np.ldexp(S, -_exponents(S, 1)[:, None])
    gamma = _exponents(S, 0)
    S = np.ldexp(S, -gamma)
    try:
        L = np.linalg.inv(S)
    except np.linalg.LinAlgError:
        raise FaceError("the rows depend on each other as far as floats see") from None
    for width in WIDTHS:
        scale = 8 * width - 2 - int(np.frexp(np.max(np.abs(L)))[1])
        rows = np.rint(np.ldexp(L, scale))
        error = np.linalg.norm(np.eye(m) - S @ np.ldexp(rows, -scale))
        cut = m * np.linalg.norm(np.ldexp(rows, -scale)) * 2.0 ** -(8 * width + 4)
        if scale >= 0 and error + cut < ENOUGH:
            reach = int(np.frexp(2 * np.max(np.linalg.norm(L, axis=1) * np.ldexp(1.0, -gamma)))[1]) + 1
            return Inverse(columns, width, min(scale, 128), rows.astype(np.int64), reach)
    raise FaceError("no inverse of short numbers, for the rows depend on each other too nearly")


def _exponents(S: Array, axis: int) -> Array:
    """k with 2^(k-1) <= largest entry < 2^k, along an axis."""
    return np.asarray(np.frexp(np.max(np.abs(S), axis=axis))[1])


def independent_rows(A: Array) -> Array:
    """The pivots of Gaussian elimination with row exchanges, (m,) rows of A (n, m): a well-conditioned choice."""
    A = A.copy()
    n, m = A.shape
    order = np.arange(n)
    for start in range(0, m, BLOCK):
        stop = min(start + BLOCK, m)
        for k in range(start, stop):
            p = k + int(np.argmax(np.abs(A[k:, k])))
            if p != k:
                A[[k, p]], order[[k, p]] = A[[p, k]], order[[p, k]]
            if A[k, k] == 0:
                raise FaceError("the rows depend on each other")
            A[k + 1 :, k] /= A[k, k]
            A[k + 1 :, k + 1 : stop] -= np.outer(A[k + 1 :, k], A[k, k + 1 : stop])
        for k in range(start, stop):  # the rows of the block, on the columns to the right
            A[k + 1 : stop, stop:] -= np.outer(A[k + 1 : stop, k], A[k, stop:])
        A[stop:, stop:] -= A[stop:, start:stop] @ A[start:stop, stop:]
    return order[:m]
