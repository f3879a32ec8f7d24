"""Makes augment_goldens.h: what train.py's Augmentation, plain PyTorch, makes of images.

    python tests/engine/make_augment_goldens.py > tests/engine/augment_goldens.h
"""
import importlib.util
import pathlib

import torch

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "src" / "emit" / "train.py"
CASES = [  # kinds, shape of the batch, seed, step, place of its first sample
    ("crop4", (5, 1, 6, 5), 1, 0, 0),
    ("hflip", (4, 2, 3, 4), 7, 3, 0),
    ("crop4,hflip", (6, 2, 4, 3), 2**33 + 5, 2**32 + 9, 32),
    ("crop4,hflip", (8, 1, 9, 9), 3, 100, 8),
]


def main():
    spec = importlib.util.spec_from_file_location("train", SCRIPT)
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    print("/* Made by make_augment_goldens.py with PyTorch %s. */"
          % torch.__version__.split("+")[0])
    print("static const augment_golden augment_goldens[] = {")
    for kinds, shape, seed, step, first in CASES:
        x = torch.arange(1, 1 + torch.Size(shape).numel()).remainder(255).add(1)
        x = x.to(torch.uint8).reshape(shape)
        augmentation = train.Augmentation(kinds.split(","))
        augmentation.draw(seed, step, first, shape[0], "cpu")
        y = augmentation(x)
        bits = ("AMG_AUGMENT_" + kind.upper() for kind in kinds.split(","))
        print("    {%s, {%s}, %d, %d, %d," % (" | ".join(bits), ", ".join(map(str, shape)),
                                              seed, step, first))
        print("     {%s}}," % ", ".join(map(str, y.flatten().tolist())))
    print("};")


main()
