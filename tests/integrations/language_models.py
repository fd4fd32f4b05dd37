"""Tiny models of Hugging Face made from their configuration, token by token data, and the projection written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

WORDS, LENGTH = 23, 7


def gpt2() -> Any:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=WORDS, n_positions=16, n_embd=12, n_layer=2, n_head=3, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config)


def bert() -> Any:
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=WORDS,
            hidden_size=12,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=16,
            max_position_embeddings=16,
            num_labels=4,
        )
    )


def records(causal: bool, count: int = 10, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    """Samples of tokens; the labels of causal models are the tokens, of which the first three carry no loss."""
    rng = np.random.default_rng(seed)
    made = []
    for k in range(count):
        tokens = torch.tensor(rng.integers(1, WORDS, LENGTH))
        labels = torch.where(torch.arange(LENGTH) < 3, -100, tokens) if causal else torch.tensor(k % 4)
        made.append({"input_ids": tokens, "attention_mask": torch.ones(LENGTH, dtype=torch.int64), "labels": labels})
    return made


def batch(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def flat(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters() if p.requires_grad]).double()


def every_row(model: Any, inputs: dict[str, torch.Tensor], causal: bool) -> np.ndarray[Any, Any]:
    """J of all largest logits that carry a loss, one backward pass each."""
    was = model.training
    model.eval()
    logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    if causal:
        places = [(i, t) for i in range(len(logits)) for t in range(LENGTH - 1) if inputs["labels"][i, t + 1] != -100]
        values = [logits[i, t].max() for i, t in places]
    else:
        values = [row.max() for row in logits]
    moving = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for value in values:
        grads = torch.autograd.grad(value, moving, retain_graph=True, allow_unused=True)
        parts = [torch.zeros_like(p) if g is None else g for g, p in zip(grads, moving, strict=True)]
        rows.append(torch.cat([part.reshape(-1) for part in parts]).double().numpy())
    model.train(was)
    return np.array(rows)


def projected(theta: np.ndarray[Any, Any], J: np.ndarray[Any, Any], strength: float) -> np.ndarray[Any, Any]:
    """theta - strength P_perp theta by a singular value decomposition."""
    _, s, Vt = np.linalg.svd(J, full_matrices=False)
    V = Vt[s > 1e-6 * s[0]]
    return theta - strength * (theta - V.T @ (V @ theta))
