"""The parameter dimension spread over processes: every process holds all rows of J on its own columns.

    group = dist.init_process_group("gloo" or "nccl")           torchrun, or any launcher
    J = sharded_jacobian(module, x)                              FSDP2: rows of J on this process's local shards
    result = project_shard(J, theta_local)                       this process's part of P_row(J) theta
    answer = solve_shard(J, theta_local, regularizer_local)      every norm, this process's part

Products with J, Gram matrices, TSQR and every number that a solver decides by are reduced over the processes;
what is not reduced is local, or of the size of the rows.  Processes follow the same iterations on the same
reduced numbers, so all of them end with the same multipliers, and each with its own part of theta: the answer
of one process, up to the order of sums.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.regularizers import L2, SquaredL2
from exact_unlearn.rowspace import EPS
from exact_unlearn.scalable.clock import Progress, clock
from exact_unlearn.scalable.columns import Answer
from exact_unlearn.scalable.composite import Composite, composite
from exact_unlearn.scalable.euclidean import Euclidean, Projected, solve_euclidean
from exact_unlearn.scalable.factor import U64
from exact_unlearn.scalable.jacobian_core import as_tensor
from exact_unlearn.scalable.literal import exceeds_rank
from exact_unlearn.scalable.prox import objective
from exact_unlearn.scalable.refine import COHERENT, DERIVED, DOT
from exact_unlearn.scalable.running import plainly
from exact_unlearn.scalable.solve import GAP, INCONSISTENT, drift_numbers, minimise
from exact_unlearn.scalable.space import ShardedRows, Space, build_space
from exact_unlearn.scalable.team import agreed, total


@dataclass(frozen=True, eq=False)
class Processes:
    """The team of a process group (None for the default one), for gloo and nccl.

    Sums are all-gathers followed by a sum in the order of the ranks: every process computes the very same
    number, which an all-reduce does not promise.
    """

    group: Any = None

    @property
    def rank(self) -> int:
        return dist.get_rank(self.group)

    @property
    def size(self) -> int:
        return dist.get_world_size(self.group)

    @property
    def device(self) -> torch.device:
        nccl = dist.get_backend(self.group) == "nccl"
        return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")

    def agree(self, value: Tensor) -> Tensor:
        out = value.detach().clone(memory_format=torch.contiguous_format)
        dist.broadcast(out, group=self.group, group_src=0)
        return out

    def gather(self, value: Tensor) -> Tensor:
        local = value.detach().contiguous()
        parts = [torch.empty_like(local) for _ in range(self.size)]
        dist.all_gather(parts, local, group=self.group)
        return torch.stack(parts)

    def sum(self, value: Tensor) -> Tensor:
        return self.gather(value).sum(0)

    def max(self, value: Tensor) -> Tensor:
        return self.gather(value).amax(0)


@dataclass(frozen=True, eq=False)
class ShardAnswer:
    """This process's part of an answer, and what all processes agree on.

    theta, drift: (d of the shard,) float64.  nu: (k,), the same everywhere.  value, gap: objective of the whole
    problem, and how far it may be from the optimum, relatively; feasible: whether b can be reached.  team: for
    `gathered`.
    """

    theta: Tensor
    drift: Tensor
    nu: Tensor
    value: float
    gap: float
    feasible: bool
    team: Processes

    def gathered(self) -> Tensor:
        """theta of all processes in the order of their ranks, (d,), on every process."""
        return gather_shards(self.theta, self.team)


def shard_rows(matrix: Any, group: Any = None) -> ShardedRows:
    """J on this process's columns, (k, d of the shard), as an operator that the solvers of this package take.

    matrix: a tensor or array of the local columns, or a DTensor sharded along its columns (Shard(1)) over a
    one-dimensional mesh. Raises ProblemError on other placements and when the processes disagree on the rows.
    """
    placements = getattr(matrix, "placements", None)
    if placements is not None:
        if len(placements) != 1 or not placements[0].is_shard(1):
            raise ProblemError(f"jacobian: expected a DTensor with placements [Shard(1)], got {list(placements)}")
        group = matrix.device_mesh.get_group()
        matrix = matrix.to_local()
    local = as_tensor("jacobian", matrix)
    if local.ndim != 2:
        raise ProblemError(f"jacobian: expected a matrix (k, d of the shard), got shape {tuple(local.shape)}")
    team = Processes(group)
    rows = team.gather(torch.tensor([local.shape[0]], device=local.device))
    if bool((rows != local.shape[0]).any()):
        raise ProblemError(
            f"jacobian: the processes hold {sorted(set(rows.reshape(-1).tolist()))} rows; expected one number"
        )
    return ShardedRows(local, team)


def column_range(n_parameters: int, rank: int, size: int) -> slice:
    """The columns of process `rank` when d columns are dealt out in order, as evenly as possible."""
    base, extra = divmod(n_parameters, size)
    start = rank * base + min(rank, extra)
    return slice(start, start + base + (rank < extra))


def gather_shards(local: Tensor, team: Processes) -> Tensor:
    """Vectors of different lengths, concatenated in the order of the ranks, on every process."""
    sizes = team.gather(torch.tensor([local.numel()], device=local.device)).reshape(-1).tolist()
    padded = local.new_zeros(max(sizes))
    padded[: local.numel()] = local
    parts = team.gather(padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


@plainly
def project_shard(
    jacobian: ShardedRows, theta: Any, *, lam: float = 0.0, weights: Any = None, free: Any = None, rhs: Any = None
) -> Projected:
    """`project` on shards: theta, weights > 0 and free are this process's part, and so are theta and drift of
    the result.

    With s = 1 / (w + lam) and u = (theta - s lam theta*) / sqrt(s) the problem is the shortest u on (J sqrt(s))
    u = c: a Gram matrix, its Cholesky factor and refinement; ill-conditioned rows are orthonormalised by TSQR
    (local QR, QR of the stacked triangles), which keeps every long factor sharded.  Arithmetic is float64.  `error` of
    the result estimates |theta - answer| / |theta| over all shards, everything included, as for `project`.
    """
    star = as_tensor("theta", theta).to(jacobian.device, torch.float64)
    mask = torch.ones_like(star, dtype=torch.bool) if free is None else as_tensor("free", free).to(jacobian.device)
    w = torch.ones_like(star) if weights is None else as_tensor("weights", weights).to(star)
    if mask.dtype != torch.bool or mask.shape != star.shape or w.shape != star.shape:
        raise ProblemError(
            f"free, weights: expected a mask and numbers for the {star.numel()} parameters of this shard"
        )
    if total(jacobian.team, (mask & (w + lam <= 0)).to(torch.float64)):
        raise ProblemError("weights: zero weights are not sharded; use scalable.project on one process")
    demanded = torch.zeros(jacobian.shape[0], dtype=torch.float64, device=star.device)
    demanded = demanded if rhs is None else as_tensor("rhs", rhs).to(demanded)
    root = torch.where(mask, w + lam, 1.0).rsqrt()
    base = root.square() * lam * star
    plain = weights is None and lam == 0
    scaled = jacobian if plain else ShardedRows(jacobian.matrix.double() * root, jacobian.team)
    target = star if plain else w * star * root  # not (star - base) / root: its terms may cancel
    space = build_space(scaled, target, mask, demanded)
    u, y, left = _shortest(space)
    moved = torch.where(mask, root * u + base, star)
    error = _sharded_error(jacobian, space, (target, root, base), (moved, y, left), rhs is not None)
    return Projected(moved, moved - star, space.nu(y), space.inconsistency, error, space.report)


def _sharded_error(
    jacobian: ShardedRows,
    space: Space,
    data: tuple[Tensor, Tensor, Tensor],
    found: tuple[Tensor, Tensor, float],
    shifted: bool,
) -> float:
    """The estimate of refine.py in the rows of the space: what the residual shows, its noise, the rounding of J.T nu
    and of theta, and rows that count as zero as far as they are not (project.py).
    """
    (target, root, base), (theta, y, left), team, report = data, found, space.team, space.report
    seen, size = math.sqrt(total(team, torch.where(space.free, target, 0.0).square())), _length(team, theta)
    longest = float(team.max(torch.where(space.free, root, 0.0).max() if root.numel() else root.new_zeros(())))
    k, pulled = jacobian.shape[0], float(torch.linalg.vector_norm(y))
    noise = (DOT + DERIVED + (COHERENT if shifted else 0.0)) * (seen + pulled) + 2.0 * math.sqrt(k) * pulled
    noise *= 10.0 * math.sqrt(report.rank) * U64  # 10: Householder QR of long columns
    wrong = 2.0 * left + (noise / report.smallest_kept if report.rank else 0.0)
    error = longest * wrong + U64 * (5.0 * size + 8.0 * _length(team, base))
    if report.rank < k and exceeds_rank(jacobian, report.rank, space.free):
        error += math.inf if shifted else longest * seen
    (relative,) = agreed(team, error / size if size else error)
    return relative


def _length(team: Any, values: Tensor) -> float:
    """|values| over all shards."""
    return math.sqrt(total(team, values.square()))


def _shortest(space: Space) -> tuple[Tensor, Tensor, float]:
    """The shortest u with Q u = c, y with u = Q.T y, and |c - Q u|: refinement, for Q is orthonormal only nearly."""
    y, best, error = torch.zeros_like(space.right), torch.inf, 0.0
    u = torch.zeros_like(space.free, dtype=torch.float64)
    for _ in range(60):
        left = space.right - space.product(u)
        (error,) = agreed(space.team, float(torch.linalg.vector_norm(left)))
        if not error < 0.5 * best:
            break
        best = error
        y = space.team.agree(y + left)
        u = torch.where(space.free, space.pull(y), 0.0)
    return u, y, error


@plainly
def solve_shard(
    jacobian: ShardedRows,
    theta_star: Any,
    regularizer: Any,
    drift_penalty: Any = None,
    free: Any = None,
    rhs: Any = None,
    gap: float = GAP,
    time_limit: float | None = None,
    progress: Progress | None = None,
) -> ShardAnswer:
    """`scalable.solve` on shards.

    jacobian: from `shard_rows`.  theta_star, free, and the weights or labels within `regularizer`: this
    process's part, labels counting from 0 on every process; a group must lie on one process.  drift_penalty,
    rhs (k,), gap, time_limit: the same everywhere; the clock is that of process 0, and progress is called on every
    process that passes one. Raises ProblemError for what `scalable.solve` refuses, and for the
    predictor norm, whose problem is small.
    """
    team = jacobian.team
    if not isinstance(team, Processes):
        raise ProblemError("jacobian: expected the result of shard_rows")
    star_local = as_tensor("theta_star", theta_star).cpu().numpy()
    local = UnlearningProblem(star_local, _Columns(jacobian), regularizer, drift_penalty, free, rhs)
    lam, radius = drift_numbers(local)
    device = jacobian.device
    star = torch.from_numpy(np.array(local.theta_star, dtype=np.float64)).to(device)
    mask = torch.from_numpy(local.free.copy()).to(device)
    right = torch.from_numpy(np.array(local.rhs, dtype=np.float64)).to(device)
    if isinstance(regularizer, SquaredL2 | L2):
        return _euclidean_shard(jacobian, regularizer, star, mask, right, lam, radius, team)
    space = build_space(jacobian, star, mask, right)
    task = replace(composite(regularizer, space, star), clock=clock(time_limit, progress, team))
    answer, mu = minimise(task, lam, radius, gap)
    theta = torch.where(mask, answer.x, star)
    value = _value(regularizer, theta, star, lam, team)
    reached = _bounded(jacobian, task.with_drift(lam + mu), answer, theta, value)
    feasible = space.inconsistency <= INCONSISTENT
    return ShardAnswer(theta, theta - star, space.nu(answer.y), value, reached, feasible, team)


def _bounded(jacobian: ShardedRows, task: Composite, answer: Answer, theta: Tensor, value: float) -> float:
    """The gap relative to the value, with what rounding hides (claims.py); inf where float32 rows count as dependent
    that are not, as written.
    """
    space, team = task.space, task.space.team
    pull = torch.where(space.free, space.pull(answer.y), 0.0)
    moved = torch.where(space.free, theta - task.theta_star, 0.0)
    doubt = space.blur * _length(team, pull) * _length(team, moved)
    doubt += 4.0 * EPS * total(team, (pull * torch.where(space.free, task.theta_star, 0.0)).abs())
    gap = abs(answer.gap) * max(abs(objective(task, answer.x)), abs(value)) + doubt
    k, rank = jacobian.shape[0], space.report.rank
    if jacobian.dtype == torch.float32 and rank < k and exceeds_rank(jacobian, rank, space.free):
        gap = math.inf
    (relative,) = agreed(team, gap / abs(value) if value else (math.inf if gap else 0.0))
    return relative


def _euclidean_shard(
    jacobian: ShardedRows, R: Any, star: Tensor, free: Tensor, rhs: Tensor, lam: float, radius: float, team: Processes
) -> ShardAnswer:
    weights = None if R.weights is None else torch.from_numpy(np.array(R.weights, dtype=np.float64)).to(star.device)
    b = rhs if bool(rhs.any()) else None
    found = solve_euclidean(
        Euclidean(jacobian, star, weights, free, b, isinstance(R, SquaredL2), project_shard), lam, radius
    )
    value = _value(R, found.theta, star, lam, team)
    feasible = found.inconsistency <= INCONSISTENT
    return ShardAnswer(found.theta, found.theta - star, found.nu, value, 2.0 * found.error, feasible, team)


def _value(R: Any, theta: Tensor, star: Tensor, lam: float, team: Processes) -> float:
    """R + lam/2 |D|^2 of the whole problem from the parts."""
    part = float(R.value(theta.cpu().numpy()))
    drift = 0.5 * lam * float(team.sum((theta - star).square().sum()))
    local = torch.tensor(part, dtype=torch.float64, device=theta.device)
    if R.name == "linf":
        return float(team.max(local)) + drift
    if R.name == "l2":
        return math.sqrt(float(team.sum(local.square()))) + drift
    return float(team.sum(local)) + drift


@dataclass(frozen=True, eq=False)
class _Columns:
    """The shard's columns behind the NumPy protocol, so that UnlearningProblem can check shapes."""

    inner: ShardedRows

    @property
    def shape(self) -> tuple[int, int]:
        return self.inner.shape

    def matvec(self, drift: Array) -> Array:
        return np.asarray(self.inner.matvec(drift))

    def rmatvec(self, nu: Array) -> Array:
        return np.asarray(self.inner.rmatvec(nu))


def local_parameters(module: torch.nn.Module) -> list[Tensor]:
    """This process's shards of the trainable parameters of an FSDP2 (or plain) module, in the order of
    `parameters()`.
    """
    return [_local(p.detach()) for p in module.parameters() if p.requires_grad]


def flatten(parts: Sequence[Tensor]) -> Tensor:
    """Local shards as one vector (d of the shard,)."""
    return torch.cat([part.reshape(-1) for part in parts]) if parts else torch.zeros(0)


@plainly
def sharded_jacobian(module: torch.nn.Module, inputs: Tensor, group: Any = None) -> ShardedRows:
    """Rows of J of an FSDP2 module on this process's shards, one backward pass per sample and output.

    inputs: (n, ...), the same on every process.  Row i*l + o is the gradient of output o at sample i.  FSDP2
    averages gradients over the processes; since all of them see the same sample, the average is the gradient.
    Parameters, gradients and the training flag are left as found.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    kept = [p.grad for p in parameters]
    training = module.training
    module.eval()
    rows = []
    try:
        for sample in inputs:
            count = int(module(sample[None]).reshape(-1).numel())
            for output in range(count):
                for p in parameters:
                    p.grad = None
                module(sample[None]).reshape(-1)[output].backward()
                rows.append(flatten([_local(torch.zeros_like(p) if p.grad is None else p.grad) for p in parameters]))
    finally:
        for p, grad in zip(parameters, kept, strict=True):
            p.grad = grad
        module.train(training)
    width = sum(part.numel() for part in local_parameters(module))
    local = torch.stack(rows) if rows else torch.zeros(0, width)
    return shard_rows(local, group)


def write_shards(module: torch.nn.Module, theta: Tensor) -> None:
    """Write this process's part of theta (d of the shard,) into the local shards of the trainable parameters."""
    parts = local_parameters(module)
    if theta.numel() != sum(part.numel() for part in parts):
        raise ProblemError(
            f"theta: expected {sum(p.numel() for p in parts)} entries of this shard, got {theta.numel()}"
        )
    start = 0
    with torch.no_grad():
        for part in parts:
            part.copy_(theta[start : start + part.numel()].reshape(part.shape))
            start += part.numel()


def leave() -> NoReturn:
    """End this process when its part is done and written: wait for the others, destroy the process group, exit with
    status 0.

    The interpreter is not finalised, for gloo's worker threads may outlive `destroy_process_group`: they are joined
    when the last reference to the group goes, and caches of device meshes keep one.  Such a thread lets go of the
    tensors of its last collective a moment after the caller has gone on; if that moment falls into finalisation, its
    request for the GIL is answered by unwinding the thread, and the process aborts with "terminate called without an
    active exception" (pytorch issue 190489), everything done and written.  Processes that fail do not come here: an
    exception ends them as usual.
    """
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _local(tensor: Tensor) -> Tensor:
    """The shard of a DTensor, or the tensor itself."""
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()
