"""What ReLUs and max poolings decide in the engine, imposed on PyTorch: test_pytorch.py says why.

    with_decisions(path)                 # the engine now gives them, beside the outputs
    found = h.engine(path, …)
    with Imposed(listed(found, steps)) as imposed:
        …                                # those steps in PyTorch
"""

import functools

import numpy as np
import onnx
import torch
from torch.nn import functional as F


def with_decisions(path):
    """Adds what decides, flattened, as further outputs in execution order: every Relu and Clip,
    and every MaxPool's input. Returns how many there are."""
    model = onnx.load(path)
    nodes = [n for n in model.graph.node if n.op_type in ("Relu", "Clip", "MaxPool")]
    for i, node in enumerate(nodes):
        pool = node.op_type == "MaxPool"
        name = f"{i:03}.pool" if pool else f"{i:03}.relu"
        source = node.input[:1] if pool else node.output[:1]
        model.graph.node.append(onnx.helper.make_node("Flatten", source, [name]))
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    onnx.save(model, path)
    return len(nodes)


def listed(found, steps):
    """The decisions among engine_dump's results, those of each step in execution order."""
    decided = [found[n] for n in sorted(found) if n.startswith("decide.")]
    return [d[step] for step in range(steps) for d in decided]


class Imposed:
    """While entered, every ReLU, ReLU6 and max pooling that runs takes the next of the
    decisions (arrays [batch, values]: of a ReLU 0: the lower constant, 1: let through, 2: the
    upper one; of a pooling its input in the engine) and keeps count of those that PyTorch
    would have taken otherwise."""

    PLACES = ((torch, "relu"), (F, "relu"), (F, "hardtanh"), (F, "max_pool1d"),
              (F, "max_pool2d"))

    def __init__(self, decisions):
        self.decisions = iter(decisions)
        self.flips = self.values = 0
        self.farthest = 0.0  # of a flip from its edge, in root mean squares of the layer

    def count(self, x, edges, values):
        self.flips += len(edges)
        self.values += values
        if len(edges):
            self.farthest = max(self.farthest, (edges.max() / x.pow(2).mean().sqrt()).item())

    def relu(self, x, top=np.inf):
        decided = torch.from_numpy(next(self.decisions)).view(x.shape)
        if top == np.inf:
            decided = decided.clamp(max=1)
        with torch.no_grad():
            low, high = (decided == 0) != (x <= 0), (decided == 2) != (x >= top)
            self.count(x, torch.cat([x[low].abs(), (x[high] - top).abs()]), x.numel())
        fixed = torch.where(decided == 2, x.new_tensor(min(top, 6.0)), x.new_tensor(0.0))
        return torch.where(decided == 1, x, fixed)

    def hardtanh(self, x, low=-1.0, high=1.0, inplace=False):
        if (low, high) != (0.0, 6.0):
            raise RuntimeError("only the decisions of ReLU6 are known")
        return self.relu(x, high)

    def max_pool(self, own, x, *how, **more):
        engine = torch.from_numpy(next(self.decisions)).view(x.shape)
        taken = own(engine, *how, **{**more, "return_indices": True})[1]
        y = x.flatten(2).gather(2, taken.flatten(2)).view(taken.shape)
        with torch.no_grad():
            best = own(x, *how, **more)
            self.count(x, (best - y)[best != y], y.numel())
        return y

    def __enter__(self):
        self.own = [getattr(module, name) for module, name in self.PLACES]
        torch.relu = F.relu = lambda x, inplace=False: self.relu(x)
        F.hardtanh = self.hardtanh
        F.max_pool1d = functools.partial(self.max_pool, F.max_pool1d)
        F.max_pool2d = functools.partial(self.max_pool, F.max_pool2d)
        return self

    def __exit__(self, *error):
        for (module, name), own in zip(self.PLACES, self.own):
            setattr(module, name, own)
        if error[0] is None and next(self.decisions, None) is not None:
            raise RuntimeError("the twin decides less often than the model")
