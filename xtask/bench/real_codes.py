"""Codes of real images, for `cargo xtask bench index --cifar10 DIR`: CIFAR-10's training images, each many times shifted, mirrored
and changed in brightness and contrast, coded by PCA and iterative quantisation (Gong and Lazebnik, CVPR 2011); queries are its
test images, varied likewise.

Needs numpy, pyarrow and pillow. A shift is projected once: brightness and contrast are linear, as the projection is.
"""
import argparse
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from PIL import Image

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cifar10", type=Path, required=True, help="folder of the hub's Parquet files")
parser.add_argument("--codes", required=True)
parser.add_argument("--queries", required=True)
parser.add_argument("--count", type=int, default=10_000_000)
parser.add_argument("--bits", type=int, default=64)
args = parser.parse_args()

SHIFT, JITTER, QUERIES = 2, 0.2, 1000
rng = np.random.default_rng(args.bits)


def images(part):
    found = sorted(args.cifar10.rglob(f"*{part}*.parquet"))
    if not found:
        raise SystemExit(f"no *{part}*.parquet in {args.cifar10}: `cargo xtask fetch-data cifar10` brings it")
    cells = [cell["bytes"] for file in found for cell in parquet.read_table(file, columns=["img"])["img"].to_pylist()]
    return np.stack([np.asarray(Image.open(io.BytesIO(cell)).convert("RGB")) for cell in cells])


def shifted(batch, dy, dx, mirrored):
    padded = np.pad(batch, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    out = padded[:, SHIFT + dy : SHIFT + dy + 32, SHIFT + dx : SHIFT + dx + 32]
    return (out[:, :, ::-1] if mirrored else out).reshape(len(batch), -1).astype(np.float32) / 255 - 0.5


train = images("train")
flat = shifted(train, 0, 0, False)
mean = flat.mean(0)
_, vectors = np.linalg.eigh(np.cov((flat - mean).T))
principal = vectors[:, ::-1][:, : args.bits].astype(np.float32)
# Iterative quantisation: the rotation that brings the projections nearest to their signs.
sample = (flat - mean)[rng.choice(len(flat), 20_000, replace=False)] @ principal
rotation, _ = np.linalg.qr(rng.standard_normal((args.bits, args.bits)))
for _ in range(50):
    signs = np.where(sample @ rotation >= 0, 1.0, -1.0)
    left, _, right = np.linalg.svd(signs.T @ sample)
    rotation = (left @ right).T
project = (principal @ rotation).astype(np.float32)
offset, bright = mean @ project, project.sum(0)
del flat

PLACES = [(dy, dx, m) for dy in range(-SHIFT, SHIFT + 1) for dx in range(-SHIFT, SHIFT + 1) for m in (False, True)]


def codes(batch, count):
    """`count` varied codes of the images in turn."""
    projected = np.stack([shifted(batch, *place) @ project for place in PLACES])
    out = np.empty((count, args.bits // 8), np.uint8)
    for start in range(0, count, len(batch)):
        rows = np.arange(min(len(batch), count - start))
        contrast = rng.uniform(1 - JITTER, 1 + JITTER, (len(rows), 1)).astype(np.float32)
        brightness = rng.uniform(-JITTER, JITTER, (len(rows), 1)).astype(np.float32)
        values = contrast * projected[rng.integers(len(PLACES), size=len(rows)), rows] + brightness * bright - offset
        out[start : start + len(rows)] = np.packbits(values >= 0, axis=1, bitorder="little")
    return out


np.save(args.queries, codes(images("test")[:QUERIES], QUERIES))
np.save(args.codes, codes(train, args.count))
