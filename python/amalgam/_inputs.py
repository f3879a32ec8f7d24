"""What a module takes: one array a sample, or several, such as an image and a row of numbers. Consumes the arrays of
single samples, produces what the module is called with and the one vector of floats that the library reads in place of
several (src/graph/merged_inputs.h); finds out which of a sample's arrays is which argument of forward.
"""
from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ._errors import DataError, ExportError

MAX_EXACT = 2 ** 24  # up to here floats hold every whole number
# What an input of a graph may be stored as.
_STORED = {"F32": ("F32", "U8"), "I64": ("I32",), "I32": ("I32",), "BOOL": ("BOOL",)}


@dataclass(frozen=True)
class Input:
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
                       "inputs of a module that takes several travel as floats, which hold no others exactly")
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
    """The batches that a module takes, side by side, as the library's one: float32 [N, sum]."""
    import numpy as np
    return np.concatenate([a.reshape(len(a), -1).astype(np.float32, copy=False) for a in arrays], axis=1)


# ---- which is which ----

def name_arguments(model: Any, rows: Any) -> List[str]:
    """The arguments of the module's forward that rows' samples fill, in order."""
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):  # no Python function: what it takes shows when it is called
        return [f"input{i}" for i in range(len(rows.inputs))]
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names, needed = [p.name for p in places], sum(p.default is p.empty for p in places)
    count, more = len(rows.inputs), any(p.kind == p.VAR_POSITIONAL for p in parameters)
    if rows.names and set(rows.names) != set(names[:count]):
        raise _other_arguments(model, names, f"samples of the {rows.name} name {', '.join(rows.names)}",
                               "a sample names the first of them, or all; or it is ((x1, x2), y), in their order")
    if count < needed or count > len(names) and not more:
        raise _other_arguments(model, names, f"samples of the {rows.name} have {count} input{'s' * (count != 1)}",
                               "a sample of several inputs is ((x1, x2), y), one of one is (x, y)")
    return names[:count] + [f"input{i}" for i in range(len(names), count)]


def _other_arguments(model: Any, names: List[str], what: str, hint: str) -> ExportError:
    return ExportError(f"forward takes {', '.join(names) or 'nothing'}; {what}", code="MISMATCH",
                       where=type(model).__name__, hint=hint)


def arrange(sets: Dict[str, Any], names: Sequence[str]) -> None:
    """Samples that name their inputs give them in that order from now on."""
    for rows in sets.values():
        if not rows.names:
            continue
        if set(rows.names) != set(names):
            raise DataError(f"samples name {', '.join(rows.names)}, expected {', '.join(names)}", code="MISMATCH",
                            where=rows.name)
        rows.arrange(names)


def check_against_graph(graph: Sequence[Dict[str, Any]], sets: Dict[str, Any]) -> None:
    """graph: a model's inputs, as amalgam_inspect has them. That each array of a sample is what the model takes in its
    place, which the sum of their sizes, all that the library sees, would not show."""
    names = ", ".join(i["name"] for i in graph)
    for rows in sets.values():
        if len(rows.inputs) != len(graph):
            raise DataError(f"samples have {len(rows.inputs)} input{'s' * (len(rows.inputs) != 1)}, the model "
                            f"{len(graph)}: {names}", code="MISMATCH", where=rows.name,
                            hint="a sample of several inputs is ((x1, x2), y)")
        for mine, its in zip(rows.inputs, graph) if len(graph) > 1 else ():
            if mine.dtype not in _STORED.get(its["dtype"], ()) or list(mine.shape) != its["shape"][1:]:
                raise DataError(f"{mine.label} is {mine.dtype}{list(mine.shape)}, expected {its['dtype']}"
                                f"{its['shape'][1:]}, the model's {its['name']}", code="MISMATCH", where=rows.name)


class Several(NamedTuple):
    """A sample's inputs, where they are several or have names."""
    arrays: Tuple[Any, ...]
    names: Tuple[str, ...] = ()


def split_item(item: Any) -> Optional[Tuple[Any, Any]]:
    """(x, y or None) of a data set's item; x: an array, or Several. None: it is neither."""
    parts = item if isinstance(item, (tuple, list)) else (item,)
    if len(parts) > 2:  # (x1, x2, y), as a TensorDataset gives it
        return Several(tuple(parts[:-1])), parts[-1]
    if not parts:
        return None
    x, y = parts[0], parts[1] if len(parts) == 2 else None
    if isinstance(x, dict):
        return Several(tuple(x.values()), tuple(map(str, x))), y
    return Several(tuple(x)) if _is_several(x) else x, y


def _is_several(x: Any) -> bool:
    """Whether x is a sample's inputs, not one array in the form of a list."""
    def is_array(value: Any) -> bool:
        return hasattr(value, "getbands") or len(getattr(value, "shape", ())) > 0
    if isinstance(x, tuple):
        return any(map(is_array, x))
    return isinstance(x, list) and bool(x) and all(map(is_array, x))
