"""`python -m validation.attack [NAME...] [--scale 1.0] [--seed N]`: exit status 1 if anything was found."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from .campaign import campaign, failed, lines, names


def positive(text: str) -> float:
    """A factor for the counts."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"a positive number, got {text}")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the named campaigns, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m validation.attack", description="Attacks on our own claims.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"campaigns: {', '.join(names())} (default: all)")
    parser.add_argument("--scale", type=positive, default=1.0, help="how many times the full count (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="other cases (default 0)")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(names()))
    if unknown:
        parser.error(f"no campaign is called {', '.join(unknown)}; there are {', '.join(names())}")
    found = []
    for name in dict.fromkeys(options.names or names()):
        module = campaign(name)
        count = max(1, round(options.scale * module.FULL))
        print(f"{name}: {module.TITLE}\n  {count} of {module.FULL} cases, seed {options.seed}", flush=True)
        started = time.perf_counter()
        outcome = module.run(count, options.seed)
        for line in lines(outcome):
            print(f"  {line}")
        print(f"  {time.perf_counter() - started:.0f} s", flush=True)
        found += [name] * failed(outcome)
    print(f"failed: {', '.join(found)}" if found else "nothing was found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
