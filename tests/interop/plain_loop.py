"""A plain training loop over a plain nn.Module, as a PyTorch user writes it: what a job that
train.py trained has to equal. Imports nothing but torch, twins, modules, and from train.py what
defines the recipe (batch order, dropout seeds) and reads files.

    python plain_loop.py RECIPE.json

    {"train_py": …, "model": "lenet", "shape": [3, 32, 32], "classes": 10 (twins.py's; without
     shape: of "file", modules or models, with "dropout"), "weights": …,
     "x": {"path": ….npy, "dtype": "U8", "shape": [n, …]},
     "y": likewise or null (the input is the target), "out": ….safetensors,
     "steps": 20, "options": {"batch": 8, …},
     "last": "fc3" (its classes in canonical order; null: as is)}

Of several outputs "y" is a list, and "loss" is modules.py's sum_of_losses's.

For a network for text: "text": the options of twins.build_text instead of shape and classes;
"windows": true for a language model, whose x are windows of its tokens and the next; "losses":
a file for the loss of each step. Clipping then adds norms in the order of the parameters'
first use, as model.py has them, and not in the order in which nn.Transformer registers them.
"""

import ctypes
import importlib
import importlib.util
import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

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


class Lion(torch.optim.Optimizer):
    """As its authors' own PyTorch code has it (google/automl, lion_pytorch.py)."""

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.data.mul_(1 - group["lr"] * group["weight_decay"])
                state = self.state[p]
                if len(state) == 0:
                    state["exp_avg"] = torch.zeros_like(p)
                exp_avg = state["exp_avg"]
                beta1, beta2 = group["betas"]
                update = exp_avg.clone().mul_(beta1).add(p.grad, alpha=1 - beta1).sign_()
                p.add_(update, alpha=-group["lr"])
                exp_avg.mul_(beta2).add_(p.grad, alpha=1 - beta2)


def make_optimizer(model, o):
    """Of the options' names in torch.optim, its defaults where they name nothing."""
    kind, common = o["optimizer"], {"lr": o["lr"], "weight_decay": o.get("weight_decay", 0)}
    names = {"sgd": {"momentum": "momentum"}, "adam": {}, "adamw": {}, "lion": {},
             "rmsprop": {"momentum": "momentum", "alpha": "alpha", "epsilon": "eps",
                         "centered": "centered"},
             "adagrad": {"lr_decay": "lr_decay", "epsilon": "eps",
                         "initial_accumulator": "initial_accumulator_value"}}[kind]
    common.update({theirs: o[ours] for ours, theirs in names.items() if ours in o})
    if kind == "lion":
        return Lion(model.parameters(), {"betas": (0.9, 0.99), **common})
    make = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop",
            "adagrad": "Adagrad"}[kind]
    return getattr(torch.optim, make)(model.parameters(), **common)


def read(train, array):
    """The array as a tensor on mapped memory."""
    return train.map_npy(array["path"], train.DTYPES[array["dtype"]], array["shape"])


def as_input(x):
    """What the module takes: pixels from 0 to 1, numbers as they are, tokens as int64."""
    if x.dtype == torch.uint8:
        return x.float() * (1 / 255)
    return x.long() if x.dtype == torch.int32 else x


class Used(TorchFunctionMode):
    """While entered, collects the parameters that functions take, in the order of first use."""

    def __init__(self, model):
        super().__init__()
        self.own, self.found = {id(p): p for p in model.parameters()}, {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        for t in [*args, *(kwargs or {}).values()]:
            for p in t if isinstance(t, (list, tuple)) else [t]:
                if id(p) in self.own:
                    self.found.setdefault(id(p), p)
        return function(*args, **(kwargs or {}))


def in_order_of_use(model, x):
    with Used(model) as used, torch.no_grad():
        model(x)
    return list(used.found.values())


def build(recipe):
    if recipe.get("text"):
        return twins.build_text(recipe["model"], **recipe["text"])
    if recipe.get("shape"):
        return twins.build(recipe["model"], recipe["shape"], recipe["classes"])
    return importlib.import_module(recipe["file"]).build(recipe["model"], recipe["dropout"])


def make_schedule(optimizer, o, total, per_epoch):
    """step(step, validate) after each update; validate() gives the validation's loss."""
    warmup, kind = o.get("warmup", 0), o.get("schedule", "constant")
    if kind == "plateau":
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, patience=o["plateau_patience"], factor=o["plateau_factor"])
        return lambda step, validate: plateau.step(validate()) \
            if (step + 1) % per_epoch == 0 else None
    if kind == "one-cycle":
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, o["lr"], total_steps=total,
                                                       cycle_momentum=False)
        return lambda step, _: schedule.step() if step + 1 < total else None
    shape = {"constant": lambda t: 1.0,
             "linear": lambda t: (total - warmup - t) / (total - warmup),
             "cosine": lambda t: (1 + math.cos(math.pi * t / (total - warmup))) / 2}[kind]
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: (t + 1) / warmup if t < warmup else shape(t - warmup))
    return lambda *_: schedule.step()


def find_loss(recipe, model, x, y, smoothing=0.0):
    """y None: the input is the target."""
    inputs = as_input(x)
    if recipe.get("windows"):
        output = model(inputs[:, :-1])
        return F.cross_entropy(output.reshape(-1, output.shape[-1]),
                               inputs[:, 1:].reshape(-1), label_smoothing=smoothing)
    output = model(inputs)
    if recipe.get("loss"):
        return modules.sum_of_losses(recipe["loss"], output, y)
    return F.mse_loss(output, inputs) if y is None else F.cross_entropy(
        output, y, label_smoothing=smoothing)


def validate(recipe, train, model, rank):
    """The loss over recipe["val"], in batches; rank: of the classes."""
    x, y = read(train, recipe["val"]["x"]), read(train, recipe["val"]["y"]).long()
    total = 0.0
    model.eval()
    with torch.no_grad():
        for rows in torch.arange(len(x)).split(recipe["options"]["batch"]):
            labels = y[rows] if rank is None else rank[y[rows]]
            total += find_loss(recipe, model, x[rows], labels).item() * len(rows)
    model.train()
    return total / len(x)


def read_targets(train, recipe):
    if recipe.get("loss"):
        return [read(train, y) for y in recipe["y"]]
    return read(train, recipe["y"]).long() if recipe["y"] else None


def take(y, rows):
    return [t[rows] for t in y] if isinstance(y, list) else y if y is None else y[rows]


def make_average(model, decay):
    from torch.optim import swa_utils
    if hasattr(swa_utils, "get_ema_multi_avg_fn"):
        return swa_utils.AveragedModel(model,
                                       multi_avg_fn=swa_utils.get_ema_multi_avg_fn(decay))
    return swa_utils.AveragedModel(model,
                                   avg_fn=lambda mean, p, _: torch.lerp(mean, p, 1 - decay))


def copy_state(model):
    return {name: t.clone() for name, t in model.state_dict().items()}


def main(recipe):
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    train, o = load_script(recipe["train_py"]), recipe["options"]
    x = read(train, recipe["x"])
    y = read_targets(train, recipe)
    n, batch, seed = len(x), o["batch"], o.get("seed", 1)
    model = build(recipe)
    weights, _ = train.read_safetensors(Path(recipe["weights"]))
    own = {n for n, _ in [*model.named_parameters(), *model.named_buffers()]}   # tied: once
    kept = [k for k in model.state_dict() if k in weights or
            (k in own and not k.endswith("num_batches_tracked"))]
    model.load_state_dict({k: weights[k] for k in kept}, strict=False)
    rank = None
    if recipe["last"]:
        layer = model.get_submodule(recipe["last"])
        order = sorted_classes(layer)
        reorder(layer, order)
        rank = order.argsort()
        y = rank[y]

    optimizer = make_optimizer(model, o)
    per_epoch = n // batch
    total = per_epoch * o["epochs"]
    after_step = make_schedule(optimizer, o, total, per_epoch)
    parts = o.get("accumulate", 1)
    average = make_average(model, o["ema"]) if o.get("ema") else None
    measured = average.module if average else model
    best, lowest, bad_epochs = None, math.inf, 0
    clipped, losses = list(model.parameters()), []
    if recipe.get("text"):
        clipped = in_order_of_use(model, as_input(x[:1, :-1] if recipe["windows"] else x[:1]))
    for step in range(recipe["steps"]):
        epoch, place = divmod(step, per_epoch)
        if place == 0:
            samples = train.epoch_order(seed, epoch, n)
        rows = samples[place * batch:(place + 1) * batch]
        optimizer.zero_grad()
        losses.append(0)
        for i, part in enumerate(rows.split(batch // parts)):
            torch.manual_seed(train.step_seed(seed, step, i))
            loss = find_loss(recipe, model, x[part], take(y, part),
                             o.get("label_smoothing", 0.0)) / parts
            loss.backward()
            losses[-1] += loss.item()
        if o.get("clip"):
            torch.nn.utils.clip_grad_norm_(clipped, o["clip"])
        optimizer.step()
        if average:
            average.update_parameters(model)
        after_step(step, lambda: validate(recipe, train, measured, rank))
        if (step + 1) % per_epoch == 0 and (o.get("best") or o.get("early_stop")):
            loss = validate(recipe, train, measured, rank)
            bad_epochs += 1
            if loss < lowest:
                best, lowest, bad_epochs = copy_state(measured), loss, 0
            if bad_epochs == o.get("early_stop"):
                break

    if best and o.get("best"):
        measured.load_state_dict(best)
    if recipe["last"]:
        reorder(measured.get_submodule(recipe["last"]), order.argsort())
    train.write_safetensors(Path(recipe["out"]), measured.state_dict(), {})
    if recipe.get("losses"):
        Path(recipe["losses"]).write_text(json.dumps(losses))


main(json.loads(Path(sys.argv[1]).read_text()))
