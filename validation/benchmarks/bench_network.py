"""Jacobian and projection of a network: without ever forming J, against forming it.

    reference    one backward pass per sample, dense rows, float64 Householder QR: the algorithm as it is published
    vmap, Gram   per-sample gradients by torch.func, dense float32 rows, Gram matrix and Cholesky
    layers       activations and back-propagated gradients per layer, J never formed (ModuleModel, project)

Timed: from the module and the inputs to the projected parameters.  Error: distance from the projection by SVD
in float64, over its length.  Memory is what the side added to the process.
"""

from __future__ import annotations

from typing import Any

from .harness import Bench, Side, Timed, synchronise, timed
from .worker import peak_memory

BENCH = Bench(
    name="network",
    title="Jacobian and projection of a network, 50 samples, float32",
    ours="layers",
    sides=(Side("layers", ("torch",)), Side("vmap, Gram", ("torch",)), Side("reference", ("torch",))),
    cases={
        "MLP 10-300-300-1": {"kind": "mlp", "width": 300},
        "MLP 10-1000-1000-1": {"kind": "mlp", "width": 1000},
        "convolutions, width 32": {"kind": "conv", "width": 32},
    },
    reached=1e-4,
    quick=("MLP 10-300-300-1", "convolutions, width 32"),
    cuda=True,
)

SAMPLES = 50


def network(case: dict[str, Any]) -> tuple[Any, Any]:
    """(module, inputs), float32."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    w = int(case["width"])
    if case["kind"] == "mlp":
        module = nn.Sequential(nn.Linear(10, w), nn.SiLU(), nn.Linear(w, w), nn.SiLU(), nn.Linear(w, 1))
        return module, torch.randn(SAMPLES, 10)
    module = nn.Sequential(
        nn.Conv2d(3, w, 3, padding=1), nn.GroupNorm(8, w), nn.ReLU(),
        nn.Conv2d(w, 2 * w, 3, stride=2, padding=1), nn.GroupNorm(8, 2 * w), nn.ReLU(),
        nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1), nn.GroupNorm(8, 4 * w), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * w, 1),
    )  # fmt: skip
    return module, torch.randn(SAMPLES, 3, 16, 16)


def run(side: str, case: dict[str, Any]) -> dict[str, Any]:
    """One measurement."""
    import torch

    torch.set_num_threads(1)
    device = case.get("device", "cpu")
    module, inputs = (part.to(device) for part in network(case))
    call = {"layers": _layers, "vmap, Gram": _vmap, "reference": _reference}[side]
    call(module, inputs[:2])
    before = peak_memory()
    done: Timed = timed(lambda: call(module, inputs), lambda: synchronise(device))
    memory = peak_memory() - before
    rows = _rows(module, inputs).double()
    theta = torch.nn.utils.parameters_to_vector(module.parameters()).detach().double()
    _, sigma, right = torch.linalg.svd(rows, full_matrices=False)
    basis = right[sigma > 1e-6 * sigma[0]]
    truth = basis.T @ (basis @ theta)
    error = float((done.result.double() - truth).norm() / truth.norm())
    return {"seconds": done.seconds, "cpu": done.cpu, "error": error, "memory": memory, "note": f"d = {theta.numel()}"}


def _layers(module: Any, inputs: Any) -> Any:
    import torch

    from exact_unlearn.scalable import ModuleModel, project

    theta = torch.nn.utils.parameters_to_vector(module.parameters()).detach()
    return project(ModuleModel(module).jacobian(theta, inputs), theta, rank_tolerance=1e-6).theta


def _rows(module: Any, inputs: Any) -> Any:
    """One backward pass per sample, row by row."""
    import torch

    parameters = list(module.parameters())
    rows = torch.empty(len(inputs), sum(p.numel() for p in parameters), device=inputs.device)
    for i in range(len(inputs)):
        grads = torch.autograd.grad(module(inputs[i : i + 1]).sum(), parameters)
        rows[i] = torch.cat([g.reshape(-1) for g in grads])
    return rows


def _reference(module: Any, inputs: Any) -> Any:
    import torch

    theta = torch.nn.utils.parameters_to_vector(module.parameters()).detach()
    Q = torch.linalg.qr(_rows(module, inputs).T.double()).Q
    return Q @ (Q.T @ theta.double())


def _vmap(module: Any, inputs: Any) -> Any:
    import torch
    from torch.func import functional_call, grad, vmap

    weights = {name: p.detach() for name, p in module.named_parameters()}

    def output(parameters: Any, sample: Any) -> Any:
        return functional_call(module, parameters, (sample[None],)).sum()

    grads = vmap(grad(output), (None, 0))(weights, inputs)
    rows = torch.cat([part.flatten(1) for part in grads.values()], 1)
    theta = torch.cat([p.reshape(-1) for p in weights.values()])
    gram = (rows @ rows.T).double()
    values, vectors = torch.linalg.eigh(gram)
    kept = values > 1e-7 * values[-1]
    y = vectors[:, kept] @ ((vectors[:, kept].T @ (rows @ theta).double()) / values[kept])
    return rows.T @ y.float()
