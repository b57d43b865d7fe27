"""The recipe cifar10-fast as it was until commit 3a475d7, in PyTorch: what another implementation makes of the same images.

Trains cifarnet with the HI loss as that commit's `dhih-train --recipe cifar10-fast` does, and writes packed codes and labels of both parts
into --out, for `dhih-train evaluate`. Needs torch, numpy, pyarrow and pillow.
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

BITS, CLASSES, ALPHA, LAMBDA_Q, SMOOTHING = 48, 10, 0.8, 0.01, 0.1
BATCH, RATE, MOMENTUM, DECAY, EMA, SHIFT = 512, 0.5, 0.9, 1.5e-3, 0.99, 2


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
    """Mirrored where asked for, then shifted by up to SHIFT pixels; border pixels are repeated."""
    n, span = len(images), torch.arange(32)
    y, x = (span + torch.randint(-SHIFT, SHIFT + 1, (n, 1)) for _ in range(2))
    x = torch.where(mirrored[:, None], 31 - x, x).clamp(0, 31)
    return images[torch.arange(n)[:, None, None, None], torch.arange(3)[:, None, None],
                  y.clamp(0, 31)[:, None, :, None], x[:, None, None, :]]


class Hashing(nn.Module):
    def __init__(self, images):
        super().__init__()
        self.backbone = cifarnet()
        self.backbone[0].weight.data = whitening(images)
        for layer in self.backbone[1:]:
            if isinstance(layer, nn.Conv2d):
                nn.init.dirac_(layer.weight[: layer.in_channels].detach())
        self.hash_layer = nn.Linear(256, BITS)
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
    hi = F.softplus(others - target).mean() + LAMBDA_Q * ((h.abs() - 1) ** 2).mean()
    return (1 - SMOOTHING) * hi - SMOOTHING * z.log_softmax(1).mean()


def codes(net, images):
    """Means of the codes of images and of their mirror images."""
    net.eval()
    with torch.inference_mode():
        batches = images.split(BATCH)
        return torch.cat([(net(x) + net(x.flip(3))) / 2 for x in batches])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    (images, labels), (asked, asked_labels) = part(args.data_dir, "train"), part(args.data_dir, "test")
    mean = images.float().mean((0, 2, 3)).view(3, 1, 1) / 255
    std = (images.float() / 255).std((0, 2, 3)).view(3, 1, 1)

    def normal(images):
        return ((images.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)

    net = Hashing(normal(images[::10])).to(memory_format=torch.channels_last)
    decayed = [p for p in net.parameters() if p.requires_grad and p.dim() > 1]
    others = [p for p in net.parameters() if p.requires_grad and p.dim() == 1]
    optimizer = torch.optim.SGD([{"params": decayed, "weight_decay": DECAY}, {"params": others}], RATE, MOMENTUM, nesterov=True)
    average = {name: value.clone() for name, value in net.state_dict().items()}
    first, per_epoch, step, began = torch.rand(len(images)) < 0.5, -(-len(images) // BATCH), 0, time.perf_counter()
    warm_up, steps = args.epochs * 6 / 32 * per_epoch, args.epochs * per_epoch
    for epoch in range(args.epochs):
        net.train()
        for rows in torch.randperm(len(images)).tensor_split(per_epoch):
            at = step + 0.5
            rate = RATE * (at / warm_up if at < warm_up else 1 - (at - warm_up) / (steps - warm_up))
            for group in optimizer.param_groups:
                group["lr"] = rate
            x = normal(varied(images[rows], first[rows] ^ (epoch % 2 == 1)))
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(net, net(x), labels[rows])
            loss.backward()
            optimizer.step()
            keep = min(EMA, (step + 1) / (step + 10))
            for name, value in net.state_dict().items():
                average[name].lerp_(value, 1 - keep) if value.is_floating_point() else average[name].copy_(value)
            step += 1
        print(f"epoch {epoch + 1}/{args.epochs}  loss {loss.item():.4f}  {time.perf_counter() - began:.0f} s", flush=True)
    net.load_state_dict(average)
    args.out.mkdir(parents=True, exist_ok=True)
    found = {"database": (codes(net, normal(images)), labels), "queries": (codes(net, normal(asked)), asked_labels)}
    for name, (values, of) in found.items():
        np.save(args.out / f"{name}.npy", np.packbits((values >= 0).numpy(), axis=1, bitorder="little"))
        np.save(args.out / f"{name}-labels.npy", of.numpy())
    predicted = net.classes(found["queries"][0].tanh()).argmax(1)
    print(json.dumps({"accuracy": (predicted == asked_labels).float().mean().item(), "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
