"""The house rules that a machine can check: layers, lazy loading, packaging, sizes, words."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
import zipfile
from pathlib import Path

import pytest

import exact_unlearn as xu

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "exact_unlearn"
PYTHON_FILES = sorted(
    path
    for folder in ("exact_unlearn", "tests", "validation", "docs")
    for path in (ROOT / folder).rglob("*.py")
    if "_build" not in path.parts
)

# Lowest first. A module imports only from layers below its own, or from its own room: rooms of one layer do not know
# each other. docs/architecture.md says what each room is for.
LAYERS = (
    {"errors", "interrupts"},
    {"jacobian"},
    {"activations", "arrangement", "codec", "masks", "rational", "rowspace", "summary", "vectors", "watch"},
    {"forms", "plots", "predictors"},
    {"models", "regularizers", "drift", "formats", "modules", "origin", "pictures", "report"},
    {"effects", "problem", "closed_form", "concave"},
    {"solution", "margins", "realisations"},
    {"program", "blocks"},
    {"certify", "local"},
    # above certify: counts are optimal only with a proof, proofs are exported, points judged and polished by them
    {"convexity", "optima", "reference", "scalable", "exports", "verdict"},
    {"algorithms"},
    {"sweep", "mathml", "crosscheck", "integrations", "testing", "path"},
    {"fixtures"},  # above report, because an audit ends in one, and above path, which is audited
    {"demo", "web", "_validation"},
    {"cli"},
    {"__main__"},
)
ROOM_LAYER = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}


def room_of(path: Path) -> str:
    """The room of a file of the package: the first part of its name below `exact_unlearn`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(tree: ast.AST, module: str) -> set[str]:
    """Absolute names of all modules that `module` imports, at whatever place in the file."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)} if base else set()
    return found


def module_name(path: Path) -> str:
    """Dotted name of a file; packages count as `package.__init__`, so that relative imports resolve alike."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def rooms_used(path: Path) -> set[str]:
    """The rooms of the package that a file imports from."""
    names = imported_modules(ast.parse(path.read_text()), module_name(path))
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == "exact_unlearn" and len(part) > 1} & known_rooms()


def known_rooms() -> set[str]:
    """Every room that exists."""
    return {room_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}


def test_every_room_has_its_layer() -> None:
    assert known_rooms() <= set(ROOM_LAYER), "give the new room a place in LAYERS and in docs/architecture.md"


def test_the_architecture_page_explains_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = dict(re.findall(r"^\| (\d+) \| ([^|]+)", page, re.MULTILINE))
    explained = [set(re.findall(r"`(\w+)`", rooms)) for _, rooms in sorted(rows.items(), key=lambda row: int(row[0]))]
    existing = [rooms & known_rooms() for rooms in LAYERS]
    assert explained == [rooms - {"__main__"} for rooms in existing if rooms - {"__main__"}]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=module_name)
def test_imports_run_one_way(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return  # the front door names every room; it opens none until asked (tested below)
    above = {used for used in rooms_used(path) - {room} if ROOM_LAYER[used] >= ROOM_LAYER[room]}
    assert not above, f"{module_name(path)} imports from {sorted(above)}, which are not below it"


def test_the_import_reader_sees_every_form() -> None:
    source = "import a.b\nfrom . import c\nfrom .d import e\nfrom ..f import g\ndef h():\n    from i import j"
    names = imported_modules(ast.parse(source), "p.q.r")
    assert {"a.b", "p.q", "p.q.c", "p.q.d", "p.q.d.e", "p.f", "p.f.g", "i", "i.j"} == names


def test_validation_and_tests_are_imported_by_the_command_line_only() -> None:
    for path in PACKAGE.rglob("*.py"):
        tops = {name.split(".")[0] for name in imported_modules(ast.parse(path.read_text()), module_name(path))}
        assert not {"tests", "validation"} & tops, path
        assert "_validation" not in rooms_used(path) or room_of(path) == "cli", path


@pytest.mark.parametrize("room", ["certify", "local"])
def test_checker_is_standard_library_only(room: str) -> None:
    names = imported_modules(ast.parse((PACKAGE / room / "checker.py").read_text()), "checker")
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def run_python(code: str, *options: str) -> str:
    """Output of a fresh interpreter; a failure shows what it said."""
    command = [sys.executable, *options, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


HEAVY = ("torch", "cvxpy", "scipy", "sklearn", "matplotlib", "osqp", "clarabel", "highspy", "flint")


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = run_python("import sys, exact_unlearn; print(*{name.split('.')[0] for name in sys.modules})").split()
    assert not set(HEAVY) & set(loaded)
    assert "numpy" not in loaded


def test_problems_and_files_need_only_the_core() -> None:
    """What a certificate's reader needs works where nothing but NumPy is installed."""
    run_python(
        f"""
import sys
for name in {HEAVY!r}:
    sys.modules[name] = None  # importing it now raises
import numpy as np, exact_unlearn as xu
theta = np.array([1.0, 2.0, 3.0])
groups = [[0], [1, 2]]
for regularizer in (xu.SquaredL2(), xu.L2(), xu.L1(), xu.LInf(), xu.GroupL2(groups), xu.ElasticNet(1.0, 1.0), xu.L0()):
    problem = xu.UnlearningProblem(theta, np.array([[1.0, 1.0, 0.0]]), regularizer, xu.SquaredDrift(0.5))
    assert problem.regularizer.value(theta) > 0
model = xu.Perceptron(2, 3)
assert model.predict(np.zeros(model.n_parameters), np.ones((4, 2))).shape == (4, 1)
xu.surrogate_problem(model, np.ones(model.n_parameters), np.ones((4, 2)), xu.L1())
"""
    )


@pytest.mark.parametrize(
    "order",
    [
        "import exact_unlearn as xu; function = xu.certify; import exact_unlearn.certify",
        "import exact_unlearn.certify; import exact_unlearn as xu; function = xu.certify",
        "from exact_unlearn.certify import checker; import exact_unlearn as xu; function = xu.certify",
        "from exact_unlearn import certify as function; import exact_unlearn.certify.checker, exact_unlearn as xu",
        "import exact_unlearn as xu; xu.solve; from exact_unlearn import certify as function",
    ],
)
def test_certify_is_a_room_and_a_verb_in_any_order(order: str) -> None:
    out = run_python(
        f"""
{order}
import inspect
from exact_unlearn.certify import certify as verb
assert function is xu.certify and callable(function)
assert inspect.signature(function).parameters.keys() == inspect.signature(verb).parameters.keys()
assert list(inspect.signature(verb).parameters) == ["problem", "solution", "rows", "tau", "time_limit", "proof"]
from exact_unlearn.certify import checker
assert xu.certify.checker is checker
print("ok")
"""
    )
    assert out == "ok\n"


@pytest.mark.parametrize(("room", "files"), [("certify", 2), ("local", 1)])
def test_the_checker_runs_alone(room: str, files: int, tmp_path: Path) -> None:
    """One file, isolated, without site-packages; bad arguments are one sentence and no traceback."""
    checker = str(PACKAGE / room / "checker.py")
    missing = str(tmp_path / "missing.json")
    result = subprocess.run(
        [sys.executable, "-I", "-S", checker, *[missing] * files], capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "Traceback" not in result.stderr + result.stdout
    assert "missing.json" in result.stderr + result.stdout


def test_every_public_name_exists() -> None:
    for name in xu.__all__:
        assert getattr(xu, name) is not None
    assert set(xu.__all__) <= set(dir(xu))
    with pytest.raises(AttributeError, match="no attribute 'solv'"):
        _ = xu.solv


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    shown = {
        (node.module.removeprefix("exact_unlearn").removeprefix("."), alias.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    lazy = {(module, name) for module, names in xu._PUBLIC.items() for name in names.split()}
    assert lazy <= shown
    assert {name for _, name in shown} == set(xu.__all__) - {"__version__"}


# --- packaging ------------------------------------------------------------------------------------------------------


def test_version_is_said_once_and_alike() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", xu.__version__)
    assert re.search(rf"^version: {re.escape(xu.__version__)}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == xu.__version__


def test_wheel_carries_validation_inside_the_package(tmp_path: Path) -> None:
    """Built from a copy with a `validation/` of its own, so that the rule is tested whatever lies there today."""
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for path in ("exact_unlearn/__init__.py", "exact_unlearn/py.typed"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes((ROOT / path).read_bytes())
    (tmp_path / "validation").mkdir()
    (tmp_path / "validation" / "theorem_2.py").write_text("")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text("")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.name == f"exact_unlearn-{xu.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"exact_unlearn", f"exact_unlearn-{xu.__version__}.dist-info"}
    assert "exact_unlearn/_validation/theorem_2.py" in names
    assert "exact_unlearn/py.typed" in names


def test_validation_works_wherever_it_is_installed() -> None:
    """`validation/` of a checkout is `exact_unlearn/_validation/` in a wheel, so it names its modules relatively."""
    for path in (ROOT / "validation").rglob("*.py"):
        names = imported_modules(ast.parse(path.read_text()), module_name(path).replace("validation", "installed", 1))
        assert "validation" not in {name.split(".")[0] for name in names}, path


def test_a_certificate_can_be_checked_without_solvers_and_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^\w-]", line)[0] for line in project["dependencies"]}
    assert names == {"numpy", "safetensors"}
    extras = project["optional-dependencies"]
    assert {"solve", "torch", "exact", "demo", "benchmarks", "images", "test", "attack", "docs", "dev"} == set(extras)
    assert not any("torch" in line for name in ("solve", "demo", "exact", "docs") for line in extras[name])


def test_constraints_are_plain_pins() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    wrong = [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)]
    assert not wrong, "no local versions, hashes, addresses or options here"
    assert "torch==2.13.0" in pins
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = sum(project["optional-dependencies"].values(), start=project["dependencies"])
    direct = {re.split(r"[^\w-]", line)[0].lower() for line in wanted} - {"exact-unlearn"}
    pinned = {line.split("==")[0].lower() for line in pins}
    assert direct <= pinned


def test_ci_runs_what_the_makefile_offers() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    text = script.read_text()
    assert "set -euo pipefail" in text
    steps = re.findall(r"^step ([\w-]+)$", text, re.MULTILINE)
    assert set(steps) == {"lint", "types", "docs", "test", "test-web"}
    shown = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True).stdout
    assert {*steps, "help", "demo", "clean"} <= set(re.findall(r"make ([\w-]+)", shown))


# --- sizes and words ------------------------------------------------------------------------------------------------


AUDITED = {"exact_unlearn/certify/checker.py", "exact_unlearn/local/checker.py"}
"""Trusted files, which outsiders read from top to bottom: splitting or squeezing them would not make that easier."""


@pytest.mark.parametrize("path", [p for p in PYTHON_FILES if str(p.relative_to(ROOT)) not in AUDITED], ids=module_name)
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500, "split it: a file is one noun"


def forbidden_in(tree: ast.AST) -> set[str]:
    """Names in code that have no place here: loading that runs code, tests that test nothing, stubs, clocks."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
            found |= {"pickle", "marshal", "shelve", "dill"} & {name.split(".")[0] for name in names}
        elif isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
            if (node.arg, node.value.value) in {("allow_pickle", True), ("weights_only", False)}:
                found.add(str(node.arg))
        elif isinstance(node, ast.Attribute) and node.attr in {"skip", "skipif", "xfail", "importorskip"}:
            found.add(node.attr)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "time.sleep":
            found.add("time.sleep")
        elif isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.unparse(node.exc):
            found.add("NotImplementedError")
    return found


def test_forbidden_names_are_found() -> None:
    assert forbidden_in(ast.parse("import pickle\nnp.load(f, allow_pickle=True)\ntime.sleep(1)")) == {
        "pickle",
        "allow_pickle",
        "time.sleep",
    }
    assert forbidden_in(ast.parse("@pytest.mark.xfail\ndef f(): raise NotImplementedError")) == {
        "xfail",
        "NotImplementedError",
    }
    assert not forbidden_in(ast.parse("np.load(f, allow_pickle=False)  # never a pickle"))


# The pytest plugin marks *other people's* tests, where they list cases with --golden-xfails.
PERMITTED = {PACKAGE / "fixtures" / "plugin.py": {"xfail"}}


@pytest.mark.parametrize("path", PYTHON_FILES, ids=module_name)
def test_no_forbidden_names(path: Path) -> None:
    assert forbidden_in(ast.parse(path.read_text())) <= PERMITTED.get(path, set())


@pytest.mark.parametrize("path", PYTHON_FILES, ids=module_name)
def test_comments_leave_nothing_to_do(path: Path) -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XXX|HACK)\b")
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    comments = [token for token in tokens if token.type == tokenize.COMMENT and marks.search(token.string)]
    assert not comments


def test_no_paths_of_one_machine() -> None:
    """Nothing that is committed names a place that exists on one machine only."""
    place = re.compile(r"(?<![\w.~/$}*])/(?:home|root|Users|work|tmp|mnt|opt)/\w")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    files = [ROOT / name for name in listed.decode().split("\0") if name]
    assert files
    for path in files:
        if path.exists() and path.suffix in {".py", ".md", ".toml", ".txt", ".json", ".css", ".cff", ""}:
            found = place.search(path.read_text(encoding="utf-8", errors="replace"))
            assert found is None, f"{path.relative_to(ROOT)} names {found and found[0]}"
