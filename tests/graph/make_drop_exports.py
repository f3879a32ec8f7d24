"""Writes data/drops_*.onnx: the ways in which people write dropout by a mask, as PyTorch's exporters write them in
training form, for test_drop_mask.c. Run once with torch 2.13 and onnx: python make_drop_exports.py"""

import os
import warnings

import onnx
import torch
import torch.nn.functional as F
from torch import nn

warnings.filterwarnings("ignore")
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
KEEP = 0.75


def each_sample(x):
    return (x.shape[0],) + (1,) * (x.ndim - 1)


def timm(x):
    mask = x.new_empty(each_sample(x)).bernoulli_(KEEP)
    mask.div_(KEEP)
    return x * mask


def older_timm(x):
    mask = KEEP + torch.rand(each_sample(x), dtype=x.dtype, device=x.device)
    mask.floor_()
    return x.div(KEEP) * mask


def torchvision(x):
    noise = torch.empty([x.shape[0]] + [1] * (x.ndim - 1), dtype=x.dtype, device=x.device)
    noise = noise.bernoulli_(KEEP)
    noise.div_(KEEP)
    return x * noise


def sample(x):
    return x * torch.bernoulli(torch.full_like(x, KEEP)) / KEEP


def kept_below(x):
    return x * (torch.rand(x.shape[0], 1, 1, 1) < KEEP) / KEEP


def dropped_below(x):
    return x * ((torch.rand(x.shape[0], x.shape[1], 1, 1) >= 1 - KEEP).float() / KEEP)


def of_ones(x):
    return x * F.dropout(torch.ones(x.shape[0], 1, x.shape[2], x.shape[3]), 1 - KEEP)


class Drops(nn.Module):
    def __init__(self, forms):
        super().__init__()
        self.forms, self.conv = forms, nn.Conv2d(3, 4, 1)

    def forward(self, x):
        x = self.conv(x)
        for form in self.forms:
            x = torch.relu(form(x))
        return x.mean((2, 3))


def strip(path):
    """Drops where in the module each node comes from: most of the file."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    for part in (model, model.graph):
        part.ClearField("metadata_props")
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        value.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    onnx.save(model, path)


torch.manual_seed(0)
x, forms = torch.randn(4, 3, 6, 6), [timm, older_timm, torchvision, sample, kept_below, dropped_below, of_ones]
path = os.path.join(DATA, "drops_ts.onnx")
torch.onnx.export(Drops(forms).train(), (x,), path, dynamo=False, opset_version=17,
                  training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False, input_names=["x"],
                  output_names=["y"], dynamic_axes={"x": {0: "N"}, "y": {0: "N"}})
strip(path)
forms.append(lambda x: F.dropout2d(x, 1 - KEEP))    # the other exporter refuses it
path = os.path.join(DATA, "drops_dynamo.onnx")
torch.onnx.export(Drops(forms).train(), (x,), path, dynamo=True, opset_version=18, optimize=False, verbose=False,
                  input_names=["x"], output_names=["y"], external_data=False,
                  dynamic_shapes=({0: torch.export.Dim("N", min=2)},))
strip(path)
