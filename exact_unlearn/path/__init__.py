"""Unlearning by many short surrogates instead of one long one, and what an answer does to its network.

setting.py  a model, what it retains, and what is to be simple: outputs, problems, solutions
restore.py  back to the labels, by Gauss-Newton steps
control.py  how far the next step may go, from what the last one lost
tried.py    one surrogate, and what is left of it
bent.py     networks of two layers that bend, wherever their weights lie
pieces.py   kinks of two-layer networks: the pieces that meet there
walk.py     `unlearn_path`: the loop
trace.py    what it returns: Path, Step, PathStatus, and their files
figure.py   the picture of a path
keeping.py  `effect`: what an answer does to the outputs, and the drift penalty that would have kept them
"""

from __future__ import annotations

from exact_unlearn.path.keeping import effect
from exact_unlearn.path.trace import Path, PathStatus, Step
from exact_unlearn.path.walk import unlearn_path

__all__ = ["Path", "PathStatus", "Step", "effect", "unlearn_path"]
