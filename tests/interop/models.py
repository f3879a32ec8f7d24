"""Models that people bring: one of each family, as plain modules with torchvision's structure
and parameter names where it has them, written from their papers. Widths and depths are
arguments: the small forms keep every kind of layer and leave out repetitions. Dropout and
stochastic depth are off. more_models.py has further ones. Imports nothing but torch and these.
More than 500 lines: a list.

    model = build("resnet18"); x, y = samples("resnet18", 48, seed=1)
"""

import torch
from torch import nn
from torch.nn import functional as F

import modules
import more_models
from modules import Kind, labels, pictures

CLASSES = 10


def unit(inputs, out, kernel=3, stride=1, groups=1, act=nn.ReLU, **norm):
    """Convolution, batch norm, activation (None: none), as torchvision's Conv2dNormActivation."""
    layers = [nn.Conv2d(inputs, out, kernel, stride, kernel // 2, groups=groups, bias=False),
              nn.BatchNorm2d(out, **norm)]
    return nn.Sequential(*layers, *([act()] if act else []))


class Residual(nn.Module):
    """kernels: of the long arm's convolutions; the first 3 x 3 has the stride."""

    def __init__(self, inputs, width, stride, bottleneck):
        super().__init__()
        out = 4 * width if bottleneck else width
        sizes = ((width, 1), (width, 3), (out, 1)) if bottleneck else ((width, 3), (out, 3))
        self.count, now, strided = len(sizes), inputs, not bottleneck
        for i, (size, kernel) in enumerate(sizes, 1):
            here = stride if i == (1 if strided else 2) else 1
            self.add_module(f"conv{i}", nn.Conv2d(now, size, kernel, here, kernel // 2, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(size))
            now = size
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != out:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, out, 1, stride, bias=False),
                                            nn.BatchNorm2d(out))

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.count:
                y = self.relu(y)
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class ResNet(nn.Module):
    def __init__(self, blocks, bottleneck=False, width=64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.count, now = len(blocks), width
        for stage, count in enumerate(blocks):
            out, layers = width << stage, []
            for i in range(count):
                layers.append(Residual(now, out, 2 if stage and not i else 1, bottleneck))
                now = 4 * out if bottleneck else out
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(now, CLASSES)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in range(1, self.count + 1):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


def from_identity(net):
    """Residual branches add nothing at first, as torchvision's zero_init_residual: else the gradients of 50 layers,
    batch norms over few values between them, are 5 % off in PyTorch's own float32."""
    for name, layer in net.named_modules():
        if name.endswith("bn3"):
            nn.init.zeros_(layer.weight)
    return net


class VGG(nn.Module):
    def __init__(self, width=64, hidden=4096, side=7):
        super().__init__()
        layers, now = [], 3
        for out, count in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
            for _ in range(count):
                layers += [nn.Conv2d(now, out * width, 3, padding=1), nn.BatchNorm2d(out * width),
                           nn.ReLU(inplace=True)]
                now = out * width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(side)
        self.classifier = nn.Sequential(
            nn.Linear(now * side * side, hidden), nn.ReLU(True), nn.Dropout(0.0),
            nn.Linear(hidden, hidden), nn.ReLU(True), nn.Dropout(0.0),
            nn.Linear(hidden, CLASSES))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class DenseLayer(nn.Module):
    def __init__(self, inputs, growth):
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(4 * growth), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, maps):
        x = self.conv1(self.relu1(self.norm1(torch.cat(maps, 1))))
        return self.conv2(self.relu2(self.norm2(x)))


class DenseBlock(nn.ModuleDict):
    def __init__(self, inputs, count, growth):
        super().__init__({f"denselayer{i + 1}": DenseLayer(inputs + i * growth, growth)
                          for i in range(count)})

    def forward(self, x):
        maps = [x]
        for layer in self.values():
            maps.append(layer(maps))
        return torch.cat(maps, 1)


class DenseNet(nn.Module):
    def __init__(self, blocks, growth=32):
        super().__init__()
        now = 2 * growth
        self.features = nn.Sequential()
        add = self.features.add_module
        add("conv0", nn.Conv2d(3, now, 7, 2, 3, bias=False))
        add("norm0", nn.BatchNorm2d(now))
        add("relu0", nn.ReLU(inplace=True))
        add("pool0", nn.MaxPool2d(3, 2, 1))
        for i, count in enumerate(blocks, 1):
            add(f"denseblock{i}", DenseBlock(now, count, growth))
            now += count * growth
            if i < len(blocks):
                step = nn.Sequential()
                step.add_module("norm", nn.BatchNorm2d(now))
                step.add_module("relu", nn.ReLU(inplace=True))
                step.add_module("conv", nn.Conv2d(now, now // 2, 1, bias=False))
                step.add_module("pool", nn.AvgPool2d(2, 2))
                add(f"transition{i}", step)
                now //= 2
        add("norm5", nn.BatchNorm2d(now))
        self.classifier = nn.Linear(now, CLASSES)

    def forward(self, x):
        x = F.relu(self.features(x), inplace=True)
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


class InvertedResidual(nn.Module):
    """MobileNetV2's."""

    def __init__(self, inputs, out, stride, expansion):
        super().__init__()
        hidden = inputs * expansion
        layers = [unit(inputs, hidden, 1, act=nn.ReLU6)] if expansion != 1 else []
        layers += [unit(hidden, hidden, 3, stride, hidden, nn.ReLU6),
                   nn.Conv2d(hidden, out, 1, bias=False), nn.BatchNorm2d(out)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == out

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, repeats=(1, 2, 3, 4, 3, 3, 1), stem=32, last=1280):
        super().__init__()
        layers, now = [unit(3, stem, 3, 2, act=nn.ReLU6)], stem
        for i, (expansion, out, stride) in enumerate((
                (1, 16, 1), (6, 24, 2), (6, 32, 2), (6, 64, 2), (6, 96, 1), (6, 160, 2),
                (6, 320, 1))):
            for j in range(repeats[i]):
                layers.append(InvertedResidual(now, out, 1 if j else stride, expansion))
                now = out
        self.features = nn.Sequential(*layers, unit(now, last, 1, act=nn.ReLU6))
        self.classifier = nn.Sequential(nn.Dropout(0.0), nn.Linear(last, CLASSES))

    def forward(self, x):
        x = F.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class SqueezeExcitation(nn.Module):
    """The channels, weighted by what the whole image says of them."""

    def __init__(self, width, squeezed, act=nn.ReLU, gate=nn.Sigmoid):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(width, squeezed, 1), nn.Conv2d(squeezed, width, 1)
        self.activation, self.scale_activation = act(), gate()

    def forward(self, x):
        scale = self.activation(self.fc1(self.avgpool(x)))
        return self.scale_activation(self.fc2(scale)) * x


class MobileBlock(nn.Module):
    """MobileNetV3's and EfficientNet's: expand, depthwise, squeeze and excite, project."""

    def __init__(self, inputs, hidden, out, kernel, stride, squeeze, act, norm=None):
        super().__init__()
        norm = norm or {}
        layers = [unit(inputs, hidden, 1, act=act, **norm)] if hidden != inputs else []
        layers.append(unit(hidden, hidden, kernel, stride, hidden, act, **norm))
        layers += [squeeze(hidden)] if squeeze else []
        layers.append(unit(hidden, out, 1, act=None, **norm))
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == out

    def forward(self, x):
        y = self.block(x)
        if self.residual:
            y += x
        return y


def eighths(value):
    """The nearest multiple of 8, not below nine tenths of value."""
    near = max(8, int(value + 4) // 8 * 8)
    return near + 8 if near < 0.9 * value else near


class MobileNetV3Small(nn.Module):
    ROWS = ((16, 16, 3, 2, True, nn.ReLU), (72, 24, 3, 2, False, nn.ReLU),
            (88, 24, 3, 1, False, nn.ReLU), (96, 40, 5, 2, True, nn.Hardswish),
            (240, 40, 5, 1, True, nn.Hardswish), (240, 40, 5, 1, True, nn.Hardswish),
            (120, 48, 5, 1, True, nn.Hardswish), (144, 48, 5, 1, True, nn.Hardswish),
            (288, 96, 5, 2, True, nn.Hardswish), (576, 96, 5, 1, True, nn.Hardswish),
            (576, 96, 5, 1, True, nn.Hardswish))

    def __init__(self, rows=range(11)):
        super().__init__()
        norm, now = {"eps": 1e-3, "momentum": 0.01}, 16
        layers = [unit(3, now, 3, 2, act=nn.Hardswish, **norm)]
        for hidden, out, kernel, stride, squeeze, act in (self.ROWS[i] for i in rows):
            layers.append(MobileBlock(
                now, hidden, out, kernel, stride, squeeze and (lambda width: SqueezeExcitation(
                    width, eighths(width // 4), gate=nn.Hardsigmoid)), act, norm))
            now = out
        self.features = nn.Sequential(*layers, unit(now, 6 * now, 1, act=nn.Hardswish, **norm))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(6 * now, 1024), nn.Hardswish(inplace=True),
                                        nn.Dropout(0.0, inplace=True), nn.Linear(1024, CLASSES))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class EfficientNet(nn.Module):
    """B0."""

    def __init__(self, repeats=(1, 2, 2, 3, 3, 4, 1), last=1280):
        super().__init__()
        layers, now = [unit(3, 32, 3, 2, act=nn.SiLU)], 32
        for i, (expansion, kernel, stride, out) in enumerate((
                (1, 3, 1, 16), (6, 3, 2, 24), (6, 5, 2, 40), (6, 3, 2, 80), (6, 5, 1, 112),
                (6, 5, 2, 192), (6, 3, 1, 320))):
            stage = []
            for j in range(repeats[i]):
                squeezed = now // 4
                stage.append(MobileBlock(
                    now, now * expansion, out, kernel, 1 if j else stride,
                    lambda width, n=squeezed: SqueezeExcitation(width, n, nn.SiLU), nn.SiLU))
                now = out
            layers += [nn.Sequential(*stage)] if stage else []
        self.features = nn.Sequential(*layers, unit(now, last, 1, act=nn.SiLU))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.0, inplace=True), nn.Linear(last, CLASSES))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def channel_shuffle(x, groups):
    """Channels of all groups in turn."""
    n, c, height, width = x.size()
    x = torch.transpose(x.view(n, groups, c // groups, height, width), 1, 2).contiguous()
    return x.view(n, c, height, width)


class ShuffleUnit(nn.Module):
    def __init__(self, inputs, out, stride):
        super().__init__()
        half = out // 2
        self.stride = stride
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(
                nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
                nn.BatchNorm2d(inputs), *unit(inputs, half, 1))
        self.branch2 = nn.Sequential(
            *unit(inputs if stride > 1 else half, half, 1),
            nn.Conv2d(half, half, 3, stride, 1, groups=half, bias=False),
            nn.BatchNorm2d(half), *unit(half, half, 1))

    def forward(self, x):
        if self.stride == 1:
            x1, x2 = x.chunk(2, dim=1)
            y = torch.cat((x1, self.branch2(x2)), dim=1)
        else:
            y = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        return channel_shuffle(y, 2)


class ShuffleNetV2(nn.Module):
    """x1.0."""

    def __init__(self, repeats=(4, 8, 4), widths=(24, 116, 232, 464, 1024)):
        super().__init__()
        self.conv1, now = unit(3, widths[0], 3, 2), widths[0]
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for i, (count, out) in enumerate(zip(repeats, widths[1:])):
            stage = [ShuffleUnit(out if j else now, out, 1 if j else 2) for j in range(count)]
            self.add_module(f"stage{i + 2}", nn.Sequential(*stage))
            now = out
        self.conv5 = unit(now, widths[-1], 1)
        self.fc = nn.Linear(widths[-1], CLASSES)

    def forward(self, x):
        x = self.stage4(self.stage3(self.stage2(self.maxpool(self.conv1(x)))))
        return self.fc(self.conv5(x).mean([2, 3]))


class Fire(nn.Module):
    def __init__(self, inputs, squeezed, expanded):
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.squeeze_activation(self.squeeze(x))
        return torch.cat([self.expand1x1_activation(self.expand1x1(x)),
                          self.expand3x3_activation(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """1.1."""

    def __init__(self):
        super().__init__()

        def pool():
            return nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)

        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2), nn.ReLU(inplace=True), pool(), Fire(64, 16, 64),
            Fire(128, 16, 64), pool(), Fire(128, 32, 128), Fire(256, 32, 128), pool(),
            Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256))
        self.classifier = nn.Sequential(nn.Dropout(0.0), nn.Conv2d(512, CLASSES, 1),
                                        nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1)))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        nn.init.normal_(self.classifier[1].weight, std=0.01)

    def forward(self, x):
        return torch.flatten(self.classifier(self.features(x)), 1)


class BasicConv(nn.Module):
    def __init__(self, inputs, out, kernel, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """torchvision's third branch has a 3 x 3 where the paper has a 5 x 5."""

    def __init__(self, inputs, ch1, reduce3, ch3, reduce5, ch5, pooled):
        super().__init__()
        self.branch1 = BasicConv(inputs, ch1, 1)
        self.branch2 = nn.Sequential(BasicConv(inputs, reduce3, 1), BasicConv(reduce3, ch3, 3))
        self.branch3 = nn.Sequential(BasicConv(inputs, reduce5, 1), BasicConv(reduce5, ch5, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True),
                                     BasicConv(inputs, pooled, 1))

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(nn.Module):
    """Without the auxiliary heads; the input is scaled as for the weights that torchvision has."""

    BLOCKS = {"3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64),
              "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64),
              "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
              "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128),
              "5b": (384, 192, 384, 48, 128, 128)}

    def __init__(self, blocks=tuple(BLOCKS)):
        super().__init__()
        self.blocks, now = blocks, 192
        self.conv1, self.maxpool1 = BasicConv(3, 64, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.conv3 = BasicConv(64, 64, 1), BasicConv(64, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        for name in blocks:
            widths = self.BLOCKS[name]
            self.add_module(f"inception{name}", Inception(now, *widths))
            now = widths[0] + widths[2] + widths[4] + widths[5]
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.avgpool, self.dropout = nn.AdaptiveAvgPool2d((1, 1)), nn.Dropout(0.0)
        self.fc = nn.Linear(now, CLASSES)

    def forward(self, x):
        red = torch.unsqueeze(x[:, 0], 1) * (0.229 / 0.5) + (0.485 - 0.5) / 0.5
        green = torch.unsqueeze(x[:, 1], 1) * (0.224 / 0.5) + (0.456 - 0.5) / 0.5
        blue = torch.unsqueeze(x[:, 2], 1) * (0.225 / 0.5) + (0.406 - 0.5) / 0.5
        x = self.maxpool1(self.conv1(torch.cat((red, green, blue), 1)))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        level = "3"
        for name in self.blocks:
            if name[0] != level:
                x, level = getattr(self, f"maxpool{level}")(x), name[0]
            x = getattr(self, f"inception{name}")(x)
        return self.fc(self.dropout(torch.flatten(self.avgpool(x), 1)))


class LayerNorm2d(nn.LayerNorm):
    """Over the channels."""

    def forward(self, x):
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias,
                         self.eps)
        return x.permute(0, 3, 1, 2)


class Permute(nn.Module):
    def __init__(self, *dims):
        super().__init__()
        self.dims = dims

    def forward(self, x):
        return torch.permute(x, self.dims)


class ConvNeXtBlock(nn.Module):
    def __init__(self, width, scale=1e-6):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width), Permute(0, 2, 3, 1),
            nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 4 * width), nn.GELU(),
            nn.Linear(4 * width, width), Permute(0, 3, 1, 2))
        self.layer_scale = nn.Parameter(torch.ones(width, 1, 1) * scale)

    def forward(self, x):
        y = self.layer_scale * self.block(x)
        y += x
        return y


class ConvNeXt(nn.Module):
    def __init__(self, depths=(3, 3, 9, 3), widths=(96, 192, 384, 768), scale=1e-6):
        super().__init__()
        layers = [nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), LayerNorm2d(widths[0], eps=1e-6))]
        for i, (depth, width) in enumerate(zip(depths, widths)):
            layers.append(nn.Sequential(*(ConvNeXtBlock(width, scale) for _ in range(depth))))
            if i + 1 < len(widths):
                layers.append(nn.Sequential(LayerNorm2d(width, eps=1e-6),
                                            nn.Conv2d(width, widths[i + 1], 2, 2)))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(LayerNorm2d(widths[-1], eps=1e-6), nn.Flatten(1),
                                        nn.Linear(widths[-1], CLASSES))

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)))


class EncoderBlock(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.dropout = nn.Dropout(0.0)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(0.0),
                                 nn.Linear(hidden, width), nn.Dropout(0.0))

    def forward(self, x):
        y = self.ln_1(x)
        y, _ = self.self_attention(y, y, y, need_weights=False)
        x = self.dropout(y) + x
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    def __init__(self, positions, layers, width, heads, hidden):
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, positions, width).normal_(std=0.02))
        self.dropout = nn.Dropout(0.0)
        self.layers = nn.Sequential()
        for i in range(layers):
            self.layers.add_module(f"encoder_layer_{i}", EncoderBlock(width, heads, hidden))
        self.ln = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x):
        return self.ln(self.layers(self.dropout(x + self.pos_embedding)))


class VisionTransformer(nn.Module):
    def __init__(self, side=64, patch=32, layers=12, width=768, heads=12, hidden=3072):
        super().__init__()
        self.patch, self.width, count = patch, width, (side // patch) ** 2
        self.conv_proj = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.encoder = Encoder(count + 1, layers, width, heads, hidden)
        self.heads = nn.Sequential()
        self.heads.add_module("head", nn.Linear(width, CLASSES))

    def forward(self, x):
        n, _, height, width = x.shape
        count = (height // self.patch) * (width // self.patch)
        x = self.conv_proj(x).reshape(n, self.width, count).permute(0, 2, 1)
        x = torch.cat([self.class_token.expand(n, -1, -1), x], dim=1)
        return self.heads(self.encoder(x)[:, 0])


class UNet(nn.Module):
    """A class for each pixel. bilinear: enlarged to the skip's size, else by up-convolutions."""

    def __init__(self, widths=(64, 128, 256, 512, 1024), classes=4, bilinear=False):
        super().__init__()
        self.bilinear = bilinear
        self.down, self.up, self.merge = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for inputs, out in zip((3, *widths), widths):
            self.down.append(nn.Sequential(*unit(inputs, out), *unit(out, out)))
        for inputs, out in zip(widths[:0:-1], widths[-2::-1]):
            self.up.append(nn.Conv2d(inputs, out, 1) if bilinear else
                           nn.ConvTranspose2d(inputs, out, 2, 2))
            self.merge.append(nn.Sequential(*unit(2 * out, out), *unit(out, out)))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        skips = []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            skips.append(x)
        skips.pop()
        for up, merge in zip(self.up, self.merge):
            skip = skips.pop()
            if self.bilinear:
                x = F.interpolate(up(x), size=skip.shape[2:], mode="bilinear",
                                  align_corners=False)
            else:
                x = up(x)
            x = merge(torch.cat([skip, x], dim=1))
        return self.head(x)


class SequenceCNN(nn.Module):
    """Over a signal of several channels."""

    def __init__(self, channels=3, classes=5):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(channels, 16, 7, 2, 3, bias=False), nn.BatchNorm1d(16), nn.ReLU(),
            nn.MaxPool1d(3, 2, 1), nn.Conv1d(16, 32, 3, padding=2, dilation=2), nn.ReLU(),
            nn.Conv1d(32, 32, 3, padding=1, groups=4), nn.AvgPool1d(2))
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        return self.head(F.adaptive_avg_pool1d(self.features(x), 1).squeeze(-1))


class LastState(nn.Module):
    """Tokens; the last states of both directions of two layers decide."""

    def __init__(self, tokens=50, classes=5):
        super().__init__()
        self.embedding = nn.Embedding(tokens, 12)
        self.lstm = nn.LSTM(12, 16, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        _, (state, _) = self.lstm(self.embedding(x))
        return self.head(torch.cat([state[-2], state[-1]], dim=1))


class TabularBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.fc1 = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.fc2(F.silu(self.fc1(self.norm(x))))


class TabularMLP(nn.Module):
    """Numbers, standardised by what the module keeps; residual blocks."""

    def __init__(self, width=20, hidden=48, classes=3):
        super().__init__()
        self.register_buffer("mean", torch.linspace(-0.2, 0.2, width))
        self.register_buffer("deviation", torch.linspace(0.8, 1.2, width))
        self.stem = nn.Linear(width, hidden)
        self.blocks = nn.Sequential(TabularBlock(hidden), TabularBlock(hidden))
        self.head = nn.Sequential(nn.BatchNorm1d(hidden), nn.GELU(), nn.Linear(hidden, classes))

    def forward(self, x):
        return self.head(self.blocks(self.stem((x - self.mean) / self.deviation)))


class Autoencoder(nn.Module):
    """Through a code of a few numbers."""

    def __init__(self, side=16, code=24):
        super().__init__()
        self.side = side // 4
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 32, 3, 2, 1),
            nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(32 * self.side ** 2, code))
        self.spread = nn.Linear(code, 32 * self.side ** 2)
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(32, 16, 3, padding=1), nn.Tanh(),
            nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Sigmoid())

    def forward(self, x):
        x = self.spread(self.encoder(x)).view(-1, 32, self.side, self.side)
        return self.decoder(x)


class Shared(nn.Module):
    """One block, run three times: its weights train as one."""

    def __init__(self, width=16):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 2, 1)
        self.block = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(4, width),
                                   nn.Softplus())
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        for _ in range(3):
            x = x + self.block(x)
        return self.head(x.mean((2, 3)))


class Numbers(nn.Module):
    """What looks like a constant and trains (single numbers, what is subtracted, divided by, an exponent, a bound), and
    what looks like a weight and does not (buffers that are added or multiplied, a fixed filter, a norm without weights)."""

    def __init__(self, width=8):
        super().__init__()
        self.register_buffer("middle", torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.2, 0.3, 0.25]).view(3, 1, 1), persistent=False)
        self.stem, self.norm = nn.Conv2d(3, width, 3, padding=1), nn.InstanceNorm2d(width)
        self.shift = nn.Parameter(torch.linspace(-0.2, 0.2, width).view(width, 1, 1))
        self.power = nn.Parameter(torch.tensor([1.25]))
        self.floor = nn.Parameter(torch.full((width, 1, 1), 0.05))
        self.register_buffer("table", torch.sin(torch.arange(64.0)).view(1, 1, 8, 8), persistent=False)
        self.register_buffer("gains", torch.linspace(0.5, 1.5, width).view(width, 1, 1), persistent=False)
        self.register_buffer("blur", torch.tensor([0.25, 0.5, 0.25]).repeat(width, 1, 1, 1), persistent=False)
        self.gate, self.residual = nn.Parameter(torch.tensor([0.3])), nn.Parameter(torch.tensor(0.1))
        self.mix, self.head = nn.Conv2d(width, width, 3, padding=1), nn.Linear(width, CLASSES)
        self.scale, self.temperature = nn.Parameter(torch.tensor(0.7)), nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        x = self.norm(self.stem((x - self.middle) / self.deviation))
        x = torch.maximum(torch.sigmoid(x - self.shift).pow(self.power), self.floor)
        x = F.conv2d(F.avg_pool2d(x, 2), self.blur, padding=(0, 1), groups=x.shape[1])
        x = (x + self.table) * self.gains
        x = x + self.residual * self.mix(x) * F.softplus(self.gate)
        return self.head(x.mean((2, 3))) * self.scale.exp() / self.temperature


def signals(count, g):
    return torch.randn(count, 3, 48, generator=g).cumsum(2) / 4


def tokens(count, g):
    return torch.randint(0, 50, (count, 10), generator=g, dtype=torch.int32)


def numbers(count, g):
    return torch.randn(count, 20, generator=g)


def coloured(x, g):
    """A class for each pixel, from how bright it is."""
    return (x.float().mean(1) / 64).to(torch.int32)


def images(make, side=64):
    return Kind(lambda dropout: make(), pictures(side), labels(CLASSES))


KINDS = {
    "resnet18": images(lambda: ResNet((2, 2, 2, 2))),
    "resnet18_small": images(lambda: ResNet((2, 2, 2, 2), width=16)),
    "resnet34": images(lambda: ResNet((3, 4, 6, 3))),
    "resnet50": images(lambda: from_identity(ResNet((3, 4, 6, 3), True))),
    "resnet50_small": images(lambda: ResNet((1, 2, 1), True, 16)),
    "vgg16_bn": images(lambda: VGG(side=2)),
    "vgg16_bn_small": images(lambda: VGG(16, 128, 2)),
    "densenet121": images(lambda: DenseNet((6, 12, 24, 16))),
    "densenet_small": images(lambda: DenseNet((2, 2, 2), 12)),
    "mobilenet_v2": images(MobileNetV2),
    "mobilenet_v2_small": images(lambda: MobileNetV2((1, 2, 2, 1, 0, 0, 0), 16, 96)),
    "mobilenet_v3_small": images(MobileNetV3Small),
    "mobilenet_v3_short": images(lambda: MobileNetV3Small((0, 1, 2, 3, 4))),
    "efficientnet_b0": images(EfficientNet),
    "efficientnet_short": images(lambda: EfficientNet((1, 2, 2, 0, 0, 0, 0), 160)),
    "shufflenet_v2": images(ShuffleNetV2),
    "shufflenet_v2_small": images(lambda: ShuffleNetV2((2, 2, 2), (24, 48, 96, 128, 160))),
    "squeezenet": images(SqueezeNet),
    "googlenet": images(GoogLeNet),
    "googlenet_short": images(lambda: GoogLeNet(("3a", "3b", "4a"))),
    "convnext_tiny": images(ConvNeXt),
    "convnext_small": images(lambda: ConvNeXt((1, 2, 1), (24, 48, 96))),
    "vit_b_32": images(VisionTransformer),
    "vit_small": images(lambda: VisionTransformer(64, 32, 2, 64, 4, 128)),
    "unet": Kind(lambda dropout: UNet((8, 16, 32)), pictures(16), coloured),
    "unet_bilinear": Kind(lambda dropout: UNet((8, 16, 32), bilinear=True), pictures(20), coloured),
    "unet_full": Kind(lambda dropout: UNet(), pictures(32), coloured),
    "cnn1d": Kind(lambda dropout: SequenceCNN(), signals, labels(5)),
    "lstm": Kind(lambda dropout: LastState(), tokens, labels(5)),
    "tabular": Kind(lambda dropout: TabularMLP(), numbers, labels(3)),
    "autoencoder": Kind(lambda dropout: Autoencoder(), pictures(16), None),
    "shared": images(Shared, 16),
    "numbers": images(Numbers, 16),
    **more_models.KINDS,
}

# As people know them; the others' names say it.
TITLES = {
    "resnet18": "ResNet-18", "resnet34": "ResNet-34", "resnet50": "ResNet-50 (zero_init_residual)", "vgg16_bn": "VGG-16 with batch norm",
    "densenet121": "DenseNet-121", "mobilenet_v2": "MobileNetV2", "mobilenet_v3_small": "MobileNetV3 small",
    "efficientnet_b0": "EfficientNet-B0", "shufflenet_v2": "ShuffleNetV2", "squeezenet": "SqueezeNet",
    "googlenet": "GoogLeNet", "convnext_tiny": "ConvNeXt tiny", "vit_b_32": "ViT-B/32", "unet_full": "U-Net",
    "cnn1d": "1-d CNN over signals", "lstm": "LSTM over tokens", "tabular": "residual MLP over a table",
    **more_models.TITLES,
}


def build(name, dropout=0.0):
    """The same weights each time."""
    return modules.build(name, dropout, KINDS)


def samples(name, count, seed):
    """As modules.py's."""
    return modules.samples(name, count, seed, KINDS)
