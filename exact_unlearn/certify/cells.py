"""What a certificate says about the network that a problem stands for: the tree of sign patterns, how many neurons."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from exact_unlearn.arrangement import Node
from exact_unlearn.certify.encode import Tree, vector
from exact_unlearn.jacobian import Array


def about_network(origin: Any, tree: Tree, theta: Array | None) -> Tree:
    """The parts `tree` and `claims` of the certificate `tree` of a problem with this origin.

    theta: the proved point, or None where nothing fits.
    """
    claims = tree["claims"]
    if theta is not None:
        claims = {"neurons": origin.neurons(theta), **claims}
    return {"tree": [_node(node) for node in origin.cells.tree], "claims": claims}


def _node(node: Node) -> Any:
    return vector({i: Fraction(w) for i, w in node.items()}) if isinstance(node, dict) else node
