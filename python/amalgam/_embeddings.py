"""Embeddings as a graph can say them: the row of a padding_idx, which exporters let train, gets no gradient; and
nn.EmbeddingBag over rows of tokens, which they write as a loop over the batch, is a lookup and a sum, mean or largest.
Imports torch when it is called.
"""
from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterator, Sequence
from unittest import mock

from ._errors import ExportError


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


def _lookup(plain: Callable[..., Any], tokens: Any, weight: Any, padding_idx: Any = None, *args: Any, **more: Any) -> Any:
    """torch.nn.functional.embedding."""
    import torch
    rows = plain(tokens, weight, None, *args, **more)
    if padding_idx is None:
        return rows
    return torch.where((tokens == padding_idx % len(weight)).unsqueeze(-1), rows.detach(), rows)


def check_embedding(operation: str, args: Sequence[Any], where: str) -> None:
    """Refuses what changes a lookup's gradient, or its table. args: of PyTorch's own operation."""
    if operation == "aten::embedding_renorm_":
        what = "an embedding with max_norm, which changes weights in forward"
    elif operation == "aten::embedding" and any(args[3:4]):
        what = "an embedding with scale_grad_by_freq"
    elif operation == "aten::embedding" and args[2:3] and args[2] >= 0:
        what = "torch.embedding with a padding_idx, expected torch.nn.functional.embedding"
    else:
        return
    raise ExportError(what, code="UNSUPPORTED", where=where, hint="a graph has the lookup alone")


@contextlib.contextmanager
def embeddings_known() -> Iterator[None]:
    """While a module is observed and exported."""
    from torch.nn import functional
    lookup, bag = functional.embedding, functional.embedding_bag
    with mock.patch.object(functional, "embedding", lambda *args, **more: _lookup(lookup, *args, **more)), \
            mock.patch.object(functional, "embedding_bag", lambda *args, **more: _bag(bag, *args, **more)):
        yield
