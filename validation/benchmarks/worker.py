"""One measurement: python -m exact_unlearn._validation.benchmarks.worker BENCH SIDE CASE_AS_JSON LIMIT, result as
JSON on stdout; ended by SIGXCPU when what is timed takes more than LIMIT seconds of processor time.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys


def peak_memory() -> float:
    """Largest resident size of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def main() -> None:
    harness = importlib.import_module("exact_unlearn._validation.benchmarks.harness")

    bench, side, case = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    os.environ[harness.LIMIT] = sys.argv[4]
    answer = harness.load(bench).run(side, case)
    print(json.dumps({"memory": peak_memory()} | answer))


if __name__ == "__main__":
    main()
