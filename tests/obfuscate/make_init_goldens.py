#!/usr/bin/env python3
"""Initial weights as PyTorch 2.13 draws them on a CPU, for test_decoy_init.c.

    python make_init_goldens.py        writes data/torch_init.safetensors
"""
import pathlib

import torch
from safetensors.torch import save_file

torch.manual_seed(20260725)
conv = torch.nn.Conv2d(16, 64, 3, bias=False)
torch.nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
hidden = torch.nn.Linear(64, 100)
last = torch.nn.Linear(100, 10)
torch.nn.init.normal_(last.weight, 0, 0.01)
torch.nn.init.zeros_(last.bias)
# As if trained: heavy tails, off centre.
trained = torch.distributions.Laplace(0.01, 0.05).sample((100, 64))

save_file(
    {
        "conv.weight": conv.weight.detach(),
        "hidden.weight": hidden.weight.detach(),
        "hidden.bias": hidden.bias.detach(),
        "last.weight": last.weight.detach(),
        "last.bias": last.bias.detach(),
        "trained.weight": trained,
    },
    pathlib.Path(__file__).with_name("data") / "torch_init.safetensors",
)
