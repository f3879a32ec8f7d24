"""Arrays in all their forms: data sets that are some, (x, y), several x or y, TensorDatasets, Subsets; and single values
that become some, tensors and PIL images. Consumes whatever users give, produces arrays and their rows; knows torch and PIL
by what their objects have.
"""
from __future__ import annotations

from typing import Any, List, Optional, Tuple

from ._parts import Several


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
    names = tuple(map(str, side)) if isinstance(side, dict) else ()
    several = isinstance(side, (tuple, dict))
    return Several(tuple(a[i] for a in leaves(side)), names) if several else side[i]


def find_sides(data: Any) -> Optional[Tuple[Any, ...]]:
    """The sides of (x, y), (x1, x2, y) or a TensorDataset, or a single array; None for anything else. x and y may be
    tuples or dicts of arrays, where (x, y) is a tuple: a list is one of samples, but as y one of several targets."""
    if is_array(data):
        return (data,)
    if hasattr(data, "tensors"):
        return tuple(data.tensors)
    if isinstance(data, list):
        return tuple(data) if 1 <= len(data) <= 2 and all(map(is_array, data)) else None
    if not isinstance(data, tuple) or not data:
        return None
    sides = tuple(tuple(side) if at == 1 and isinstance(side, list) else side for at, side in enumerate(data))
    arrays = [leaves(side) if len(data) <= 2 else [side] for side in sides]
    return sides if all(found and all(map(is_array, found)) for found in arrays) else None


def to_array(value: Any) -> Any:
    """One sample, target or block of them as a numpy array: tensors and PIL images, too."""
    import numpy as np
    if hasattr(value, "detach"):  # a tensor, also one with a type that numpy lacks
        value = value.detach().cpu()
        return (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    if hasattr(value, "getbands"):  # a PIL image
        return _image_array(value)
    return np.asarray(value)


def _image_array(image: Any) -> Any:
    """uint8 [C,H,W], as the library stores images."""
    import numpy as np
    simple = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "LA": "RGBA"}
    mode = simple.get(image.mode, image.mode)
    if mode not in ("L", "RGB", "RGBA"):
        raise TypeError(f"image of mode {image.mode}, expected one of 8 bits a channel")
    pixels = np.asarray(image if mode == image.mode else image.convert(mode))
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def storage(dtype: Any) -> str:
    """The library's dtype for numpy's."""
    if dtype.kind == "u" and dtype.itemsize == 1:
        return "U8"
    if dtype.kind in "iu":
        return "I32"
    if dtype.kind in "fb":
        return "F32"
    raise TypeError(f"element type {dtype}")
