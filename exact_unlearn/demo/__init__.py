"""The main job on real data: a perceptron has memorised mislabelled digits; make it forget them, and prove how simply.

    scene.py           handwritten digits, some mislabelled, and a network that interpolates all of them
    last_layer.py      part 1: only the last layer moves, nothing is lost
    small_case.py      part 1, small enough for a proven integer optimum, in fractions
    linear.py          part 2: a linear model, where the surrogate is retraining (Theorem 2)
    all_parameters.py  part 3: everything moves, and the linearisation shows
    figures.py         the pictures
    story.py           runs the parts, tells what came out, writes the files

docs/demo.md says what to look for.  Needs the extra `demo` (scikit-learn, matplotlib, the reference solver); no torch.
"""

from __future__ import annotations

from exact_unlearn.demo.story import Story, run_demo

__all__ = ["Story", "run_demo"]
