"""Which pages there are, in the order in which they are read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """A page: its folder beside this file is called as its key in `PAGES`.

    title, lead: its heading, and the sentence below it
    numbers: whether the folder holds numbers.json
    proofs: which of the checker's modules for special proofs (`build.SPECIAL`) the page needs

    >>> from exact_unlearn import web
    >>> web.PAGES["lie"].title
    'Drag the lie'
    """

    title: str
    lead: str
    numbers: bool = False
    proofs: tuple[str, ...] = ()


PAGES = {
    "shadow": Page(
        "Shadow of the weights",
        "Forgetting is not fitting. Two weights are enough to see why, what works instead, and how to be sure of it.",
    ),
    "lie": Page(
        "Drag the lie",
        "A small network has memorised three lies. Make it forget them, and check that nothing of them is left.",
        numbers=True,
    ),
    "players": Page(
        "Two players",
        "Three weights, two samples to keep. One player looks for a small model, the other for a proof that none is "
        "smaller. Play both.",
    ),
    "solver": Page(
        "When the solver lies",
        "Five solvers, one small problem. Each answers with a word and a number. Whom do you believe?",
        numbers=True,
    ),
    "bends": Page(
        "It bends",
        "Networks are curved, and the step that forgets is straight. How far can one go, and what do short steps mend?",
        numbers=True,
    ),
    "truth": Page(
        "Whose truth?",
        "A network has learned six samples, and one of them is a lie. What should be left when it is forgotten? Here "
        "the answer is known, and proved. Who comes near it?",
        numbers=True,
        proofs=("checker/origin",),
    ),
}
