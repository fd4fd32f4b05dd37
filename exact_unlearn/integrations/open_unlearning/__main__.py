"""Launch open-unlearning's training with MinNormOG registered: see the package's docstring."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from exact_unlearn.errors import ExactUnlearnError
from exact_unlearn.integrations.open_unlearning.trainer import CONFIGS, register

USAGE = "usage: python -m exact_unlearn.integrations.open_unlearning PATH/TO/open-unlearning [HYDRA OPTIONS]"


def main(arguments: list[str]) -> int:
    """Run src/train.py of the checkout; 2 for a mistake in the call."""
    script = Path(arguments[0] if arguments else "", "src", "train.py")
    if not arguments or not script.is_file():
        print(USAGE if not arguments else f"{script} does not exist; {USAGE}", file=sys.stderr)
        return 2
    sys.path.insert(0, str(script.parent.resolve()))
    try:
        register()
    except ExactUnlearnError as error:
        print(error, file=sys.stderr)
        return 2
    sys.argv = [str(script), f"hydra.searchpath=[file://{CONFIGS}]", *arguments[1:]]
    runpy.run_path(str(script), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
