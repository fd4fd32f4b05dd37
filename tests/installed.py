"""The package as somebody else installs it: a wheel, in an environment of its own, with the extras that are asked for.

Nothing is downloaded. Dependencies are lent by the environment of the tests: exactly those that the wheel's extras name
and what they need in turn. What an extra does not bring cannot be imported, as after `pip install`.
"""

from __future__ import annotations

import importlib.metadata as metadata
import json
import subprocess
import sys
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent

DRIVER = """
import contextlib, io, json, os, sys
import exact_unlearn
from exact_unlearn import cli
assert exact_unlearn.__file__.startswith(sys.prefix), exact_unlearn.__file__
out = []
for words in json.load(sys.stdin):
    said, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        status = cli.main(words)
    out.append([status, said.getvalue(), told.getvalue()])
print(json.dumps(out))
"""


class Installed:
    """An environment with the wheel and some extras in it."""

    def __init__(self, folder: Path, wheel: Path, extras: Sequence[str] = ()) -> None:
        venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
        self.python = folder / "bin" / "python"
        self.site = next(folder.glob("lib/python*/site-packages"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)
        own = next(self.site.glob("exact_unlearn-*.dist-info"))
        wanted = [Requirement(line) for line in metadata.PathDistribution(own).requires or ()]
        self._lend(wanted, ("", *extras))
        entry = "import sys; from exact_unlearn.cli import main; sys.exit(main())"
        self.command = [str(self.python), "-I", "-c", entry]

    def _lend(self, requirements: Sequence[Requirement], extras: Sequence[str], seen: set[str] | None = None) -> None:
        """Links to every file of what is required, and of what that requires."""
        seen = set() if seen is None else seen
        for requirement in requirements:
            if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
                continue
            if requirement.name == "exact-unlearn":
                own = next(self.site.glob("exact_unlearn-*.dist-info"))
                inner = [Requirement(line) for line in metadata.PathDistribution(own).requires or ()]
                self._lend(inner, tuple(requirement.extras), seen)
                continue
            if requirement.name.lower() in seen:
                continue
            seen.add(requirement.name.lower())
            found = metadata.distribution(requirement.name)
            for top in {path.parts[0] for path in found.files or () if path.parts[0] not in ("..", "__pycache__")}:
                source = Path(str(found.locate_file(top)))
                if source.exists() and not (self.site / top).exists():
                    (self.site / top).symlink_to(source)
            self._lend([Requirement(line) for line in found.requires or ()], ("", *requirement.extras), seen)

    def run(self, commands: Sequence[Sequence[str]], folder: Path) -> list[tuple[int, str, str]]:
        """Status, output and complaints of several command lines, run one after the other in one process."""
        done = self._python(["-c", DRIVER], folder, json.dumps(list(map(list, commands))))
        return [tuple(entry) for entry in json.loads(done)]

    def script(self, code: str, folder: Path) -> str:
        """What a program prints."""
        return self._python(["-c", code], folder)

    def _python(self, words: Sequence[str], folder: Path, given: str = "") -> str:
        command: list[Any] = [self.python, "-I", *words]
        done = subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))
