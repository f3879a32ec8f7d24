"""Where a module's gradient is not that of what it computes: x.detach(), torch.no_grad(), hooks, a backward of its own.
Consumes one eager forward pass and its autograd graph; a file has the computation alone. detach() is written into it
(docs/onnx.md), the others are refused with their line.
"""
from __future__ import annotations

import copy
import traceback
from typing import Any, Callable, Dict, List, Sequence, Set

from ._errors import ExportError

_NOT_THE_MODEL = ("/torch/", "/amalgam/_observe", "/amalgam/_gradients", "/amalgam/_embeddings")
APART = 1e-3  # relative, between a derivative and the difference of two values, in float64


def source_line() -> str:
    """The line of the model's own code that is being run: the innermost that is not torch's or ours."""
    for frame in reversed(traceback.extract_stack()):
        path = frame.filename.replace("\\", "/")
        if not any(own in path for own in _NOT_THE_MODEL) and not path.startswith("<"):
            return f"{frame.filename}:{frame.lineno}: {(frame.line or '').strip()}"
    return "unknown line"


def tensors_in(value: Any) -> List[Any]:
    import torch
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for v in value for t in tensors_in(v)] if isinstance(value, (tuple, list)) else []


def make_watch(where: Callable[[], str]) -> Any:
    """A mode in which the forward runs. stops: how often it calls detach()."""
    import torch
    from torch.overrides import TorchFunctionMode
    detaches = {torch.Tensor.detach, torch.detach, torch.Tensor.detach_}
    refused = {torch.Tensor.data.__get__: ".data", torch.Tensor.register_hook: "a tensor's hook"}

    class Watch(TorchFunctionMode):
        def __init__(self) -> None:
            super().__init__()
            self.stops = 0
            self.stopped: Dict[int, Any] = {}  # what was computed without gradients, by id, kept alive
            self.lines: Dict[int, str] = {}

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            taken = tensors_in([*args, *kwargs.values()])
            result = func(*args, **kwargs)
            if func in detaches:
                self.stops += 1
            elif func in refused and any(t.requires_grad for t in taken):
                raise self.error(f"{refused[func]} cuts or changes gradients", source_line())
            elif torch.is_grad_enabled():
                if any(t.is_floating_point() for t in tensors_in(result)):
                    self.go_on(taken)
            elif any(t.requires_grad or id(t) in self.stopped for t in taken):
                for t in tensors_in(result):
                    if t.is_floating_point():
                        self.stopped[id(t)], self.lines[id(t)] = t, source_line()
            return result

        def go_on(self, taken: List[Any]) -> None:
            for t in taken:
                if id(t) in self.stopped and not t.requires_grad:  # what autograd.Function.apply gives does
                    raise self.error("computes without gradients (torch.no_grad) what it goes on with",
                                     self.lines[id(t)])

        def error(self, what: str, line: str) -> ExportError:
            return ExportError(f"{what}, at {line}", code="UNSUPPORTED", where=where(),
                               hint="a graph does not say so; x.detach() it does")

    return Watch()


def _own_backwards(outputs: Sequence[Any]) -> Set[str]:
    """Names of the torch.autograd.Functions written in Python behind outputs."""
    import torch
    found, seen, waiting = set(), set(), [t.grad_fn for t in outputs if t.grad_fn is not None]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            found.add(type(node).__name__)
        waiting += [n for n, _ in node.next_functions if n is not None]
    return found


def check_own_backwards(model: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Functions with a backward of their own must have the gradient of their forward: along a random direction in all
    parameters, in float64 and inference form, autograd's derivative is the difference of two values."""
    own = _own_backwards(outputs)
    if not own:
        return
    try:
        slope, difference = _along_a_direction(model, inputs)
    except Exception as e:  # the module's own code
        raise _backward_error(own, f"could not be compared ({type(e).__name__}: {e})") from e
    if not abs(slope - difference) <= APART * max(abs(slope), abs(difference)):
        raise _backward_error(own, f"is not that of its forward ({slope:.4g} beside {difference:.4g})")


def _backward_error(own: Set[str], what: str) -> ExportError:
    return ExportError(f"the backward of {', '.join(sorted(own))} {what}", code="UNSUPPORTED", where="the module",
                       hint="a graph has the forward alone; y + (x - x.detach()) has the value of y, the gradient of x")


def _along_a_direction(model: Any, inputs: Sequence[Any]) -> Any:
    """(autograd's derivative of a weighted sum of all outputs, the central difference)."""
    import torch
    module = copy.deepcopy(model).double().eval()
    given = [x.double() if x.is_floating_point() else x for x in inputs]
    generator = torch.Generator().manual_seed(0)

    def random(t: Any) -> Any:
        return torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.device)

    with torch.enable_grad():
        outputs = tensors_in(module(*given))
        weights = [random(t) for t in outputs]
        parameters = [p for p in module.parameters() if p.requires_grad]
        total = sum((t * w).sum() for t, w in zip(outputs, weights))
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    moves = [random(p) * p.detach().abs().mean() for p in parameters]
    slope = sum(float((g * m).sum()) for g, m in zip(gradients, moves) if g is not None)

    def moved(step: float) -> float:
        with torch.no_grad():
            for p, m in zip(parameters, moves):
                p.add_(m, alpha=step)
            value = sum(float((t * w).sum()) for t, w in zip(tensors_in(module(*given)), weights))
            for p, m in zip(parameters, moves):
                p.sub_(m, alpha=step)
        return value

    step = 1e-6
    return slope, (moved(step) - moved(-step)) / (2 * step)
