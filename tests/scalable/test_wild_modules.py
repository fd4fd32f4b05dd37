"""Modules as people have them: attention, recurrences, tied and parametrized weights, wrappers, adapters, Hugging Face.

Each either works, and then J is that of differences of its outputs, the answer is proved and lies in the module; or is
refused in one sentence. Nothing is downloaded: the models are made from their configurations.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import exact_unlearn as xu
from exact_unlearn import scalable

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what these libraries deprecate among themselves
    import peft
    from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel
    from transformers.utils import logging

logging.set_verbosity_error()
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # theirs, in each call

IDS = torch.tensor([[1, 5, 2], [7, 4, 3]])
PADDED = {"input_ids": torch.tensor([[1, 5, 2], [7, 4, 0]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
"""0 is BERT's padding, whose embedding torch does not differentiate by: it is masked here, so nothing depends on it."""
ROWS = torch.linspace(-1, 1, 24).reshape(4, 2, 3).sin()


class LastStep(nn.Module):
    """A recurrence, read off at its last step."""

    def __init__(self, recurrence: nn.RNNBase) -> None:
        super().__init__()
        self.recurrence, self.fc = recurrence, nn.Linear(recurrence.hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.recurrence(x)[0][:, -1])
        return out


class Tied(nn.Module):
    """An autoencoder whose decoder is its encoder's transpose, and a bias that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(torch.tanh(self.first(x[:, 0]))) @ self.first.weight
        return out


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1))


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 2, 5, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.Linear(3, 4), layer, nn.Flatten(), nn.Linear(8, 1))


def parametrized() -> nn.Module:
    inner = parametrizations.orthogonal(nn.Linear(4, 4))
    narrow = parametrizations.spectral_norm(nn.Linear(4, 1)).eval()
    return nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(6, 4)), nn.Tanh(), inner, narrow)


def gpt2(**changes: Any) -> GPT2LMHeadModel:
    tokens = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=9, n_positions=4, n_embd=4, n_layer=1, n_head=2, **tokens, **changes))


def bert() -> BertForSequenceClassification:
    sizes = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 6}
    return BertForSequenceClassification(BertConfig(vocab_size=9, max_position_embeddings=4, num_labels=2, **sizes))


def adapted() -> nn.Module:
    model = peft.get_peft_model(gpt2(), peft.LoraConfig(r=1, target_modules=["c_attn"], fan_in_fan_out=True))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # which starts at zero, where half of J vanishes
            nn.init.normal_(parameter)
    return model


WORKING: dict[str, tuple[Any, Any, str]] = {
    # how it is made, inputs, which of the outputs
    "attention": (attention, ROWS, "all"),
    "lstm": (lambda: LastStep(nn.LSTM(3, 4, batch_first=True)), ROWS, "all"),
    "gru": (lambda: LastStep(nn.GRU(3, 4, batch_first=True)), ROWS, "all"),
    "tied weights": (Tied, ROWS, "all"),
    "parametrizations": (parametrized, ROWS, "all"),
    "torch.compile": (lambda: torch.compile(mlp()), ROWS, "all"),
    "data parallel": (lambda: nn.DataParallel(mlp()), ROWS, "all"),
    "bfloat16": (lambda: mlp().bfloat16(), ROWS, "all"),
    "gpt-2": (gpt2, IDS, "argmax"),
    "gpt-2 in bfloat16": (lambda: gpt2().bfloat16(), {"input_ids": IDS}, "argmax"),
    "bert": (bert, PADDED, "all"),
    "lora": (adapted, IDS, "argmax"),
}


def made(name: str) -> nn.Module:
    torch.manual_seed(1)
    module: nn.Module = WORKING[name][0]()
    return module.eval() if name in ("gpt-2", "gpt-2 in bfloat16", "bert", "lora") else module


@pytest.mark.parametrize("name", WORKING)
def test_it_works_from_the_module_to_the_answer_in_it(name: str) -> None:
    _, x, outputs = WORKING[name]
    module = made(name)
    model = scalable.ModuleModel(module, outputs)
    problem = xu.surrogate_problem(model, None, x, xu.L2())
    theta, direction = problem.theta_star, np.random.default_rng(0).standard_normal(problem.n_parameters)

    def slope(step: float) -> np.ndarray[Any, Any]:
        ahead, behind = (model.predict(theta + sign * step * direction, x).reshape(-1) for sign in (1, -1))
        return (ahead - behind) / (2 * step)

    product = problem.jacobian.matvec(direction)
    error = np.abs((4 * slope(1e-5) - slope(2e-5)) / 3 - product).max()
    assert error < 1e-6 * np.abs(product).max()
    solution = scalable.solve(problem)
    certificate = xu.certify(problem, solution)
    assert certificate.check().proved
    assert 0 < float(certificate.upper) < float(np.linalg.norm(theta))
    assert solution.write_back(module) is module
    precision = next(model.module.parameters()).dtype
    written = torch.as_tensor(solution.theta.copy()).to(precision)
    assert torch.equal(scalable.ModuleModel(module).theta(), written)
    assert not module.training or name not in ("gpt-2", "bert", "lora")


def test_wrappers_lend_their_names_and_distributed_is_unwrapped(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=(tmp_path / "rendezvous").as_uri(), rank=0, world_size=1)
    try:
        torch.manual_seed(0)
        plain = mlp()
        wrapped = nn.parallel.DistributedDataParallel(plain)
        names = [scalable.ModuleModel(module).layout.names for module in (plain, wrapped, torch.compile(wrapped))]
        assert names[0] == names[1] == names[2] == ("1.weight", "1.bias", "3.weight", "3.bias")
        problem = xu.surrogate_problem(wrapped, None, ROWS, xu.L1(), free="3.*")
        xu.solve(problem).write_back(wrapped)
        assert bool((plain[3].weight == 0).any())
    finally:
        torch.distributed.destroy_process_group()


def test_a_checkpoint_in_bfloat16_is_read_exactly(tmp_path: Path) -> None:
    """Every bfloat16 is a double, so the problem is about the checkpoint itself."""
    torch.manual_seed(0)
    save_file(mlp().bfloat16().state_dict(), tmp_path / "model.safetensors")
    net = mlp().bfloat16()
    net.load_state_dict(load_file(tmp_path / "model.safetensors"))
    theta = xu.surrogate_problem(net, None, ROWS, xu.L2()).theta_star
    assert theta.dtype == np.float64
    stored = load_file(tmp_path / "model.safetensors")
    kept = [stored[name].double().flatten().numpy() for name in scalable.ModuleModel(net).layout.names]
    assert np.array_equal(np.concatenate(kept), theta)


def test_groups_of_hugging_face_models() -> None:
    """Two heads each, whose values do not reach the output once their group is zero."""
    places = ("transformer.h.0.attn", "bert.encoder.layer.0.attention.self")
    for model, place in zip((gpt2().eval(), bert().eval()), places, strict=True):
        known = scalable.ModuleModel(model)
        labels = known.groups("head")
        own = labels[known.mask(place).numpy()]
        heads = [group for group in np.unique(own) if (own == group).sum() > 20]
        assert len(heads) == 2
        assert (own == heads[0]).sum() == (own == heads[1]).sum()
        neurons = known.groups("neuron")
        assert neurons.max() > labels.max()


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "dropout": (lambda: bert().train(), PADDED, "applies dropout in train mode"),
    "a loss instead of outputs": (lambda: bert().eval(), PADDED | {"labels": torch.tensor([0, 1])}, "got shape"),
    "on the meta device": (lambda: mlp().to("meta"), ROWS, "meta device"),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(1)), ROWS, "no shape yet"),
    "nothing to train": (lambda: mlp().requires_grad_(False), ROWS, "at least one parameter"),
    "too large a token": (lambda: gpt2().eval(), IDS + 9, "forward pass on x fails"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_sentence(name: str) -> None:
    make, x, words = REFUSED[name]
    with pytest.raises(xu.ProblemError, match=words) as caught:
        xu.surrogate_problem(make(), None, x, xu.L2())
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("module: ")
