"""Which of a sample's arrays is which argument of forward, or which of a file's inputs. Consumes a model and Rows, whose
named inputs it puts in order; produces names.
"""
from __future__ import annotations

import inspect
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ._errors import DataError, ExportError

# What an input of a graph may be stored as.
_STORED = {"F32": ("F32", "U8"), "I64": ("I32",), "I32": ("I32",), "BOOL": ("BOOL",)}


def _places(model: Any) -> Tuple[List[Any], bool]:
    """Parameters of forward that take arrays, and whether it takes any number of further ones. No Python function: it
    shows when it is called."""
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        return [], True
    return ([p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)],
            any(p.kind == p.VAR_POSITIONAL for p in parameters))


def count_most(model: Any) -> Optional[int]:
    """How many arrays forward takes at most; None: any number."""
    places, more = _places(model)
    return None if more else len(places)


def name_arguments(model: Any, rows: Any) -> List[str]:
    """The arguments of the module's forward that rows' samples fill, in order."""
    places, more = _places(model)
    names, needed = [p.name for p in places], sum(p.default is p.empty for p in places)
    count = len(rows.inputs)
    if rows.names and set(rows.names) != set(names[:count]):
        raise _other_arguments(model, names, f"samples of the {rows.name} name {', '.join(rows.names)}",
                               "a sample names the first of them, or all; or it is ((x1, x2), y), in their order")
    if count < needed or count > len(names) and not more:
        raise _other_arguments(model, names, f"samples of the {rows.name} have {count} input{'s' * (count != 1)}",
                               "a sample of several inputs is ((x1, x2), y), one of one is (x, y)")
    return names[:count] + [f"input{i}" for i in range(len(names), count)]


def name_only_argument(model: Any) -> List[str]:
    """The same of a DATA spec's samples, which do not say where one array ends and the next begins."""
    places, _ = _places(model)
    if sum(p.default is p.empty for p in places) > 1:
        raise _other_arguments(model, [p.name for p in places], "samples of a DATA spec are one input",
                               "((x1, x2), y) of arrays, as numpy.load(FILE, mmap_mode=\"r\") gives them")
    return ["input"]


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
