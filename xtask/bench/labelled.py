"""Measures codes of labelled vectors: those that labels train beside those that are fitted without, by the same commands on the same vectors.

Needs numpy. Prints a table in Markdown: mAP over the whole ranking of up to 2,000 vectors that nothing was fitted to or trained on, as queries among
those that were; the mean of three splits and its deviation (n - 1). Each split is drawn by its number, which is also the seed of the codec.
"""
import argparse
import json
import pathlib
import subprocess

import numpy as np

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--dhih-train", required=True)
parser.add_argument("--dir", required=True, type=pathlib.Path)
parser.add_argument("--file", required=True, type=pathlib.Path, help="an .npy file of vectors")
parser.add_argument("--labels", required=True, type=pathlib.Path, help="their labels, as `dhih-train codec` takes them")
args = parser.parse_args()

LENGTHS, SPLITS, QUERIES = (16, 32, 64), 3, 2000
METHODS = {
    "ITQ, without labels": ["--method", "itq"],
    "HI (default)": ["--labels", "train-labels.npy"],
    **{loss: ["--labels", "train-labels.npy", "--loss", loss] for loss in ("softmax", "csq", "ortho-cos")},
}


def command(*words):
    done = subprocess.run([args.dhih_train, *map(str, words), "--json"], cwd=args.dir, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def score(flags, bits, seed):
    command("codec", "--vectors", "train.npy", "--bits", bits, "--seed", seed, "--out", "codec.safetensors", *flags)
    for part in ("train", "query"):
        vectors = ["--vectors", f"{part}.npy", "--out", f"{part}.safetensors"]
        command("encode", "--codec", "codec.safetensors", *vectors)
    codes = ["--database", "train.safetensors", "--queries", "query.safetensors"]
    labels = ["--database-labels", "train-labels.npy", "--query-labels", "query-labels.npy"]
    return command("evaluate", *codes, *labels)["map"]


vectors, labels = np.load(args.file, mmap_mode="r"), np.load(args.labels)
held_out = min(QUERIES, len(vectors) // 5)
scores = {(name, bits): [] for name in METHODS for bits in LENGTHS}
for split in range(SPLITS):
    order = np.random.default_rng(split).permutation(len(vectors))
    for part, rows in (("query", order[:held_out]), ("train", order[held_out:])):
        np.save(args.dir / f"{part}.npy", vectors[np.sort(rows)])
        np.save(args.dir / f"{part}-labels.npy", labels[np.sort(rows)])
    for (name, bits), found in scores.items():
        found.append(score(METHODS[name], bits, split))

print(f"{len(vectors):,} vectors of {vectors.shape[1]} numbers, {held_out:,} of them queries\n")
print("| codes | " + " | ".join(f"{bits} bits" for bits in LENGTHS) + " |")
print("|---|" + "---:|" * len(LENGTHS))
for name in METHODS:
    cells = [scores[name, bits] for bits in LENGTHS]
    print(f"| {name} | " + " | ".join(f"{np.mean(of):.3f} ± {np.std(of, ddof=1):.3f}" for of in cells) + " |")
