"""The engine against PyTorch on the zoo's networks for text: same initial weights, same
batches, dropout off.

    python test_zoo_text.py BUILD [model ...]

Per model, optimizer and form (with padding, where there can be any):

  gradients  of every parameter at step 0, relative L2 per tensor <= 1e-4; of an LSTM those
             of the embedding and the last layer (its own come folded, in ONNX's order; their
             part in the losses is checked)
  losses     of twenty optimizer steps, largest relative difference <= 1e-4
  updates    what those steps changed in the same parameters together, relative L2 <= 1e-3

Not AdamW where there are attention's biases: the bias of the keys changes no attention, so
its gradient is rounding noise, which Adam would blow up to whole steps.
The last cases are wrong on purpose, and must be noticed.
"""

import warnings

import numpy as np
import torch
from torch import nn

import harness
import twins
from harness import relative

GRADIENT, LOSS, UPDATE = 1e-4, 1e-4, 1e-3
STEPS, BATCH, CLASSES = 20, 4, 10
SGD = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
ADAMW = {"lr": 1e-3, "weight_decay": 5e-4}

#        model, its options, optimizer
CASES = [("transformer_lm", {"vocab": 200, "seq": 12, "dropout": 0}, torch.optim.SGD, SGD),
         ("gpt", {"vocab": 100, "seq": 16, "d_model": 48, "heads": 3, "layers": 3, "dropout": 0},
          torch.optim.SGD, SGD),
         ("text_cnn", {"vocab": 100, "seq": 14, "d_model": 40, "pad": 1, "dropout": 0},
          torch.optim.AdamW, ADAMW),
         ("embedding_bag", {"vocab": 100, "seq": 14, "pad": 0}, torch.optim.AdamW, ADAMW),
         ("embedding_bag", {"vocab": 100, "seq": 14}, torch.optim.SGD, SGD),
         ("lstm", {"vocab": 100, "seq": 14, "layers": 2, "pad": 99, "dropout": 0},
          torch.optim.AdamW, ADAMW)]


class Case:
    """One model with its data, and what the engine computes for it."""

    def __init__(self, h, name, options, make, training):
        self.h, self.name, self.options, self.training = h, name, options, training
        self.make = make
        self.title = f"{name} {make.__name__}" + (" padded" if "pad" in options else "")
        self.path = h.zoo_text(name, options)
        self.arrays = harness.initializers(self.path)
        seq, vocab = options["seq"], options["vocab"]
        self.x = harness.tokens_of(STEPS * BATCH, seq, vocab, options.get("pad"))
        rng = np.random.default_rng(4)
        rng.shuffle(self.x)
        self.x = self.x.reshape(STEPS, BATCH, seq)
        lm = name in twins.LANGUAGE_MODELS
        self.labels = rng.integers(0, vocab if lm else CLASSES,
                                   self.x.shape if lm else self.x.shape[:2])

    def engine(self, **changes):
        options = {**self.training, **changes}
        flags = [f"--{k.replace('_', '-')}={v}" for k, v in options.items()]
        if self.make is torch.optim.AdamW:
            flags.append("--adamw")
        return self.h.engine(self.path, self.x, self.labels, flags)

    def train(self):
        """PyTorch's losses, gradients of the first batch and parameters after the last."""
        model = twins.load_weights(twins.build_text(self.name, **self.options), self.arrays)
        optimizer = self.make(model.train().parameters(), **self.training)
        self.losses = []
        for batch, target in zip(torch.from_numpy(self.x), torch.from_numpy(self.labels)):
            optimizer.zero_grad()
            logits = model(batch)
            loss = nn.functional.cross_entropy(logits.flatten(0, -2), target.flatten())
            loss.backward()
            if not self.losses:
                self.grads = {n: p.grad.numpy().copy() for n, p in model.named_parameters()
                              if not n.startswith("lstm.")}
            optimizer.step()
            self.losses.append(loss.item())
        self.after = {n: p.detach().numpy() for n, p in model.named_parameters()
                      if n in self.grads}

    def gradient_errors(self, found):
        return {n: relative(found[f"grad.{n}"], g) if f"grad.{n}" in found else np.inf
                for n, g in self.grads.items()}

    def loss_error(self, found):
        return np.max(np.abs(found["losses"] / np.array(self.losses) - 1))

    def update_error(self, found):
        ours, theirs = (np.concatenate([(a[p + n] - self.arrays[n]).ravel()
                                        for n in self.after])
                        for a, p in ((found, "after."), (self.after, "")))
        return relative(ours, theirs)


def check(h, args):
    case = Case(h, *args)
    case.train()
    found = case.engine()
    errors = case.gradient_errors(found)
    far = max(errors, key=errors.get)
    h.check(f"{case.title}: {len(errors)} gradients", errors[far], GRADIENT, f"({far})")
    h.check(f"{case.title}: {STEPS} losses", case.loss_error(found), LOSS,
            f"({case.losses[0]:.4f} .. {case.losses[-1]:.4f})")
    h.check(f"{case.title}: updates", case.update_error(found), UPDATE)
    pad = case.options.get("pad")
    if pad is not None:
        h.expect(f"{case.title}: no gradient at padding",
                 not found["grad.embedding.weight"][pad].any())


def check_controls(h):
    """Another option than PyTorch has must be noticed."""
    case = Case(h, *CASES[0])
    case.train()
    h.above("control: losses with a momentum of 0.89", case.loss_error(case.engine(momentum=0.89)),
            LOSS)
    h.above("control: updates without weight decay",
            case.update_error(case.engine(weight_decay=0)), UPDATE)
    case.labels[0, 0, 0] += 1 if case.labels[0, 0, 0] == 0 else -1
    h.above("control: gradients of another label",
            max(case.gradient_errors(case.engine()).values()), GRADIENT)


def main(h):
    torch.set_num_threads(2)
    warnings.filterwarnings("ignore", message=".*nested_tensor.*")
    for args in CASES:
        if h.wants(args[0]):
            check(h, args)
    if h.wants("control"):
        check_controls(h)


harness.run(main)
