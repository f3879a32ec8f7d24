"""Writes data/export_*.onnx: small modules as PyTorch's exporters write them in training
form, for test_origin.c. Run once with torch 2.13 and onnx: python make_exports.py"""

import os
import warnings

import onnx
import torch
from torch import nn
from torch.export import Dim

warnings.filterwarnings("ignore")
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.down, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4, 3)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)) + self.down(x))
        return self.fc(nn.functional.adaptive_avg_pool2d(y, 1).flatten(1))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.b = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU())
        self.up, self.out = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        a = self.a(x)
        return self.out(torch.cat([self.up(self.b(a)), a], 1))


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1])


class Vit(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 4, 4, 4)
        self.cls = nn.Parameter(torch.zeros(1, 1, 4))
        self.pos = nn.Parameter(torch.randn(1, 5, 4) * 0.02)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, 0.1, batch_first=True)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.pos
        return self.fc(self.layer(x)[:, 0])


class Tied(nn.Module):
    """A language model whose output layer is its embedding; causal attention."""

    def __init__(self):
        super().__init__()
        self.emb, self.qkv = nn.Embedding(11, 4), nn.Linear(4, 12)

    def forward(self, tokens):
        x = self.emb(tokens)
        q, k, v = self.qkv(x).chunk(3, -1)
        x = x + nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return nn.functional.linear(x, self.emb.weight)


def mlp():
    return nn.Sequential(nn.Linear(7, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3),
                         nn.Linear(8, 2))


def autoencoder():
    return nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(),
                         nn.Linear(64, 6), nn.Linear(6, 64), nn.Unflatten(1, (4, 4, 4)),
                         nn.ConvTranspose2d(4, 1, 4, 2, 1), nn.Sigmoid())


def strip(path):
    """Drops where in the module each node comes from: most of the file."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.ClearField("name")
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    for part in (model, model.graph):
        part.ClearField("metadata_props")
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        value.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    model.ClearField("functions")
    onnx.save(model, path)


IMAGE = torch.randn(2, 3, 8, 8)
MODULES = {
    "block": (Block, IMAGE, 13),
    "unet": (UNet, IMAGE, 17),
    "lstm": (Lstm, torch.randn(2, 5, 3), 17),
    "vit": (Vit, IMAGE, 17),
    "tied": (Tied, torch.randint(0, 11, (2, 6)), 17),
    "mlp": (mlp, torch.randn(2, 7), 20),
    "autoencoder": (autoencoder, torch.randn(2, 1, 8, 8), 13),
}

for name, (make, x, opset) in MODULES.items():
    torch.manual_seed(0)
    module = make().train()
    path = os.path.join(DATA, f"export_{name}_ts.onnx")
    torch.onnx.export(module, (x,), path, dynamo=False, opset_version=opset,
                      training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False,
                      input_names=["x"], output_names=["y"],
                      dynamic_axes={"x": {0: "N"}, "y": {0: "N"}})
    strip(path)
    if name != "tied":  # chunk becomes SplitToSequence there
        # Its optimizer would merge batch norm into convolutions.
        path = os.path.join(DATA, f"export_{name}_dynamo.onnx")
        torch.onnx.export(module, (x,), path, dynamo=True, opset_version=18,
                          optimize=False, verbose=False, input_names=["x"],
                          output_names=["y"], external_data=False,
                          dynamic_shapes=({0: Dim("N", min=2)},))
        strip(path)
    # The names that must come home: parameters and running statistics.
    with open(os.path.join(DATA, f"export_{name}.txt"), "w") as f:
        for key, value in module.state_dict().items():
            if value.dtype == torch.float32:
                f.write(f"{key} {value.numel()}\n")
