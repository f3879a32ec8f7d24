"""A plain training loop over a plain nn.Module, as a PyTorch user writes it: what a job that
train.py trained has to equal. Imports nothing but torch, the twins, and from train.py what
defines the recipe (batch order, dropout seeds) and reads files.

    python plain_loop.py RECIPE.json

    {"train_py": …, "model": "lenet", "shape": [3, 32, 32], "classes": 10 (twins.py's; without
     shape: modules.py's, with "dropout"), "weights": …, "x": {"path": ….npy, "dtype": "U8",
     "shape": [n, …]}, "y": likewise or null (the input is the target), "out": ….safetensors,
     "steps": 20, "options": {"batch": 8, …},
     "last": "fc3" (its classes in canonical order; null: as is)}
"""

import ctypes
import importlib.util
import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

import modules
import twins


def load_script(path):
    spec = importlib.util.spec_from_file_location("train", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sorted_classes(layer):
    """order[r]: the class whose weight and bias bytes come r-th."""
    def row_bytes(t):
        return ctypes.string_at(t.data_ptr(), t.numel() * t.element_size())

    rows = [row_bytes(w) + row_bytes(b)
            for w, b in zip(layer.weight.detach(), layer.bias.detach())]
    return torch.tensor(sorted(range(len(rows)), key=rows.__getitem__))


def reorder(layer, order):
    with torch.no_grad():
        layer.weight.copy_(layer.weight[order])
        layer.bias.copy_(layer.bias[order])


def make_optimizer(model, o):
    if o["optimizer"] == "sgd":
        return torch.optim.SGD(model.parameters(), lr=o["lr"], momentum=o.get("momentum", 0),
                               weight_decay=o.get("weight_decay", 0))
    return torch.optim.AdamW(model.parameters(), lr=o["lr"],
                             weight_decay=o.get("weight_decay", 0))


def read(train, array):
    """The array as a tensor on mapped memory."""
    return train.map_npy(array["path"], train.DTYPES[array["dtype"]], array["shape"])


def as_input(x):
    """What the module takes: pixels from 0 to 1, numbers as they are, tokens as int64."""
    if x.dtype == torch.uint8:
        return x.float() * (1 / 255)
    return x.long() if x.dtype == torch.int32 else x


def build(recipe):
    if recipe.get("shape"):
        return twins.build(recipe["model"], recipe["shape"], recipe["classes"])
    return modules.build(recipe["model"], recipe["dropout"])


def main(recipe):
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    train, o = load_script(recipe["train_py"]), recipe["options"]
    x = read(train, recipe["x"])
    y = read(train, recipe["y"]).long() if recipe["y"] else None
    n, batch, seed = len(x), o["batch"], o.get("seed", 1)
    model = build(recipe)
    weights, _ = train.read_safetensors(Path(recipe["weights"]))
    kept = [k for k in model.state_dict() if k in weights or not k.endswith("num_batches_tracked")]
    model.load_state_dict({k: weights[k] for k in kept}, strict=False)
    if recipe["last"]:
        layer = model.get_submodule(recipe["last"])
        order = sorted_classes(layer)
        reorder(layer, order)
        y = order.argsort()[y]

    optimizer = make_optimizer(model, o)
    per_epoch = n // batch
    total = per_epoch * o["epochs"]
    shape = {"constant": lambda t: 1.0,
             "cosine": lambda t: (1 + math.cos(math.pi * t / total)) / 2}
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, shape[o.get("schedule",
                                                                        "constant")])
    for step in range(recipe["steps"]):
        epoch, place = divmod(step, per_epoch)
        if place == 0:
            samples = train.epoch_order(seed, epoch, n)
        rows = samples[place * batch:(place + 1) * batch]
        torch.manual_seed(train.step_seed(seed, step))
        inputs = as_input(x[rows])
        output = model(inputs)
        loss = F.mse_loss(output, inputs) if y is None else F.cross_entropy(
            output, y[rows], label_smoothing=o.get("label_smoothing", 0.0))
        optimizer.zero_grad()
        loss.backward()
        if o.get("clip"):
            torch.nn.utils.clip_grad_norm_(model.parameters(), o["clip"])
        optimizer.step()
        schedule.step()

    if recipe["last"]:
        reorder(layer, order.argsort())
    train.write_safetensors(Path(recipe["out"]), model.state_dict(), {})


main(json.loads(Path(sys.argv[1]).read_text()))
