"""The documentation tells the truth: its examples run, its formulas render, its pages ask no outside host."""

from __future__ import annotations

import doctest
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import exact_unlearn as xu
from exact_unlearn import regularizers, web
from exact_unlearn.cli import main

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("explain/*.md")])


def extension(name: str) -> ModuleType:
    """A module of docs/_ext, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "_ext" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


mathml, offline = extension("mathml"), extension("offline")
plain_docstrings, api_pages = extension("plain_docstrings"), extension("api_pages")


def blocks(path: Path, language: str) -> str:
    """All fenced blocks of one language, in order."""
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL))


# --- examples -------------------------------------------------------------------------------------------------------


def test_readme_example_runs_as_printed() -> None:
    source = blocks(ROOT / "README.md", "python")
    assert source.count("assert ") >= 3
    torch.manual_seed(0)
    exec(compile(source, "README.md", "exec"), {})


@pytest.mark.parametrize("path", [path for path in PAGES if blocks(path, "pycon")], ids=lambda path: path.stem)
def test_examples_show_what_they_print(path: Path) -> None:
    example = doctest.DocTestParser().get_doctest(blocks(path, "pycon"), {}, path.name, str(path), 0)
    said: list[str] = []
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=said.append)
    assert results.attempted > 0
    assert results.failed == 0, "".join(said)


def test_readme_commands_exist() -> None:
    named = set(re.findall(r"\bmake (\w+)", (ROOT / "README.md").read_text())) - {"it"}
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets


def test_commands_in_the_pages_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb and every option that a page shows is one that the command line explains."""
    shown = [line for path in (ROOT / "README.md", *PAGES) for line in blocks(path, "shell").splitlines()]
    commands = [line.split("#")[0].split() for line in shown if line.startswith("exact-unlearn")]
    assert commands
    for _, verb, *arguments in commands:
        named = [verb, arguments[0]] if verb == "fixtures" else [verb]  # a verb with actions
        assert main([*named, "--help"]) == 0
        explained = set(re.findall(r"(?<![\w-])-{1,2}[a-z][\w-]*", capsys.readouterr().out))
        assert {argument for argument in arguments if argument.startswith("-")} <= explained


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: path.stem)
def test_links_to_files_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", path.read_text())
    generated = {"api/index.md", "gallery/index.rst"}
    missing = [target for target in targets if target not in generated and not (path.parent / target).exists()]
    assert not missing


def test_every_page_is_in_the_contents_once() -> None:
    listed = re.sub(r"^:.*$", "", blocks(DOCS / "index.md", r"\{toctree\}"), flags=re.MULTILINE).split()
    names = {path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES}
    assert sorted(listed) == sorted(["api/index", "gallery/index", *(names - {"index"})])


def test_every_page_that_explains_has_a_card_with_a_picture() -> None:
    page = (DOCS / "explain" / "index.md").read_text()
    cards = re.findall(
        r'<a href="\.\./_static/explain/(\w+)\.html"><img src="([^"]+)" alt="[^"]+"><b>([^<]+)</b>', page
    )
    assert [(name, title) for name, _, title in cards] == [(name, page.title) for name, page in web.PAGES.items()]
    assert all((DOCS / "explain" / picture).exists() for _, picture, _ in cards)


def test_every_regularizer_and_drift_is_documented() -> None:
    theory, formats = (DOCS / "theory.md").read_text(), (DOCS / "formats.md").read_text()
    for name in regularizers._BUILDERS:
        assert f'`"{name}"`' in formats
    for name in ("squared_drift", "l1_drift", "trust_region"):
        assert f'`"{name}"`' in formats
    named = set(re.findall(r"^\| `(\w+)", theory, re.MULTILINE))
    classes = {name for name in regularizers.__all__ if isinstance(getattr(regularizers, name), type)}
    assert classes - {"Regularizer", "Recipe", "Sum", "Written"} <= named
    assert {"SquaredDrift", "L1Drift", "TrustRegion"} <= named


def test_example_of_a_rational_number_in_the_formats_page(tmp_path: Path) -> None:
    """The hexadecimal rationals of the page are what files hold."""
    problem = xu.UnlearningProblem([0.75, -31 / 8], np.ones((1, 2)), xu.L1(), xu.TrustRegion(31.0))
    problem.save(tmp_path / "problem.json")
    text = (tmp_path / "problem.json").read_text()
    for number in ('"3/4"', '"-1f/8"', '"1f"'):
        assert f"`{number}`" in (DOCS / "formats.md").read_text()
        assert number in text


# --- formulas -------------------------------------------------------------------------------------------------------


def parsed(latex: str, **options: Any) -> ElementTree.Element:
    return ElementTree.fromstring(mathml.to_mathml(latex, **options))


def formulas(path: Path) -> list[str]:
    text = re.sub(r"^```.*?^```|`[^`\n]+`", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    displayed = re.findall(r"\$\$(.+?)\$\$", text, re.DOTALL)
    inline = re.findall(r"(?<![\\$])\$([^$]+)\$", re.sub(r"\$\$.+?\$\$", "", text, flags=re.DOTALL))
    return displayed + inline


@pytest.mark.parametrize("path", [path for path in PAGES if formulas(path)], ids=lambda path: path.stem)
def test_formulas_of_the_pages_convert(path: Path) -> None:
    for latex in formulas(path):
        for block in (False, True):
            root = parsed(latex.strip(), block=block)
            assert root.tag == "math"
            assert root.get("display") == ("block" if block else "inline")
            assert "".join(root.itertext()).strip()


def test_a_formula_keeps_its_content() -> None:
    root = parsed(r"\frac{\alpha}{2} x_i^2 < y")
    assert [element.text for element in root.iter("mi")] == ["α", "x", "i", "y"]
    fraction = root.find(".//mfrac")
    assert fraction is not None
    assert len(fraction) == 2
    assert "<" in [element.text for element in root.iter("mo")]


@pytest.mark.parametrize(
    ("latex", "complaint"),
    [
        (r"\nosuchcommand x", "unknown command"),
        (r"\frac{1}{2", "unbalanced braces"),
        (r"} x {", "unbalanced braces"),
        (r"a & b", "cannot convert"),
        (r"\begin{aligned} a &= b \end{aligned}", "not supported"),
        (r"\operatorname*{argmin}_x", "not supported"),
        (r"\operatorname{arg\,min}", "empty operator"),
        ("x % y", "not supported"),
    ],
)
def test_formulas_that_would_be_shown_wrong_are_errors(latex: str, complaint: str) -> None:
    with pytest.raises(mathml.MathError, match=complaint):
        mathml.to_mathml(latex)


def test_escaped_signs_are_no_syntax() -> None:
    assert "%" in "".join(parsed(r"50 \%").itertext())
    assert "".join(parsed(r"\{a\}").itertext()) == "{a}"


def test_limits_stand_below_in_displayed_formulas_only() -> None:
    latex = r"\min_\theta R + \operatorname{argmin}_x f + a_i"
    assert [element.tag for element in parsed(latex, block=True)[0] if len(element)] == ["munder", "munder", "msub"]
    assert [element.tag for element in parsed(latex)[0] if len(element)] == ["msub", "msub", "msub"]


def test_bars_and_relations_are_spaced_like_brackets_and_relations() -> None:
    root = parsed(r"\lVert x \rVert_2 + \lvert y \rvert \succeq 0")
    bars = [element for element in root.iter("mo") if element.text in {"‖", "|"}]
    assert len(bars) == 4
    assert all(bar.get("lspace") == bar.get("rspace") == "0" for bar in bars)
    assert "⪰" in [element.text for element in root.iter("mo")]
    assert [element.get("lspace") for element in parsed(r"\sup_x \operatorname{rank} y").iter("mo")] == ["0", "0"]


# --- pages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://host.example/a.js"></script>',
        '<script src="//host.example/a.js"></script>',
        '<link rel="stylesheet" href="https://host.example/a.css">',
        '<link rel="preconnect" href="https://host.example">',
        '<link rel="alternate stylesheet" href="http://host.example/a.css"/>',
        '<img src="HTTP://host.example/a.png">',
        '<img srcset="a.png 1x, https://host.example/b.png 2x">',
        '<iframe src="https://host.example"></iframe>',
        '<p style="background: url(https://host.example/a.png)">',
        "<style>@import 'https://host.example/a.css';</style>",
        '<svg><image xlink:href="https://host.example/a.png"/></svg>',
        '<object data="https://host.example/a.svg"></object>',
    ],
)
def test_requests_to_outside_hosts_are_found(html: str) -> None:
    assert len(offline.html_references(html)) == 1


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://host.example">a reader may click</a>',
        '<link rel="canonical" href="https://host.example/page">',
        '<script src="_static/a.js?v=//"></script><img src="data:image/png;base64,//8=">',
        "<style>/* url(https://host.example) */ p { background: url('a.png') }</style>",
        '<math xmlns="http://www.w3.org/1998/Math/MathML"></math>',
    ],
)
def test_what_a_browser_does_not_load_is_fine(html: str) -> None:
    assert offline.html_references(html) == []


def test_style_sheets_are_read_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.html").write_text("<p>fine</p>")
    assert offline.main(str(tmp_path)) == 0
    (tmp_path / "b.css").write_text('@font-face { src: url("//host.example/font.woff2") }')
    assert offline.main(str(tmp_path)) == 1
    assert "b.css: asks for //host.example/font.woff2" in capsys.readouterr().err


def test_no_pages_is_no_success(tmp_path: Path) -> None:
    assert offline.main(str(tmp_path)) == 1


def plain_text(docstring: str) -> str:
    return "\n".join(plain_docstrings.plain(docstring.split("\n")))


def test_docstrings_mean_what_they_say() -> None:
    text = "theta* and |x|_1, h_ and ``|y|*`` and `a*`, the *one* b* and a * b * c"
    shown = r"theta\* and \|x\|_1, h\_ and ``|y|*`` and `a*`, the *one* b\* and a \* b \* c"
    assert plain_text(text) == shown
    for kept in (">>> f(*x)\n|out|", "* one\n  more\n* two", "1. one\n2. two", "code::\n\n    |z|\n\n    z*"):
        assert plain_text(kept) == kept


def test_docstrings_show_formulas_and_arguments_as_such() -> None:
    formula = "    min |x|\n     over  x"
    shown = f"See\n\n.. code-block:: text\n\n{formula}\n\nend\\|"
    assert plain_text(f"See\n\n{formula}\n\nend|") == shown
    assert plain_text(f"See\n\n{formula}\nend|") == shown
    assert plain_text("x, y: both |v|\n   and more\nnu: (k,)") == "* ``x, y``: both \\|v\\|\n  and more\n* ``nu``: (k,)"
    assert plain_text("1. one\n      |x|,\n   more\n2. two") == "1. one\n   \\|x\\|,\n   more\n2. two"
    assert plain_text("A sentence\n  that goes on: here") == "A sentence\nthat goes on: here"


def test_api_pages_are_those_of_the_public_names(tmp_path: Path) -> None:
    folder = tmp_path / "api"
    folder.mkdir()
    (folder / "exact_unlearn.gone.md").write_text("a name that is no more")
    (folder / "index.md").write_text("an old list")
    api_pages.write_pages(folder)
    index = (folder / "index.md").read_text()
    pages = {path.name for path in folder.glob("*.md")} - {"index.md"}
    assert len({page.lower() for page in pages}) == len(pages)
    assert set(re.findall(r"^\| \[[^\]]+\]\(([^)]+)\) \| \S", index, re.MULTILINE)) == pages
    for name in set(xu.__all__) - {"__version__"}:
        page = f"{api_pages.page_name('exact_unlearn', name)}.md"
        assert f"[xu.{name}]({page})" in index
        assert f".. minigallery:: exact_unlearn.{name}\n" in (folder / page).read_text()
    assert "autofunction:: exact_unlearn.certify.ladder.certify" in (folder / "exact_unlearn.certify.md").read_text()


def test_the_gallery_has_sixteen_programs_that_end_in_proofs() -> None:
    """The documentation runs them; here it is seen that each checks a proof and says so at the top what it is about."""
    programs = sorted((DOCS / "examples").glob("*.py"))
    assert [path.name[:2] for path in programs] == [f"{k:02}" for k in range(1, 17)]
    for path in programs:
        text = path.read_text()
        title, underline = text.splitlines()[1:3]
        assert underline == "=" * len(title)
        assert re.search(r"check\(\w*\)\.proved|verdict\.proved|outcome\.proved|mended\.proved", text), path.name
        assert text.count("plt.show()") == 1, path.name
