"""Data sets that are arrays: (x, y), several x, TensorDatasets, Subsets. Consumes whatever users give, produces its
arrays and its rows; knows torch by what its objects have.
"""
from __future__ import annotations

from typing import Any, List, Optional, Tuple


def unwrap(data: Any) -> Tuple[Any, Any]:
    """Subsets of subsets as (the data set beneath, its row numbers or None)."""
    import numpy as np
    indices = None
    while hasattr(data, "dataset") and hasattr(data, "indices"):
        own = np.asarray(data.indices, dtype=np.int64)
        indices = own if indices is None else own[indices]
        data = data.dataset
    return data, indices


def is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__getitem__")


def leaves(side: Any) -> List[Any]:
    """The arrays of one side of (x, y): an array, or a tuple or dict of such."""
    if isinstance(side, dict):
        return list(side.values())
    return list(side) if isinstance(side, tuple) else [side]


def row_of(side: Any, i: int) -> Any:
    if isinstance(side, dict):
        return {name: a[i] for name, a in side.items()}
    return tuple(a[i] for a in side) if isinstance(side, tuple) else side[i]


def find_sides(data: Any) -> Optional[Tuple[Any, ...]]:
    """The sides of (x, y), (x1, x2, y) or a TensorDataset, or a single array; None for anything else. x may be a tuple
    or dict of arrays, where (x, y) is a tuple: a list is one of samples."""
    if is_array(data):
        return (data,)
    if hasattr(data, "tensors"):
        return tuple(data.tensors)
    if isinstance(data, list):
        return tuple(data) if 1 <= len(data) <= 2 and all(map(is_array, data)) else None
    if not isinstance(data, tuple) or not data:
        return None
    x, rest = data[0], data[1:]
    nested = isinstance(x, (tuple, dict)) and len(x) > 0 and len(rest) <= 1
    known = all(map(is_array, leaves(x) if nested else (x,))) and all(map(is_array, rest))
    return data if known else None
