"""The report: complete, self-contained, readable where it is opened; and the verb that writes it."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from exact_unlearn._validation.finding import Finding, Measurement, Result

from exact_unlearn._validation import figures, registry, report, runner, verify
from exact_unlearn.cli import main
from exact_unlearn.mathml import MathError

ROOT = Path(__file__).resolve().parents[2]
KEYS = ("result", "claim", "verdict", "predicted", "measured", "deviation", "proof", "instances")


def offline() -> ModuleType:
    """The checker of built pages."""
    spec = importlib.util.spec_from_file_location("offline", ROOT / "docs" / "_ext" / "offline.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pretended(result: Result, verdict: str = "confirmed", count: int = 7) -> list[Finding]:
    """Findings of a result without measuring anything."""
    deviation = 0.5 if verdict == "contradicted" else 0.0
    cell = runner.CellResult(Measurement(1.0, 1.0 + deviation, deviation, "exact"), "exact", count)
    if verdict == "not measured":
        cell = runner.not_measured(runner.Cell(result.slug, "any", 0, 0, count), "MemoryError")
    return [runner.summarise(result, claim, [cell]) for claim in result.claims]


@pytest.fixture(scope="module")
def page() -> str:
    """The whole report, with pretended findings and one small figure."""
    findings = [finding for result in registry.RESULTS for finding in pretended(result)]
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
    return report.html_page(report.Report(registry.RESULTS, findings, {"theorem-3": svg}, full=False))


def test_page_asks_no_outside_host(page: str) -> None:
    assert offline().html_references(page) == []
    assert "<script" not in page


def test_page_shows_every_claim_with_formulas_as_mathml(page: str) -> None:
    assert page.count("<tr><td>") > sum(len(result.claims) for result in registry.RESULTS)
    for result in registry.RESULTS:
        assert f'id="{result.slug}"' in page
    for root in map(ElementTree.fromstring, re.findall(r"<math.*?</math>", page)):
        assert "".join(root.itertext()).strip()
    text = re.sub(r"<math.*?</math>|<style>.*?</style>|base64,[^\"]*", "", page, flags=re.DOTALL)
    assert "$" not in text
    assert "\\" not in text


def test_only_one_formula_is_held_together_with_the_full_stop_after_it(page: str) -> None:
    """A span without line breaks that reaches back to an earlier formula would push its sentence off the page."""
    spans = re.findall(r'<span class="nb">(.*?)</span>', page, flags=re.DOTALL)
    assert len(spans) > 50
    for span in spans:
        assert re.fullmatch(r"<math.*</math>[.,;:)]+", span, flags=re.DOTALL)
        assert span.count("<math") == 1
    assert not re.search(r"</math>[.,;:)]", re.sub(r'<span class="nb">.*?</span>', "", page, flags=re.DOTALL))


def test_page_has_a_dark_side_and_light_figures(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert "figure img { background: white" in page


def test_floats_say_how_exact_they_must_be() -> None:
    result = registry.RESULTS[0]
    cell = runner.CellResult(Measurement(1.0, 1.0, 1e-13, "none", 1e-12), "none", 7)
    shown = report.Report([result], [runner.summarise(result, result.claims[0], [cell])], {}, full=False)
    assert "Allowed deviation: 1.0e-12." in report.html_page(shown)
    assert "Allowed deviation: 1.0e-12." in report.markdown_page(shown)


def test_page_is_well_formed(page: str) -> None:
    body = page[page.index("<body>") : page.index("</body>") + len("</body>")]
    root = ElementTree.fromstring(re.sub(r"(<img [^>]*)>", r"\1/>", body).replace("&nbsp;", " "))
    (image,) = root.iter("img")
    assert image.get("src", "").startswith("data:image/svg+xml;base64,")
    assert image.get("alt")


def test_markdown_tables_have_as_many_cells_as_columns() -> None:
    findings = [finding for result in registry.RESULTS for finding in pretended(result)]
    text = report.markdown_page(report.Report(registry.RESULTS, findings, {}, full=True))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) > len(findings)
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {4, 8, 9}
    assert "full run" in text


def test_contradictions_are_in_the_headline() -> None:
    result = registry.RESULTS[0]
    shown = report.Report([result], pretended(result, "contradicted"), {}, full=False)
    assert shown.headline.startswith(f"{len(result.claims)} of {len(result.claims)} claims are contradicted")
    assert "contradicted" in report.html_page(shown)
    assert report.worst(pretended(result, "contradicted")).deviation == 0.5


def test_claims_not_measured_are_neither_confirmed_nor_contradicted() -> None:
    result = registry.RESULTS[0]
    shown = report.Report([result], pretended(result, "not measured"), {}, full=False)
    count = len(result.claims)
    assert shown.headline.startswith(f"{count} of {count} claims are not measured, on 0 instances")
    page, text = report.html_page(shown), report.markdown_page(shown)
    assert '<span class="not-measured">?&nbsp;not measured</span>' in page
    assert "case 0: MemoryError" in page
    assert "contradicted by" not in page
    assert "| not measured |" in text
    assert "nan" not in text.replace("name", "")


def test_a_partial_run_leaves_a_fuller_report_alone(tmp_path: Path) -> None:
    def wrote(results: list[Result], count: int, verdict: str = "confirmed") -> str:
        found = [finding for result in results for finding in pretended(result, verdict, count)]
        pages = report.write(report.Report(results, found, {results[0].slug: "<svg/>"}, full=False), tmp_path)
        return pages[0].name

    first, second = registry.RESULTS[:2]
    assert wrote([first], 2) == "report.html"
    assert wrote([first, second], 2) == "report.html", "more results"
    assert wrote([first, second], 5) == "report.html", "more instances"
    full = {name: (tmp_path / name).read_text() for name in ("report.html", "report.md")}
    assert wrote([first], 5) == "report-partial.html"
    assert wrote([first, second], 2) == "report-partial.html"
    assert wrote([first, second], 5, "not measured") == "report-partial.html"
    assert full == {name: (tmp_path / name).read_text() for name in full}
    assert f"figures-partial/{first.slug}.svg" in (tmp_path / "report-partial.md").read_text()
    (tmp_path / "report.html").write_text("a page of an older version")
    assert wrote([first, second], 5) == "report-partial.html"


def test_unpaired_dollars_are_refused() -> None:
    with pytest.raises(MathError, match="unpaired"):
        report.formulas("a $b", str, str)


@pytest.mark.parametrize("result", [r for r in registry.RESULTS if r.figure], ids=lambda r: r.slug)
def test_every_result_has_a_figure(result: Result) -> None:
    assert callable(figures.drawing(result.figure))
    assert result.caption


def test_figures_draw_without_any_display() -> None:
    for name in ("lemma_4", "theorem_2", "counterexample_d41"):
        svg = figures.drawing(name)({})
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert svg == figures.drawing(name)({}), "the same data give the same text"
    with pytest.raises(LookupError):
        figures.drawing("lemma_9")


# ---------------------------------------------------------------- the verb


def test_verb_writes_report_and_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    status = main(
        ["theorems", "Lemma 4", "d41", "--output", str(out), "--json", str(tmp_path / "found.json"), "--quiet"]
    )
    assert status == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert {finding["result"] for finding in found} == {"Lemma 4", "D.4.1"}
    for finding in found:
        assert tuple(finding)[: len(KEYS)] == KEYS
        assert finding["verdict"] == "confirmed"
        assert finding["instances"] >= 1
    assert sorted(path.name for path in out.iterdir()) == ["cells", "figures", "report.html", "report.md"]
    assert sorted(path.name for path in (out / "figures").iterdir()) == ["d-4-1.svg", "lemma-4.svg"]
    text = capsys.readouterr().out
    assert "kernel-stays" in text
    assert str(out / "report.html") in text


@pytest.mark.parametrize(("verdict", "status"), [("contradicted", 1), ("not measured", 75)])
def test_verb_tells_apart_what_is_contradicted_and_what_is_open(
    verdict: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "measure", lambda results, *rest: pretended(results[0], verdict))
    assert main(["theorems", "lemma-5", "--output", str(tmp_path), "--quiet"]) == status
    assert f"{verdict.upper()}  Lemma 5, projection" in capsys.readouterr().out


def test_results_are_printed_before_anything_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no display")

    monkeypatch.setattr(verify, "measure", lambda results, *rest: pretended(results[0]))
    monkeypatch.setattr(verify, "draw", fail)
    assert main(["theorems", "lemma-5", "--output", str(tmp_path), "--quiet"]) == 70
    assert "All 4 claims are confirmed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["theorem-12"], "expected one of theorem-1"),
        (["--jobs", "0"], "--jobs: expected a number of processes"),
        (["--output", "file/sub"], "is a file; expected a folder"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert main(["theorems", *arguments, "--quiet"]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_it_runs_from_an_installed_wheel(tmp_path: Path) -> None:
    """The built wheel alone on the path, in a directory of its own: verifications, figures and formulas included."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    site = str(tmp_path / "site")
    code = (
        f"import sys; sys.path[:] = [{site!r}] + [p for p in sys.path if p not in ('', {str(ROOT)!r})]\n"
        "from exact_unlearn.cli import main; from exact_unlearn._validation import naive\n"
        f"assert naive.__file__.startswith({str(tmp_path)!r}), naive.__file__\n"
        f"sys.exit(main(['theorems', 'lemma-4', '--output', {str(tmp_path / 'out')!r}, '--quiet']))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "All 5 claims are confirmed" in ran.stdout
    assert (tmp_path / "out" / "report.html").stat().st_size > 20_000
