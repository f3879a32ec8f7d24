"""A model and its data, brought together: what the model takes and gives, the file that the library reads, and whether
samples and targets fit it. Consumes a module or the path of an .onnx file, and Rows, which learn from it what their targets
and how many their classes or tokens are; produces Ready.
"""
from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

from . import _export, _inputs, _outputs
from . import _library as lib
from ._data import NUMPY, Rows
from ._errors import AmalgamError, ExportError
from ._parts import for_module

Normalisation = Tuple[Optional[List[float]], Optional[List[float]]]


@dataclass(frozen=True)
class Text:
    """How data of tokens are used; predicts: by a language model."""
    predicts: bool
    seq: Optional[int]
    stride: Optional[int]
    pad: Optional[int]


@dataclass(frozen=True)
class Asked:
    """What the caller says of a model beside the model itself. kept_stats: as _export.export has it; outputs: those
    that are trained."""
    normalisation: Normalisation
    text: Text
    kept_stats: Optional[List[str]]
    outputs: _outputs.Wanted
    loss: _outputs.Loss


@dataclass(frozen=True)
class Ready:
    """path: the ONNX file; note: the key's; frozen: what the module freezes; unread: how many values of its parameters
    nothing reads; loss: as the library takes it."""
    path: str
    note: Optional[str]
    frozen: List[str]
    unread: int
    loss: Optional[str]


def read_file(model: Any) -> Optional[Dict[str, Any]]:
    """The graph of a file, as amalgam_inspect has it; None: model is a module."""
    if isinstance(model, (str, os.PathLike)):
        found = lib.call("amalgam_inspect", lib.encode(model))
        if found.get("kind") != "onnx model":
            raise AmalgamError(f"is a {found.get('kind')}, expected an ONNX model", where=os.fspath(model))
        if "graph" not in found:
            raise AmalgamError(found["why"], code="UNSUPPORTED", hint=found.get("hint", ""))
        return found["graph"]
    if hasattr(model, "state_dict") and callable(model):
        return None
    raise ExportError(f"is a {type(model).__name__}, expected an nn.Module or the path of an .onnx file",
                      where="model")


def count_inputs(model: Any, graph: Optional[Dict[str, Any]]) -> Optional[int]:
    """How many arrays of a sample the model takes at most; None: any number."""
    return _inputs.count_most(model) if graph is None else len(graph["inputs"])


def prepare(model: Any, graph: Optional[Dict[str, Any]], sets: Dict[str, Any], asked: Asked, folder: str) -> Ready:
    """graph: read_file's. Writes a module's file into the folder."""
    rows = {name: r for name, r in sets.items() if isinstance(r, Rows)}
    made = (_use_file(model, graph, rows, asked) if graph is not None
            else _use_module(model, sets["train"], rows, asked, folder))
    _inputs.check_against_graph(made.inputs, rows)
    if len(made.inputs) > 1 and asked.normalisation[0] is not None:
        raise AmalgamError(f"is for samples of one input, the model has {len(made.inputs)}", where="preprocess",
                           hint="normalise in the data set, or at the beginning of forward")
    if asked.text.predicts and len(made.outputs) > 1:
        raise ExportError(f"gives {', '.join(o.name for o in made.outputs)}, a language model its logits alone",
                          code="UNSUPPORTED", where="the model", hint='outputs="logits" chooses one of a module\'s')
    loss = _outputs.fit(rows, made.outputs, asked.loss, graph is None)
    if len(made.outputs) == 1:
        _count_classes(made.outputs[0].shape, rows, asked.text)
    return Ready(made.path, made.note, made.frozen, made.unread, loss)


def _use_file(model: Any, graph: Dict[str, Any], rows: Dict[str, Rows], asked: Asked) -> _export.Exported:
    if asked.outputs is not None:
        raise AmalgamError("is for modules; of a file all outputs are trained", where="outputs",
                           hint="write the file with those outputs alone")
    _inputs.arrange(rows, [i["name"] for i in graph["inputs"]])
    return _export.Exported(os.fspath(model), None, _outputs.of_graph(graph["outputs"]), [], 0, graph["inputs"])


def _use_module(model: Any, train: Any, rows: Dict[str, Rows], asked: Asked, folder: str) -> _export.Exported:
    names = _inputs.name_arguments(model, train) if isinstance(train, Rows) else _inputs.name_only_argument(model)
    _inputs.arrange(rows, names)
    first, second = (_batch(train, asked.normalisation, asked.text, i) for i in (0, 1))
    return _export.export(model, first, second, folder, names, asked.text.predicts, asked.kept_stats, asked.outputs)


def _count_classes(output: Optional[Tuple[Any, ...]], rows: Dict[str, Rows], text: Text) -> None:
    """Tells the data sets how many classes or tokens the model has."""
    if text.predicts and output and isinstance(output[-1], int):
        for r in rows.values():
            r.vocab, r.pad = output[-1], -1 if text.pad is None else text.pad
        if text.pad is not None and not 0 <= text.pad < output[-1]:
            raise AmalgamError(f"is {text.pad}, expected a token, 0 to {output[-1] - 1}", where="pad")
    elif output and isinstance(output[0], int):
        for name, r in rows.items():
            if r.target_dtype == "I32":
                known = len(getattr(r.base, "classes", ())) if "covers" in name else 0
                r.num_classes = max(output[0], known)


def _batch(train: Any, normalisation: Any, text: Text, which: int) -> List[Any]:
    """Two samples as the module takes them, a numpy array for each input: the first rows, or others (which 1)."""
    import numpy as np
    if isinstance(train, Rows):
        last = train.num - 1
        xs = train.samples([0, min(1, last)] if which == 0 else [last, last // 2])
        if train.merged:
            return [for_module(x, i.dtype) for x, i in zip(xs, train.inputs)]
        x, dtype = xs[0], train.dtype
    else:
        info = lib.call("amalgam_data_info", lib.encode(train))
        shape, dtype = (2, *info["shape"]), info["dtype"]
        random = np.random.Generator(np.random.Philox(which))
        if info["kind"] == "text":
            if not text.seq:
                raise AmalgamError("is not given, and a module does not say how many tokens it takes",
                                   where="seq", hint="seq=…")
            return [random.integers(0, info["vocab_size"], (2, text.seq))]
        # Tokens must stay inside a vocabulary that is not known here.
        x = (random.integers(0, 256, shape) if dtype == "U8" else random.standard_normal(shape)
             if dtype == "F32" else np.full(shape, which)).astype(NUMPY[dtype])
    x = for_module(x[:, :-1] if text.predicts else x, dtype)
    mean, std = normalisation
    if mean is not None:
        if x.ndim < 2 or len(mean) != x.shape[1] or len(std) != len(mean):
            raise AmalgamError(f"{len(mean)} means, {len(std)} deviations for samples {list(x.shape[1:])}",
                               where="preprocess", hint="one of each for every channel, the first dim")
        side = (1, -1) + (1,) * (x.ndim - 2)
        x = (x - np.float32(mean).reshape(side)) / np.float32(std).reshape(side)
    return [np.ascontiguousarray(x)]
