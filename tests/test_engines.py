"""The same cells on another engine: a Dask cluster of this machine gives byte for byte what one process gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from exact_unlearn import sweep
from tests.test_sweep import cells

pytestmark = pytest.mark.filterwarnings("default")  # Dask's own, in its own threads


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.npz")}


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A scheduler that was started elsewhere, as on a cluster: the run finds it by its address."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        yield cluster.scheduler_address


def test_a_dask_cluster_computes_the_same_files(address: str, tmp_path: Path) -> None:
    assert sweep.run(cells(4), tmp_path / "alone") == 8
    assert sweep.run(cells(4), tmp_path / "dask", jobs=2, backend="dask") == 8
    assert files(tmp_path / "dask") == files(tmp_path / "alone")
    assert sweep.run(cells(4), tmp_path / "dask", jobs=2, backend="dask") == 0
