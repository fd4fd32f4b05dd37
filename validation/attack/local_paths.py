"""Where `unlearn_path` ends, a local certificate says what is there: the same point, the same value."""

from __future__ import annotations

import time
from fractions import Fraction
from itertools import pairwise

import torch
from torch import nn

import exact_unlearn as xu

from .campaign import Outcome

TITLE = "paths of tanh networks end within the radius of a local certificate, with a value that it encloses"
FULL = 12
QUICK = 1
STEPS = 1000

SHAPES = (((2, 5, 1), 3), ((3, 8, 1), 5), ((4, 8, 6, 1), 8), ((6, 24, 1), 24))
"""Widths, and how many samples are retained of two more (six more of the largest); 21 to 193 parameters."""


def trained(widths: tuple[int, ...], n: int, seed: int) -> tuple[nn.Module, torch.Tensor]:
    """A network that Adam brought near its labels, and its retained inputs."""
    torch.manual_seed(seed)
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.Tanh())]
    module = nn.Sequential(*layers[:-1]).double()
    x = torch.randn(n + max(2, n // 4), widths[0]).double()
    y = torch.sin(x.sum(1, keepdim=True))
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(800):
        optimizer.zero_grad()
        ((module(x) - y) ** 2).mean().backward()
        optimizer.step()
    return module, x[:n]


def run(count: int, seed: int) -> Outcome:
    """`count` networks, four shapes in turn.  A path that used up its steps has not ended; most must end."""
    failures, notes, unfinished = [], [], 0
    for i in range(count):
        widths, n = SHAPES[i % len(SHAPES)]
        module, x = trained(widths, n, 1000 * seed + i)
        labels = module(x).detach()
        path = xu.unlearn_path(module, None, x, xu.SquaredL2(), steps=STEPS, tol=1e-9)
        began = time.process_time()
        certificate = xu.certify_local(module, path.theta, x, labels)
        produced = time.process_time()
        checked = certificate.proof == "local" and certificate.check().proof == "local"
        seconds = f"{produced - began:.1f} s to prove, {time.process_time() - produced:.1f} s to check"
        where = f"trained({widths}, {n}, {1000 * seed + i})"
        notes.append(
            f"{where}: {len(path.steps)} steps, {path.status.value}, moved {certificate.moved or 0.0:.1e}; {seconds}"
        )
        if certificate.proof != "local":
            failures.append(f"{where}: {certificate.message}")
        elif path.status is xu.PathStatus.STEPS_USED_UP:
            unfinished += 1
        elif not certificate.contains(path.theta):
            failures.append(f"{where}: the path ended outside of the radius, {certificate.moved:.1e} away")
        elif certificate.lower is None or abs(certificate.lower - Fraction(path.value)) > Fraction(1, 10**8):
            failures.append(f"{where}: the values differ")
        elif not checked:
            failures.append(f"{where}: the checker refuses")
    if unfinished > count / 4:
        failures.append(f"{unfinished} of {count} paths did not end in {STEPS} steps")
    return Outcome(count, tuple(failures), tuple(notes))
