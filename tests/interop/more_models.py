"""Further modules that people bring, in short forms and as they are written elsewhere: transformers by hand, for text,
images, tables and series; networks of several inputs, of points and of frames. As models.py's: KINDS, nothing but torch.
More than 500 lines: a list.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from modules import Kind, labels, pictures, windows

CLASSES = 10


# ---- text ----

class BertAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width, eps=1e-12)

    def split(self, x):
        return x.view(*x.shape[:2], self.heads, -1).permute(0, 2, 1, 3)

    def forward(self, x, mask):
        q, k, v = (self.split(layer(x)) for layer in (self.query, self.key, self.value))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.shape[-1]) + mask
        y = torch.matmul(F.softmax(scores, dim=-1), v).permute(0, 2, 1, 3).contiguous()
        return self.norm(self.dense(y.view(*x.shape)) + x)


class BertLayer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attention = BertAttention(width, heads)
        self.intermediate, self.output = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x, mask):
        x = self.attention(x, mask)
        return self.norm(self.output(F.gelu(self.intermediate(x))) + x)


class Bert(nn.Module):
    """Tokens and which of them count; the pooled first one decides."""

    def __init__(self, tokens=50, seq=12, width=32, heads=4, classes=5):
        super().__init__()
        self.word, self.place = nn.Embedding(tokens, width, padding_idx=0), nn.Embedding(64, width)
        self.kind, self.norm = nn.Embedding(2, width), nn.LayerNorm(width, eps=1e-12)
        self.register_buffer("position_ids", torch.arange(64).expand((1, -1)), persistent=False)
        self.layers = nn.ModuleList(BertLayer(width, heads) for _ in range(2))
        self.pooler, self.classifier = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, input_ids, attention_mask):
        mask = attention_mask[:, None, None, :].to(torch.float32)
        mask = (1.0 - mask) * torch.finfo(torch.float32).min
        kinds = torch.zeros_like(input_ids)
        places = self.position_ids[:, :input_ids.shape[1]]
        x = self.norm(self.word(input_ids) + self.kind(kinds) + self.place(places))
        for layer in self.layers:
            x = layer(x, mask)
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


class Conv1D(nn.Module):
    """GPT-2's linear layer, its weight the other way round."""

    def __init__(self, out, width):
        super().__init__()
        self.out = out
        self.weight, self.bias = nn.Parameter(torch.randn(width, out) / 50), nn.Parameter(torch.zeros(out))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], self.out)


class GPT2Block(nn.Module):
    def __init__(self, width, heads, seq):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = Conv1D(3 * width, width), Conv1D(width, width)
        self.c_fc, self.c_out = Conv1D(4 * width, width), Conv1D(width, 4 * width)
        self.register_buffer("bias", torch.tril(torch.ones(seq, seq, dtype=torch.bool)).view(1, 1, seq, seq))

    def attend(self, x):
        n, t, width = x.shape
        q, k, v = (y.view(n, t, self.heads, -1).transpose(1, 2) for y in self.c_attn(x).split(width, dim=2))
        scores = q @ k.transpose(-1, -2) / k.shape[-1] ** 0.5
        lowest = torch.full([], torch.finfo(scores.dtype).min)
        scores = torch.where(self.bias[:, :, :t, :t], scores, lowest.to(scores.dtype))
        return self.c_proj((F.softmax(scores, -1) @ v).transpose(1, 2).reshape(n, t, width))

    def forward(self, x):
        x = x + self.attend(self.ln_1(x))
        y = self.c_fc(self.ln_2(x))
        y = 0.5 * y * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (y + 0.044715 * torch.pow(y, 3.0))))
        return x + self.c_out(y)


class GPT2(nn.Module):
    """A language model whose last layer is its embedding."""

    def __init__(self, tokens=50, seq=10, width=16):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(tokens, width), nn.Embedding(seq, width)
        self.h = nn.ModuleList(GPT2Block(width, 2, seq) for _ in range(2))
        self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, tokens, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, x):
        y = self.wte(x) + self.wpe(torch.arange(0, x.shape[1], device=x.device).unsqueeze(0))
        for block in self.h:
            y = block(y)
        return self.lm_head(self.ln_f(y))


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class LlamaBlock(nn.Module):
    """Rotated queries and keys, two of which share one of values, and a gated layer."""

    def __init__(self, width, heads, shared, seq):
        super().__init__()
        self.heads, self.shared, size = heads, shared, width // heads
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.q, self.o = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k, self.v = (nn.Linear(width, shared * size, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(width, 3 * width, bias=False) for _ in range(2))
        self.down = nn.Linear(3 * width, width, bias=False)
        angle = torch.arange(seq)[:, None] / 10000 ** (torch.arange(0, size, 2) / size)
        self.register_buffer("cos", torch.cat([angle, angle], -1).cos(), persistent=False)
        self.register_buffer("sin", torch.cat([angle, angle], -1).sin(), persistent=False)

    def rotate(self, x):
        half = x.shape[-1] // 2
        turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
        return x * self.cos[:x.shape[2]] + turned * self.sin[:x.shape[2]]

    def attend(self, x):
        n, t, width = x.shape
        q = self.rotate(self.q(x).view(n, t, self.heads, -1).transpose(1, 2))
        k, v = (layer(x).view(n, t, self.shared, -1).transpose(1, 2) for layer in (self.k, self.v))
        k, v = (y.repeat_interleave(self.heads // self.shared, dim=1) for y in (self.rotate(k), v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(y.transpose(1, 2).reshape(n, t, width))

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    def __init__(self, tokens=50, seq=10, width=32):
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.layers = nn.ModuleList(LlamaBlock(width, 4, 2, seq) for _ in range(2))
        self.norm, self.head = RMSNorm(width), nn.Linear(width, tokens, bias=False)

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


class Translator(nn.Module):
    """nn.Transformer: one text and the beginning of another; a class from what it says next."""

    def __init__(self, tokens=50, width=16, classes=5):
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.transformer = nn.Transformer(width, 2, 1, 1, 2 * width, 0.0, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, source, target):
        ahead = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        y = self.transformer(self.embed(source), self.embed(target), tgt_mask=ahead)
        return self.head(y[:, -1])


class AttentionGRU(nn.Module):
    """What a recurrent layer says of each token, weighed."""

    def __init__(self, tokens=50, classes=5):
        super().__init__()
        self.embedding = nn.Embedding(tokens, 12)
        self.gru = nn.GRU(12, 16, batch_first=True, bidirectional=True)
        self.score, self.head = nn.Linear(32, 1), nn.Linear(32, classes)

    def forward(self, x):
        states, _ = self.gru(self.embedding(x))
        weight = torch.softmax(self.score(torch.tanh(states)).squeeze(-1), dim=1)
        return self.head(torch.bmm(weight.unsqueeze(1), states).squeeze(1))


class PaddedText(nn.Module):
    """Documents filled up with padding, over which a GRU goes, too: its row is 0, and stays."""

    def __init__(self, tokens=50, classes=5):
        super().__init__()
        self.embedding = nn.Embedding(tokens, 12, padding_idx=0)
        self.gru, self.head = nn.GRU(12, 16, batch_first=True), nn.Linear(16, classes)

    def forward(self, x):
        return self.head(self.gru(self.embedding(x))[0].mean(1))


class PackedText(nn.Module):
    """Documents of unequal length; the last states of both directions decide."""

    def __init__(self, tokens=50, classes=5):
        super().__init__()
        self.embedding = nn.Embedding(tokens, 12, padding_idx=0)
        self.lstm = nn.LSTM(12, 16, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, classes)

    def forward(self, x, lengths):
        x = pack_padded_sequence(self.embedding(x), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (h, _) = self.lstm(x)
        return self.head(torch.cat([h[-2], h[-1]], 1))


class CountedText(PackedText):
    """The same of tokens alone, which say where they end."""

    def forward(self, x):
        return super().forward(x, (x != 0).sum(1))


class PackedSignal(nn.Module):
    """Signals of unequal length; the mean over the steps that each has."""

    def __init__(self, width=3, classes=5):
        super().__init__()
        self.gru = nn.GRU(width, 16, num_layers=2, batch_first=True)
        self.head = nn.Linear(16, classes)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, lengths = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.shape[1])
        return self.head(y.sum(1) / lengths.unsqueeze(1).to(y))


# ---- images ----

def partition(x, side):
    n, h, w, c = x.shape
    x = x.view(n, h // side, side, w // side, side, c)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, side * side, c)


def put_together(x, side, h, w):
    x = x.view(-1, h // side, w // side, side, side, x.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, h, w, x.shape[-1])


class SwinBlock(nn.Module):
    """Attention inside windows, every second time shifted ones, with a bias by relative place."""

    def __init__(self, width, heads, side, shift, size):
        super().__init__()
        self.heads, self.side, self.shift = heads, side, shift
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.relative_position_bias_table = nn.Parameter(torch.randn((2 * side - 1) ** 2, heads) / 50)
        at = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
        apart = (at[:, :, None] - at[:, None, :]).permute(1, 2, 0) + side - 1
        self.register_buffer("relative_position_index", apart[..., 0] * (2 * side - 1) + apart[..., 1])
        mask = None
        if shift:
            zone = torch.zeros(1, size, size, 1)
            parts = slice(0, -side), slice(-side, -shift), slice(-shift, None)
            for i, (h, w) in enumerate((h, w) for h in parts for w in parts):
                zone[:, h, w] = i
            zone = partition(zone, side).squeeze(-1)
            mask = zone.unsqueeze(1) - zone.unsqueeze(2)
            mask = mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0)
        self.register_buffer("attn_mask", mask)

    def attend(self, x):
        count, places, width = x.shape
        qkv = self.qkv(x).reshape(count, places, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        scores = (q * (width // self.heads) ** -0.5) @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        scores = scores + bias.view(places, places, -1).permute(2, 0, 1).contiguous().unsqueeze(0)
        if self.attn_mask is not None:
            windows_ = self.attn_mask.shape[0]
            scores = scores.view(-1, windows_, self.heads, places, places) + self.attn_mask.unsqueeze(1).unsqueeze(0)
            scores = scores.view(-1, self.heads, places, places)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(count, places, width))

    def forward(self, x):
        y = self.norm1(x)
        if self.shift:
            y = torch.roll(y, shifts=(-self.shift, -self.shift), dims=(1, 2))
        y = put_together(self.attend(partition(y, self.side)), self.side, x.shape[1], x.shape[2])
        if self.shift:
            y = torch.roll(y, shifts=(self.shift, self.shift), dims=(1, 2))
        x = x + y
        return x + self.mlp(self.norm2(x))


class Swin(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.patch, self.norm0 = nn.Conv2d(3, width, 4, 4), nn.LayerNorm(width)
        self.stage1 = nn.Sequential(SwinBlock(width, 3, 4, 0, 8), SwinBlock(width, 3, 4, 2, 8))
        self.norm1, self.reduce = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)
        self.stage2 = nn.Sequential(SwinBlock(2 * width, 6, 4, 0, 4))
        self.norm2, self.head = nn.LayerNorm(2 * width), nn.Linear(2 * width, CLASSES)

    def forward(self, x):
        x = self.stage1(self.norm0(self.patch(x).permute(0, 2, 3, 1)))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        x = self.stage2(self.reduce(self.norm1(x)))
        return self.head(self.norm2(x).mean([1, 2]))


class Detector(nn.Module):
    """What it is, a box at each place of a coarse map, and how sure of it: three outputs."""

    def __init__(self, width=16, classes=5):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.SiLU(),
                                  nn.Conv2d(width, 2 * width, 3, 2, 1), nn.GroupNorm(4, 2 * width), nn.SiLU())
        self.kind, self.sure = nn.Linear(2 * width, classes), nn.Linear(2 * width, 1)
        self.box = nn.Sequential(nn.Conv2d(2 * width, width, 3, 2, 1), nn.SiLU(), nn.Conv2d(width, 4, 1))

    def forward(self, x):
        x = self.stem(x)
        row = x.mean((2, 3))
        return self.kind(row), self.box(x), self.sure(row).squeeze(1)


class SqueezeExcite(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 1)

    def forward(self, x):
        scale = F.silu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(scale))


class RegNetBlock(nn.Module):
    """A bottleneck of grouped convolutions with squeeze and excitation."""

    def __init__(self, inputs, out, stride, group=8):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(inputs, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True))
        self.b = nn.Sequential(nn.Conv2d(out, out, 3, stride, 1, groups=out // group, bias=False),
                               nn.BatchNorm2d(out), nn.ReLU(inplace=True))
        self.se = SqueezeExcite(out, inputs // 4)
        self.c = nn.Sequential(nn.Conv2d(out, out, 1, bias=False), nn.BatchNorm2d(out))
        self.proj = nn.Sequential(nn.Conv2d(inputs, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        return torch.relu(self.proj(x) + self.c(self.se(self.b(self.a(x)))))


class RegNet(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
                         RegNetBlock(16, 24, 1), RegNetBlock(24, 40, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(40, CLASSES))


class FusedMBConv(nn.Module):
    def __init__(self, inputs, out, stride):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(inputs, 4 * inputs, 3, stride, 1, bias=False),
                                   nn.BatchNorm2d(4 * inputs, eps=1e-3), nn.SiLU(inplace=True),
                                   SqueezeExcite(4 * inputs, inputs // 4),
                                   nn.Conv2d(4 * inputs, out, 1, bias=False), nn.BatchNorm2d(out, eps=1e-3))
        self.same = stride == 1 and inputs == out

    def forward(self, x):
        return x + self.block(x) if self.same else self.block(x)


class EfficientNetV2(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16, eps=1e-3), nn.SiLU(),
                         FusedMBConv(16, 16, 1), FusedMBConv(16, 24, 2), FusedMBConv(24, 24, 1),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, CLASSES))


class ResNeXtBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width // 2, 1, bias=False), nn.BatchNorm2d(width // 2), nn.ReLU(),
            nn.Conv2d(width // 2, width // 2, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(width // 2), nn.ReLU(),
            nn.Conv2d(width // 2, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        return torch.relu(x + self.body(x))


class ResNeXt(nn.Sequential):
    def __init__(self, width=32):
        super().__init__(nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                         nn.MaxPool2d(3, 2, 1), ResNeXtBlock(width), ResNeXtBlock(width), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(width, CLASSES))


class MixerBlock(nn.Module):
    def __init__(self, places, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(places, 2 * places), nn.GELU(), nn.Linear(2 * places, places))
        self.channels = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 8, 8)
        self.blocks = nn.Sequential(MixerBlock(16, width), MixerBlock(16, width))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.stem(x).flatten(2).transpose(1, 2))).mean(dim=1))


class Discriminator(nn.Sequential):
    """DCGAN's, real or made."""

    def __init__(self, width=16):
        super().__init__(
            nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(2 * width, 4 * width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(4 * width), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(4 * width, 2, 4, 1, 0, bias=False),
            nn.Flatten())


class ASPP(nn.Module):
    """DeepLab's head: the same map through several dilations, and its mean."""

    def __init__(self, inputs, out):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, out, 3, padding=d, dilation=d, bias=False), nn.BatchNorm2d(out), nn.ReLU())
            for d in (1, 2, 4))
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, out, 1), nn.ReLU())
        self.project = nn.Conv2d(4 * out, out, 1)

    def forward(self, x):
        mean = F.interpolate(self.mean(x), size=x.shape[-2:], mode="bilinear", align_corners=False)
        return self.project(torch.cat([conv(x) for conv in self.convs] + [mean], dim=1))


class DeepLab(nn.Module):
    """A class for each pixel."""

    def __init__(self, classes=4):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1), nn.ReLU())
        self.aspp, self.head = ASPP(24, 16), nn.Conv2d(16, classes, 1)

    def forward(self, x):
        y = self.head(self.aspp(self.backbone(x)))
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)


class CBAM(nn.Module):
    """Attention by channel, then by place."""

    def __init__(self, width):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width))
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x):
        by = torch.sigmoid(self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3))))
        x = x * by[:, :, None, None]
        at = torch.cat([x.mean(1, keepdim=True), x.max(dim=1, keepdim=True)[0]], dim=1)
        return x * torch.sigmoid(self.conv(at))


class AttentionCNN(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), CBAM(16), nn.Conv2d(16, 24, 3, 2, 1), nn.PReLU(),
                         CBAM(24), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, CLASSES))


class ArcFace(nn.Module):
    """The cosines between a face and those that stand for the classes."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.PReLU(16), nn.Conv2d(16, 16, 3, 2, 1), nn.PReLU(16),
                                  nn.Flatten(), nn.Linear(256, 24), nn.BatchNorm1d(24))
        self.weight = nn.Parameter(torch.randn(CLASSES, 24))

    def forward(self, x):
        return 16.0 * F.linear(F.normalize(self.body(x)), F.normalize(self.weight))


class Stopped(nn.Module):
    """A gate that learns from features without changing them; a length that counts as a number."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.Tanh(), nn.Conv2d(12, 16, 3, 2, 1), nn.Tanh(), nn.Flatten())
        self.gate, self.head = nn.Linear(256, 256), nn.Linear(256, CLASSES)

    def forward(self, x):
        y = self.body(x)
        still = y.detach()
        gate = torch.sigmoid(self.gate(still))
        return self.head(y * gate) / still.norm(dim=1, keepdim=True)


class Codebook(nn.Module):
    """The nearest of learned codes, by straight-through estimation (VQ)."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(144, 24), nn.GELU(), nn.Linear(24, 16))
        self.codes, self.head = nn.Parameter(torch.randn(8, 16) / 4), nn.Linear(16, 5)

    def forward(self, x):
        y = torch.tanh(self.encoder(x.flatten(1)))
        code = self.codes[(y[:, None] - self.codes).square().sum(-1).argmin(1)]
        return self.head(y + (code - y).detach()) + self.head(code)


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(50, 16, padding_idx=0), nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.bag(x))


class Perceiver(nn.Module):
    """Learned queries ask a signal."""

    def __init__(self):
        super().__init__()
        self.queries, self.head = nn.Parameter(torch.randn(6, 16) / 4), nn.Linear(16, 5)
        self.embed, self.attention = nn.Linear(3, 16), nn.MultiheadAttention(16, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x):
        x, queries = self.embed(x.transpose(1, 2)), self.queries.unsqueeze(0).expand(x.shape[0], -1, -1)
        y = queries + self.attention(queries, x, x)[0]
        return self.head((y + self.mlp(y)).mean(1))


class SuperResolution(nn.Module):
    """Gives its input back, through a fourth of its places (ESPCN)."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 16, 5, padding=2), nn.Tanh(),
                                  nn.Conv2d(16, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x):
        return self.body(x)


class Siamese(nn.Module):
    """Two images through one network: alike or not."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 16))
        self.head = nn.Linear(16, 2)

    def forward(self, one, other):
        return self.head(torch.abs(self.body(one) - self.body(other)))


# ---- series, points, frames ----

class WaveNetLayer(nn.Module):
    def __init__(self, width, dilation):
        super().__init__()
        self.dilation = dilation
        self.filter, self.gate = (nn.Conv1d(width, width, 2, dilation=dilation) for _ in range(2))
        self.residual, self.skip = nn.Conv1d(width, width, 1), nn.Conv1d(width, width, 1)

    def forward(self, x):
        y = F.pad(x, (self.dilation, 0))
        y = torch.tanh(self.filter(y)) * torch.sigmoid(self.gate(y))
        return x + self.residual(y), self.skip(y)


class WaveNet(nn.Module):
    def __init__(self, width=16, classes=5):
        super().__init__()
        self.start = nn.Conv1d(3, width, 1)
        self.layers = nn.ModuleList(WaveNetLayer(width, 2 ** i) for i in range(5))
        self.end = nn.Conv1d(width, classes, 1)

    def forward(self, x):
        x, total = self.start(x), 0
        for layer in self.layers:
            x, skip = layer(x)
            total = total + skip
        return self.end(F.relu(total + x))[:, :, -1]


class PatchTST(nn.Module):
    """Overlapping pieces of each channel as tokens of a transformer."""

    def __init__(self, width=16, classes=5):
        super().__init__()
        self.embed, self.place = nn.Linear(8, width), nn.Parameter(torch.randn(11, width) / 50)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, 0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(3 * width, classes)

    def forward(self, x):
        x = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5)
        y = self.embed(x.unfold(2, 8, 4)) + self.place
        y = self.encoder(y.reshape(-1, 11, y.shape[-1]))
        return self.head(y.mean(1).reshape(x.shape[0], -1))


class DLinear(nn.Module):
    """Trend and rest, each through a linear layer."""

    def __init__(self, classes=5):
        super().__init__()
        self.mean = nn.AvgPool1d(9, 1)
        self.trend, self.rest = nn.Linear(48, 8), nn.Linear(48, 8)
        self.head = nn.Linear(24, classes)

    def forward(self, x):
        trend = self.mean(torch.cat([x[:, :, :1].repeat(1, 1, 4), x, x[:, :, -1:].repeat(1, 1, 4)], dim=2))
        return self.head((self.trend(trend) + self.rest(x - trend)).flatten(1))


class TNet(nn.Module):
    """A matrix by which points are turned, the identity at first."""

    def __init__(self, size):
        super().__init__()
        self.size = size
        self.points = nn.Sequential(nn.Conv1d(size, 16, 1), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 32, 1))
        self.matrix = nn.Linear(32, size * size)

    def forward(self, x):
        y = torch.max(self.points(x), 2)[0]
        y = self.matrix(y) + torch.eye(self.size).flatten()
        return y.view(-1, self.size, self.size)


class PointNet(nn.Module):
    """Points in any order."""

    def __init__(self, classes=5):
        super().__init__()
        self.turn = TNet(3)
        self.points = nn.Sequential(nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 32, 1))
        self.head = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, classes))

    def forward(self, x):
        x = torch.bmm(x, self.turn(x.transpose(2, 1))).transpose(2, 1)
        return self.head(torch.max(self.points(x), 2, keepdim=False)[0])


class ConvLSTMCell(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.gates = nn.Conv2d(inputs + width, 4 * width, 3, padding=1)

    def forward(self, x, h, c):
        i, f, o, g = torch.chunk(self.gates(torch.cat([x, h], dim=1)), 4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class ConvLSTM(nn.Module):
    """Frames [N, T, C, H, W], one after the other."""

    def __init__(self, width=8, classes=5):
        super().__init__()
        self.width, self.cell = width, ConvLSTMCell(2, width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        h = torch.zeros(x.shape[0], self.width, x.shape[3], x.shape[4], device=x.device)
        c = torch.zeros_like(h)
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], h, c)
        return self.head(h.mean((2, 3)))


class Video(nn.Module):
    """Convolutions over time and place."""

    def __init__(self, classes=5):
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(2, 8, (3, 3, 3), padding=1, bias=False), nn.BatchNorm3d(8), nn.ReLU(),
                                  nn.MaxPool3d((1, 2, 2)), nn.Conv3d(8, 12, 3, padding=1), nn.ReLU(),
                                  nn.AdaptiveAvgPool3d(1), nn.Flatten())
        self.head = nn.Linear(12, classes)

    def forward(self, x):
        return self.head(self.body(x.transpose(1, 2)))


# ---- tables, graphs, people and things ----

class FTTransformer(nn.Module):
    """Each column a token: numbers through a line of their own, categories through a table."""

    def __init__(self, sizes=(40, 70, 30), numbers=5, width=16, classes=3):
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.randn(numbers, width) / 4) for _ in range(2))
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        self.cls = nn.Parameter(torch.randn(1, 1, width) / 4)
        self.layer = nn.TransformerEncoderLayer(width, 2, 2 * width, 0.0, F.gelu, batch_first=True, norm_first=True)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, numbers, categories):
        y = numbers.unsqueeze(-1) * self.weight + self.bias
        z = torch.stack([table(categories[:, i]) for i, table in enumerate(self.tables)], dim=1)
        y = torch.cat([self.cls.expand(y.shape[0], -1, -1), y, z], dim=1)
        return self.head(self.layer(y)[:, 0])


class DeepFM(nn.Module):
    """Pairs of categories, and a deep network over all."""

    def __init__(self, sizes=(40, 70, 30), width=6, classes=3):
        super().__init__()
        self.register_buffer("offset", torch.tensor((0, *sizes[:-1])).cumsum(0))
        self.table, self.first = nn.Embedding(sum(sizes), width), nn.Embedding(sum(sizes), 1)
        self.deep = nn.Sequential(nn.Linear(len(sizes) * width, 16), nn.ReLU(), nn.Linear(16, classes))
        self.scale = nn.Linear(2, classes)

    def forward(self, x):
        x = x + self.offset
        e = self.table(x)
        pairs = 0.5 * (e.sum(1) ** 2 - (e ** 2).sum(1)).sum(1, keepdim=True)
        return self.deep(e.flatten(1)) + self.scale(torch.cat([pairs, self.first(x).sum(1)], 1))


class Recommender(nn.Module):
    """A person, a thing, and how they fit (neural collaborative filtering); a class of rating."""

    def __init__(self, users=300, items=400, width=8, classes=5):
        super().__init__()
        self.user, self.item = nn.Embedding(users, width), nn.Embedding(items, width)
        self.mlp = nn.Sequential(nn.Linear(2 * width, 16), nn.ReLU(), nn.Linear(16, width))
        self.head = nn.Linear(2 * width, classes)

    def forward(self, user, item):
        u, i = self.user(user), self.item(item)
        return self.head(torch.cat([u * i, self.mlp(torch.cat([u, i], dim=-1))], dim=-1))


class GCN(nn.Module):
    """A graph as features of its nodes and a matrix of their edges; one class for all of it."""

    def __init__(self, width=16, classes=5):
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(4, width), nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, nodes, edges):
        edges = edges + torch.eye(edges.shape[-1], device=edges.device)
        scale = edges.sum(-1).pow(-0.5)
        edges = edges * scale.unsqueeze(-1) * scale.unsqueeze(-2)
        x = F.relu(torch.matmul(edges, self.fc1(nodes)))
        return self.head(F.relu(edges @ self.fc2(x)).mean(dim=1))


# ---- samples ----

def tokens(length=10, size=50):
    return lambda count, g: torch.randint(0, size, (count, length), generator=g, dtype=torch.int32)


def masked_tokens(count, g):
    return masked(count, g)[0]


def masked(count, g):
    """Tokens filled up with 0, and a 1 for each that counts."""
    mask = torch.arange(12) < torch.randint(4, 13, (count, 1), generator=g)
    return torch.randint(1, 50, (count, 12), generator=g, dtype=torch.int32) * mask, mask.int()


def padded(count, g):
    """Tokens filled up with 0, and how many of them count."""
    x, mask = masked(count, g)
    return x, mask.sum(1, dtype=torch.int32)


def padded_signals(count, g):
    return torch.randn(count, 20, 3, generator=g), torch.randint(1, 21, (count,), generator=g, dtype=torch.int32)


def pairs(count, g):
    return tuple(torch.randn(count, 3, 16, 16, generator=g) for _ in range(2))


def signals(count, g):
    return torch.randn(count, 3, 48, generator=g).cumsum(2) / 4


def points(count, g):
    return torch.randn(count, 24, 3, generator=g)


def frames(count, g):
    return torch.randn(count, 4, 2, 8, 8, generator=g)


def categories(count, g):
    return torch.stack([torch.randint(0, n, (count,), generator=g, dtype=torch.int32) for n in (40, 70, 30)], 1)


def graphs(count, g):
    edges = (torch.rand(count, 7, 7, generator=g) < 0.3).float()
    return torch.randn(count, 7, 4, generator=g), torch.maximum(edges, edges.transpose(1, 2))


def coloured(x, g):
    return (x.float().mean(1) / 64).to(torch.int32)


def seen(x, g):
    """A class, boxes and whether they can be trusted, of pictures."""
    n = len(x)
    return (labels(5)(x, g), torch.rand(n, 4, 2, 2, generator=g),
            torch.randint(0, 2, (n,), generator=g, dtype=torch.int32))


def kind(make, x, y=labels(CLASSES), windows=False, loss=None):
    return Kind(lambda dropout: make(), x, y, windows, loss)


KINDS = {
    "bert": kind(Bert, masked, labels(5)),
    "gpt2": kind(GPT2, windows, None, True),
    "llama": kind(Llama, windows, None, True),
    "translator": kind(Translator, lambda n, g: (tokens(9)(n, g), tokens(6)(n, g)), labels(5)),
    "attention_gru": kind(AttentionGRU, tokens(), labels(5)),
    "packed_text": kind(PackedText, padded, labels(5)),
    "counted_text": kind(CountedText, lambda n, g: padded(n, g)[0], labels(5)),
    "packed_signal": kind(PackedSignal, padded_signals, labels(5)),
    "swin": kind(Swin, pictures(32)),
    "detector": kind(Detector, pictures(16), seen, loss="cross_entropy+0.5*smooth_l1:0.5+2*bce"),
    "regnet": kind(RegNet, pictures(32)),
    "efficientnet_v2": kind(EfficientNetV2, pictures(32)),
    "resnext": kind(ResNeXt, pictures(32)),
    "mixer": kind(Mixer, pictures(32)),
    "discriminator": kind(Discriminator, pictures(32), labels(2)),
    "deeplab": kind(DeepLab, pictures(24), coloured),
    "cbam": kind(AttentionCNN, pictures(16)),
    "arcface": kind(ArcFace, pictures(16)),
    "stopped": kind(Stopped, pictures(16)),
    "codebook": kind(Codebook, signals, labels(5)),
    "padded_text": kind(PaddedText, masked_tokens, labels(5)),
    "bag": kind(Bag, masked_tokens, labels(5)),
    "perceiver": kind(Perceiver, signals, labels(5)),
    "super_resolution": kind(SuperResolution, pictures(16), None),
    "siamese": kind(Siamese, pairs, labels(2)),
    "wavenet": kind(WaveNet, signals, labels(5)),
    "patch_tst": kind(PatchTST, signals, labels(5)),
    "dlinear": kind(DLinear, signals, labels(5)),
    "pointnet": kind(PointNet, points, labels(5)),
    "conv_lstm": kind(ConvLSTM, frames, labels(5)),
    "video": kind(Video, frames, labels(5)),
    "ft_transformer": kind(FTTransformer, lambda n, g: (torch.randn(n, 5, generator=g), categories(n, g)), labels(3)),
    "deep_fm": kind(DeepFM, categories, labels(3)),
    "recommender": kind(Recommender, lambda n, g: (torch.randint(0, 300, (n,), generator=g, dtype=torch.int32),
                                                   torch.randint(0, 400, (n,), generator=g, dtype=torch.int32)),
                        labels(5)),
    "gcn": kind(GCN, graphs, labels(5)),
}

# Without ReLUs and max poolings, or with such as decisions.py does not know.
SMOOTH = {"bert", "detector", "gpt2", "llama", "translator", "attention_gru", "packed_text",
          "counted_text", "packed_signal", "swin", "efficientnet_v2", "mixer", "discriminator", "arcface", "stopped",
          "codebook", "padded_text", "bag", "perceiver",
          "super_resolution", "wavenet", "patch_tst", "dlinear", "video", "ft_transformer"}

TITLES = {
    "bert": "BERT classifier (tokens, mask), short", "gpt2": "GPT-2, short", "llama": "LLaMA (rotary, grouped heads), short",
    "translator": "nn.Transformer (two texts), short", "attention_gru": "GRU with attention",
    "packed_text": "LSTM over tokens of unequal length (tokens, lengths)",
    "counted_text": "LSTM over tokens that say where they end",
    "packed_signal": "GRU over signals of unequal length (signal, lengths)", "swin": "Swin, short",
    "detector": "CNN with three outputs (class, boxes, certainty)", "regnet": "RegNetY, short", "efficientnet_v2": "EfficientNetV2 (fused, SE), short", "resnext": "ResNeXt, short",
    "mixer": "MLP-Mixer, short", "discriminator": "DCGAN discriminator", "deeplab": "DeepLab (ASPP), short",
    "cbam": "CNN with CBAM", "arcface": "ArcFace, short", "stopped": "CNN with detach()",
    "codebook": "vector quantisation, straight through", "bag": "EmbeddingBag classifier, padded",
    "padded_text": "GRU over padded tokens (padding_idx)",
    "perceiver": "Perceiver (learned queries), short", "super_resolution": "ESPCN (pixel shuffle)",
    "siamese": "siamese CNN (two images)", "wavenet": "WaveNet, short", "patch_tst": "PatchTST, short",
    "dlinear": "DLinear", "pointnet": "PointNet, short", "conv_lstm": "ConvLSTM", "video": "3-d CNN over frames",
    "ft_transformer": "FT-Transformer (numbers, categories)", "deep_fm": "DeepFM",
    "recommender": "neural collaborative filtering (user, item)", "gcn": "GCN (nodes, edges)"}
