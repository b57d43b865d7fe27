"""The recipe cifar10-fast in PyTorch: what another implementation makes of the same images.

Trains cifarnet with the HI loss as `dhih-train --recipe cifar10-fast` does, with random numbers of its own, and writes packed codes and labels of
both parts into --out, for `dhih-train evaluate`. Needs torch, numpy, pyarrow and pillow.
"""
import argparse
import io
import json
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image

from model import cifarnet

BITS, CLASSES, ALPHA, MU, SMOOTHING = 48, 10, 0.8, 1.0, 0.2
BATCH, RATE, WARM_UP, MOMENTUM, DECAY, SHIFT = 1024, 1.5, 0.23, 0.85, 1.33e-3, 2
LOOKAHEAD, SHIFT_RATE, NORM_MOMENTUM = 5, 64, 0.4


def part(folder, name):
    """All images of a part as u8 [n, 3, 32, 32], and their labels."""
    images, labels = [], []
    for file in sorted(folder.rglob(f"{name}-*.parquet")):
        table = pyarrow.parquet.read_table(file)
        images += [np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("RGB")) for image in table["img"].to_pylist()]
        labels += table["label"].to_pylist()
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


def whitening(images):
    """Eigenvectors of the 2 x 2 patches over the roots of their eigenvalues, and the same with the opposite sign."""
    patches = F.unfold(images, 2).transpose(1, 2).reshape(-1, 12).double()
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    scaled = (vectors / (values + 5e-4).sqrt()).T.flip(0).reshape(12, 3, 2, 2).float()
    return torch.cat([scaled, -scaled])


def varied(images, mirrored):
    """Mirrored where asked for, then shifted by up to SHIFT pixels and continued by the mirror image."""
    n, span = len(images), torch.arange(32)
    y, x = (span + torch.randint(-SHIFT, SHIFT + 1, (n, 1)) for _ in range(2))
    y, x = (31 - (31 - place.abs()).abs() for place in (y, x))
    x = torch.where(mirrored[:, None], 31 - x, x)
    return images[torch.arange(n)[:, None, None, None], torch.arange(3)[:, None, None], y[:, None, :, None], x[:, None, None, :]]


class Hashing(nn.Module):
    def __init__(self, images):
        super().__init__()
        self.backbone = cifarnet()
        self.backbone[0].weight.data = whitening(images)
        for layer in self.backbone[1:]:
            if isinstance(layer, nn.Conv2d):
                nn.init.dirac_(layer.weight[: layer.in_channels].detach())
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.requires_grad_(False)
        self.hash_layer = nn.Sequential(nn.Linear(256, BITS), nn.BatchNorm1d(BITS))
        for layer in self.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.momentum = NORM_MOMENTUM
        self.classes = nn.Linear(BITS, CLASSES, bias=False)
        nn.init.normal_(self.classes.weight, std=BITS**-0.5)

    def forward(self, x):
        return self.hash_layer(self.backbone(x))


def loss_of(net, v, labels):
    h = v.tanh()
    z = net.classes(h)
    own = F.one_hot(labels, CLASSES).bool()
    target = z[own]
    target = ALPHA * target.relu() - (-target).relu() / ALPHA
    others = z.masked_fill(own, -torch.inf).logsumexp(1)
    hi = F.softplus(others - target).mean()
    signs = torch.where(net.classes.weight.detach()[labels] >= 0, 1.0, -1.0)
    return (1 - SMOOTHING) * hi - SMOOTHING * z.log_softmax(1).mean() + MU * F.softplus(-2 * v * signs).mean()


def codes(net, images):
    """Means of the outputs for six views of each image: itself, moved by a pixel along both axes either way, and the mirror images of the three."""
    net.eval()
    with torch.inference_mode():
        found = []
        for x in images.split(BATCH):
            wide = F.pad(x, (1, 1, 1, 1), mode="reflect")
            views = [(0.5, x), (0.25, wide[:, :, :32, :32]), (0.25, wide[:, :, 2:, 2:])]
            found.append(sum(weight * (net(view) + net(view.flip(3))) / 2 for weight, view in views))
        return torch.cat(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    (images, labels), (asked, asked_labels) = part(args.data_dir, "train"), part(args.data_dir, "test")
    mean = images.float().mean((0, 2, 3)).view(3, 1, 1) / 255
    std = (images.float() / 255).std((0, 2, 3)).view(3, 1, 1)

    def normal(images):
        return ((images.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)

    net = Hashing(normal(images[::10])).to(memory_format=torch.channels_last)
    shifts = [layer.bias for layer in net.backbone if isinstance(layer, nn.BatchNorm2d)]
    rest = [p for p in net.parameters() if p.requires_grad and all(p is not shift for shift in shifts)]
    groups = [
        {"params": [p for p in rest if p.dim() > 1], "weight_decay": DECAY, "scale": 1},
        {"params": [p for p in rest if p.dim() == 1], "weight_decay": 0, "scale": 1},
        {"params": shifts, "weight_decay": DECAY / SHIFT_RATE, "scale": SHIFT_RATE},
    ]
    optimizer = torch.optim.SGD(groups, RATE, MOMENTUM, nesterov=True)
    slow = {name: value.clone() for name, value in net.state_dict().items()}
    first, per_epoch, step, began = torch.rand(len(images)) < 0.5, -(-len(images) // BATCH), 0, time.perf_counter()
    steps = args.epochs * per_epoch
    warm_up = WARM_UP * steps
    for epoch in range(args.epochs):
        net.train()
        for rows in torch.randperm(len(images)).tensor_split(per_epoch):
            at = step + 0.5
            rate = RATE * (at / warm_up if at < warm_up else 1 - (at - warm_up) / (steps - warm_up))
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]
            x = normal(varied(images[rows], first[rows] ^ (epoch % 2 == 1)))
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(net, net(x), labels[rows])
            loss.backward()
            optimizer.step()
            step += 1
            if step % LOOKAHEAD == 0:
                keep = 0.95**5 * (step / steps) ** 3
                for name, value in net.state_dict().items():
                    if value.is_floating_point():
                        value.copy_(slow[name].lerp_(value, 1 - keep))
        print(f"epoch {epoch + 1}/{args.epochs}  loss {loss.item():.4f}  {time.perf_counter() - began:.0f} s", flush=True)
    net.load_state_dict(slow)
    args.out.mkdir(parents=True, exist_ok=True)
    found = {"database": (codes(net, normal(images)), labels), "queries": (codes(net, normal(asked)), asked_labels)}
    for name, (values, of) in found.items():
        np.save(args.out / f"{name}.npy", np.packbits((values >= 0).numpy(), axis=1, bitorder="little"))
        np.save(args.out / f"{name}-labels.npy", of.numpy())
    predicted = net.classes(found["queries"][0].tanh()).argmax(1)
    print(json.dumps({"accuracy": (predicted == asked_labels).float().mean().item(), "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
