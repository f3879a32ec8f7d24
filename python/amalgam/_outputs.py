"""What a model gives: one tensor, or several, each with a target and a loss of its own. Consumes a module, which gives
plain tensors while `plain` is entered, the outputs that a graph has and Rows; produces the text of the loss as the library
takes it, and refuses what does not go together, which the one row of all outputs would not show.
"""
from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from ._errors import AmalgamError, DataError, ExportError

_WHOLE = ("I32", "U8", "BOOL")
_OF_NUMBERS = ("mse", "l1", "huber", "smooth_l1", "bce")

Wanted = Union[None, str, int, Sequence[Union[str, int]]]
Loss = Union[None, str, Mapping[str, str]]


@dataclass(frozen=True)
class Output:
    """One of a model's outputs; shape: of one sample, None: not known."""
    name: str
    shape: Optional[Tuple[int, ...]]


def of_graph(outputs: Sequence[Dict[str, Any]]) -> List[Output]:
    """As amalgam_inspect has them."""
    return [Output(o["name"], tuple(o["shape"][1:]) if o["shape"] else None) for o in outputs]


def _names(outputs: Sequence[Output]) -> str:
    return ", ".join(o.name for o in outputs)


# ---- what forward gives ----

def _named(given: Any) -> Dict[str, Any]:
    """Outputs by name: a dict's keys, a named tuple's fields, "output0", … of another. What is None is none."""
    if isinstance(given, dict):
        pairs = [(str(name), value) for name, value in given.items()]
    elif isinstance(given, (tuple, list)):
        fields = getattr(given, "_fields", [f"output{i}" for i in range(len(given))])
        pairs = list(zip(fields, given))
    else:
        pairs = [("output", given)]
    return {name: value for name, value in pairs if value is not None}


def _choose(given: Dict[str, Any], wanted: Wanted) -> Dict[str, Any]:
    if wanted is None:
        return given
    found = {}
    for which in [wanted] if isinstance(wanted, (str, int)) else wanted:
        name = list(given)[which] if isinstance(which, int) and 0 <= which < len(given) else which
        if name not in given:
            raise ExportError(f"the module has no output {which!r}, it gives {', '.join(given)}", code="NOT_FOUND",
                              where="outputs", hint="a name, or a place from 0 on")
        found[name] = given[name]
    return found


def _check_tensors(found: Dict[str, Any], given: Dict[str, Any]) -> None:
    import torch
    wrong = {name: str(v.dtype) if isinstance(v, torch.Tensor) else type(v).__name__ for name, v in given.items()}
    wrong = {name: what for name, what in wrong.items() if what != "torch.float32"}
    name = next((name for name in found if name in wrong), None)
    if name is None:
        return
    if len(given) == 1:
        raise ExportError(f"gives {wrong[name]}, expected a tensor of float32, or a tuple or dict of such",
                          code="UNSUPPORTED", where="the module",
                          hint="wrap it in a module whose forward returns the logits")
    others = [n for n in given if n not in wrong]
    raise ExportError(f"its output {name} is {wrong[name]}, expected a tensor of float32", code="UNSUPPORTED",
                      where="the module", hint=f"outputs={json.dumps(others)} trains the others alone" if others else "")


@contextlib.contextmanager
def plain(model: Any, wanted: Wanted) -> Iterator[List[str]]:
    """While entered, the module gives what is trained and no more: one tensor, or a tuple of them, whatever forward
    returns. Yields their names, those of the latest run."""
    import torch
    names: List[str] = []

    def replace(_module: Any, _inputs: Any, output: Any) -> Any:
        if len(names) == 1 and isinstance(output, torch.Tensor):
            return output  # after eval(), where others are given in training alone
        given = _named(output)
        found = _choose(given, wanted)
        if not found:
            raise ExportError("gives nothing that could be trained", where=type(model).__name__)
        _check_tensors(found, given)
        names[:] = found
        return next(iter(found.values())) if len(found) == 1 else tuple(found.values())

    handle = model.register_forward_hook(replace)
    try:
        yield names
    finally:
        handle.remove()


# ---- targets and losses ----

def fit(sets: Dict[str, Any], outputs: Sequence[Output], loss: Loss, of_module: bool) -> Optional[str]:
    """Tells the data sets which outputs their targets are for, and gives the loss as the library takes it. Raises where
    outputs, targets and losses do not go together."""
    for rows in sets.values():
        rows.expect([o.name for o in outputs])
        _check_count(rows, outputs, of_module)
    terms = _split_terms(loss, outputs)
    if len(outputs) > 1:
        targets = next((rows.targets for rows in sets.values()), [])
        if len(terms) != len(outputs):
            raise AmalgamError(f"{len(terms)} term{'s' * (len(terms) != 1)} for the model's {len(outputs)} outputs: "
                               f"{_names(outputs)}", where="loss", hint=f"one for each output: {_example(outputs, targets)}")
        for rows in sets.values():
            for part, output, term in zip(rows.targets, outputs, terms):
                _check_target(rows, part, output, term)
    return "+".join(terms) or None


def _split_terms(loss: Loss, outputs: Sequence[Output]) -> List[str]:
    """One for each output, without spaces."""
    if loss is None:
        return []
    if isinstance(loss, str):  # a number may hold a '+' itself, as in 1e+2
        return re.split(r"(?<![0-9.][eE])\+", loss.replace(" ", ""))
    if set(loss) != {o.name for o in outputs}:
        raise AmalgamError(f"is of {', '.join(map(str, loss))}, the outputs are {_names(outputs)}", where="loss")
    return [loss[o.name].replace(" ", "") for o in outputs]


def _example(outputs: Sequence[Output], targets: Sequence[Any]) -> str:
    """What the targets look as if they were for."""
    words = [("bce" if t.shape == o.shape else "cross_entropy") if t.dtype in _WHOLE else "mse"
             for t, o in zip(targets, outputs)] or ["mse"] * len(outputs)
    return f'loss="{"+".join(words)}", each with its weight: 0.5*mse'


def _check_count(rows: Any, outputs: Sequence[Output], of_module: bool) -> None:
    found, count = len(rows.targets), len(outputs)
    what = f"a sample has {found} target{'s' * (found != 1)}, the model {count} output{'s' * (count != 1)}"
    if rows.target_names and set(rows.target_names) != {o.name for o in outputs}:
        what = f"a sample has targets of {', '.join(rows.target_names)}, the model the output{'s' * (count != 1)}"
    elif found == count or found == 0 and count == 1:
        return
    hint = "a sample is (x, y), or ((x1, x2), y) for a model of several inputs"
    if count > 1:
        name = outputs[0].name
        hint = f'a sample is (x, (y1, y2, …)) in their order, or (x, {{"{name}": y1, …}})'
        hint += f'; outputs=["{name}"] trains that one alone' if of_module else ""
    raise DataError(f"{what}: {_names(outputs)}", code="MISMATCH", where=rows.name, hint=hint)


def _check_target(rows: Any, part: Any, output: Output, term: str) -> None:
    """The shape and type that the loss compares the output with; what is no loss, the library says."""
    loss = term.rpartition("*")[2].partition(":")[0]
    if output.shape is None or loss != "cross_entropy" and loss not in _OF_NUMBERS:
        return
    classes = loss == "cross_entropy"
    shape, its = output.shape[1:] if classes else output.shape, f"the output {output.name} {list(output.shape)}"
    if classes and part.dtype not in _WHOLE:
        raise DataError(f"{part.label} is {part.dtype}{list(part.shape)}, expected I32{list(shape)}: classes of {its}",
                        code="MISMATCH", where=rows.name,
                        hint=f"cross_entropy takes whole numbers; others have the losses {', '.join(_OF_NUMBERS)}")
    if part.shape != shape:
        alone = part.shape == () and shape == (1,)
        raise DataError(f"{part.label} is {list(part.shape)}, expected {list(shape)}: {loss} of {its}", code="MISMATCH",
                        where=rows.name,
                        hint="give each target a dim of its own: y.reshape(-1, 1)" if alone else "")
