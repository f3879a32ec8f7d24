"""Writes the references of tests/graph/test_zoo.c, from torchvision itself, and of
test_zoo_text.c, from PyTorch's modules.

    python make_zoo_reference.py TORCHVISION OUT
    python make_zoo_reference.py --text OUT

TORCHVISION: a folder that holds torchvision/ (an unpacked wheel will do: only its Python
model files are run, everything else they import is replaced by empty modules).
OUT: tests/graph/data. Per torchvision model zoo_<model>.txt, the state_dict of the
ImageNet form in order, one line an entry:

    name  shape (64x3x7x7)  standard deviation  largest magnitude

(the last two as torchvision's initialisation drew them, seed 0), and zoo_counts.txt, one
line a model, form and input: model CxHxW classes trainable-scalars.

--text: zoo_text.txt, from the modules of tests/interop/twins.py, by blocks:

    model name vocab seq d_model layers heads hidden classes pad scalars  (0: its own; pad -1: none)
    parameter  shape  standard deviation  largest magnitude               (in any order)

and, after the last block, lines without parameters: the counts of models as they are by default.
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


TEXT_OPTIONS = ("vocab", "seq", "d_model", "layers", "heads", "hidden", "classes", "pad")
# Classes and widths are large, so that deviations are known well.
TEXT = [("transformer_lm", {"vocab": 1000, "seq": 20, "layers": 1}),
        ("transformer_lm", {"vocab": 500, "seq": 9, "d_model": 96, "heads": 3, "hidden": 200}),
        ("gpt", {"vocab": 500, "seq": 64, "d_model": 128, "layers": 2, "heads": 4}),
        ("gpt", {"vocab": 500, "seq": 64, "d_model": 96, "layers": 3, "heads": 2, "hidden": 200}),
        ("text_cnn", {"vocab": 300, "seq": 12, "classes": 400}),
        ("text_cnn", {"vocab": 300, "d_model": 120, "hidden": 150, "classes": 400, "pad": 7}),
        ("embedding_bag", {"vocab": 300, "classes": 400, "pad": 0}),
        ("lstm", {"vocab": 300, "classes": 400, "pad": 299}),
        ("lstm", {"vocab": 300, "d_model": 60, "layers": 2, "hidden": 80, "classes": 400})]
TEXT_DEFAULTS = [("transformer_lm", {"vocab": 33278}), ("gpt", {"vocab": 65}),
                 ("text_cnn", {"vocab": 20000, "classes": 4}),
                 ("embedding_bag", {"vocab": 95811, "classes": 4}),
                 ("lstm", {"vocab": 20000, "classes": 4})]


def write_text(out):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "interop"))
    import twins
    torch.manual_seed(0)
    with open(pathlib.Path(out) / "zoo_text.txt", "w") as f:
        for i, (name, options) in enumerate(TEXT + TEXT_DEFAULTS):
            model = twins.build_text(name, **options)
            values = [options.get(o, -1 if o == "pad" else 0) for o in TEXT_OPTIONS]
            print("model", name, *values, sum(p.numel() for p in model.parameters()), file=f)
            for entry, p in model.named_parameters() if i < len(TEXT) else ():
                shape, std = "x".join(map(str, p.shape)), p.std(unbiased=False).item()
                print(f"{entry} {shape} {std:.5g} {p.abs().max().item():.5g}", file=f)


if __name__ == "__main__":
    if sys.argv[1] == "--text":
        write_text(sys.argv[2])
    else:
        main(*sys.argv[1:])
