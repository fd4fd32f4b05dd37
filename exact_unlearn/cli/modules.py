"""A problem from a torch module: the function that makes it, its weights, what it retains."""

from __future__ import annotations

import argparse
import copy
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exact_unlearn.cli import problems
from exact_unlearn.errors import FileFormatError, ProblemError, require_extra

if TYPE_CHECKING:
    from exact_unlearn.effects import Effect
    from exact_unlearn.jacobian import Array
    from exact_unlearn.solution import Solution

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
WRAPPERS = ("module.", "_orig_mod.")
NAMES_OF_X = ("x", "x_retain", "inputs")


def add_module_arguments(parser: argparse.ArgumentParser) -> None:
    """--module and what belongs to it."""
    group = parser.add_argument_group(
        "torch modules",
        "Instead of PROBLEM: the outputs of a network in eval mode, in double precision, by its trainable parameters. "
        "Here --free and --frozen name parameters (fc.weight, fc, 'fc.*'; commas between several), --groups is layer, "
        "neuron, filter or head, and --weights is a file.",
    )
    group.add_argument("--module", metavar="FILE.py:MAKE", help="a function without arguments that makes the network")
    group.add_argument(
        "--retain", metavar="FILE", help=".npz or .safetensors with x, or with an array per argument of the network"
    )
    group.add_argument(
        "--forget", metavar="FILE", help="what is forgotten, like --retain: only to say what happens to it"
    )
    group.add_argument(
        "--write-back", metavar="FILE", help="the weights with the answer in them, .safetensors, names as in --weights"
    )


@dataclass(frozen=True)
class FromModule(problems.Loaded):
    """A problem, the module that it is about, and the stem of the files that tell of it."""

    module: Any = None
    stem: str = ""
    x: Any = None
    x_forget: Any = None

    def effect(self, solution: Solution, penalty: bool) -> Effect | None:
        """What an answer does to the network, and with `penalty` which drift penalty would have kept it."""
        from exact_unlearn.path import effect
        from exact_unlearn.solution import Status

        if solution.status is Status.INFEASIBLE:
            return None
        return effect(self.module, self.problem, solution, self.x, self.x_forget, penalty=penalty)


def load_module_problem(options: argparse.Namespace) -> FromModule:
    """The problem of --module, --weights and --retain; ProblemError or FileFormatError, one sentence, otherwise."""
    require_extra("solve --module", "scipy", "torch")
    from exact_unlearn.jacobian import DENSE_LIMIT
    from exact_unlearn.problem import surrogate_problem

    if options.retain is None:
        raise ProblemError("--retain: needed with --module, the file of what is retained")
    if options.perceptron is not None:
        raise ProblemError("--perceptron: belongs to raw files, not to --module")
    regularizer = _regularizer(options)
    module = _made(options.module)
    if options.weights is not None:
        _load_weights(module, Path(options.weights))
    x, unused = _retained(module, Path(options.retain))
    forgotten = None if options.forget is None else _retained(module, Path(options.forget))[0]
    drift = problems.drift_of(options.drift)
    problem = surrogate_problem(module.eval(), None, x, regularizer, drift, _free(options, module))
    if problem.n_constraints * problem.n_parameters > DENSE_LIMIT:
        problem.to_tree()  # says so, before the work and not after it
    stem = Path(options.module.rpartition(":")[0] if options.weights is None else options.weights).stem
    return FromModule(problem, True, unused, module, stem, x, forgotten)


def _made(target: str) -> Any:
    import torch

    from exact_unlearn.fixtures.audit.loading import load_function

    try:
        found = load_function(target)
    except ProblemError as error:
        raise ProblemError(f"--module: {error}") from None
    if not isinstance(found, torch.nn.Module):
        if not callable(found):
            raise ProblemError(f"--module: {target} is a {type(found).__name__}; expected what makes a network")
        try:
            found = found()
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0]
            raise ProblemError(f"--module: {target} fails ({type(error).__name__}: {reason})") from None
    if not isinstance(found, torch.nn.Module):
        raise ProblemError(f"--module: expected that {target} makes a torch.nn.Module, got {type(found).__name__}")
    return found


def _load_weights(module: Any, path: Path) -> None:
    """The file's arrays into the module, widened where the file is finer than the module."""
    import torch

    from exact_unlearn import codec

    if not path.exists():
        raise FileFormatError(f"{path}: cannot be read (No such file or directory)")
    if path.suffix in PICKLES:
        raise FileFormatError(f"{path}: is a pickle, which may run code; save it with safetensors.torch.save_file")
    arrays = codec.load_arrays(path)
    state = module.state_dict()
    for prefix in WRAPPERS:
        if arrays and all(name.startswith(prefix) for name in arrays):
            arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    unknown = sorted(set(arrays) - set(state))
    if unknown:
        raise FileFormatError(f"{path}: the module has no {unknown[0]!r}; it has {', '.join(list(state)[:8])}")
    places = {state[name].data_ptr() for name in arrays}
    missing = [name for name in state if name not in arrays and state[name].data_ptr() not in places]
    if missing:
        raise FileFormatError(f"{path}: lacks {missing[0]!r} ({len(missing)} of {len(state)} are missing)")
    tensors = {name: torch.as_tensor(array.copy()) for name, array in arrays.items()}
    for name, tensor in tensors.items():
        if tensor.shape != state[name].shape:
            shapes = f"{tuple(tensor.shape)}, and the module's {tuple(state[name].shape)}"
            raise FileFormatError(f"{path}: {name} has shape {shapes}")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise FileFormatError(f"{path}: {name} has NaN or infinity")
    if any(tensor.dtype == torch.float64 for tensor in tensors.values()):
        module.double()
    module.load_state_dict(tensors, strict=False)


def _retained(module: Any, path: Path) -> tuple[Any, tuple[str, ...]]:
    """The inputs, and the names of arrays that nothing asks for."""
    from exact_unlearn import codec

    arrays = codec.load_arrays(path)
    for name in NAMES_OF_X:
        if name in arrays:
            return arrays[name], tuple(sorted(set(arrays) - {name}))
    known = [name for name in inspect.signature(module.forward).parameters if name in arrays]
    if known:
        return {name: arrays[name] for name in known}, tuple(sorted(set(arrays) - set(known)))
    if len(arrays) == 1:
        return next(iter(arrays.values())), ()
    held = ", ".join(sorted(arrays)) or "nothing"
    raise FileFormatError(f"{path}: expected an array x, or one per argument of the network's forward; it holds {held}")


def _regularizer(options: argparse.Namespace) -> Any:
    from exact_unlearn.regularizers import L0, GroupL2

    if options.regularizer is None:
        raise ProblemError(f"-r: name the regularizer, one of {', '.join(problems.REGULARIZERS)}")
    kinds = {"group-l2": GroupL2, "l0": L0}
    name = options.regularizer.lower().replace("_", "-")
    if name in kinds and options.groups is not None:
        return kinds[name](options.groups)
    if name == "group-l2":
        raise ProblemError("--groups: group-l2 of a module needs layer, neuron, filter or head")
    plain = copy.copy(options)
    plain.weights = None
    return problems.regularizer_of(plain, {}, Path(options.retain))


def _free(options: argparse.Namespace, module: Any) -> Array | None:
    from exact_unlearn.scalable import ModuleModel

    if options.free is not None and options.frozen is not None:
        raise ProblemError("--free: both --free and --frozen are given; name one of them")
    text = options.free if options.free is not None else options.frozen
    if text is None:
        return None
    mask: Array = ModuleModel(module).mask([name.strip() for name in text.split(",")]).numpy()
    return ~mask if options.frozen is not None else mask


@dataclass(frozen=True)
class WrittenBack:
    """The module's state with an answer in it."""

    module: Any
    theta: Array

    def save(self, path: Path) -> None:
        """Write it as .safetensors, every tensor in its own precision; the module is left with the answer in it."""
        from safetensors.torch import save_file

        from exact_unlearn.scalable import write_back

        write_back(self.module, self.theta)
        save_file({name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}, path)
