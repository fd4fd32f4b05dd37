"""A regularizer is its form: files that know it by its name are listed here, and the list may only become shorter."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "exact_unlearn"

CLASSES = {
    "L0", "L1", "L2", "ActiveNeurons", "ElasticNet", "GroupL2", "LInf", "NuclearNorm", "PredictorNorm", "SquaredL2",
}  # fmt: skip
NAMES = {
    "l0", "l1", "l2", "active_neurons", "elastic_net", "group_l2", "linf", "nuclear_norm", "predictor_norm",
    "squared_l2",
}  # fmt: skip

ALLOWED = {
    "__init__.py": "the front door",
    "certify/checker.py": "the names of version 1",
    "formats.py": "the names of version 1",
    "cli/problems.py": "the names of the command line",
    "cli/modules.py": "groups of modules on the command line",
    "problem.py": "the predictor norm and the factors of its jacobian",
    "certify/point.py": "the checker's reading of version 1",
    "reference/solver.py": "uniqueness of the predictor norm; problems of least squares",
    "reference/counting.py": "problems of least squares",
    "scalable/composite.py": "to be derived from forms",
    "scalable/distributed.py": "to be derived from forms",
    "scalable/launch.py": "to be derived from forms",
    "scalable/named.py": "forms that come to one of the names",
    "scalable/polish.py": "the predictor norm and the factors of its jacobian",
    "scalable/predictor.py": "the predictor norm and the factors of its jacobian",
    "scalable/projection.py": "projections are problems of least squares",
    "scalable/solve.py": "to be derived from forms",
    "convexity.py": "the norm of which an exact problem is the minimum",
    "margins.py": "half the squared length by default",
    "origin.py": "the norm of which an exact problem is the minimum",
    "predictors.py": "the norm of which an exact problem is the minimum",
    "realisations.py": "the norm of which an exact problem is the minimum",
    "path/keeping.py": "a formula for half the squared length",
    "path/setting.py": "problems of least squares",
    "exports/vipr.py": "to be derived from forms",
    "crosscheck.py": "its cases, and to be derived from forms",
    "integrations/sklearn.py": "estimators by name",
}
"""Files outside of regularizers/, fixtures/ (its cases and truths by name) and demo/, and why they know names."""


def names_in(path: Path) -> set[str]:
    """Classes that a file uses, and names of version 1 that it compares with."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            found |= {name} & CLASSES
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found |= {alias.name for alias in node.names} & CLASSES
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value} & NAMES
    return found


FILES = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.relative_to(PACKAGE).parts[0] not in ("regularizers", "fixtures", "demo")
)


@pytest.mark.parametrize("name", FILES)
def test_members_are_named_in_the_listed_files_only(name: str) -> None:
    found = names_in(PACKAGE / name)
    if name not in ALLOWED:
        assert not found, f"{name} knows {', '.join(sorted(found))} by name; derive what it needs from the form"
    else:
        assert found, f"{name} names nobody any more: strike it off the list"


def test_the_search_sees_every_way_to_name_one(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("from r import L1\nimport r\nr.L2\nGroupL2()\nx == 'linf'\n# L0\ntext = 'l0 and more'\n")
    assert names_in(path) == {"L1", "L2", "GroupL2", "linf"}
