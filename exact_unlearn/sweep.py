"""Long experiments in small cells: each is computed once, wherever it runs, however often the run is killed.

A `Cell` is a pure function with its parameters and the cells whose results it needs.  Its `key` is a digest of all
that determines the result, so a result file can be found again, and a changed parameter is another file.  `run`
executes the cells that have no file yet on a joblib back end (loky processes by default; "dask", "ray" and others,
once registered with joblib, run the same cells unchanged):

    starts = [Cell("demo/start", train, {"seed": seed}) for seed in range(10)]
    scores = [Cell("demo/score", score, {"lam": 0.1}, needs={"start": start}) for start in starts]
    run([*starts, *scores], folder, jobs=2)
    results = [load(cell, folder) for cell in scores]

What makes it safe to kill at any moment:

* a file appears complete or not at all (written under a temporary name, then renamed);
* whoever computes a cell holds an advisory lock on it, which the operating system releases if the process dies.  So
  several runs may share a folder, and workers that outlive a killed parent are not raced by its successor;
* result files hold no clock, host or path: results of a killed and resumed run are byte-identical to others, as far
  as the functions are deterministic.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from exact_unlearn import interrupts
from exact_unlearn.codec import load_object, save_object
from exact_unlearn.errors import FileFormatError, NotMeasuredError, ProblemError, needed_by

fcntl: Any
try:
    import fcntl
except ImportError:  # not on Windows: cells are still written atomically, but two runs may compute the same one
    fcntl = None

SCHEMA = "exact-unlearn/cell"

Result = Mapping[str, Any]
"""What a cell returns: a tree of dicts, lists, strings, integers and NumPy arrays (floats belong into arrays)."""

Outcome = Literal["computed", "present", "busy"]


@dataclass(frozen=True)
class Cell:
    """One unit of work.

    name: what it is, e.g. "data-poisoning/grid".  It stands for `function` in the key, so change it (".../2") when
    the function computes something else.  function(parameters, inputs) -> Result must be importable by name in
    other processes and must depend on its arguments only; `inputs` holds the results of `needs` by the same names.
    parameters: plain JSON values.  weight: expected cost, for the estimate of the remaining time; not in the key.
    """

    name: str
    function: Callable[[Mapping[str, Any], Mapping[str, Result]], Result]
    parameters: Mapping[str, Any]
    needs: Mapping[str, Cell] = field(default_factory=dict)
    weight: float = 1.0

    def __post_init__(self) -> None:
        try:
            canonical(self.parameters)
        except (TypeError, ValueError) as error:
            raise ProblemError(f"parameters of cell {self.name!r}: expected plain JSON values ({error})") from None
        if not self.weight > 0:
            raise ProblemError(f"weight of cell {self.name!r}: expected a positive number, got {self.weight!r}")

    @property
    def description(self) -> dict[str, Any]:
        """All that determines the result, as plain JSON."""
        needs = {name: cell.key for name, cell in self.needs.items()}
        return {"name": self.name, "parameters": json.loads(canonical(self.parameters)), "needs": needs}

    @property
    def key(self) -> str:
        """SHA-256 of the description, 64 hexadecimal digits."""
        return hashlib.sha256(canonical(self.description).encode()).hexdigest()

    def path(self, folder: Path) -> Path:
        """The result file: NAME-KEY.npz, the name for people, the key for certainty."""
        return Path(folder) / f"{self.name.replace('/', '-')}-{self.key[:24]}.npz"


@dataclass(frozen=True)
class Progress:
    """Where a run stands: cells done (those found included) of all, and the seconds that the rest will take."""

    done: int
    total: int
    remaining_seconds: float | None

    def __str__(self) -> str:
        text = f"{self.done} of {self.total} cells"
        if self.remaining_seconds is None or self.done == self.total:
            return text
        minutes, seconds = divmod(round(self.remaining_seconds), 60)
        return f"{text}, about {minutes} min {seconds:02d} s left"


def canonical(value: Any) -> str:
    """JSON with sorted keys and no blanks: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def run(
    cells: Iterable[Cell],
    folder: str | Path,
    jobs: int = 1,
    backend: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> int:
    """Execute every cell that has no result in `folder` yet, needs first; return how many were computed here.

    jobs, backend: as for joblib.Parallel (jobs=-1: all cores; backend None: what the caller's
    joblib.parallel_config says, loky by default).  jobs=1 without a backend stays in this process.  Workers on other
    machines need the same folder.
    Raises what the first failing cell raises; NotMeasuredError if a worker process died; KeyboardInterrupt, whatever a
    library made of it, within moments.  Finished cells keep their files, and nothing else is written.
    """
    folder = Path(folder)
    (folder / "locks").mkdir(parents=True, exist_ok=True)
    cells = list(cells)
    meter = _Meter(cells, folder, progress)
    computed = 0
    for level in _levels(cells):
        waiting = [cell for cell in level if not is_present(cell, folder)]
        # First whatever nobody else works on; then wait for those that another run had locked.
        for block in (False, True):
            busy = []
            for cell, outcome in _execute(waiting, folder, jobs, backend, block):
                if outcome == "busy":
                    busy.append(cell)
                    continue
                computed += outcome == "computed"
                meter.add(cell)
            waiting = busy
    return computed


def load(cell: Cell, folder: str | Path) -> Result:
    """The result of `cell`; FileFormatError, with the remedy, if its file is missing, damaged or of another cell."""
    path = cell.path(Path(folder))
    remedy = "; delete it, and the next run computes it again" if path.exists() else ""
    try:
        tree = load_object(path, SCHEMA)
    except FileFormatError as error:
        raise FileFormatError(f"{error}{remedy}") from None
    if tree.get("cell") != canonical(cell.description):
        raise FileFormatError(f"{path}: holds the result of another cell than its name says{remedy}")
    result: Result = tree["result"]
    return result


def is_present(cell: Cell, folder: str | Path) -> bool:
    """Whether the result file exists (a file is complete or absent)."""
    return cell.path(Path(folder)).exists()


def execute(cell: Cell, folder: Path, block: bool) -> Outcome:
    """Compute one cell under its lock and write the file.

    "present": another process had written it meanwhile; "busy": another one holds the lock and block is False.
    """
    if is_present(cell, folder):
        return "present"
    with _lock(folder / "locks" / cell.key, block) as mine:
        if not mine:
            return "busy"
        if is_present(cell, folder):
            return "present"
        inputs = {name: load(need, folder) for name, need in cell.needs.items()}
        try:
            result = cell.function(cell.parameters, inputs)
        except Exception as error:
            interrupts.reraise(error)
            raise
        interrupts.check()
        tree = {"schema": SCHEMA, "version": 1, "cell": canonical(cell.description), "result": dict(result)}
        save_object(cell.path(folder), tree)
        return "computed"


@contextlib.contextmanager
def _lock(path: Path, block: bool) -> Iterator[bool]:
    """Hold an advisory lock on `path`; yields False if another process holds it and `block` is False."""
    if fcntl is None:
        yield True
        return
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if block else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def _levels(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells and all they need, each once, in groups: a cell's needs lie in earlier groups."""
    depth: dict[str, int] = {}
    found: dict[str, Cell] = {}

    def visit(cell: Cell) -> int:
        key = cell.key
        if key not in depth:
            depth[key] = 1 + max((visit(need) for need in cell.needs.values()), default=-1)
            found[key] = cell
        return depth[key]

    for cell in cells:
        visit(cell)
    groups: list[list[Cell]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for key, cell in found.items():
        groups[depth[key]].append(cell)
    return groups


def _execute(
    cells: Sequence[Cell], folder: Path, jobs: int, backend: str | None, block: bool
) -> Iterator[tuple[Cell, Outcome]]:
    if not cells:
        return
    if jobs == 1 and backend is None:
        for cell in cells:
            yield cell, execute(cell, folder, block)
        return
    with _engine(jobs, backend) as joblib:
        _shield_workers(joblib)
        # One task at a time: cells are long, and a killed parent then leaves nothing queued behind it.
        tasks = [joblib.delayed(_execute_one)(cell, folder, block, os.getpid()) for cell in cells]
        try:
            yield from _stream(joblib, tasks, jobs)
        except BrokenExecutor:  # a worker was killed
            raise NotMeasuredError(
                "a worker process was killed, perhaps for lack of memory; run the same command again, with fewer jobs: "
                "finished cells are kept"
            ) from None


def _stream(joblib: Any, tasks: list[Any], jobs: int) -> Iterator[Any]:
    """Results as they come; from an engine that answers only at the end (Ray), those of a few tasks at a time."""
    try:
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1)
    except ValueError:
        several = jobs if jobs > 0 else os.cpu_count() or 1
        for first in range(0, len(tasks), several):
            yield from joblib.Parallel(n_jobs=jobs, batch_size=1)(tasks[first : first + several])
    else:
        yield from parallel(tasks)


@contextlib.contextmanager
def _engine(jobs: int, backend: str | None) -> Iterator[Any]:
    """joblib, told to use this back end; for "dask" with a client, and for "ray" registered first.

    The client is that of DASK_SCHEDULER_ADDRESS, else `jobs` processes of this machine; Ray starts or finds its own.
    """
    with needed_by("running cells in several processes"):
        import joblib  # type: ignore[import-untyped]
    if backend is None:
        yield joblib
        return
    with contextlib.ExitStack() as stack:
        try:
            if backend == "dask":
                stack.enter_context(_dask_client(jobs))
            elif backend == "ray":
                importlib.import_module("ray.util.joblib").register_ray()
            stack.enter_context(joblib.parallel_config(backend=backend))
        except (ImportError, ValueError) as error:
            raise ProblemError(f"backend: {backend!r} cannot be used here ({error})") from None
        yield joblib


def _shield_workers(joblib: Any) -> None:
    """Processes that joblib starts from now on never see Ctrl-C: the run ends them."""
    with contextlib.suppress(ImportError, AttributeError):  # a joblib that keeps its tracker elsewhere
        importlib.import_module(f"{joblib.__name__}.externals.loky.backend.resource_tracker").ensure_running()
    importlib.import_module("multiprocessing.resource_tracker").ensure_running()
    interrupts.shield()


def _dask_client(jobs: int) -> Any:
    distributed = importlib.import_module("distributed")
    try:
        return distributed.get_client()
    except ValueError:  # nobody has made one
        workers = None if jobs < 0 else jobs
        elsewhere = os.environ.get("DASK_SCHEDULER_ADDRESS")
        return (
            distributed.Client(elsewhere) if elsewhere else distributed.Client(n_workers=workers, threads_per_worker=1)
        )


def _execute_one(cell: Cell, folder: Path, block: bool, run: int) -> tuple[Cell, Outcome]:
    if os.getpid() != run:  # a terminal sends Ctrl-C to workers as well, in the middle of a cell
        interrupts.left_to_parent()
    return cell, execute(cell, folder, block)


class _Meter:
    """Counts cells and extrapolates from the weights of those computed since the start."""

    def __init__(self, cells: Sequence[Cell], folder: Path, report: Callable[[Progress], None] | None) -> None:
        everything = [cell for level in _levels(cells) for cell in level]
        self._missing = {cell.key: cell.weight for cell in everything if not is_present(cell, folder)}
        self._total = len(everything)
        self._all_missing = sum(self._missing.values())
        self._report = report
        self._start = time.monotonic()
        self._tell()

    def add(self, cell: Cell) -> None:
        self._missing.pop(cell.key, None)
        self._tell()

    def _tell(self) -> None:
        if self._report is None:
            return
        left = sum(self._missing.values())
        made = self._all_missing - left
        elapsed = time.monotonic() - self._start
        remaining = elapsed * left / made if made else None
        self._report(Progress(self._total - len(self._missing), self._total, remaining))
