"""`exact-unlearn solve --module`: from a network in a file and its weights to the answer in its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import exact_unlearn as xu
from exact_unlearn import cli
from exact_unlearn.certify import checker

SOURCE = """
import torch
from torch import nn

def make():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 1))

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.two.weight = self.one.weight

    def forward(self, a, b):
        return self.one(a) + self.two(b)

network, number = make(), 3

def broken():
    raise RuntimeError("no such layer\\nin two lines")

def other():
    return 3
"""

SOLVE = ["solve", "--module", "net.py:make", "--retain", "retain.npz", "-r", "l1"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network, its weights in three precisions, and what it retains."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(SOURCE)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 1))
    state = net.state_dict()
    save_file(state, "model.safetensors")
    save_file({f"module.{name}": part for name, part in state.items()}, "wrapped.safetensors")
    save_file({name: part.bfloat16() for name, part in state.items()}, "half.safetensors")
    save_file({name: part.double() + 1e-12 for name, part in state.items()}, "double.safetensors")
    np.savez("retain.npz", x=np.random.default_rng(0).standard_normal((3, 3)), y=np.zeros(3))
    return tmp_path


def test_from_weights_to_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SOLVE, "--weights", "model.safetensors", "--free", "3.*", "--write-back", "new.safetensors"]
    assert cli.main(words) == 0
    assert "y: in the file" in capsys.readouterr().out
    assert checker.check("model.problem.npz", "model.certificate.json").proved
    old, new = load_file("model.safetensors"), load_file("new.safetensors")
    assert list(old) == list(new)
    assert all(torch.equal(old[name], new[name]) for name in ("0.weight", "0.bias"))
    assert int((new["3.weight"] != 0).sum() + (new["3.bias"] != 0).sum()) <= 3
    problem = xu.UnlearningProblem.load("model.problem.npz")
    solution = xu.Solution.load("model.solution.npz")
    assert np.allclose(np.concatenate([part.flatten() for part in new.values()]).sum(), solution.theta.sum(), rtol=1e-6)
    assert int(problem.free.sum()) == 5


@pytest.mark.parametrize("weights", ["wrapped", "half", "double"])
def test_weights_of_other_precisions_and_from_wrappers(weights: str, folder: Path) -> None:
    """The problem is about the numbers in the file, all of their bits."""
    assert cli.main([*SOLVE, "--weights", f"{weights}.safetensors", "--no-certify", "--quiet"]) in (0, 1)
    theta = xu.UnlearningProblem.load(f"{weights}.problem.npz").theta_star
    stored = load_file(f"{weights}.safetensors")
    names = ("0.weight", "0.bias", "3.weight", "3.bias")
    parts = [stored[f"module.{name}" if weights == "wrapped" else name].double().flatten().numpy() for name in names]
    assert np.array_equal(theta, np.concatenate(parts))


def test_groups_of_the_network_and_several_inputs(folder: Path) -> None:
    np.savez("pair.npz", a=np.eye(3)[:1], b=np.ones((1, 3)))
    words = ["--groups", "neuron", "--frozen", "two.bias,one.bias", "--quiet"]
    assert cli.main(["solve", "--module", "net.py:Tied", "--retain", "pair.npz", "-r", "group-l2", *words]) == 0
    problem = xu.UnlearningProblem.load("net.problem.npz")
    assert (problem.n_parameters, int(problem.free.sum())) == (15, 9)
    assert problem.regularizer.weights.size == 3 + 3
    save_file({"one.weight": torch.eye(3), "one.bias": torch.zeros(3), "two.bias": torch.zeros(3)}, "tied.safetensors")
    words = ["--weights", "tied.safetensors", "--quiet"]  # a tied matrix is in the file once
    assert cli.main(["solve", "--module", "net.py:Tied", "--retain", "pair.npz", "-r", "l2", *words]) == 0


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no retain": (["--module", "net.py:make", "-r", "l1"], "--retain: needed"),
    "no regularizer": (["--module", "net.py:make", "--retain", "retain.npz"], "-r: name the regularizer"),
    "both": (["in.npz", *SOLVE[1:]], "not both"),
    "retain alone": (["in.npz", "--retain", "retain.npz"], "--retain: belongs to --module"),
    "write back alone": (["in.npz", "--write-back", "x.safetensors"], "--write-back: belongs to --module"),
    "no file": (["--module", "nix.py:make", *SOLVE[3:]], "--module: there is no file nix.py"),
    "no function": (["--module", "net.py:nix", *SOLVE[3:]], "--module: net.py has no 'nix'"),
    "no name": (["--module", "net.py", *SOLVE[3:]], "--module: expected"),
    "a number": (["--module", "net.py:number", *SOLVE[3:]], "expected what makes a network"),
    "it fails": (["--module", "net.py:broken", *SOLVE[3:]], "fails (RuntimeError: no such layer)"),
    "no network": (["--module", "net.py:other", *SOLVE[3:]], "makes a torch.nn.Module, got int"),
    "pickle": ([*SOLVE[1:], "--weights", "model.pt"], "is a pickle"),
    "missing weights": ([*SOLVE[1:], "--weights", "nix.safetensors"], "cannot be read"),
    "missing pickle": ([*SOLVE[1:], "--weights", "nix.pt"], "cannot be read"),
    "other weights": ([*SOLVE[1:], "--weights", "retain.npz"], "the module has no 'x'"),
    "shapes": ([*SOLVE[1:], "--weights", "shapes.safetensors"], "0.bias has shape (5,)"),
    "some weights": ([*SOLVE[1:], "--weights", "some.safetensors"], "lacks '0.weight'"),
    "weights of nan": ([*SOLVE[1:], "--weights", "nan.safetensors"], "0.bias has NaN"),
    "parameter names": ([*SOLVE[1:], "--free", "fc"], "free: unknown block 'fc'"),
    "free and frozen": ([*SOLVE[1:], "--free", "0", "--frozen", "3"], "--free: both"),
    "group word": ([*SOLVE[1:-1], "group-l2", "--groups", "row"], "groups: expected"),
    "no groups": ([*SOLVE[1:-1], "group-l2"], "--groups: group-l2 of a module"),
    "perceptron": ([*SOLVE[1:-1], "active-neurons", "--perceptron", "1x1x1"], "--perceptron"),
    "inputs": (["--module", "net.py:make", "--retain", "model.safetensors", "-r", "l1"], "expected an array x"),
    "size of inputs": (["--module", "net.py:make", "--retain", "wide.npz", "-r", "l1"], "forward pass on x fails"),
    "suffix": ([*SOLVE[1:], "--write-back", "x.npz"], "--write-back: expected a name ending in .safetensors"),
    "overwrites": ([*SOLVE[1:], "--weights", "model.safetensors", "--write-back", "model.safetensors"], "overwritten"),
    "nothing": ([], "PROBLEM, or --module"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_sentence(case: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, said = MISTAKES[case]
    state = load_file("model.safetensors")
    save_file({"0.bias": torch.zeros(5)} | {k: v for k, v in state.items() if k != "0.bias"}, "shapes.safetensors")
    save_file({"0.bias": state["0.bias"]}, "some.safetensors")
    save_file(state | {"0.bias": torch.full((4,), torch.nan)}, "nan.safetensors")
    Path("model.pt").write_bytes(b"\x80")
    np.savez("wide.npz", np.ones((2, 9)))
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert cli.main(["solve", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = [line for line in shown.err.splitlines() if not line.startswith("[")]
    assert len(lines) == 1, shown.err
    assert said in lines[0]
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
