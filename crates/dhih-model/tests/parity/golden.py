#!/usr/bin/env python3
"""Writes tests/data/torchvision.safetensors: features and gradients that PyTorch computes, which tests/torchvision.rs and transformers.rs compare with ours;
and tests/data/text/expected.safetensors: those of texts, and the tokens of a small tokenizer, which tests/text.rs compares with ours.

Weights and images are values of a formula of name and place, the same here and there, so that no checkpoint is stored. Names
and shapes of the parameters are stored as a digest. Networks that torchvision lacks are written out here.

    pip install torch torchvision timm transformers tokenizers safetensors
    python golden.py [--weights FOLDER with the files of TRAINED] [NETWORK ...]

With names of networks, all others keep what the file has; `texts` names those of texts.
"""
import argparse
import hashlib
import math
import pathlib

import numpy as np
import timm
import tokenizers
import torch
import torch.nn.functional as F
import torchvision.models as models
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

STRIDE = 7  # of the features that are stored
IMAGES = 12  # that gradients are computed for
DEEP = {"resnet50": 24, "efficientnet-lite2": 40}  # more of them: so many units are seldom all beside their kinks
SMOOTH = ("dinov2", "clip", "siglip", "convnext", "efficientnet-b0")  # networks whose activations have no kink


def formula(name, count):
    """Values in -1..1: a hash (FNV-1a) of the name and the place, mixed."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = (seed ^ byte) * 0x01000193 % 2**32
    x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(seed)
    for shift, factor in [(16, 0x7FEB352D), (15, 0x846CA68B)]:
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    x ^= x >> np.uint32(16)
    return x.astype(np.float64) / 2**31 - 1


def weights(name, shape):
    """As large as keeps activations at one size; statistics of batch norm away from 0 and 1."""
    u = formula(name, math.prod(shape))
    if len(shape) > 1:
        u *= math.sqrt(6 / math.prod(shape[1:]))
    elif name.endswith("running_var"):
        u = 1 + 0.5 * u
    else:
        u = 0.2 * u + (1 if name.endswith("weight") else 0)
    return torch.from_numpy(u.astype(np.float32).reshape(shape))


def image(height, width, name="image"):
    u = formula(name, 2 * height * width * 3).astype(np.float32)
    return torch.from_numpy(u.reshape(2, height, width, 3)).permute(0, 3, 1, 2).contiguous()


def small():
    net, channels = nn.Sequential(), 3
    for i, out in enumerate([32, 64, 128], 1):
        net.add_module(f"conv{i}", nn.Conv2d(channels, out, 3, padding=1, bias=False))
        net.add_module(f"bn{i}", nn.BatchNorm2d(out))
        net.add_module(f"act{i}", nn.ReLU())
        net.add_module(f"pool{i}", nn.MaxPool2d(2))
        channels = out
    return net.append(nn.Flatten())


def dsh_cnn(flat):
    net = nn.Sequential()
    for i, (channels, out) in enumerate([(3, 32), (32, 32), (32, 64)], 1):
        net.add_module(f"conv{i}", nn.Conv2d(channels, out, 5, padding=2))
        if i > 1:
            net.add_module(f"act{i}", nn.ReLU())
        pool = nn.MaxPool2d if i == 1 else nn.AvgPool2d
        net.add_module(f"pool{i}", pool(3, 2, ceil_mode=True))
        if i == 1:
            net.add_module(f"act{i}", nn.ReLU())
    net.add_module("flatten", nn.Flatten())
    net.add_module("fc1", nn.Linear(flat, 500))
    return net.append(nn.ReLU())


class Block(nn.Module):
    def __init__(self, channels, out, deep):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.deep = deep
        if deep:
            self.conv3 = nn.Conv2d(out, out, 3, padding=1, bias=False)
            self.bn3 = nn.BatchNorm2d(out)

    def forward(self, x):
        first = F.gelu(self.bn1(F.max_pool2d(self.conv1(x), 2)))
        second = F.gelu(self.bn2(self.conv2(first)))
        return F.gelu(first + self.bn3(self.conv3(second))) if self.deep else second


def cifarnet(widths=(64, 256, 256), deep=False):
    net, channels = nn.Sequential(), 24
    net.add_module("whiten", nn.Conv2d(3, 24, 2))
    net.append(nn.GELU())
    for i, out in enumerate(widths, 1):
        net.add_module(f"block{i}", Block(channels, out, deep))
        channels = out
    return net.append(nn.MaxPool2d(3)).append(nn.Flatten())


class Same(nn.Module):
    """TensorFlow's SAME padding: the odd row is at the bottom, the odd column on the right."""

    def __init__(self, kernel, stride):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x):
        sides = []
        for size in (x.shape[3], x.shape[2]):
            missing = max((math.ceil(size / self.stride) - 1) * self.stride + self.kernel - size, 0)
            sides += [missing // 2, missing - missing // 2]
        return F.pad(x, sides)


class MobileBlock(nn.Module):
    def __init__(self, channels, out, kernel, stride, expansion):
        super().__init__()
        wide = channels * expansion
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = nn.Conv2d(channels, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=1e-3)
        self._depthwise_conv = nn.Conv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=1e-3)
        self._project_conv = nn.Conv2d(wide, out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out, eps=1e-3)
        self.pad, self.adds = Same(kernel, stride), stride == 1 and channels == out

    def forward(self, x):
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(self.pad(y))))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    def __init__(self):
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, channels = [], 32
        for kernel, stride, expansion, out, repeats in [
            (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3),
            (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1),
        ]:
            for i in range(repeats):
                blocks.append(MobileBlock(channels, out, kernel, 1 if i else stride, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(320, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, eps=1e-3)
        self.pad = Same(3, 2)

    def forward(self, x):
        x = F.relu6(self._bn0(self._conv_stem(self.pad(x))))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))


def resnet(make, cifar=False):
    net = make()
    net.fc = nn.Identity()
    if cifar:
        net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return net


def without_last(net):
    net.classifier = net.classifier[:-1]
    return net


def pooled(net):
    """The means of the last features."""
    net.classifier = nn.Identity()
    return nn.ModuleDict({"features": net.features})


def classless(make, layers=1):
    """Without the last layers of the classifier."""
    net = make()
    net.classifier = net.classifier[:-layers]
    return net


def dinov2(channels, heads, registers=False, side=56):
    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    config = getattr(transformers, kind + "Config")(
        hidden_size=channels, num_hidden_layers=12, num_attention_heads=heads, image_size=side, patch_size=14
    )
    net = getattr(transformers, kind + "Model")(config)
    del net.embeddings.mask_token
    return net


def clip(patch, side):
    config = transformers.CLIPVisionConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, image_size=side,
        patch_size=patch, projection_dim=512, hidden_act="quick_gelu",
    )
    return transformers.CLIPVisionModelWithProjection(config)


def siglip(side):
    config = transformers.SiglipVisionConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, image_size=side,
        patch_size=16,
    )
    return transformers.SiglipVisionModel(config)


RENAMED = {
    ".attention.q_proj.": ".attention.attention.query.",
    ".attention.k_proj.": ".attention.attention.key.",
    ".attention.v_proj.": ".attention.attention.value.",
    ".attention.o_proj.": ".attention.output.dense.",
}


def published(network, name):
    """The name in published checkpoints: version 5 of transformers has others in memory."""
    for ours, theirs in RENAMED.items():
        name = name.replace(ours, theirs) if network.startswith("dinov2") else name
    return f"vision_model.{name}" if network.startswith("siglip") else name


def with_formula(net, network):
    """The network with the weights of the formula, and the shapes of its weights by their published names."""
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    net.load_state_dict({k: weights(published(network, k), v.shape) for k, v in state.items()}, strict=False)
    return net.eval(), {published(network, key): value.shape for key, value in state.items()}


def forward(net, x):
    if isinstance(net, nn.ModuleDict):
        return net["features"](x).mean((2, 3))
    y = net(x)
    if isinstance(y, torch.Tensor):
        return y.flatten(1)
    return y.image_embeds if "image_embeds" in y else y.pooler_output


NETWORKS = {
    "small": (small, (33, 40)),
    "dsh-cnn": (lambda: dsh_cnn(64 * 4 * 5), (33, 45)),
    "cifarnet": (cifarnet, (32, 51)),
    "cifarnet-wide": (lambda: cifarnet((128, 384, 384)), (32, 51)),
    "cifarnet-deep": (lambda: cifarnet((128, 384, 512), deep=True), (32, 51)),
    "resnet18-cifar": (lambda: resnet(models.resnet18, True), (32, 41)),
    "resnet34-cifar": (lambda: resnet(models.resnet34, True), (33, 24)),
    "resnet50-cifar": (lambda: resnet(models.resnet50, True), (24, 33)),
    "resnet18": (lambda: resnet(models.resnet18), (97, 120)),
    "resnet34": (lambda: resnet(models.resnet34), (97, 120)),
    "resnet50": (lambda: resnet(models.resnet50), (97, 120)),
    "alexnet": (lambda: without_last(models.alexnet()), (97, 128)),
    "vgg11": (lambda: without_last(models.vgg11(init_weights=False)), (65, 102)),
    "vgg11-bn": (lambda: without_last(models.vgg11_bn(init_weights=False)), (65, 102)),
    "vgg16": (lambda: without_last(models.vgg16(init_weights=False)), (65, 102)),
    "vgg16-bn": (lambda: without_last(models.vgg16_bn(init_weights=False)), (65, 102)),
    "squeezenet1-1": (lambda: pooled(models.squeezenet1_1()), (97, 122)),
    "mobilenet-v2": (lambda: pooled(models.mobilenet_v2()), (97, 120)),
    "efficientnet-lite0": (EfficientNetLite0, (97, 120)),
    "efficientnet-lite2": (lambda: timm.create_model("tf_efficientnet_lite2", num_classes=0), (97, 120)),
    "efficientnet-b0": (lambda: classless(models.efficientnet_b0), (97, 120)),
    "mobilenet-v3": (lambda: classless(models.mobilenet_v3_large, 2), (97, 120)),
    "convnext-tiny": (lambda: classless(models.convnext_tiny), (97, 120)),
    "dinov2-small": (lambda: dinov2(384, 6), (56, 56)),
    "dinov2-base": (lambda: dinov2(768, 12), (56, 56)),
    "dinov2-small-registers": (lambda: dinov2(384, 6, True), (56, 56)),
    "dinov2-base-registers": (lambda: dinov2(768, 12, True), (56, 56)),
    "clip-vit-b32": (lambda: clip(32, 96), (96, 96)),
    "clip-vit-b16": (lambda: clip(16, 64), (64, 64)),
    "siglip-base": (lambda: siglip(64), (64, 64)),
}
# Networks whose table of positions is for 140 pixels and is interpolated: by how many pixels their images have, in height and width.
INTERPOLATED = {
    "dinov2-small": (lambda: dinov2(384, 6, side=140), [(56, 56), (56, 224)]),
    "dinov2-small-registers": (lambda: dinov2(384, 6, True, side=140), [(56, 56), (56, 224)]),
}
TRAINED = {
    "squeezenet1-1": "squeezenet1_1",
    "mobilenet-v2": "mobilenet_v2_features",
    "efficientnet-lite0": "efficientnet_lite0",
}


@torch.enable_grad()
def gradients(net, network, pixels):
    """Of the pixels and of each weight, by name: the gradient's product with a direction, and its length. In double precision.

    The sum of the features, each times a number, is what is differentiated. Batch norm has its running statistics.
    """
    net = net.double()
    net.zero_grad()
    pixels = pixels.double().requires_grad_()
    features = forward(net, pixels)
    factors = torch.from_numpy(formula("factors", features.numel())).reshape(features.shape)
    (features * factors).sum().backward()
    weights = {published(network, name): weight for name, weight in net.named_parameters()}
    if "whiten.weight" in weights:
        # It is computed from patches and is not trained.
        weights["whiten.weight"].grad = None
    rows = []
    for name, value in [("pixels", pixels), *sorted(weights.items())]:
        gradient = torch.zeros_like(value) if value.grad is None else value.grad
        # Pixels have their channels last, as with us.
        gradient = gradient.permute(0, 2, 3, 1) if name == "pixels" else gradient
        direction = torch.from_numpy(formula(f"{name} direction", gradient.numel()))
        rows.append([float(gradient.flatten() @ direction), float(gradient.norm())])
    return torch.tensor(rows, dtype=torch.float32)


def text_tower(kind):
    """A text tower, and the numbers of its tokens and places."""
    transformer = dict(num_hidden_layers=12, vocab_size=49408, max_position_embeddings=77)
    if kind == "clip":
        config = transformers.CLIPTextConfig(
            hidden_size=512, intermediate_size=2048, num_attention_heads=8, projection_dim=512, hidden_act="quick_gelu",
            bos_token_id=49406, eos_token_id=49407, **transformer,
        )
        return transformers.CLIPTextModelWithProjection(config), 49408, 77
    transformer |= dict(vocab_size=32000, max_position_embeddings=64)
    config = transformers.SiglipTextConfig(
        hidden_size=768, intermediate_size=3072, num_attention_heads=12, **transformer,
    )
    return transformers.SiglipTextModel(config), 32000, 64


def tokens(kind, vocabulary, places):
    """Two texts: one as long as can be, and a short one, filled up with the token of the end."""
    rows = []
    for number, length in enumerate([places, 9]):
        row = [int((u + 1) / 2 * (vocabulary - 3)) for u in formula(f"tokens {number}", length)]
        if kind == "clip":
            row[0] = vocabulary - 2
        end = vocabulary - 1 if kind == "clip" else 1
        row[-1] = end
        rows.append(row + [end] * (places - length))
    return torch.tensor(rows)


def texts(target):
    tensors, metadata = {}, {}
    for kind in ["clip", "siglip"]:
        net, vocabulary, places = text_tower(kind)
        net = net.eval()
        state = net.state_dict()
        names = {k: k if k.startswith("text_") else f"text_model.{k}" for k in state}
        listed = "".join(f"{name} {list(state[key].shape)}\n" for key, name in sorted(names.items(), key=lambda it: it[1]))
        net.load_state_dict({key: weights(names[key], value.shape) for key, value in state.items()})
        found = net(tokens(kind, vocabulary, places))
        features = found.text_embeds if "text_embeds" in found else found.pooler_output
        tensors[kind] = features[:, ::STRIDE].contiguous()
        metadata[kind] = hashlib.sha256(listed.encode()).hexdigest()
        print(kind, tuple(features.shape), f"largest {features.abs().max():.3g}")
    for kind in ["clip", "siglip"]:
        file = target.parent / f"{kind}.json"
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
        for number, text in enumerate((target.parent / "texts.txt").read_text().splitlines()):
            tensors[f"{kind} tokens {number}"] = torch.tensor(tokenizer.encode(text).ids, dtype=torch.int64)
    save_file(tensors, target, metadata)
    print(target, target.stat().st_size, "bytes")


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=pathlib.Path)
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    arguments = parser.parse_args()
    target = pathlib.Path(__file__).parent.parent / "data" / "torchvision.safetensors"
    if not arguments.networks or "texts" in arguments.networks:
        texts(target.with_name("text") / "expected.safetensors")
    if arguments.networks == ["texts"]:
        return
    tensors, metadata = {}, {}
    if arguments.networks:
        with safe_open(target, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            metadata = file.metadata()
    for name in [name for name in arguments.networks if name != "texts"] or NETWORKS:
        make, (height, width) = NETWORKS[name]
        net, public = with_formula(make(), name)
        names = "".join(f"{key} {list(shape)}\n" for key, shape in sorted(public.items()))
        features = forward(net, image(height, width))
        tensors[name] = features[:, ::STRIDE].contiguous()
        metadata[name] = f"{height} {width} {features.shape[1]} {hashlib.sha256(names.encode()).hexdigest()}"
        print(name, tuple(features.shape), f"largest {features.abs().max():.3g}")
        # A unit that is at its kink by rounding alone changes gradients by more than rounding does. Few images have one that matters.
        images = [image(height, width, f"image {number}") for number in range(1 if name.startswith(SMOOTH) else DEEP.get(name, IMAGES))]
        tensors[f"{name} gradients"] = torch.stack([gradients(net, name, pixels) for pixels in images])
        net = net.float()
        if name in INTERPOLATED:
            make, sizes = INTERPOLATED[name]
            larger, _ = with_formula(make(), name)
            for size in sizes:
                tensors[f"{name} at {size[0]} x {size[1]} pixels"] = forward(larger, image(*size))[:, ::STRIDE].contiguous()
        file = arguments.weights and arguments.weights / f"{TRAINED.get(name)}.safetensors"
        if file and file.exists():
            net.load_state_dict(load_file(file), strict=False)
            features = forward(net, image(height, width))
            tensors[f"{name} trained"] = features[:, ::STRIDE].contiguous()
            print(name, "trained", f"largest {features.abs().max():.3g}")
    save_file(tensors, target, {key: metadata[key] for key in sorted(metadata)})
    print(target, target.stat().st_size, "bytes")


main()
