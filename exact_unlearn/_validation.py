"""The verifications, under one name wherever they lie: `exact_unlearn._validation.registry`, for example.

In a checkout they are the folder `validation/` beside this package, and this module stands in for it.  A wheel carries
that folder as the package `exact_unlearn/_validation/`, which takes precedence over this file.  So nothing called
`validation` appears in anybody's environment, and worker processes can import what they are told to run.
"""

from __future__ import annotations

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parent.parent / "validation")]
