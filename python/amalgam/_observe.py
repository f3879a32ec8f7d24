"""One eager forward pass of a module, watched: what an exporter would hide. Consumes the module and a batch,
produces Observation; leaves the module as it was (see `unchanged`).

Tracing bakes `if x.sum() > 0:` into the graph without a word that tells it from `if x.shape[1] > 3:`. Here the
data are followed through every operation: where a value that depends on them becomes a Python number or
decides a shape, the submodule and the source line are known.
"""
from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Sequence, Set, Tuple
from unittest import mock

from ._embeddings import check_embedding, embeddings_known
from ._errors import ExportError
from ._gradients import check_own_backwards, make_watch, source_line, tensors_in
from ._outputs import Output

# Operations whose result's value or shape Python, not the graph, goes on with.
_DECIDING = {"aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero",
             "aten::masked_select", "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive"}


@dataclass
class Observation:
    """outputs: names, shapes; used: names of parameters that they depend on; counters: integer buffers and what one step adds
    to them (num_batches_tracked); moved: names of other buffers that a step changes; stops: calls of detach(); first: operation -> the submodule that ran it first; read: places of the inputs that
    some operation takes."""
    outputs: List[Output] = field(default_factory=list)
    read: Set[int] = field(default_factory=set)
    used: Set[str] = field(default_factory=set)
    counters: Dict[str, int] = field(default_factory=dict)
    moved: Set[str] = field(default_factory=set)
    stops: int = 0
    first: Dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def unchanged(model: Any) -> Iterator[None]:
    """Whatever happens inside, the module's flags, buffers and the random generators are as before."""
    import torch
    flags = [(m, m.training) for m in model.modules()]
    buffers = [(b, b.detach().clone()) for b in model.buffers()]
    with torch.random.fork_rng():
        try:
            yield
        finally:
            for module, training in flags:
                module.training = training
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)


@contextlib.contextmanager
def buffers_kept_while_traced(model: Any) -> Iterator[None]:
    """Tracing runs the module in training form, which moves its running statistics, and the exporter writes
    what it finds after that: so they go back at the forward's very end, unseen by the tracer."""
    import torch
    before = [(b, b.detach().clone()) for b in model.buffers()]

    def put_back(_module: Any, _inputs: Any, _output: Any) -> None:
        state = torch._C._get_tracing_state()
        torch._C._set_tracing_state(None)
        try:
            with torch.no_grad():
                for buffer, value in before:
                    buffer.copy_(value)
        finally:
            torch._C._set_tracing_state(state)

    handle = model.register_forward_hook(put_back)
    try:
        yield
    finally:
        handle.remove()


def _has_mask(args: Any) -> bool:
    """Whether x[…] chooses by truth values: then the data decide how many are chosen."""
    import torch
    return any(t.dtype in (torch.bool, torch.uint8) for t in tensors_in(list(args[1])))


def _make_mode(inputs: Sequence[Any], path: List[str], seen: Observation) -> Any:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Follow(TorchDispatchMode):
        """Keeps every tensor that depends on the inputs alive, so that its id stays its own."""

        def __init__(self) -> None:
            super().__init__()
            self.dependent: Dict[int, Any] = {id(x): x for x in inputs}
            self.place = {id(x): i for i, x in enumerate(inputs)}
            self.batch_sizes: Dict[int, Any] = {}  # of packed sequences

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            name = func._schema.name
            seen.first.setdefault(name, path[-1])
            taken = {id(t) for t in tensors_in([*args, *kwargs.values()])}
            seen.read |= {self.place[t] for t in taken if t in self.place}
            depends = not taken.isdisjoint(self.dependent)
            if depends and (name in _DECIDING or name == "aten::index" and _has_mask(args)):
                raise ExportError(f"the data decide what is computed ({name}) at {source_line()}",
                                  code="UNSUPPORTED", where=_name(path[-1]),
                                  hint="a graph computes the same for every sample: torch.where instead of if")
            check_embedding(name, args, _name(path[-1]))
            result = func(*args, **kwargs)
            if name == "aten::_pack_padded_sequence":
                self.batch_sizes[id(result[1])] = result[1]
            if depends and not self._is_batch(name, args):
                for t in tensors_in(result):
                    self.dependent[id(t)] = t
            return result

        def _is_batch(self, name: str, args: Any) -> bool:
            """A packed sequence's first batch size, which recurrent layers look at, is the batch whatever the lengths."""
            return name == "aten::select" and id(args[0]) in self.batch_sizes and tuple(args[1:]) == (0, 0)

    return Follow()


def _name(path: str) -> str:
    return f'submodule "{path}"' if path else "the module"


def _watch_submodules(model: Any, path: List[str]) -> List[Any]:
    """Hooks that keep path[-1] the submodule that is running."""
    def leave(_module: Any, _inputs: Any, _output: Any) -> None:
        path.pop()  # a hook that returns something would replace the output

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda _module, _inputs, n=name: path.append(n)))
        handles.append(module.register_forward_hook(leave))
    return handles


@contextlib.contextmanager
def _gradients_for_all(model: Any) -> Any:
    """Frozen parameters get gradients meanwhile: they are in use like others."""
    frozen = [p for p in model.parameters() if not p.requires_grad]
    try:
        for p in frozen:
            p.requires_grad_(True)
        yield
    finally:
        for p in frozen:
            p.requires_grad_(False)


def observe(model: Any, inputs: Sequence[Any], by_token: bool = False, names: Sequence[str] = ()) -> Observation:
    """Runs the module, which gives one tensor or a tuple of them, once in training form on inputs. ExportError where
    data decide what is computed, where it fails, and where an output has not their batch (by_token: or a row for each
    token). names: of the outputs, filled in when it has run."""
    import torch
    seen, path = Observation(), [""]
    with unchanged(model), _gradients_for_all(model):
        model.train()
        buffers = dict(model.named_buffers())
        integers = {n: b for n, b in buffers.items() if b.dim() == 0 and not b.is_floating_point()}
        before = {n: b.detach().clone() for n, b in buffers.items()}
        watch = make_watch(lambda: _name(path[-1]))
        handles = _watch_submodules(model, path)
        try:
            # A module that looks at its data unless it is traced (Hugging Face's do, for padding) does not here.
            with watch, _make_mode(inputs, path, seen), torch.enable_grad(), embeddings_known(), \
                    mock.patch.object(torch.jit, "is_tracing", lambda: True):
                output = model(*inputs)
        except ExportError:
            raise
        except Exception as e:
            shapes = " and ".join(str(list(x.shape)) for x in inputs)
            raise ExportError(f"fails on a batch of {shapes}: {type(e).__name__}: {e}",
                              where=_name(path[-1])) from e
        finally:
            for handle in handles:
                handle.remove()
        outputs = output if isinstance(output, tuple) else (output,)
        for name, t in zip(names or ["output"], outputs):
            _check_output(name, t, inputs[0], by_token and len(outputs) == 1)
            seen.outputs.append(Output(name, tuple(t.shape[1:])))
        seen.counters = {n: int(b - before[n]) for n, b in integers.items() if b > before[n]}
        seen.moved = {n for n, b in buffers.items() if n not in seen.counters and not torch.equal(b, before[n])}
        seen.stops = watch.stops
        check_own_backwards(model, inputs, outputs)
        named = dict(model.named_parameters())
        total = sum(t.sum() for t in outputs if t.requires_grad)
        if isinstance(total, torch.Tensor):
            grads = torch.autograd.grad(total, list(named.values()), allow_unused=True)
            seen.used = {n for n, g in zip(named, grads) if g is not None}
    return seen


def _check_output(name: str, output: Any, x: Any, by_token: bool) -> None:
    if by_token and output.dim() == 2 and output.shape[0] == x.numel():
        return
    if output.dim() < 1 or output.shape[0] != x.shape[0]:
        which = "" if name == "output" else f" as {name}"
        raise ExportError(f"gives {list(output.shape)}{which} for a batch of {x.shape[0]}, expected the batch first",
                          code="UNSUPPORTED", where="the module",
                          hint="outputs=… chooses those that are trained" if which else "")
