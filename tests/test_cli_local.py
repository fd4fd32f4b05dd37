"""`exact-unlearn local` and `check` of what it writes: statuses, files, sentences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import cli
from tests.local_cases import data


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network that nearly fits, and one that cannot."""
    monkeypatch.chdir(tmp_path)
    _, theta, x, y = data("tanh")
    np.savez("net.npz", x=x, y=y, theta=theta, widths=[3, 6, 1])
    np.savez("other.npz", x=x, y=y + 1e-12, theta=theta, widths=[3, 6, 1])
    np.savez("twice.npz", x=np.vstack([x, x]), y=np.vstack([y, y]), theta=theta, widths=[3, 6, 1])
    np.savez("bare.npz", x=x, y=y)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = cli.main(list(words))
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_a_local_statement_has_a_status_of_its_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = run(capsys, "local", "net.npz", "--quiet")
    assert status == cli.LOCAL == 4
    assert "a strict local minimum" in said
    assert "net.local.json" in said
    status, said, _ = run(capsys, "check", "net.local.json")
    assert status == 4
    assert "SHA-256" in said
    assert "optim" not in said
    status, said, _ = run(capsys, "check", "net.npz", "net.local.json")
    assert status == 4
    assert "those of net.npz" in said
    certificate = xu.LocalCertificate.load("net.local.json", xu.SmoothNetwork((3, 6, 1)))
    assert certificate.strict_minimum


def test_other_data_another_network_and_edited_files_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "local", "net.npz", "--quiet")
    for words in (("other.npz", "net.local.json"), ("net.npz", "net.local.json", "--activation", "sigmoid")):
        status, said, _ = run(capsys, "check", *words)
        assert status == 1
        assert "another network, or other data" in said
    tree = json.loads(Path("net.local.json").read_text())
    tree["claims"]["lower"] = "1" + tree["claims"]["lower"]
    Path("edited.json").write_text(json.dumps(tree))
    status, said, _ = run(capsys, "check", "net.npz", "edited.json", "--json", "report.json")
    assert status == 1
    assert "more is claimed than proved: lower" in said
    assert json.loads(Path("report.json").read_text())["proof"] == "none"


def test_reports_for_machines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = run(capsys, "local", "net.npz", "--quiet", "-o", "a.json", "--json", "-")
    report = json.loads(said)
    assert (status, report["proof"], report["proved"], report["strict_minimum"]) == (4, "local", False, True)
    status, said, _ = run(capsys, "check", "a.json", "--json", "-")
    found = json.loads(said)
    assert (status, found["minimum"], found["lower"]) == (4, True, report["lower"])
    assert report["lower"] <= report["upper"]


def test_what_is_refused_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = run(capsys, "local", "twice.npz", "--quiet")
    assert status == 1
    assert "dependent" in said
    assert not Path("twice.local.json").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["local", "bare.npz"], "--widths: expected inputs"),
        (["local", "bare.npz", "--widths", "3x6x1"], "the array 'theta' is missing; the file holds x, y"),
        (["local", "net.npz", "--widths", "3xsix"], "got '3xsix'"),
        (["local", "net.npz", "--widths", "3"], "widths: expected the numbers of inputs"),
        (["local", "net.npz", "--widths", "3x5x1"], "theta: expected 20 parameters, got 24"),
        (["local", "net.npz", "--activation", "relu"], "kink"),
        (["local", "net.npz", "--activation", "tanh,tanh"], "one for each of 1 layers"),
        (["local", "net.npz", "--bias"], "theta: expected 31 parameters"),
        (["local", "net.npz", "-o", "net.txt"], "--output"),
        (["local", "none.npz"], "none.npz: cannot be read"),
        (["check", "bare.npz", "net.local.json"], "--widths"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "local", "net.npz", "--quiet")
    status, said, complaint = run(capsys, *words)
    assert (status, said) == (2, "")
    assert sentence in complaint
    assert complaint.count("\n") == 1
