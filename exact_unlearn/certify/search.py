"""The face on which Newton's method converges to the minimiser: the suggested one, and from there its neighbours."""

from __future__ import annotations

from exact_unlearn.certify.enclosure import ZERO, Approximation, Guess, Iteration, Smooth
from exact_unlearn.certify.faces import Face
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.leeway import settle
from exact_unlearn.certify.pieces import Scale
from exact_unlearn.certify.whiten import Whitened

FLIPS = 24
"""Faces that are tried."""

CLUSTER = 1 << 10
"""Groups that shrink together: none is longer than this many times the shortest."""


def approximate(program: Smooth, whitened: Whitened, scale: Scale, guess: Guess, snug: bool = False) -> Approximation:
    """Newton's method on the suggested face, and on its neighbours where an inequality fails.  FaceError if
    that does not converge.

    snug: aim at the sphere itself; needed where the constraints leave no choice but to touch it.
    """
    seen = set()
    ahead: list[tuple[Face, bool, Iteration | None]] = [(guess.face, guess.ball, None)]
    why = FaceError("Newton's method does not settle on a face")
    for _ in range(FLIPS):
        while ahead and (ahead[-1][0].key(), ahead[-1][1]) in seen:
            ahead.pop()
        if not ahead:
            break
        face, ball, start = ahead.pop()
        seen.add((face.key(), ball))
        run = Iteration(program, whitened, scale, guess, face, ball, start)
        run.snug = snug
        try:
            run.converge()
            settle(run)
        except FaceError as error:
            why, released = error, run.released()
            ahead += [(released, ball, start)] if released else [(face, ball, run) for face in collapsed(run)]
            continue
        face, ball, changed = run.next_face()
        if not changed:
            return run.result()
        ahead.append((face, ball, run))
    raise why


def collapsed(run: Iteration) -> list[Face]:
    """Faces with more groups at zero, the more likely last: the one that would shrink most; those that are shorter
    than others by far.

    A group that is tight but zero, |J_g^T nu| = w_g and x_g = 0, looks free to floats, and Newton's method, whose
    Hessian grows without bound there, stops before it; nearly tight groups can be so many that nothing but
    their last digits says which of them are zero.
    """
    lengths = {i: n for i, n in enumerate(run.norms()) if not run.groups[i].frozen}
    if not lengths:
        return []
    least = min(lengths.values()) * CLUSTER
    short = [i for i, n in lengths.items() if n <= least]
    likely = [_at_zero(run, short)] if not least or len(short) < len(lengths) else []
    if not least:
        return likely  # there is no gradient where a norm vanishes
    gradient, x = run.gradient(), run.x
    index = {i: run.groups[i].index for i in lengths}
    pull = {i: int((gradient[index[i]] * x[index[i]]).sum()) // n for i, n in lengths.items()}
    shrinks = max(pull, key=lambda i: pull[i])
    return [_at_zero(run, [shrinks]), *likely] if pull[shrinks] > 0 else likely


def _at_zero(run: Iteration, groups: list[int]) -> Face:
    face = run.face.copy()
    for i in groups:
        face.where[run.groups[i].index] = ZERO
    return face
