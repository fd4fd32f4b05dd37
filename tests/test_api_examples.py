"""Every public name shows how it is used, and what it shows is true."""

from __future__ import annotations

import doctest
import inspect

import pytest

from tests.test_docs import api_pages

NAMES = [
    f"{module}.{name}" for module in api_pages.ROOMS for name in api_pages.public_names(module) if name != "__version__"
]


def shown(name: str) -> list[doctest.Example]:
    """The examples in the docstring of a public name."""
    return doctest.DocTestParser().get_examples(inspect.getdoc(api_pages.find(name)) or "")


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_that_runs(name: str) -> None:
    if not callable(api_pages.find(name)):
        return
    examples = shown(name)
    assert examples, f"{name} has no example"
    test = doctest.DocTest(examples, vars(inspect.getmodule(api_pages.find(name))).copy(), name, None, 0, None)
    said: list[str] = []
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append)
    assert results.failed == 0, "".join(said)
