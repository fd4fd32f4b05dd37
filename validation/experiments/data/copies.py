"""One door: a set by its name, from the path of a copy or from where package managers put it."""

from __future__ import annotations

from pathlib import Path

from exact_unlearn.errors import ProblemError

from . import cifar, idx, small, tiny_imagenet
from .images import Images

DATA = {
    "cifar10": "CIFAR-10 as python, binary or parquet files (--data-path)",
    "tiny-imagenet": "Tiny ImageNet as its archive unpacks (--data-path)",
    "fashion-mnist": "Fashion-MNIST as IDX files (make experiments-data, or --data-path)",
    "idx": "any folder of four IDX files, such as MNIST (--data-path)",
    "mnist5k": "5 000 digits of MNIST (the extra `images`)",
    "digits": "1 797 small digits of scikit-learn",
}
"""Names of sets, and what they are."""

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist lies."""

FASHION_SOURCE = (
    "a copy of Fashion-MNIST is Debian's package dataset-fashion-mnist (make experiments-data), or its four IDX files "
    "in a folder that --data-path names"
)


def load(name: str, path: str | Path | None = None) -> Images:
    """The set called `name`, one of DATA, checked.

    path: the folder (or file) of a copy; None: where packages put it, for the sets that come with packages.
    Raises ProblemError where there is no copy, FileFormatError where it is damaged, with where to get one.
    """
    if name not in DATA:
        raise ProblemError(f"data: expected one of {', '.join(DATA)}, got {name!r}")
    place = None if path is None else Path(path)
    if place is not None and not place.exists():
        raise ProblemError(f"data path: there is no {place}")
    if name == "digits":
        if place is not None:
            raise ProblemError("data path: the digits come with scikit-learn and have no path")
        return small.read_digits()
    if name == "mnist5k":
        return small.read_mnist5k(place or small.find_mnist5k())
    if name == "fashion-mnist":
        if place is None and not DEBIAN.exists():
            raise ProblemError(f"fashion-mnist: no copy was found; {FASHION_SOURCE}")
        return idx.read(place or DEBIAN, name, idx.FASHION_MNIST, FASHION_SOURCE)
    if place is None:
        source = {"cifar10": cifar.SOURCE, "tiny-imagenet": tiny_imagenet.SOURCE}.get(
            name, "any four IDX files will do"
        )
        raise ProblemError(f"{name}: name a copy with --data-path; {source}")
    if name == "cifar10":
        return cifar.read(place)
    if name == "tiny-imagenet":
        return tiny_imagenet.read(place)
    return idx.read(place, name, None, "expected the four IDX files of MNIST")
