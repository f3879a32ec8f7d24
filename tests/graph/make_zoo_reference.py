"""Writes the reference of tests/graph/test_zoo.c from torchvision itself.

    python make_zoo_reference.py TORCHVISION OUT

TORCHVISION: a folder that holds torchvision/ (an unpacked wheel will do: only its Python
model files are run, everything else they import is replaced by empty modules).
OUT: tests/graph/data. Per torchvision model zoo_<model>.txt, the state_dict of the
ImageNet form in order, one line an entry:

    name  shape (64x3x7x7)  standard deviation  largest magnitude

(the last two as torchvision's initialisation drew them, seed 0), and zoo_counts.txt, one
line a model, form and input: model CxHxW classes trainable-scalars.
"""

import importlib
import pathlib
import sys
import types

import torch
from torch import nn

IMAGENET = ["resnet18", "resnet34", "resnet50", "vgg16", "vgg16_bn", "densenet121",
            "mobilenet_v2"]


def stub(name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module
    return module


def load_torchvision(folder):
    """The model builders, from torchvision's own files without its C++ extension."""
    root = pathlib.Path(folder) / "torchvision"
    for name in ("torchvision", "torchvision.models", "torchvision.ops",
                 "torchvision.transforms"):
        stub(name).__path__ = [str(root.joinpath(*name.split(".")[1:]))]
    stub("torchvision.transforms._presets", ImageClassification=object)
    stub("torchvision.utils", _log_api_usage_once=lambda module: None,
         _make_ntuple=lambda x, n: (x,) * n)
    files = ("resnet", "vgg", "densenet", "mobilenetv2")
    modules = [importlib.import_module(f"torchvision.models.{f}") for f in files]
    return {n: getattr(m, n) for m in modules for n in IMAGENET if hasattr(m, n)}


def write_state_dict(path, model):
    with open(path, "w") as out:
        for name, t in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            shape = "x".join(map(str, t.shape))
            std = t.std(unbiased=False).item()
            out.write(f"{name} {shape} {std:.5g} {t.abs().max().item():.5g}\n")


def to_cifar(name, model):
    """torchvision's model with the stem (and VGG's classifier) changed as our zoo does."""
    if name.startswith("resnet"):
        model.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        model.maxpool = nn.Identity()
    elif name.startswith("vgg"):
        model.avgpool = nn.AdaptiveAvgPool2d(1)
        model.classifier[0] = nn.Linear(512, 4096)
    elif name == "densenet121":
        model.features.conv0 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        model.features.pool0 = nn.Identity()
    elif name == "mobilenet_v2":
        model.features[0][0].stride = (1, 1)
        model.features[2].conv[1][0].stride = (1, 1)
    return model


def lenet(channels, classes, pad):
    return nn.Sequential(nn.Conv2d(channels, 6, 5, padding=pad), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(),
                         nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes))


def mlp(inputs, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 512), nn.ReLU(),
                         nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, classes))


def count(model, shape, classes):
    """Trainable scalars, after the model has shown that it takes such an input."""
    with torch.no_grad():
        assert model.eval()(torch.zeros(1, *shape)).shape == (1, classes)
    return sum(p.numel() for p in model.parameters())


def main(torchvision, out):
    out = pathlib.Path(out)
    builders = load_torchvision(torchvision)
    torch.manual_seed(0)
    lines = []

    def add(name, shape, classes, model):
        text = "x".join(map(str, shape))
        lines.append(f"{name} {text} {classes} {count(model, shape, classes)}\n")

    for name in IMAGENET:
        model = builders[name]()
        write_state_dict(out / f"zoo_{name}.txt", model)
        add(name, (3, 224, 224), 1000, model)
        add(name, (3, 32, 32), 10, to_cifar(name, builders[name](num_classes=10)))
    add("lenet", (1, 28, 28), 10, lenet(1, 10, 2))
    add("lenet", (3, 32, 32), 100, lenet(3, 100, 0))
    add("mlp", (1, 28, 28), 10, mlp(784, 10))
    add("mlp", (3, 32, 32), 10, mlp(3072, 10))
    (out / "zoo_counts.txt").write_text("".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
