"""Sphinx configuration. Everything a page needs lies beside it: no script, font or picture comes from outside."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from sphinx.util.inspect import TypeAliasForwardRef  # noqa: E402

import exact_unlearn  # noqa: E402

project = "exact_unlearn"
author = "The exact_unlearn authors"
copyright = f"2026, {author}"
version = release = exact_unlearn.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_gallery.gen_gallery",
    "mathml",
    "plain_docstrings",
    "api_pages",
    "explain_pages",
]
exclude_patterns = ["_build", "_ext", "examples", "results"]
default_role = "py:obj"

myst_enable_extensions = ["deflist", "dollarmath", "tasklist"]
myst_heading_anchors = 3
math_numfig = False
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {"Array": "Array", "Value": "Value"}
# Inside a union or a tuple Sphinx prints such an alias as the wrapper that it keeps it in; its name is enough.
TypeAliasForwardRef.__repr__ = lambda self: self.name  # type: ignore[method-assign]
# scikit-learn writes a method set_score_request into every estimator, whose text links into its own manual.
autodoc_default_options = {"members": True, "ignore-module-all": True, "exclude-members": "set_score_request"}
python_use_unqualified_type_names = True
maximum_signature_line_length = 100

# docs/examples becomes docs/gallery: each program runs, its figures are drawn, and one that fails ends the build.
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "reset_modules": ("matplotlib", "house_style.apply"),
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("exact_unlearn",),
    "reference_url": {"exact_unlearn": None},
    "first_notebook_cell": (
        '# In a clone of the repository, for the package is in no index yet.\n%pip install --quiet ".[demo,torch]"'
    ),
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 10**9,  # pages are the same whatever machine built them
    "write_computation_times": False,
}

html_theme = "furo"
html_title = "exact_unlearn"
html_static_path = ["_static"]
html_css_files = ["local.css"]
html_copy_source = False
html_show_sourcelink = False
html_permalinks_icon = "#"
pygments_style = "friendly"
