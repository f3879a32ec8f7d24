"""PyTorch twins of the model zoo (src/graph/zoo*.c), and a small vision transformer that
PyTorch exports itself: plain modules with the same
state_dict names and the same function, in CIFAR form (sides up to 64) and ImageNet form.
Tests load exported weights into them; they import nothing but torch.

    model = build("resnet18", (3, 32, 32), 10)
    model = build_text("gpt", vocab=100, seq=32, layers=2)  # as `amalgam zoo gpt --vocab …`
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


def is_small(shape):
    return max(shape[1:]) <= 64


class LeNet(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        channels, height, width = shape
        pad = 2 if min(height, width) < 32 else 0
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=pad)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        side = [((s + 2 * pad - 4) // 2 - 4) // 2 for s in (height, width)]
        self.fc1 = nn.Linear(16 * side[0] * side[1], 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, x):
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        x = self.relu(self.fc1(x.flatten(1)))
        return self.fc3(self.relu(self.fc2(x)))


class MLP(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.fc1 = nn.Linear(shape[0] * shape[1] * shape[2], 512)
        self.fc2 = nn.Linear(512, 256)
        self.fc3 = nn.Linear(256, classes)

    def forward(self, x):
        x = torch.relu(self.fc1(x.flatten(1)))
        return self.fc3(torch.relu(self.fc2(x)))


class Residual(nn.Module):
    """convs: (out, kernel, stride) of the long arm, each followed by batch norm."""

    def __init__(self, inputs, convs):
        super().__init__()
        self.num_convs = len(convs)
        width, stride = inputs, 1
        for i, (out, kernel, s) in enumerate(convs, 1):
            conv = nn.Conv2d(width, out, kernel, s, kernel // 2, bias=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(out))
            width, stride = out, stride * s
        self.downsample = None
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = x
        for i in range(1, self.num_convs + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.num_convs:
                y = torch.relu(y)
        return torch.relu(y + (self.downsample(x) if self.downsample else x))


class ResNet(nn.Module):
    def __init__(self, shape, classes, blocks, bottleneck):
        super().__init__()
        stem = (3, 1, 1) if is_small(shape) else (7, 2, 3)
        self.conv1 = nn.Conv2d(shape[0], 64, *stem, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.Identity() if is_small(shape) else nn.MaxPool2d(3, 2, 1)
        width = 64
        for stage, count in enumerate(blocks):
            layers = []
            for i in range(count):
                w, stride = 64 << stage, 2 if stage > 0 and i == 0 else 1
                convs = [(w, 3, stride), (w, 3, 1)]
                if bottleneck:
                    convs = [(w, 1, 1), (w, 3, stride), (4 * w, 1, 1)]
                layers.append(Residual(width, convs))
                width = convs[-1][0]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(x.mean((2, 3)))


class VGG16(nn.Module):
    def __init__(self, shape, classes, batch_norm):
        super().__init__()
        layers, width = [], shape[0]
        for out, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                layers.append(nn.Conv2d(width, out, 3, padding=1))
                layers += [nn.BatchNorm2d(out)] if batch_norm else []
                layers.append(nn.ReLU())
                width = out
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        side = 1 if is_small(shape) else 7
        self.avgpool = nn.AdaptiveAvgPool2d(side)
        self.classifier = nn.Sequential(
            nn.Linear(512 * side * side, 4096), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(4096, classes))

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class DenseLayer(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 128, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(128)
        self.conv2 = nn.Conv2d(128, 32, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(torch.relu(self.norm2(y)))], 1)


class DenseNet121(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        stem = (3, 1, 1) if is_small(shape) else (7, 2, 3)
        features = nn.Sequential()
        features.add_module("conv0", nn.Conv2d(shape[0], 64, *stem, bias=False))
        features.add_module("norm0", nn.BatchNorm2d(64))
        features.add_module("relu0", nn.ReLU())
        if not is_small(shape):
            features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        width = 64
        for block, count in enumerate((6, 12, 24, 16), 1):
            layers = nn.Sequential()
            for i in range(1, count + 1):
                layers.add_module(f"denselayer{i}", DenseLayer(width))
                width += 32
            features.add_module(f"denseblock{block}", layers)
            if block < 4:
                transition = nn.Sequential()
                transition.add_module("norm", nn.BatchNorm2d(width))
                transition.add_module("relu", nn.ReLU())
                transition.add_module("conv", nn.Conv2d(width, width // 2, 1, bias=False))
                transition.add_module("pool", nn.AvgPool2d(2))
                features.add_module(f"transition{block}", transition)
                width //= 2
        features.add_module("norm5", nn.BatchNorm2d(width))
        self.features = features
        self.classifier = nn.Linear(width, classes)

    def forward(self, x):
        return self.classifier(torch.relu(self.features(x)).mean((2, 3)))


def conv_unit(inputs, out, kernel=1, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(inputs, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out), nn.ReLU6())


class InvertedResidual(nn.Module):
    def __init__(self, inputs, out, stride, expansion):
        super().__init__()
        hidden = inputs * expansion
        layers = [conv_unit(inputs, hidden)] if expansion != 1 else []
        layers.append(conv_unit(hidden, hidden, 3, stride, hidden))
        layers += [nn.Conv2d(hidden, out, 1, bias=False), nn.BatchNorm2d(out)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == out

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        early = 1 if is_small(shape) else 2  # stride of the stem and the 24-channel stage
        layers, width = [conv_unit(shape[0], 32, 3, early)], 32
        for expansion, out, count, stride in (
                (1, 16, 1, 1), (6, 24, 2, early), (6, 32, 3, 2), (6, 64, 4, 2),
                (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
            for i in range(count):
                layers.append(InvertedResidual(width, out, stride if i == 0 else 1,
                                               expansion))
                width = out
        layers.append(conv_unit(width, 1280))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class Attention(nn.Module):
    """A transformer's layer: two heads of attention and an MLP, norms ahead of both."""

    def __init__(self, width, heads=2):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(),
                                 nn.Linear(2 * width, width))

    def forward(self, x):
        n, t, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, width)
        x = x + self.out(y)
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Patches of 8 x 8, a class token, a position embedding, one layer."""

    def __init__(self, shape, classes, width=32):
        super().__init__()
        self.patch = nn.Conv2d(shape[0], width, 8, 8)
        patches = (shape[1] // 8) * (shape[2] // 8)
        self.token = nn.Parameter(torch.randn(1, 1, width) / 50)
        self.position = nn.Parameter(torch.randn(1, 1 + patches, width) / 50)
        self.layer, self.norm = Attention(width), nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.norm(self.layer(x))[:, 0])


# ---- networks for text: tokens [N, seq]; each draws its weights as its authors do ----

class TransformerLM(nn.Transformer):
    """PyTorch's word_language_model, samples first and without the log-softmax that belongs
    to its loss. dropout None: the example's, 0.2 behind the positions and 0.1 in the layers."""

    def __init__(self, vocab, seq=35, d_model=200, layers=2, heads=2, hidden=200, dropout=None):
        super().__init__(d_model, heads, layers, 0, hidden, 0.1 if dropout is None else dropout,
                         batch_first=True)
        self.scale = math.sqrt(d_model)
        self.drop = nn.Dropout(0.2 if dropout is None else dropout)
        self.input_emb = nn.Embedding(vocab, d_model)
        self.decoder = nn.Linear(d_model, vocab)
        position = torch.arange(0, seq).float().unsqueeze(1)
        step = torch.arange(0, d_model, 2).float() * (-math.log(10000.0) / d_model)
        # Functions in double: every library then gives the same floats.
        angle = (position * step.double().exp().float()).double()
        pe = torch.stack([angle.sin(), angle.cos()], 2).float()
        self.register_buffer("pe", pe.flatten(1), persistent=False)
        self.register_buffer("mask", torch.full((seq, seq), -math.inf).triu(1),
                             persistent=False)
        nn.init.uniform_(self.input_emb.weight, -0.1, 0.1)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, tokens):
        x = self.drop(self.input_emb(tokens) * self.scale + self.pe)
        return self.decoder(self.encoder(x, mask=self.mask))


def attend(q, k, v, dropout):
    """F.scaled_dot_product_attention to what is not ahead, [N,H,L,d]; where PyTorch has none
    (1.13), what its nn.MultiheadAttention computes."""
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, None, dropout, True)
    shape, mask = q.shape, torch.full((1, q.shape[2], q.shape[2]), -math.inf).triu(1)
    q, k, v = (t.reshape(-1, *shape[2:]) for t in (q, k, v))
    scores = torch.baddbmm(mask, q / math.sqrt(shape[3]), k.transpose(1, 2))
    return torch.bmm(F.dropout(scores.softmax(2), dropout), v).view(shape)


class SamplesFirstLM(TransformerLM):
    """The same function with samples first throughout, as the zoo's graph has it. The
    layers of nn.Transformer turn positions to the front for attention, so that the gradients
    of its projections are sums in another order."""

    def attention(self, layer, x):
        n, t, width = x.shape
        part, p = layer.self_attn, layer.self_attn.dropout if self.training else 0.0
        qkv = F.linear(x, part.in_proj_weight, part.in_proj_bias)
        q, k, v = (y.reshape(n, t, part.num_heads, -1).transpose(1, 2)
                   for y in qkv.split(width, 2))
        return part.out_proj(attend(q, k, v, p).transpose(1, 2).reshape(n, t, width))

    def forward(self, tokens):
        x = self.drop(self.input_emb(tokens) * self.scale + self.pe)
        for layer in self.encoder.layers:
            x = layer.norm1(x + layer.dropout1(self.attention(layer, x)))
            y = layer.linear2(layer.dropout(torch.relu(layer.linear1(x))))
            x = layer.norm2(x + layer.dropout2(y))
        return self.decoder(self.encoder.norm(x))


class GPTAttention(nn.Module):
    def __init__(self, d_model, heads, dropout):
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(d_model, 3 * d_model)
        self.c_proj = nn.Linear(d_model, d_model)
        self.dropout, self.resid_dropout = dropout, nn.Dropout(dropout)

    def forward(self, x):
        n, t, width = x.shape
        q, k, v = (y.view(n, t, self.heads, -1).transpose(1, 2)
                   for y in self.c_attn(x).split(width, 2))
        y = attend(q, k, v, self.dropout if self.training else 0.0)
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).reshape(n, t, width)))


class GPTBlock(nn.Module):
    def __init__(self, d_model, heads, hidden, dropout):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attn = GPTAttention(d_model, heads, dropout)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(d_model, hidden),
                                  "c_proj": nn.Linear(hidden, d_model)})
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.dropout(self.mlp.c_proj(F.gelu(self.mlp.c_fc(self.ln_2(x)))))


class GPT(nn.Module):
    """nanoGPT's names and laws, with biases; lm_head is tied to transformer.wte."""

    def __init__(self, vocab, seq=256, d_model=384, layers=6, heads=6, hidden=None, dropout=0.2):
        super().__init__()
        hidden = hidden or 4 * d_model
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(vocab, d_model), "wpe": nn.Embedding(seq, d_model),
            "drop": nn.Dropout(dropout),
            "h": nn.ModuleList(GPTBlock(d_model, heads, hidden, dropout)
                               for _ in range(layers)),
            "ln_f": nn.LayerNorm(d_model)})
        self.lm_head = nn.Linear(d_model, vocab, bias=False)
        self.lm_head.weight = self.transformer.wte.weight
        for name, p in self.named_parameters():
            if p.dim() > 1:
                narrow = math.sqrt(2 * layers) if name.endswith("c_proj.weight") else 1
                nn.init.normal_(p, 0, 0.02 / narrow)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, tokens):
        t = self.transformer
        x = t.drop(t.wte(tokens) + t.wpe.weight)
        for block in t.h:
            x = block(x)
        return self.lm_head(t.ln_f(x))


class TextCNN(nn.Module):
    def __init__(self, vocab, seq=64, d_model=300, hidden=100, dropout=0.5, pad=None, classes=10):
        super().__init__()
        self.embedding = nn.Embedding(vocab, d_model, padding_idx=pad)
        self.convs = nn.ModuleList(nn.Conv2d(1, hidden, (words, d_model))
                                   for words in (3, 4, 5))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(3 * hidden, classes)

    def forward(self, tokens):
        x = self.embedding(tokens).unsqueeze(1)
        rows = [torch.relu(conv(x)).squeeze(3) for conv in self.convs]
        # Of equal ones (padding gives them) max_pool takes the first, amax a part of each.
        x = torch.cat([F.max_pool1d(row, row.shape[2]).squeeze(2) for row in rows], 1)
        return self.fc(self.dropout(x))


class EmbeddingBag(nn.Module):
    """The classifier of torchtext's tutorial."""

    def __init__(self, vocab, seq=64, d_model=64, pad=None, classes=10):
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocab, d_model, mode="mean", padding_idx=pad)
        self.fc = nn.Linear(d_model, classes)
        nn.init.uniform_(self.embedding.weight, -0.5, 0.5)
        nn.init.uniform_(self.fc.weight, -0.5, 0.5)
        nn.init.zeros_(self.fc.bias)

    def forward(self, tokens):
        return self.fc(self.embedding(tokens))


class LSTMClassifier(nn.Module):
    """The mean of the outputs over the document, padding behind its end left out."""

    def __init__(self, vocab, seq=64, d_model=100, layers=1, hidden=128, dropout=0.5, pad=None,
                 classes=10):
        super().__init__()
        self.pad = pad
        self.embedding = nn.Embedding(vocab, d_model)
        self.lstm = nn.LSTM(d_model, hidden, layers, batch_first=True,
                            dropout=dropout if layers > 1 else 0)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, tokens):
        y, _ = self.lstm(self.embedding(tokens))
        if self.pad is None:
            return self.fc(self.dropout(y.mean(1)))
        kept = (tokens != self.pad).to(y.dtype)
        share = kept / kept.sum(1, keepdim=True).clamp(min=1)
        return self.fc(self.dropout((share.unsqueeze(1) @ y).squeeze(1)))


ZOO = {
    "lenet": LeNet,
    "mlp": MLP,
    "resnet18": lambda shape, classes: ResNet(shape, classes, (2, 2, 2, 2), False),
    "resnet34": lambda shape, classes: ResNet(shape, classes, (3, 4, 6, 3), False),
    "resnet50": lambda shape, classes: ResNet(shape, classes, (3, 4, 6, 3), True),
    "vgg16": lambda shape, classes: VGG16(shape, classes, False),
    "vgg16_bn": lambda shape, classes: VGG16(shape, classes, True),
    "densenet121": DenseNet121,
    "mobilenet_v2": MobileNetV2,
}
MODELS = {**ZOO, "vit": ViT}
LANGUAGE_MODELS = {"transformer_lm": TransformerLM, "samples_first_lm": SamplesFirstLM,
                   "gpt": GPT}
CLASSIFIERS = {"text_cnn": TextCNN, "embedding_bag": EmbeddingBag, "lstm": LSTMClassifier}


def build(name, shape, classes):
    """shape: (channels, height, width)."""
    return MODELS[name](tuple(shape), classes)


def build_text(name, **options):
    """options: those of `amalgam zoo`, d_model for --d-model and so on."""
    return {**LANGUAGE_MODELS, **CLASSIFIERS}[name](**options)


def load_weights(model, arrays):
    """Loads numpy arrays by state_dict name; every parameter and buffer must be there
    (num_batches_tracked, which no graph holds, excepted; of tied ones the first)."""
    first = {id(t): n for n, t in reversed(model.state_dict(keep_vars=True).items())}
    own = {n for n in first.values() if not n.endswith("num_batches_tracked")}
    missing = own - set(arrays)
    if missing:
        raise KeyError(f"no weights for {sorted(missing)}")
    state = {n: torch.from_numpy(arrays[n].copy()) for n in own}
    model.load_state_dict(state, strict=False)
    return model
