"""Plain modules of other shapes than the zoo's, and samples for them: what users bring.
test_exact.py obfuscates them through the Python package, plain_loop.py trains them as they
are; so they run on PyTorch 1.13 as on 2, and this file imports nothing but torch.

    model = build("unet"); x, y = samples("unet", 48, seed=1)
"""

from collections import namedtuple

import torch
import torch.nn.functional as F
from torch import nn

import twins


class UNet(nn.Module):
    """Two levels; a class for each pixel."""

    def __init__(self, classes=4):
        super().__init__()
        self.down = self.block(3, 8)
        self.pool = nn.MaxPool2d(2)
        self.bottom = self.block(8, 16)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.merge = self.block(16, 8)
        self.head = nn.Conv2d(8, classes, 1)

    @staticmethod
    def block(inputs, out):
        return nn.Sequential(nn.Conv2d(inputs, out, 3, padding=1, bias=False),
                             nn.BatchNorm2d(out), nn.ReLU(),
                             nn.Conv2d(out, out, 3, padding=1), nn.ReLU())

    def forward(self, x):
        skip = self.down(x)
        x = self.up(self.bottom(self.pool(skip)))
        return self.head(self.merge(torch.cat([skip, x], 1)))


class SequenceLSTM(nn.Module):
    """Two layers over sequences of numbers; the last step decides."""

    def __init__(self, width=6, classes=5):
        super().__init__()
        self.lstm = nn.LSTM(width, 16, num_layers=2, batch_first=True)
        self.head = nn.Linear(16, classes)

    def forward(self, x):
        y, _ = self.lstm(x)
        return self.head(y[:, -1])


class TokenLSTM(nn.Module):
    """Tokens, both directions, the mean over the steps."""

    def __init__(self, dropout, tokens=50, classes=5):
        super().__init__()
        self.embedding = nn.Embedding(tokens, 12)
        self.lstm = nn.LSTM(12, 16, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        y, _ = self.lstm(self.embedding(x))
        return self.head(self.dropout(y.mean(1)))


class EncoderViT(nn.Module):
    """A vision transformer of PyTorch's own layers."""

    def __init__(self, dropout, width=32, classes=10):
        super().__init__()
        self.patch = nn.Conv2d(3, width, 8, 8)
        self.position = nn.Parameter(torch.randn(1, 16, width) / 50)
        self.layers = nn.Sequential(*(
            nn.TransformerEncoderLayer(width, 2, 2 * width, dropout, "gelu", batch_first=True,
                                       norm_first=first) for first in (True, False)))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.layers(x).mean(1))


class EncoderLM(nn.Module):
    """A language model of nn.TransformerEncoder, positions learned."""

    def __init__(self, dropout, tokens=50, seq=10, width=16):
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.position = nn.Parameter(torch.randn(seq, width) / 50)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, tokens)

    def forward(self, x):
        ahead = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)
        return self.head(self.encoder(self.embedding(x) + self.position, mask=ahead))


class TiedGPT(nn.Module):
    """One block of nanoGPT's; logits [N*L,V], the last layer is the embedding."""

    def __init__(self, dropout, tokens=50, seq=10, width=16):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(tokens, width), nn.Embedding(seq, width)
        self.block = twins.GPTBlock(width, 2, 4 * width, dropout)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, x):
        x = self.wte(x) + self.wpe(torch.arange(x.shape[1], device=x.device))
        return self.head(self.norm(self.block(x))).flatten(0, 1)


class DropPath(nn.Module):
    """Stochastic depth as timm, timm before 0.6 and torchvision write it, and by a comparison."""

    def __init__(self, rate, form):
        super().__init__()
        self.rate, self.form = rate, form

    def forward(self, x):
        if self.rate == 0.0 or not self.training:
            return x
        keep, shape = 1 - self.rate, (x.shape[0],) + (1,) * (x.ndim - 1)
        if self.form == "timm":
            mask = x.new_empty(shape).bernoulli_(keep)
            if keep > 0.0:
                mask.div_(keep)
            return x * mask
        if self.form == "older timm":
            mask = keep + torch.rand(shape, dtype=x.dtype, device=x.device)
            mask.floor_()
            return x.div(keep) * mask
        if self.form == "torchvision":
            noise = torch.empty(shape, dtype=x.dtype, device=x.device)
            noise = noise.bernoulli_(keep)
            noise.div_(keep)
            return x * noise
        return x * (torch.rand(x.shape[0], 1, 1, 1) < keep) / keep


class Paths(nn.Module):
    """ConvNeXt's blocks, each dropped in another way and at another rate; dropout between them."""

    def __init__(self, dropout, width=16, classes=10):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, 4)
        forms = ("timm", "older timm", "torchvision", "comparison")
        self.drops = nn.ModuleList(DropPath(dropout * (i + 2), form) for i, form in enumerate(forms))
        self.spatial = nn.ModuleList(nn.Conv2d(width, width, 7, padding=3, groups=width) for _ in forms)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in forms)
        self.mlps = nn.ModuleList(nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout),
                                                nn.Linear(2 * width, width)) for _ in forms)
        self.scales = nn.ParameterList(nn.Parameter(torch.full((width,), 0.5)) for _ in forms)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.stem(x)
        for drop, spatial, norm, mlp, scale in zip(self.drops, self.spatial, self.norms, self.mlps, self.scales):
            y = scale * mlp(norm(spatial(x).permute(0, 2, 3, 1)))
            x = x + drop(y.permute(0, 3, 1, 2))
        return self.head(x.mean((-2, -1)))


class Channels(nn.Module):
    """Dropout of whole channels."""

    def __init__(self, dropout, width=16, classes=10):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, width, 3, 2, 1), nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.drop1, self.drop2 = nn.Dropout2d(dropout), nn.Dropout2d(2 * dropout)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x):
        x = self.drop1(F.silu(self.conv1(x)))
        return self.head(self.drop2(F.silu(self.conv2(x))).mean((2, 3)))


class Noisy(nn.Module):
    """Noise of three kinds, drawn like a tensor and by a shape."""

    def __init__(self, dropout, width=16, classes=10):
        super().__init__()
        self.amount = dropout
        self.conv, self.hidden = nn.Conv2d(3, width, 8, 8), nn.Linear(16 * width, 24)
        self.head = nn.Linear(24, classes)

    def forward(self, x):
        noisy = self.training and self.amount > 0
        x = torch.tanh(self.conv(x))
        if noisy:
            x = x + self.amount * torch.randn_like(x)
            x = x.permute(0, 2, 3, 1)
            x = x * (torch.rand_like(x) + 0.5)
            x = x.permute(0, 3, 1, 2)
        x = torch.tanh(self.hidden(x.flatten(1)))
        if noisy:
            x = x * (1 + self.amount * torch.randn(x.shape[0], x.shape[1]))
        return self.head(x)


class Tabular(nn.Sequential):
    def __init__(self, dropout, width=20, classes=3):
        super().__init__(
            nn.Linear(width, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(32, classes))


class Autoencoder(nn.Sequential):
    """Gives its own input back."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(16, 8, 2, stride=2), nn.ReLU(),
            nn.ConvTranspose2d(8, 3, 2, stride=2), nn.Sigmoid())


class Functions(nn.Module):
    """A function for every four features: also those that exporters take apart."""

    FUNCTIONS = (
        F.mish, F.silu, F.softsign, F.selu, F.hardswish, F.hardsigmoid, F.hardtanh, F.relu6,
        F.logsigmoid, F.tanhshrink, F.hardshrink, F.softshrink, F.gelu, F.softplus, F.glu,
        torch.sin, torch.cos, torch.atan, torch.square,
        lambda v: F.celu(v, 0.5), lambda v: F.elu(v, 0.5), lambda v: F.leaky_relu(v, 0.2),
        lambda v: F.gelu(v, approximate="tanh"), lambda v: v.clamp(min=-0.5),
        lambda v: torch.maximum(v, 2 * v), lambda v: torch.minimum(v, v * v),
        lambda v: torch.pow(v.abs() + 1, v), lambda v: v ** 3, lambda v: torch.fmod(v, 0.5),
        lambda v: torch.rsqrt(v * v + 1), lambda v: torch.log1p(v * v),
        lambda v: v * torch.sign(v), lambda v: v * torch.round(4 * v),
        lambda v: torch.where(torch.logical_xor(v > 0, v < 0.5), v, 2 * v))

    def __init__(self, width=20, classes=3):
        super().__init__()
        self.first = nn.Linear(width, 4 * len(self.FUNCTIONS))
        self.slope = nn.PReLU(4 * len(self.FUNCTIONS))
        self.last = nn.Linear(4 * len(self.FUNCTIONS) - 2, classes)

    def forward(self, x):
        parts = self.slope(self.first(x)).chunk(len(self.FUNCTIONS), 1)
        return self.last(torch.cat([f(v) for f, v in zip(self.FUNCTIONS, parts)], 1))


def pictures(side):
    """Blobs of colour with noise, uint8, and the generator's further numbers."""
    def make(count, g):
        coarse = torch.rand(count, 3, 4, 4, generator=g)
        x = nn.functional.interpolate(coarse, size=(side, side), mode="nearest")
        x = x + torch.randn(x.shape, generator=g) / 20
        return (x.clamp(0, 1) * 255).to(torch.uint8)
    return make


def labels(classes):
    """x: samples, or a tuple of such."""
    def make(x, g):
        count = len(x[0] if isinstance(x, tuple) else x)
        return torch.randint(0, classes, (count,), generator=g, dtype=torch.int32)
    return make


def windows(count, g):
    """Of a text whose next token mostly follows from the one before, and of one more."""
    x = torch.randint(0, 50, (count, 11), generator=g, dtype=torch.int32)
    follows = torch.rand(x.shape, generator=g) < 0.8
    for i in range(1, x.shape[1]):
        x[:, i] = torch.where(follows[:, i], (5 * x[:, i - 1] + 3) % 50, x[:, i])
    return x


ELEMENTS = {"mse": F.mse_loss, "l1": F.l1_loss, "bce": F.binary_cross_entropy_with_logits}
WITH_DELTA = {"huber": nn.HuberLoss, "smooth_l1": lambda delta: nn.SmoothL1Loss(beta=delta)}


def sum_of_losses(terms, outputs, targets):
    """terms: as amalgam.obfuscate takes them, "cross_entropy+0.5*huber:0.5"."""
    total = 0
    for term, x, y in zip(terms.split("+"), outputs, targets, strict=True):
        weight, _, loss = term.rpartition("*")
        name, _, delta = loss.partition(":")
        if name == "cross_entropy":
            own = F.cross_entropy(x, y.long())
        else:
            own = (ELEMENTS.get(name) or WITH_DELTA[name](float(delta)))(x, y.to(x.dtype))
        total = total + float(weight or 1) * own
    return total


#   make(dropout), x(count, generator), y(x, generator); None: the input is the target, or
#   windows: the next token of x is. loss: y is a tuple, of the targets of as many outputs
Kind = namedtuple("Kind", "make x y windows loss", defaults=(False, None))
KINDS = {
    "unet": Kind(lambda dropout: UNet(), pictures(16),
                 lambda x, g: (x.float().mean(1) / 64).to(torch.int32)),
    "lstm": Kind(lambda dropout: SequenceLSTM(),
                 lambda n, g: torch.randn(n, 12, 6, generator=g), labels(5)),
    "token_lstm": Kind(TokenLSTM, lambda n, g: torch.randint(
        0, 50, (n, 10), generator=g, dtype=torch.int32), labels(5)),
    "encoder_lm": Kind(EncoderLM, windows, None, True),
    "tied_gpt": Kind(TiedGPT, windows, None, True),
    "vit": Kind(lambda dropout: twins.ViT((3, 32, 32), 10), pictures(32), labels(10)),
    "encoder_vit": Kind(EncoderViT, pictures(32), labels(10)),
    "paths": Kind(Paths, pictures(32), labels(10)),
    "channels": Kind(Channels, pictures(32), labels(10)),
    "noisy": Kind(Noisy, pictures(32), labels(10)),
    "tabular": Kind(Tabular, lambda n, g: torch.randn(n, 20, generator=g), labels(3)),
    "functions": Kind(lambda dropout: Functions(),
                      lambda n, g: torch.randn(n, 20, generator=g), labels(3)),
    "autoencoder": Kind(lambda dropout: Autoencoder(), pictures(16), None),
}


def build(name, dropout=0.1, kinds=KINDS):
    """The same weights each time."""
    torch.manual_seed(7)
    return kinds[name].make(dropout)


def samples(name, count, seed, kinds=KINDS):
    """x and y (None: the input is the target); the same each time."""
    g, kind = torch.Generator().manual_seed(seed), kinds[name]
    x = kind.x(count, g)
    return x, kind.y and kind.y(x, g)
