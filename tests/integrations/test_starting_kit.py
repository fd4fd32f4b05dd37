"""The challenge's face: loaders in, the same network out, moved as `unlearn` would have moved a copy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from exact_unlearn.algorithms import unlearn
from exact_unlearn.errors import ProblemError
from exact_unlearn.integrations.starting_kit import unlearning


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Linear(9, 3))


def data(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(n, 6, generator=draws), torch.randint(3, (n,), generator=draws)


class Faces(TensorDataset):
    """Samples as the kit packs them."""

    def __getitem__(self, index: Any) -> Any:
        x, y = super().__getitem__(index)
        return {"image": x, "age_group": y, "image_id": str(index)}


@pytest.mark.parametrize("dataset", [TensorDataset, Faces])
def test_it_moves_the_network_as_unlearn_would(dataset: Any) -> None:
    retain, forget = data(20, 1), data(5, 2)
    net = network()
    loaders = [DataLoader(dataset(*pair), batch_size=4) for pair in (retain, forget, data(4, 3))]
    assert unlearning(net, *loaders, epochs=2, strength=0.3) is net
    expected, _ = unlearn(network(), retain, forget, epochs=2, strength=0.3, batch_size=4)
    for mine, theirs in zip(net.parameters(), expected.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert any(not torch.equal(a, b) for a, b in zip(net.parameters(), network().parameters(), strict=True))


def test_what_is_no_loader_is_one_sentence() -> None:
    loader = DataLoader(TensorDataset(*data(4, 1)), batch_size=2)
    with pytest.raises(ProblemError, match="forget: the loader gives no batch"):
        unlearning(network(), loader, [])
    with pytest.raises(ProblemError, match=r"retain: expected batches \(x, y\), or dictionaries"):
        unlearning(network(), [{"picture": torch.zeros(1)}], loader)
