"""Bags of embeddings as a graph can say them. PyTorch's exporters write nn.EmbeddingBag over rows of tokens as a loop over
the batch; here it is a lookup and a sum, mean or largest. Imports torch when it is called.
"""
from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterator
from unittest import mock


def _bag(plain: Callable[..., Any], tokens: Any, weight: Any, offsets: Any = None, max_norm: Any = None,
         norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
         per_sample_weights: Any = None, include_last_offset: bool = False, padding_idx: Any = None) -> Any:
    """torch.nn.functional.embedding_bag of [N, L] tokens; anything else as plain does it."""
    from torch.nn import functional
    if tokens.dim() != 2 or max_norm is not None or scale_grad_by_freq or mode == "max" and padding_idx is not None:
        return plain(tokens, weight, offsets, max_norm, norm_type, scale_grad_by_freq, mode, sparse, per_sample_weights,
                     include_last_offset, padding_idx)
    rows = functional.embedding(tokens, weight)
    if padding_idx is None and per_sample_weights is None:
        return rows.amax(1) if mode == "max" else rows.sum(1) if mode == "sum" else rows.mean(1)
    share = 1
    if padding_idx is not None:
        share = 1 - (tokens == padding_idx).float()
        if mode == "mean":
            share = share / share.sum(1, keepdim=True).clamp(min=1)
    if per_sample_weights is not None:
        share = share * per_sample_weights
    return share.reshape(-1, 1, tokens.shape[1]).matmul(rows).reshape(-1, weight.shape[1])


@contextlib.contextmanager
def bags_known() -> Iterator[None]:
    """While a module is exported."""
    from torch.nn import functional
    plain = functional.embedding_bag
    with mock.patch.object(functional, "embedding_bag", lambda *args, **more: _bag(plain, *args, **more)):
        yield
