"""What cannot be differentiated, projected or solved is refused in one sentence that says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import exact_unlearn as xu
from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable import ModuleModel, project, solve, write_back

X = torch.linspace(-1.0, 1.0, 15).reshape(5, 3)
A, V = np.arange(40.0).reshape(4, 10) % 7 - 3, np.linspace(-1.0, 1.0, 10)


class Noise(nn.Linear):
    """Draws from a generator of its own, which no global state shows; another number for another batch."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * torch.rand(1, generator=torch.Generator().manual_seed(len(input)))


class Imaginary(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        out = super().forward(input)
        return torch.complex(out, out)


def rows(module: nn.Module, x: Tensor = X) -> Any:
    model = ModuleModel(module)
    return model.jacobian(model.theta(), x)


def filled(value: float) -> nn.Module:
    module = nn.Linear(3, 2)
    nn.init.constant_(module.weight, value)
    return module


MODULES: dict[str, tuple[Callable[[], Any], str]] = {
    "NaN weights": (lambda: rows(filled(float("nan"))), "NaN or infinity"),
    "NaN inputs": (lambda: rows(nn.Linear(3, 2), X * torch.nan), "NaN or infinity"),
    "width of the inputs": (lambda: rows(nn.Linear(4, 2)), "forward pass on x fails: mat1 and mat2"),
    "a scalar": (lambda: rows(nn.Linear(3, 2), torch.tensor(1.0)), "one entry per sample"),
    "dropout": (lambda: rows(nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))), "applies dropout in train mode"),
    "batch statistics": (
        lambda: rows(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False))),
        "no running statistics",
    ),
    "complex outputs": (lambda: rows(Imaginary(3, 2)), "floating-point"),
    "complex parameters": (lambda: rows(nn.Linear(3, 2, dtype=torch.complex64)), "real numbers"),
    "meta device": (lambda: rows(nn.Linear(3, 2, device="meta")), "meta device"),
    "lazy layers": (lambda: rows(nn.LazyLinear(2)), "no shape yet"),
    "a loss": (lambda: rows(nn.Sequential(nn.Linear(3, 2), nn.Flatten(0), nn.Softmax(0))), "one row for each"),
    "nothing trainable": (lambda: rows(nn.Linear(3, 2).requires_grad_(False)), "requires_grad=True"),
    "NaN written back": (lambda: write_back(nn.Linear(3, 2), torch.full((8,), torch.nan)), "finite"),
    "too few written back": (lambda: write_back(nn.Linear(3, 2), torch.zeros(3)), "8 parameters"),
}

ARRAYS: dict[str, tuple[Callable[[], Any], str]] = {
    "NaN in J": (lambda: project(A * np.nan, V), "row 0"),
    "infinite theta": (lambda: project(A, V * np.inf), "finite"),
    "complex J": (lambda: project(A + 1j, V), "real numbers"),
    "a vector for J": (lambda: project(A[0], V), "matrix"),
    "sparse J": (lambda: project(torch.from_numpy(A).to_sparse(), torch.from_numpy(V)), "sparse"),
    "J without numbers": (lambda: project(torch.empty(4, 10, device="meta"), torch.from_numpy(V)), "meta device"),
    "no such device": (lambda: solve(xu.UnlearningProblem(V, A, xu.L1()), device="nowhere"), "no device 'nowhere'"),
    "meta device": (lambda: solve(xu.UnlearningProblem(V, A, xu.L1()), device="meta"), "computes"),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    call, words = MODULES[name]
    with pytest.raises(ProblemError, match=words) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name: str) -> None:
    call, words = ARRAYS[name]
    with pytest.raises(ProblemError, match=words):
        call()


def test_noise_that_no_global_generator_shows() -> None:
    with pytest.raises(ProblemError, match="depend on the other samples"):
        rows(Noise(3, 2))


def test_neither_rows_nor_columns() -> None:
    assert project(np.zeros((3, 0)), np.zeros(0)).theta.shape == (0,)
    assert not project(np.zeros((0, 10)), V).theta.any()
    assert rows(nn.Linear(3, 2), X[:0]).shape == (0, 8)


def test_more_rows_than_parameters(rng: np.random.Generator) -> None:
    J = rows(nn.Linear(3, 2), torch.from_numpy(rng.standard_normal((40, 3))).float())
    theta = torch.linspace(-1.0, 1.0, 8)
    result = project(J, theta)
    assert result.rank == 8
    assert float((result.theta - theta).abs().max()) <= 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_modules_are_differentiated_in_double_precision(dtype: torch.dtype) -> None:
    """theta of a float16 module is widened exactly, and so is everything that follows from it."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).to(dtype)
    wide = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    wide.load_state_dict({name: value.double() for name, value in module.state_dict().items()})
    assert torch.equal(rows(module, X.to(dtype)).dense(), rows(wide, X.to(dtype).double()).dense())
    assert module[0].weight.dtype == dtype
