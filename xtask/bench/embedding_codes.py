"""Writes codes of drawn embeddings, and 1,000 queries of the same distribution that are not among them, as .npy files.

Needs numpy. The vectors are drawn around centres, one for 250 vectors, whose spread has few directions, and some noise in all; their lengths
are 1. A code has the signs of the first BITS principal components after a random rotation. Vectors are drawn and coded some at a time, so that
memory holds the codes and few vectors.
"""
import argparse

import numpy as np

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--codes", required=True, help=".npy file of COUNT codes")
parser.add_argument("--queries", required=True, help=".npy file of 1,000 codes")
parser.add_argument("--count", type=int, required=True)
parser.add_argument("--bits", type=int, required=True)
args = parser.parse_args()

DIMS, SPREAD, NOISE, QUERIES, FITTED, AT_ONCE = 768, 24, 0.6, 1000, 20_000, 50_000
random = np.random.default_rng(0)
centres = random.standard_normal((max(1, args.count // 250), DIMS), dtype=np.float32)
basis = random.standard_normal((SPREAD, DIMS), dtype=np.float32) / 5


def drawn(count):
    near = centres[random.integers(0, len(centres), count)]
    spread = random.standard_normal((count, SPREAD), dtype=np.float32) @ basis
    vectors = near + spread + NOISE * random.standard_normal((count, DIMS), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


sample = drawn(FITTED)
mean = sample.mean(axis=0)
_, vectors = np.linalg.eigh(np.cov(sample - mean, rowvar=False))
components = vectors[:, ::-1][:, : args.bits]
rotation, _ = np.linalg.qr(random.standard_normal((args.bits, args.bits)))
projection = (components @ rotation).astype(np.float32)


def codes(count):
    parts = [min(AT_ONCE, count - start) for start in range(0, count, AT_ONCE)]
    signs = [(drawn(part) - mean) @ projection > 0 for part in parts]
    return np.concatenate([np.packbits(part, axis=1, bitorder="little") for part in signs])


np.save(args.queries, codes(QUERIES))
np.save(args.codes, codes(args.count))
