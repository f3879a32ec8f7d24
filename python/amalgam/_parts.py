"""What samples consist of: inputs and targets, one array of each or several, such as an image and a row of numbers, a
class and a box. Consumes a data set's items; produces arrays of known types and shapes, and the one vector of floats that
the library reads in place of several (src/graph/merged_inputs.h, merged_outputs.h). Knows no model.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

MAX_EXACT = 2 ** 24  # up to here floats hold every whole number


@dataclass(frozen=True)
class Part:
    """One array of a sample: what messages call it, its type as stored, its shape."""
    label: str
    dtype: str
    shape: Tuple[int, ...]

    def check(self, x: Any, dtype: str, fail: Callable[..., Exception]) -> Any:
        """x, which is of that stored type, as a numpy array of it; raises what fail makes of words."""
        import numpy as np
        if x.shape != self.shape:
            raise fail(f"{self.label} is {list(x.shape)}, the first one {list(self.shape)}",
                       hint="all samples must have one shape: resize, crop or pad them first")
        if dtype != self.dtype:
            raise fail(f"{self.label} is {x.dtype}, the first one was stored as {self.dtype}")
        if dtype == "F32":
            x = x.astype(np.float32, copy=False)
            if not np.isfinite(x).all():
                raise fail(f"{self.label} holds NaN or infinity", "NOT_FINITE")
        elif dtype == "I32":
            if x.size and (x.min() < -2 ** 31 or x.max() >= 2 ** 31):
                raise fail("a value does not fit 32 bits", "OVERFLOW")
            x = x.astype(np.int32, copy=False)
        return x

    def check_exact(self, x: Any, fail: Callable[..., Exception]) -> Any:
        """x, if floats hold its whole numbers."""
        if self.dtype == "I32" and x.size and (x.min() < -MAX_EXACT or x.max() > MAX_EXACT):
            worst = int(x.min()) if x.min() < -MAX_EXACT else int(x.max())
            raise fail(f"{self.label} holds {worst}, expected whole numbers from -2^24 to 2^24", "UNSUPPORTED",
                       "where a sample has several inputs, or several targets, they travel as floats, which hold no "
                       "others exactly")
        return x


def for_module(x: Any, dtype: str) -> Any:
    """Samples of a stored type as a module takes them: pixels from 0 to 1, whole numbers as int64."""
    import numpy as np
    if dtype == "I32":
        return np.ascontiguousarray(x, dtype=np.int64)
    if dtype == "BOOL":
        return np.ascontiguousarray(x, dtype=np.bool_)
    x = np.ascontiguousarray(x, dtype=np.float32)
    return x * np.float32(1 / 255) if dtype == "U8" else x


def merge(arrays: Sequence[Any]) -> Any:
    """Batches of several arrays, side by side, as the library's one: float32 [N, sum]."""
    import numpy as np
    return np.concatenate([a.reshape(len(a), -1).astype(np.float32, copy=False) for a in arrays], axis=1)


class Several(NamedTuple):
    """A sample's inputs, or its targets, where they are several or have names."""
    arrays: Tuple[Any, ...]
    names: Tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join(self.names) or str(len(self.arrays))


def split_item(item: Any, takes: Optional[int]) -> Optional[Tuple[Any, Any]]:
    """(x, y or None) of a data set's item; x: an array, or Several; y: as it is. takes: how many inputs the model has
    at most, None: not known. None: it is neither."""
    parts = tuple(item) if isinstance(item, (tuple, list)) else (item,)
    if not parts:
        return None
    x, y = parts[0], parts[1] if len(parts) == 2 else None
    if len(parts) > 2:  # flat, as a TensorDataset gives them: (x1, x2, y), or (x, y1, y2) of a model that takes x
        inputs = max(1, len(parts) - 1 if takes is None else min(len(parts) - 1, takes))
        x = parts[0] if inputs == 1 else Several(parts[:inputs])
        y = parts[-1] if inputs == len(parts) - 1 else Several(parts[inputs:])
    return split_side(x, takes) if isinstance(x, (tuple, list, dict)) else x, y


def _is_several(side: Any, count: Optional[int]) -> bool:
    """Whether it is a sample's inputs, or targets, not one array in the form of a list; count: of those that the model
    has at most."""
    def is_array(value: Any) -> bool:
        return hasattr(value, "getbands") or len(getattr(value, "shape", ())) > 0
    if isinstance(side, tuple):
        return any(map(is_array, side)) or count != 1 and len(side) > 1 and all(hasattr(v, "shape") for v in side)
    return isinstance(side, list) and bool(side) and all(map(is_array, side))


def split_side(side: Any, count: Optional[int]) -> Any:
    """Several, or one array as it is."""
    if isinstance(side, dict):
        return Several(tuple(side.values()), tuple(map(str, side)))
    if isinstance(side, Several) or not _is_several(side, count):
        return side
    return Several(tuple(side))


def split_target(y: Any, outputs: Sequence[str]) -> Several:
    """The targets of a model of these outputs, in the form in which the sample has them. For one output a tuple of
    numbers is one target."""
    found = split_side(y, 1)
    if isinstance(found, Several):
        return found
    return Several(tuple(y)) if len(outputs) > 1 and isinstance(y, (tuple, list)) else Several((y,))


def order(given: Several, names: Sequence[str]) -> List[Any]:
    """Arrays in the order of the names, where they have names."""
    return [given.arrays[given.names.index(n)] for n in names] if given.names else list(given.arrays)
