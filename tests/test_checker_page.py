"""What the checker's page says of limits is what the file has; and the file is a program."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from exact_unlearn.certify import checker

PAGE = (Path(__file__).parent.parent / "docs" / "certificate_format.md").read_text()


def said(pattern: str) -> int:
    (found,) = re.findall(pattern, PAGE)
    return int(found.replace(" ", ""))


def test_limits_are_those_of_the_page() -> None:
    assert said(r"A certificate has at most (\d+) MiB") << 20 == checker.MAX_BYTES
    assert said(r"a problem (\d+) GiB") << 30 == checker.MAX_PROBLEM
    assert said(r"unpacks to at most (\d+) MiB") << 20 == checker.MAX_UNPACKED
    assert checker.MAX_RATIO == 8
    assert "and eight times its own size" in PAGE
    assert said(r"nested deeper than (\d+) lists") == checker.MAX_DEPTH + 1
    assert said(r"and ([\d ]+) more for every digit") == checker.PER_DIGIT
    assert said(r"for every digit and ([\d ]+) for every array entry") == checker.PER_ENTRY
    assert "2¹⁹ bits" in PAGE
    assert checker.MAX_BITS == 1 << 19


@pytest.mark.parametrize(
    ("arguments", "status"), [([], 2), (["--tau"], 2), (["--else", "a"], 2), (["nowhere.json"], 1)]
)
def test_the_file_is_a_program(
    arguments: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own name is no argument, and its exit status is that of `main`."""
    monkeypatch.setattr(sys, "argv", ["checker.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(checker.__file__), run_name="__main__")
    assert ended.value.code == status == checker.main(arguments)
    assert capsys.readouterr().out.count("\n") == 2
