"""The report: one HTML page that needs nothing beside it, and the same in Markdown with its figures as files.

Formulas are written as $LaTeX$ in claims and statements; the page carries them as MathML, figures as embedded SVG,
and asks no outside host for anything.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import exact_unlearn
from exact_unlearn.mathml import MathError, to_mathml
from exact_unlearn.report import number, small, write_text

from .falsehoods import FALSEHOODS
from .finding import KINDS, PROOFS, VERDICTS, Finding, Result, slug
from .mutations import MUTANTS
from .mutations import RESULT as SELF_CHECK

PROOF_WORDS = {
    "exact": "exact",
    "enclosure": "enclosed",
    "repaired": "bounded",
    "none": "floats",
}
PROOF_MEANING = {
    "exact": "both sides agree over the rationals, or the optimum is proved with gap 0",
    "enclosure": "a rigorous interval contains the value",
    "repaired": "a rigorous but loose bound",
    "none": "compared in floating point, up to rounding",
}
KIND_BADGES = {"claim": "", "assumption": "assumption broken", "degenerate": "degenerate", "ours": "ours"}


@dataclass(frozen=True)
class Report:
    """What is shown: results with their findings, and a figure (SVG text, or "" for none) per result slug."""

    results: Sequence[Result]
    findings: Sequence[Finding]
    figures: Mapping[str, str]
    full: bool

    def of(self, result: Result) -> list[Finding]:
        """The findings of a result, in order."""
        return [finding for finding in self.findings if finding.result == result.name]

    @property
    def contradicted(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.verdict == "contradicted"]

    @property
    def not_measured(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.verdict == "not measured"]

    @property
    def extent(self) -> dict[str, int]:
        """How many instances of each result were measured: what this report could take the place of."""
        counts: dict[str, int] = {}
        for finding in self.findings:
            counts[slug(finding.result)] = counts.get(slug(finding.result), 0) + finding.instances
        return counts

    @property
    def headline(self) -> str:
        """One sentence: what came out."""
        count, instances = len(self.findings), sum(finding.instances for finding in self.findings)
        missing = len(self.not_measured)
        if self.contradicted or missing:
            parts = [(len(self.contradicted), "contradicted"), (missing, "not measured")]
            shares = [f"{number} of {count} claims are {word}" for number, word in parts if number]
            outcome = "; ".join(shares)
        else:
            outcome = f"All {count} claims are confirmed" if count > 1 else "The claim is confirmed"
        exact = sum(finding.proof == "exact" for finding in self.findings)
        return f"{outcome}, on {instances:,} instances; {exact} of them in exact arithmetic or with a proof of gap 0."


def write(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write the report as two pages and a folder of figures into `folder`; return the pages.

    They are report.html, report.md and figures/, unless a report lies there that says more (other results, or more
    instances of one): that one stays, and this one is called report-partial and figures-partial.
    """
    name = "report-partial" if _says_more(folder / "report.html", report) else "report"
    figures = name.replace("report", "figures")
    (folder / figures).mkdir(parents=True, exist_ok=True)
    for slug_, svg in report.figures.items():
        if svg:
            write_text(folder / figures / f"{slug_}.svg", svg)
    pages = folder / f"{name}.html", folder / f"{name}.md"
    write_text(pages[0], html_page(report))
    write_text(pages[1], markdown_page(report, figures))
    return pages


_EXTENT = re.compile(r'<meta name="extent" content="([^"]*)">')


def _says_more(page: Path, report: Report) -> bool:
    """Whether the page there covers something that this report does not; a page that does not say so counts as full."""
    try:
        found = _EXTENT.search(page.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return page.exists()
    if found is None:
        return True
    there = dict(item.split("=") for item in found[1].split())
    return any(int(count) > report.extent.get(result, 0) for result, count in there.items())


def worst(findings: Sequence[Finding]) -> Finding:
    """The finding to be worried about most: contradicted ones first, then those not measured, then by deviation."""
    return max(findings, key=lambda f: (VERDICTS.index(f.verdict), f.deviation))


def weakest(findings: Sequence[Finding]) -> str:
    """All proofs that occur, from strong to weak: "exact, floats"."""
    found = {finding.proof for finding in findings}
    return ", ".join(PROOF_WORDS[proof] for proof in PROOFS if proof in found)


def outcome(findings: Sequence[Finding]) -> str:
    """One sentence about one result: "Worst deviation 2.1e-15 over 1,234 instances; proofs: exact, floats."."""
    bad, instances = worst(findings), sum(finding.instances for finding in findings)
    words = {"confirmed": "", "contradicted": f"Contradicted by {bad.key}. ", "not measured": f"Open: {bad.key}. "}
    verdict = words[bad.verdict]
    return f"{verdict}Worst deviation {deviation_shown(bad)} over {instances:,} instances; proofs: {weakest(findings)}."


def deviation_shown(finding: Finding) -> str:
    """The deviation as text."""
    return small(finding.deviation) if finding.instances else "–"


def figures_shown(finding: Finding) -> tuple[str, str]:
    """Predicted and measured as text with enough digits to tell them apart where they differ by more than rounding."""
    if not finding.instances:
        return "–", "–"
    pair = number(finding.predicted), number(finding.measured)
    if pair[0] == pair[1] and finding.predicted != finding.measured and finding.deviation > 1e-9:
        pair = number(finding.predicted, 9), number(finding.measured, 9)
    return pair


# ---------------------------------------------------------------- formulas


def formulas(text: str, show: Callable[[str], str], escape: Callable[[str], str]) -> str:
    """`text` with every $formula$ shown by `show` and the words between them by `escape`."""
    parts = text.split("$")
    if len(parts) % 2 == 0:
        raise MathError(f"an unpaired $ in {text!r}")
    return "".join(show(part) if i % 2 else escape(part) for i, part in enumerate(parts))


def _html(text: str) -> str:
    """MathML for formulas; their source where the converter is not installed."""
    try:
        shown = formulas(text, to_mathml, html.escape)
    except ImportError:
        return formulas(text, lambda latex: f"<code>{html.escape(latex)}</code>", html.escape)
    # a full stop must not begin a line of its own; only the formula before it may be held together with it
    return re.sub(r"(<math(?:(?!</math>).)*</math>)([.,;:)]+)", r'<span class="nb">\1\2</span>', shown)


def _markdown(text: str, cell: bool = False) -> str:
    """Formulas between $; inside a table no bar may stand, so norms are spelled out."""

    def show(latex: str) -> str:
        if cell:
            latex = re.sub(r"\|(?![A-Za-z])", r"\\vert ", latex.replace(r"\|", r"\Vert "))
        return f"${latex}$"

    return formulas(text, show, lambda words: words.replace("|", r"\|") if cell else words)


# ---------------------------------------------------------------- HTML

_STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1c1f23; --soft: #5b6470; --line: #dfe3e8; --pale: #f5f7f9; --good: #00734f; --bad: #b3261e; --open: #8a5a00;
  --accent: #0a5c99; --page: white;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e7eb; --soft: #a3adb8; --line: #363d45; --pale: #23292f; --good: #4fc79a; --bad: #ff8a80; --open: #e6b95c;
    --accent: #7cb8ea; --page: #15191d;
  }
  figure img { background: white; border-radius: .4rem; }
}
* { box-sizing: border-box; }
body {
  margin: 0; color: var(--ink); background: var(--page);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
main { max-width: 64rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.35rem; margin: 3.5rem 0 .2rem; padding-top: 1.2rem; border-top: 1px solid var(--line); }
h2 small {
  display: block; font-size: .8rem; font-weight: 600; letter-spacing: .06em; text-transform: uppercase;
  color: var(--accent);
}
p { margin: .6rem 0; }
.lead { font-size: 1.1rem; }
.soft { color: var(--soft); font-size: .92rem; }
figure { margin: 1.4rem 0; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: .92rem; max-width: 48rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; margin: 1rem 0; }
th {
  text-align: left; font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--line);
  padding: .35rem .8rem .35rem 0; vertical-align: bottom;
}
td { border-bottom: 1px solid var(--line); padding: .5rem .8rem .5rem 0; vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.claims td:first-child { min-width: 20rem; }
.note { display: block; color: var(--soft); font-size: .84rem; }
.badge {
  display: inline-block; font-size: .72rem; line-height: 1.3; padding: .05rem .45rem; border-radius: .7rem;
  background: var(--pale); border: 1px solid var(--line); color: var(--soft); margin-right: .35rem;
}
.confirmed { color: var(--good); font-weight: 600; white-space: nowrap; }
.contradicted { color: var(--bad); font-weight: 700; }
.not-measured { color: var(--open); font-weight: 700; white-space: nowrap; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
math { font-size: 1.02em; }
.nb { white-space: nowrap; }
@media print {
  h2 { break-before: page; border: 0; }
  figure, tr { break-inside: avoid; }
  .scroll { overflow: visible; }
}
"""


def html_page(report: Report) -> str:
    """The page as one text."""
    sections = "\n".join(_html_section(report, result) for result in report.results)
    extent = " ".join(f"{name}={count}" for name, count in report.extent.items())
    tone = "contradicted" if report.contradicted else "not-measured" if report.not_measured else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="extent" content="{extent}">
<title>Machine unlearning, verified</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>Machine unlearning under overparameterization, verified</h1>
<p class="lead {tone}">{html.escape(report.headline)}</p>
<p class="soft">{_html(_introduction(report))}</p>
{_html_overview(report)}
{sections}
</main>
</body>
</html>
"""


def _introduction(report: Report) -> str:
    kind = "full" if report.full else "quick"
    proofs = "; ".join(f"{PROOF_WORDS[proof]}: {PROOF_MEANING[proof]}" for proof in PROOFS)
    return (
        "The results of J. L. Block, A. Mokhtari and S. Shakkottai, Machine Unlearning under Overparameterization "
        f"(NeurIPS 2025), put to the test by exact_unlearn {exact_unlearn.__version__}, {kind} run. Each claim is "
        "measured on random instances by two routes that share no formula; its deviation is the worst over all "
        "instances, relative, and 0 only where both sides agree exactly. Where an assumption is broken on purpose, a "
        f"confirmed claim says that the conclusion fails. A claim is not measured, neither confirmed nor contradicted, "
        f"where something came between: memory, a solver without a proof, a mistake of ours. Proofs: {proofs}."
    )


def _html_overview(report: Report) -> str:
    rows = []
    for result in report.results:
        found = report.of(result)
        bad = worst(found)
        rows.append(
            f'<tr><td><a href="#{result.slug}">{html.escape(result.name)}</a></td><td>{html.escape(result.title)}</td>'
            f'<td class="num">{len(found)}</td><td class="num">{sum(f.instances for f in found):,}</td>'
            f'<td class="num">{deviation_shown(bad)}</td><td>{weakest(found)}</td><td>{_verdict(bad)}</td></tr>'
        )
    head = (
        '<tr><th>Result</th><th>What it says</th><th class="num">Claims</th><th class="num">Instances</th>'
        '<th class="num">Worst deviation</th><th>Proof</th><th>Verdict</th></tr>'
    )
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def _verdict(finding: Finding) -> str:
    mark = {"confirmed": "✓", "contradicted": "✗", "not measured": "?"}[finding.verdict]
    return f'<span class="{slug(finding.verdict)}">{mark}&nbsp;{finding.verdict}</span>'


def _html_section(report: Report, result: Result) -> str:
    parts = [
        f'<section id="{result.slug}">',
        f"<h2><small>{html.escape(result.name)}</small>{html.escape(result.title)}</h2>",
        f"<p>{_html(result.statement)}</p>",
        f'<p class="soft"><b>Tried.</b> {_html(result.tried)}</p>',
        f'<p class="soft"><b>Found.</b> {html.escape(outcome(report.of(result)))}</p>',
    ]
    svg = report.figures.get(result.slug, "")
    if svg:
        data = base64.b64encode(svg.encode()).decode()
        alt = html.escape(re.sub(r"[$\\{}]", "", result.caption), quote=True)
        parts.append(
            f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{alt}">'
            f"<figcaption>{_html(result.caption)}</figcaption></figure>"
        )
    rows = "".join(_html_row(finding) for finding in report.of(result))
    head = (
        '<tr><th>Claim</th><th class="num">Predicted</th><th class="num">Measured</th><th class="num">Deviation</th>'
        '<th>Proof</th><th class="num">Instances</th><th>Verdict</th></tr>'
    )
    parts.append(f'<div class="scroll"><table class="claims"><thead>{head}</thead><tbody>{rows}</tbody></table></div>')
    if result is SELF_CHECK:
        parts.append(_html_mutants())
    return "\n".join([*parts, "</section>"])


def _html_row(finding: Finding) -> str:
    badge = KIND_BADGES[finding.kind]
    shown = f'<span class="badge" title="{html.escape(KINDS[finding.kind])}">{badge}</span>' if badge else ""
    notes = [_html(note) for note in _notes(finding)]
    if finding.message:
        notes.append(f"<b>{html.escape(finding.message)}</b>")
    numbers = "".join(f'<td class="num">{text}</td>' for text in (*figures_shown(finding), deviation_shown(finding)))
    return (
        f'<tr><td>{shown}{_html(finding.statement)}<span class="note">{" ".join(notes)}</span></td>{numbers}'
        f'<td>{PROOF_WORDS[finding.proof]}</td><td class="num">{finding.instances:,}</td>'
        f"<td>{_verdict(finding)}</td></tr>"
    )


def _notes(finding: Finding) -> list[str]:
    """What stands below a claim, with $formulas$: what the numbers are, what is assumed, how exact floats must be."""
    notes = [f"Shown: {finding.quantity}."]
    if finding.assumptions:
        notes.append("Assumptions: " + "; ".join(finding.assumptions) + ".")
    if finding.tolerance:
        notes.append(f"Allowed deviation: {small(finding.tolerance)}.")
    return notes


def _broken() -> list[tuple[str, str, str]]:
    """(result, claim, what is wrong) of all that is broken on purpose."""
    formulas_ = [(mutant.result.name, "", mutant.what) for mutant in MUTANTS]
    return formulas_ + [(one.result.name, one.claim, one.says) for one in FALSEHOODS]


def _html_mutants() -> str:
    rows = "".join(f"<tr>{''.join(f'<td>{html.escape(word)}</td>' for word in row)}</tr>" for row in _broken())
    head = "<tr><th>Result</th><th>Claim</th><th>Broken on purpose, or said instead</th></tr>"
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


# ---------------------------------------------------------------- Markdown


def markdown_page(report: Report, figures: str = "figures") -> str:
    """The page as Markdown; figures are files in the folder `figures` beside it."""
    lines = [
        "# Machine unlearning under overparameterization, verified",
        "",
        f"**{report.headline}**",
        "",
        _markdown(_introduction(report)),
        "",
        "| Result | What it says | Claims | Instances | Worst deviation | Proof | Verdict |",
        "|---|---|--:|--:|--:|---|---|",
    ]
    for result in report.results:
        found = report.of(result)
        bad = worst(found)
        count = sum(finding.instances for finding in found)
        cells = [
            f"[{result.name}](#{result.slug})",
            result.title,
            str(len(found)),
            f"{count:,}",
            deviation_shown(bad),
            weakest(found),
            bad.verdict,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for result in report.results:
        lines += ["", f'<a id="{result.slug}"></a>', "", *_markdown_section(report, result, figures)]
    return "\n".join(lines) + "\n"


def _markdown_section(report: Report, result: Result, figures: str) -> list[str]:
    lines = [
        f"## {result.name}: {result.title}",
        "",
        _markdown(result.statement),
        "",
        f"*Tried.* {_markdown(result.tried)}",
        "",
        f"*Found.* {outcome(report.of(result))}",
        "",
    ]
    if report.figures.get(result.slug):
        lines += [f"![{result.title}]({figures}/{result.slug}.svg)", "", _markdown(result.caption), ""]
    lines += [
        "| Claim | Shown | Predicted | Measured | Deviation | Proof | Instances | Verdict |",
        "|---|---|--:|--:|--:|---|--:|---|",
    ]
    for finding in report.of(result):
        badge = f"*{KIND_BADGES[finding.kind]}:* " if KIND_BADGES[finding.kind] else ""
        text = badge + _markdown(finding.statement, cell=True)
        if finding.assumptions:
            text += " (" + "; ".join(_markdown(assumption, cell=True) for assumption in finding.assumptions) + ")"
        if finding.tolerance:
            text += f" Allowed deviation: {small(finding.tolerance)}."
        if finding.message:
            text += f" **{_markdown(finding.message.replace('$', ''), cell=True)}**"
        cells = [
            text,
            _markdown(finding.quantity, cell=True),
            *figures_shown(finding),
            deviation_shown(finding),
            PROOF_WORDS[finding.proof],
            f"{finding.instances:,}",
            finding.verdict,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    if result is SELF_CHECK:
        lines += ["", "| Result | Claim | Broken on purpose, or said instead |", "|---|---|---|"]
        lines += [f"| {result_} | {claim} | {_markdown(what, cell=True)} |" for result_, claim, what in _broken()]
    return lines
