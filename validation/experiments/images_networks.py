"""Networks of the image experiments: ResNet-18 and ResNet-50 as torchvision writes them, and one for two cores.

Parameters have torchvision's names and initialisation (convolutions: Kaiming normal, fan-out; BatchNorm: weight 1, bias
0), so that its weights load; the last layer is replaced by one linear head per task.  A network with several heads
returns a tuple.

    small       three 3 x 3 convolutions with BatchNorm, of width w, 2w, 4w, the last two with stride 2; mean; heads
    resnet18    basic blocks 2, 2, 2, 2 of width w, 2w, 4w, 8w (w = 64: 11 175 501 parameters with heads of 10 and 3)
    resnet50    bottlenecks 3, 4, 6, 3

`stem`: "small" is a 3 x 3 convolution with stride 1 and no pooling, for images of 32 pixels; "large" is 7 x 7 with
stride 2 and a max-pool, as for ImageNet.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from exact_unlearn.errors import ProblemError

NETWORKS = ("small", "resnet18", "resnet50")


class _Heads(nn.Module):
    """One linear layer per task on the same features."""

    def __init__(self, features: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(features, size) for size in sizes)

    def forward(self, x: Tensor) -> Any:
        found = tuple(part(x) for part in self.parts)
        return found if len(found) > 1 else found[0]


class _Basic(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(n_in, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(n_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return out


class _Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (with the stride) and 1 x 1 convolutions beside a shortcut; four times as wide at the end."""

    expansion = 4

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        n_out = width * self.expansion
        self.conv1 = _conv(n_in, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, n_out, 1)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(n_in, n_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return out


class ResNet(nn.Module):
    """A residual network with heads instead of its last layer."""

    def __init__(self, block: type[Any], counts: Sequence[int], width: int, stem: str, heads: Sequence[int]) -> None:
        super().__init__()
        small = stem == "small"
        self.conv1 = _conv(3, width, 3) if small else _conv(3, width, 7, 2)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        n_in, layers = width, []
        for level, count in enumerate(counts):
            strides = [1 if level == 0 else 2, *[1] * (count - 1)]
            blocks = []
            for stride in strides:
                blocks.append(block(n_in, width << level, stride))
                n_in = (width << level) * block.expansion
            layers.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.heads = _Heads(n_in, heads)
        initialise(self)

    def forward(self, x: Tensor) -> Any:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.heads(torch.flatten(self.avgpool(x), 1))


def small(width: int, heads: Sequence[int]) -> nn.Module:
    """The network for two cores."""
    layers: list[nn.Module] = []
    sizes = (3, width, 2 * width, 4 * width)
    for level, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        layers += [_conv(n_in, n_out, 3, 1 if level == 0 else 2), nn.BatchNorm2d(n_out), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), _Heads(4 * width, heads))
    initialise(network)
    return network


def network(kind: str, width: int, stem: str, heads: Sequence[int]) -> nn.Module:
    """An untrained network, drawn from torch's global generator."""
    if kind == "small":
        return small(width, heads)
    if kind == "resnet18":
        return ResNet(_Basic, (2, 2, 2, 2), width, stem, heads)
    if kind == "resnet50":
        return ResNet(_Bottleneck, (3, 4, 6, 3), width, stem, heads)
    raise ProblemError(f"network: expected one of {', '.join(NETWORKS)}, got {kind!r}")


def initialise(module: nn.Module) -> None:
    """torchvision's rules for its ResNets; linear layers keep torch's own."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


def load_backbone(module: nn.Module, weights: Mapping[str, Any]) -> None:
    """Everything but the heads, from a state of torchvision's network of the same kind."""
    target = module.state_dict()
    for name, value in target.items():
        if name.startswith("heads."):
            continue
        if name not in weights or tuple(weights[name].shape) != tuple(value.shape):
            found = tuple(weights[name].shape) if name in weights else "none"
            raise ProblemError(f"weights: expected {name} of shape {tuple(value.shape)}, got {found}")
        with torch.no_grad():
            value.copy_(torch.as_tensor(np.asarray(weights[name])))


def state_of(module: nn.Module) -> dict[str, Any]:
    """Parameters and buffers as NumPy arrays."""
    return {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def _conv(n_in: int, n_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, size, stride, padding=size // 2, bias=False)


def _shortcut(n_in: int, n_out: int, stride: int) -> nn.Module | None:
    if stride == 1 and n_in == n_out:
        return None
    return nn.Sequential(_conv(n_in, n_out, 1, stride), nn.BatchNorm2d(n_out))
