"""Writes data/user_*.onnx: small networks for text as people write them, with what the zoo's
lack, for test_text.c. Run once with torch 2.13 and onnx: python make_exports.py

user_gpt         learned positions of a table that is longer than the text, sliced
user_classifier  tokens compared with padding (!=), scores filled where the mask says so, a
                 learned vector in the place of padding, a mean over what is left
"""
import os
import warnings

import torch
from torch import nn
from torch.nn import functional as F

warnings.filterwarnings("ignore")
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
VOCAB, SEQ, PAD, CLASSES, WIDTH = 97, 12, 5, 4, 16  # as test_text.c has them


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 24), nn.Linear(24, WIDTH)
        self.drop = nn.Dropout(0.1)

    def forward(self, x, unseen):
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        scores = (q @ k.transpose(1, 2) / WIDTH ** 0.5).masked_fill(unseen, -1e9)
        x = x + self.drop(self.out(scores.softmax(-1) @ v))
        return x + self.drop(self.down(F.gelu(self.up(self.norm2(x)))))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.drop = nn.Embedding(VOCAB, WIDTH), nn.Dropout(0.1)
        self.positions = nn.Parameter(torch.randn(3 * SEQ, WIDTH) * 0.02)
        self.register_buffer("later", torch.ones(3 * SEQ, 3 * SEQ).triu(1).bool())
        self.layer, self.norm = Layer(), nn.LayerNorm(WIDTH)

    def forward(self, x):
        n = x.shape[1]
        y = self.drop(self.tokens(x) + self.positions[:n])
        y = self.norm(self.layer(y, self.later[:n, :n]))
        return y @ self.tokens.weight.t()


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.layer = nn.Embedding(VOCAB, WIDTH), Layer()
        self.instead, self.head = nn.Parameter(torch.randn(WIDTH)), nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        kept = x != PAD
        y = torch.where(kept.unsqueeze(-1), self.tokens(x), self.instead)
        y = self.layer(y, ~kept.unsqueeze(1))
        mask = kept.unsqueeze(-1).float()
        return self.head((y * mask).sum(1) / mask.sum(1).clamp(min=1))


for name, make in (("user_gpt", Gpt), ("user_classifier", Classifier)):
    torch.manual_seed(5)
    module = make()
    path = os.path.join(DATA, f"{name}.onnx")
    torch.onnx.export(module.train(), (torch.zeros(2, SEQ, dtype=torch.long),), path, dynamo=False, opset_version=17,
                      training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False,
                      input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "N"}, "y": {0: "N"}})
