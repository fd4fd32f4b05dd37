"""What a certificate says about the network that a problem stands for: the tree of sign patterns, how many neurons."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from exact_unlearn.arrangement import Node
from exact_unlearn.certify.encode import Tree, vector
from exact_unlearn.jacobian import Array


def about_network(origin: Any, tree: Tree, theta: Array | None) -> Tree:
    """The parts `tree`, where sign patterns are to be proved, and `claims` of the certificate of such a problem.

    theta: the proved point, or None where nothing fits.
    """
    claims = tree["claims"]
    if theta is not None:
        claims = {"neurons": origin.neurons(theta), **claims}
    cells = {} if origin.cells is None else {"tree": [_node(node) for node in origin.cells.tree]}
    return {**cells, "claims": claims}


def _node(node: Node) -> Any:
    return vector({i: Fraction(w) for i, w in node.items()}) if isinstance(node, dict) else node
