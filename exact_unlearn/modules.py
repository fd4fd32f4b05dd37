"""Torch modules at the front door: where one is handed in as a model, the room `scalable` takes over.

Problems and solutions lie below that room and know nothing of torch. It is reached by name, here only, and only when a
torch module is there, whose owner has imported torch already.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from exact_unlearn.errors import needed_by


def as_model(model: Any) -> Any:
    """A ModuleModel of a torch module; anything else as it came."""
    return _scalable("module").ModuleModel(model) if is_module(model) else model


def is_module(value: Any) -> bool:
    """Whether `value` is a torch.nn.Module; torch is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def is_module_model(value: Any) -> bool:
    """Whether `value` is a ModuleModel."""
    module = sys.modules.get("exact_unlearn.scalable.module")
    return module is not None and isinstance(value, module.ModuleModel)


def is_loader(value: Any) -> bool:
    """Whether `value` is a torch DataLoader."""
    data = sys.modules.get("torch.utils.data")
    return data is not None and isinstance(value, data.DataLoader)


def inputs_of(loader: Any, name: str = "x") -> Any:
    """The inputs of all batches of a DataLoader; anything else as it came."""
    return _scalable("batches").inputs_of(loader, name) if is_loader(loader) else loader


def write_back(module: Any, theta: Any) -> Any:
    """Copy theta, (d,), into the trainable parameters of a torch module; returns the module."""
    with needed_by("write_back"):
        return _scalable("module").write_back(module, theta)


def _scalable(name: str) -> Any:
    return importlib.import_module(f"exact_unlearn.scalable.{name}")
