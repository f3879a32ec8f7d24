"""nn.Module -> ONNX in training form, checked. Consumes a module and two batches, produces a file and the note
that later turns extracted tensors into a state_dict; imports torch, and only here and in _observe.

The TorchScript exporter goes first: it keeps names, batch norm and dropout as they are. Then the dynamo
exporter. What either wrote is believed only after the library has read it, found the module's parameters in it
by name, and computed the module's own outputs with it.
"""
from __future__ import annotations

import base64
import contextlib
import importlib.util
import inspect
import io
import json
import logging
import os
import re
import warnings
import zlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple
from unittest import mock

from . import _library as lib
from ._embeddings import embeddings_known
from ._errors import AmalgamError, ExportError
from ._fixed import say_what_trains
from ._observe import Observation, buffers_kept_while_traced, observe, unchanged
from ._outputs import Output, Wanted, plain
from ._packed import packing_known
from ._parts import merge
from ._symbolic import export_taught

MAX_OPSET = 20
TOLERANCE = 1e-4


@dataclass
class Exported:
    path: str
    note: Optional[str]
    outputs: List[Output]  # under the module's own names
    frozen: List[str]  # the graph's names of parameters with requires_grad=False
    unread: int  # values of parameters that no output depends on, such as rows of a table
    inputs: List[Dict[str, Any]]  # the graph's, as amalgam_inspect has them


def export(model: Any, first: Sequence[Any], second: Sequence[Any], folder: str, arguments: Sequence[str],
           by_token: bool = False, kept_stats: Optional[Sequence[str]] = None, wanted: Wanted = None) -> Exported:
    """Writes FOLDER/<class>.onnx. first, second: batches, numpy arrays as the module takes them for these arguments of
    its forward. by_token: it may give a row for each token of the batch. kept_stats: frozen batch norms keep their
    statistics, and these patterns freeze beside requires_grad=False; None: statistics go on. wanted: those of its
    outputs that are trained, by name or place; None: all."""
    import torch
    _check_parameters(model)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    batches = [[torch.from_numpy(x).to(device) for x in batch] for batch in (first, second)]
    with plain(model, wanted) as outputs:
        seen = observe(model, batches[0], by_token, outputs)
        names = _input_names(model, arguments, seen)
        if kept_stats is not None:
            _stop_counters(model, seen, kept_stats)
        return _export_checked(model, batches, names, seen, folder)


def _export_checked(model: Any, batches: List[List[Any]], names: List[str], seen: Observation, folder: str) -> Exported:
    """By the first exporter whose file stands all checks."""
    failures: List[Tuple[str, Exception]] = []
    for name, exporter in (("TorchScript", _export_torchscript), ("dynamo", _export_dynamo)):
        path = os.path.join(folder, f"{type(model).__name__}-{name}.onnx")
        try:
            return _export_by(exporter, model, batches, names, seen, path)
        except Exception as e:  # exporters raise whatever they like
            failures.append((name, e))
    raise _both_failed(model, seen, failures)


def _export_by(exporter: Any, model: Any, batches: List[List[Any]], names: List[str], seen: Observation,
               path: str) -> Exported:
    """One exporter's file, believed only after all checks."""
    with unchanged(model), _quiet(), embeddings_known():
        exporter(model, tuple(batches[0]), names, _output_names(model, names, seen), path, seen.stops > 0)
    say_what_trains(path, _parameter_names(model))
    graph = lib.call("amalgam_inspect", lib.encode(path)).get("graph")
    if graph:
        _check_inputs(model, names, graph["inputs"])
    _check_outputs(model, batches, seen, path)  # fails where there is no graph
    unread = _check_graph(model, seen, graph)
    if exporter is _export_dynamo:
        _check_stops(model, seen, graph)
    _check_what_moves(seen, graph)
    return Exported(path, make_note(model, seen, graph), seen.outputs, _frozen_names(model, graph), unread,
                    graph["inputs"])


def _packs(seen: Observation) -> bool:
    return "aten::_pack_padded_sequence" in seen.first


def _input_names(model: Any, arguments: Sequence[str], seen: Observation) -> List[str]:
    """The graph's inputs: of a module of several called as its arguments, unless a parameter is."""
    if len(arguments) == 1:
        return ["input"]
    for place, name in enumerate(arguments):
        if place not in seen.read:  # one exporter keeps it, the other does not
            raise ExportError(f"forward does not read {name}", code="UNSUPPORTED", where=type(model).__name__,
                              hint="lengths of sequences go as a tensor: pack_padded_sequence(x, lengths.cpu(), …)"
                              if _packs(seen) else "leave it out of the samples")
    taken = {"output", *model.state_dict()}
    return [f"{name}.input" if name in taken else name for name in arguments]


def _output_names(model: Any, inputs: Sequence[str], seen: Observation) -> List[str]:
    """The graph's outputs, likewise."""
    if len(seen.outputs) == 1:
        return ["output"]
    taken = {*inputs, *model.state_dict()}
    return [f"{o.name}.output" if o.name in taken else o.name for o in seen.outputs]


def _check_parameters(model: Any) -> None:
    import torch
    for name, p in model.named_parameters():
        if p.dtype != torch.float32:
            raise ExportError(f"is {p.dtype}, expected torch.float32", code="UNSUPPORTED",
                              where=f'parameter "{name}"', hint="model.float()")
    for name, m in model.named_modules():
        if getattr(m, "momentum", 0) is None and hasattr(m, "running_mean"):
            raise ExportError("has momentum=None (a cumulative average), which ONNX cannot say",
                              code="UNSUPPORTED", where=f'submodule "{name}"', hint="give it a momentum")


@contextlib.contextmanager
def _quiet() -> Any:
    """Exporters print, log and warn about things that are checked here."""
    import torch
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), \
            mock.patch.object(torch._C, "_jit_onnx_log", lambda *_: None, create=True):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)


def _highest_opset() -> int:
    from torch.onnx import _constants
    for name in ("ONNX_TORCHSCRIPT_EXPORTER_MAX_OPSET", "ONNX_MAX_OPSET"):
        if hasattr(_constants, name):
            return min(MAX_OPSET, getattr(_constants, name))
    return 17


def _export_torchscript(model: Any, inputs: Tuple[Any, ...], names: List[str], outputs: List[str], path: str,
                        stops: bool) -> None:
    import torch
    choice = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}

    def export() -> None:
        torch.onnx.export(model, inputs, path, training=torch.onnx.TrainingMode.TRAINING,
                          do_constant_folding=False, opset_version=_highest_opset(), input_names=names,
                          output_names=outputs, dynamic_axes={name: {0: "N"} for name in [*names, *outputs]},
                          **choice)

    with buffers_kept_while_traced(model), packing_known(path):
        export_taught(export, stops)


def _export_dynamo(model: Any, inputs: Tuple[Any, ...], names: List[str], outputs: List[str], path: str,
                   stops: bool) -> None:
    import torch
    if "dynamo" not in inspect.signature(torch.onnx.export).parameters:
        raise ExportError(f"torch {torch.__version__} does not have it", code="UNSUPPORTED")
    if importlib.util.find_spec("onnxscript") is None:
        raise ExportError("not tried: it needs onnxscript", code="NOT_FOUND", hint="pip install onnxscript")
    batch = {0: torch.export.Dim("N")}
    program = torch.onnx.export(model.train(), inputs, dynamo=True, input_names=names,
                                output_names=outputs, dynamic_shapes=tuple(batch for _ in inputs),
                                optimize=False, verbose=False)
    program.save(path)


def _parameter_names(model: Any) -> Set[str]:
    """All of them: one that is tied has several."""
    import torch
    return {n for n, t in model.state_dict(keep_vars=True).items() if isinstance(t, torch.nn.Parameter)}


def _stop_counters(model: Any, seen: Observation, patterns: Sequence[str]) -> None:
    """A batch norm that keeps its statistics counts no batches, as after eval()."""
    for name, m in model.named_modules():
        frozen = [not p.requires_grad or any(fnmatchcase(f"{name}.{n}", pattern) for pattern in patterns)
                  for n, p in m.named_parameters(recurse=False)]
        if hasattr(m, "running_mean") and len(frozen) == 2 and all(frozen):
            seen.counters.pop(f"{name}.num_batches_tracked", None)


def _frozen_names(model: Any, graph: Dict[str, Any]) -> List[str]:
    """Of parameters that are not to train, as far as the graph uses them."""
    trained = graph["parameters"]
    frozen = {id(p) for p in model.parameters() if not p.requires_grad}
    names = [n for n, t in model.state_dict(keep_vars=True).items() if id(t) in frozen and n in trained]
    return [n for n in names if trained[n]["role"] == "trainable"]


def _check_inputs(model: Any, names: List[str], inputs: List[Dict[str, Any]]) -> None:
    """The graph has all that the module takes, in that order: exporters leave out what nothing depends on."""
    found = [i["name"] for i in inputs]
    if found != names:
        raise ExportError(f"the exported graph takes {', '.join(found)}, the module {', '.join(names)}",
                          code="MISMATCH", where=type(model).__name__)


def _check_graph(model: Any, seen: Observation, graph: Dict[str, Any]) -> int:
    """Every parameter that matters stands in the graph under its name, and nothing else would be trained. How many of
    their values no output depends on."""
    tensors = model.state_dict(keep_vars=True)
    names: Dict[int, List[str]] = {}
    for name, t in tensors.items():
        names.setdefault(id(t), []).append(name)
    expected = 0
    for name, p in model.named_parameters():
        if name not in seen.used:
            continue
        expected += p.numel()
        if not any(n in graph["parameters"] for n in names[id(p)]):
            raise ExportError("lost its name in the exported graph", code="MISMATCH",
                              where=f'parameter "{name}"')
    count, own = sum(graph["trained"].values()), _parameter_names(model)
    homes = set(graph.get("homes", graph["trained"]))
    all_train = all(not homes.isdisjoint(names[id(p)]) for n, p in model.named_parameters() if n in seen.used)
    if count == expected or homes <= own and all_train and count < expected:
        return expected - count
    others = sorted(homes - own)
    raise ExportError(f"the job would train {count} values, the module trains {expected}"
                      + (f": {', '.join(others[:4])}" if others else ""), code="UNSUPPORTED",
                      where=type(model).__name__,
                      hint="does it use a parameter where there is no gradient?")


def _check_stops(model: Any, seen: Observation, graph: Dict[str, Any]) -> None:
    """An older dynamo exporter loses detach()."""
    if seen.stops and not graph["operators"].get("StopGradient"):
        raise ExportError("the exported graph lost what detach() stops", code="MISMATCH", where=type(model).__name__)


def _check_what_moves(seen: Observation, graph: Dict[str, Any]) -> None:
    """A step changes no buffer that the graph leaves as it is."""
    stays = sorted(n for n in seen.moved if graph["parameters"].get(n, {}).get("role") != "buffer")
    if stays:
        raise ExportError("is changed by forward, which a graph does only to a batch norm's statistics",
                          code="UNSUPPORTED", where=f'buffer "{stays[0]}"')


def _check_outputs(model: Any, batches: List[Any], seen: Observation, path: str) -> None:
    """The graph, run by the library in inference form, computes what the module computes."""
    import torch
    hint = "does its forward depend on something else than its input?"
    if _packs(seen):
        hint = "pad_packed_sequence without total_length=x.shape[1] ends with the longest sequence of the batch"
    for batch in batches:
        with unchanged(model), torch.no_grad():
            expected = [t.cpu().numpy() for t in _infer(model, batch, seen.outputs)]
        arrays = [x.cpu().numpy() for x in batch]
        array = arrays[0] if len(arrays) == 1 else merge(arrays)
        found = lib.run(path, "I64" if array.dtype.kind == "i" else "F32", array)
        for output, mine, its in zip(seen.outputs, _split(found, expected), expected):
            _check_output(model, output.name, mine, its, hint)


def _infer(model: Any, batch: List[Any], outputs: Sequence[Output]) -> List[Any]:
    """The module's outputs in inference form. Those that networks have in training alone, for auxiliary losses, come from
    the form between: modules that consist of others train, their layers do not."""
    def run() -> List[Any]:
        given = model(*batch)
        return list(given) if isinstance(given, tuple) else [given]
    model.eval()
    with contextlib.suppress(ExportError):  # one that is chosen is missing
        found = run()
        if len(found) == len(outputs):
            return found
    for m in model.modules():
        m.training = not type(m).__module__.startswith("torch.nn") and any(True for _ in m.children())
    found = run()
    if len(found) != len(outputs):
        raise ExportError(f"gives {len(found)} of its {len(outputs)} outputs after eval()", code="UNSUPPORTED",
                          where=type(model).__name__, hint=f'outputs="{outputs[0].name}" trains that one alone')
    return found


def _split(row: Any, like: Sequence[Any]) -> List[Any]:
    """What the library gives as one row a sample, of several outputs, in their shapes."""
    if len(like) == 1 or row.shape != (len(like[0]), sum(t[0].size for t in like)):
        return [row] * len(like)
    parts, at = [], 0
    for t in like:
        parts.append(row[:, at:at + t[0].size].reshape(t.shape))
        at += t[0].size
    return parts


def _check_output(model: Any, name: str, found: Any, expected: Any, hint: str) -> None:
    where = f"{type(model).__name__}" + (f", {name}" if name != "output" else "")
    if found.shape != expected.shape:
        raise ExportError(f"the exported graph gives {list(found.shape)}, the module {list(expected.shape)}",
                          code="MISMATCH", where=where, hint=hint)
    worst = float(abs(found - expected).max()) if found.size else 0.0
    scale = max(1.0, float(abs(expected).max())) if found.size else 1.0
    if not worst <= TOLERANCE * scale:  # also NaN
        raise ExportError(f"the exported graph's outputs differ from the module's by {worst:.3g}",
                          code="MISMATCH", where=where, hint=hint)


# ---- the note: how extracted tensors become a state_dict ----

def make_note(model: Any, seen: Observation, graph: Dict[str, Any]) -> str:
    """JSON: one [name, kind, …] for each entry of the state_dict, in its order.

    [name, "tensor", its name in the graph]       trained weights, running statistics
    [name, "counter", value now, what a step adds]  num_batches_tracked
    [name, "value", dtype, shape, zlib in base64]   what training leaves alone
    """
    import torch
    params = graph["parameters"]
    tensors = model.state_dict(keep_vars=True)
    aliases: Dict[int, List[str]] = {}
    for name, t in tensors.items():
        if not isinstance(t, torch.Tensor):
            raise ExportError(f"holds {type(t).__name__}, expected tensors only", code="UNSUPPORTED",
                              where=f'state_dict entry "{name}"')
        aliases.setdefault(id(t), []).append(name)
    entries: List[List[Any]] = []
    for name, t in tensors.items():
        in_graph = next((n for n in aliases[id(t)] if n in params), None)
        used = any(n in seen.used for n in aliases[id(t)])
        if in_graph is not None and (used or params[in_graph]["role"] == "buffer"):
            entries.append([name, "tensor", in_graph])
        elif name in seen.counters:
            entries.append([name, "counter", int(t), seen.counters[name]])
        else:
            entries.append([name, "value", *_pack(t)])
    return json.dumps({"format": 1, "state": entries})


def _pack(t: Any) -> Tuple[str, List[int], str]:
    import torch
    t = t.detach().cpu().contiguous()
    raw = t.reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b""
    return str(t.dtype).replace("torch.", ""), list(t.shape), base64.b64encode(zlib.compress(raw)).decode()


def unpack(dtype: str, shape: List[int], text: str) -> Any:
    """The numpy array of a "value" entry (bfloat16, which numpy lacks, as its 16 bits)."""
    import numpy as np
    raw = zlib.decompress(base64.b64decode(text))
    return np.frombuffer(raw, dtype={"bfloat16": "int16"}.get(dtype, dtype)).reshape(shape).copy()


# ---- failures ----

def _both_failed(model: Any, seen: Observation, failures: List[Tuple[str, Exception]]) -> AmalgamError:
    """One error out of two exporters': the first one's, which knows names, then the other's in short."""
    name, cause = failures[0]
    error = _explain(model, seen, name, cause)
    other = failures[1][1]
    short = other.what if isinstance(other, AmalgamError) else _first_line(other)
    where = f"{other.where}: " if isinstance(other, AmalgamError) and other.where else ""
    error.what += f" [{failures[1][0]} exporter: {where}{short}]"
    error.args = (error.what,)
    error.__cause__ = cause
    return error


def _first_line(e: BaseException) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(e))
    lines = [line for line in plain.splitlines() if line.strip()]
    return f"{type(e).__name__}: {lines[0][:200]}" if lines else type(e).__name__


def _explain(model: Any, seen: Observation, name: str, e: Exception) -> ExportError:
    if isinstance(e, ExportError):
        return e
    if isinstance(e, AmalgamError):  # the library refused the graph: its node's name holds the submodule's
        m = re.match(r'node "([^"]*)"', e.where)
        path = _submodule(model, m.group(1)) if m else None
        where = f'submodule "{path}", {e.where}' if path else e.where
        hint = ("len(x) is a number of the batch that is traced, x.shape[0] follows it" if e.code == "MISMATCH"
                else "docs/ops.md lists what is covered")
        return ExportError(e.what, code=e.code, where=where, offset=e.offset, hint=e.hint or hint)
    operator = re.search(r"aten::\w+|prim::\w+", str(e))
    path = seen.first.get(operator.group(0)) if operator else None
    return ExportError(f"{name} exporter: {_first_line(e)}", code="UNSUPPORTED",
                       where=f'submodule "{path}"' if path else type(model).__name__)


def _submodule(model: Any, node: str) -> Optional[str]:
    """"/layer1/layer1.0/conv1/Conv" -> "layer1.0.conv1" """
    known = {n for n, _ in model.named_modules()}
    path: List[str] = []
    for part in node.strip("/").split("/")[:-1]:
        pieces = part.split(".")
        # a child of a Sequential repeats its parent's name: "layer1/layer1.0"
        if path and pieces[:-1] == path[-(len(pieces) - 1):] and len(pieces) > 1:
            path.append(pieces[-1])
        else:
            path.extend(pieces)
    found = ".".join(path)
    return found if found in known and found else None
