"""The same cells on other engines: byte for byte what one process gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import pytest
from distributed import LocalCluster

from exact_unlearn import sweep
from tests.test_sweep import ROOT, cells


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.npz")}


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A scheduler that was started elsewhere, as on a cluster: the run finds it by its address."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        yield cluster.scheduler_address


@pytest.mark.filterwarnings("default")  # Dask's own, in its own threads
def test_a_dask_cluster_computes_the_same_files(address: str, tmp_path: Path) -> None:
    assert sweep.run(cells(4), tmp_path / "alone") == 8
    assert sweep.run(cells(4), tmp_path / "dask", jobs=2, backend="dask") == 8
    assert files(tmp_path / "dask") == files(tmp_path / "alone")
    assert sweep.run(cells(4), tmp_path / "dask", jobs=2, backend="dask") == 0


RUN = """
import sys
from pathlib import Path
from exact_unlearn import sweep
from tests.test_sweep import ROOT, cells
print(sweep.run(cells(40), Path(sys.argv[1])))
"""


def test_tasks_of_a_job_array_share_a_folder(tmp_path: Path) -> None:
    """Two runs of everything, at once: every cell is computed by one of them, and the files are those of one run."""
    command = [sys.executable, "-c", RUN, str(tmp_path / "shared")]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = [int(process.communicate()[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(counts) == 80
    sweep.run(cells(40), tmp_path / "alone")
    assert files(tmp_path / "shared") == files(tmp_path / "alone")


def test_an_engine_that_answers_at_the_end_is_asked_for_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's back end has no stream of results: the same cells in batches, and progress after each."""
    real, asked = joblib.Parallel, []

    def parallel(n_jobs: int, return_as: str = "list", **options: Any) -> Any:
        if return_as != "list":
            raise ValueError("does not support return_as=generator_unordered")
        inner = real(n_jobs=n_jobs, **options)
        return lambda tasks: asked.append(len(tasks)) or inner(tasks)

    monkeypatch.setattr(joblib, "Parallel", parallel)
    seen: list[int] = []
    done = sweep.run(cells(3), tmp_path, jobs=2, backend="threading", progress=lambda p: seen.append(p.done))
    assert done == 6
    assert asked == [2, 1, 2, 1]
    assert seen == [0, 1, 2, 3, 4, 5, 6]
