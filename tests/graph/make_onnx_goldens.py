"""Makes tests/graph/data/cnn_*.onnx: one small CNN as PyTorch's exporters write it.

    python tests/graph/make_onnx_goldens.py        (torch 2.13, onnx, onnxscript)

TorchScript exporter: opsets 9, 11, 13, 17, training form (batch norm and dropout kept),
dynamic and fixed batch. Dynamo exporter: opsets 18 and 20, inference form, in which it
folds batch norm away. cnn_weights.txt: what the onnx package reads in each file, a line
per initializer: file, name, dims, CRC-32 of the float32 bytes.
"""
import pathlib
import warnings
import zlib

import onnx
import torch
from onnx import numpy_helper
from torch import nn

OUT = pathlib.Path(__file__).parent / "data"
warnings.filterwarnings("ignore")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.25)
        self.fc = nn.Linear(4 * 4 * 4, 5)

    def forward(self, x):
        x = self.pool(nn.functional.relu6(self.bn(self.conv(x))))
        return self.fc(torch.flatten(self.drop(x), 1))


def make_net():
    torch.manual_seed(1)
    return Net()


def strip(path):
    """Drops stack traces and value_info, most of the file; the graph stays."""
    m = onnx.load(path)
    m.doc_string = ""
    for n in m.graph.node:
        n.doc_string = ""
        del n.metadata_props[:]
    del m.graph.value_info[:]
    del m.graph.metadata_props[:]
    del m.metadata_props[:]
    onnx.save(m, path)


def torchscript():
    x = torch.zeros(2, 3, 8, 8)
    for opset in (9, 11, 13, 17):
        for dynamic in (True, False):
            if opset != 17 and not dynamic:
                continue
            path = OUT / f"cnn_ts{opset}{'' if dynamic else '_fixed'}.onnx"
            torch.onnx.export(
                make_net().train(), x, path, opset_version=opset, dynamo=False,
                training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False,
                input_names=["input"], output_names=["logits"],
                dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}}
                if dynamic else None)
            strip(path)


def dynamo():
    x = torch.zeros(2, 3, 8, 8)
    for opset in (18, 20):
        path = OUT / f"cnn_dynamo{opset}.onnx"
        torch.onnx.export(
            make_net().eval(), (x,), path, opset_version=opset, dynamo=True,
            input_names=["input"], output_names=["logits"], external_data=False,
            dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
        strip(path)


def weights():
    lines = []
    for path in sorted(OUT.glob("cnn_*.onnx")):
        for init in onnx.load(path).graph.initializer:
            array = numpy_helper.to_array(init)
            if array.dtype == "float32" and array.ndim:
                dims = "x".join(map(str, array.shape))
                crc = zlib.crc32(array.tobytes())
                lines.append(f"{path.name} {init.name} {dims} {crc:08x}\n")
    (OUT / "cnn_weights.txt").write_text("".join(lines))


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    torchscript()
    dynamo()
    weights()
