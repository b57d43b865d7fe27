"""The usual evaluation script, timed: numpy, one query after the other, every item sorted by `np.argsort(distances)`.

It is the loop of DeepHash-pytorch's tools.py, whose sort is neither stable nor tie-aware. Distances are sorted as bytes, which numpy sorts
faster than floating-point numbers.

Writes codes and labels, drawn or a run's, into --dir as .npy files for ours, then measures mAP over --sample of the
queries and prints the seconds that all of them would take.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--dir", type=Path, required=True)
parser.add_argument("--bits", type=int, default=48)
parser.add_argument("--database", type=int, default=50_000)
parser.add_argument("--queries", type=int, default=10_000)
parser.add_argument("--sample", type=int, default=50)
parser.add_argument("--classes", type=int, default=10)
parser.add_argument("--run", type=Path)
args = parser.parse_args()


def tensors(path):
    """The tensors of a codes file, and its metadata."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
        metadata = header.pop("__metadata__")
        types = {"U8": np.uint8, "I64": np.int64, "U64": np.uint64}

        def tensor(entry):
            begin, end = entry["data_offsets"]
            file.seek(start + begin)
            return np.frombuffer(file.read(end - begin), types[entry["dtype"]]).reshape(entry["shape"])

        return {name: tensor(entry) for name, entry in header.items()}, metadata


def of_run(name):
    """The codes of a run's part, a bit a column, and their labels."""
    found, metadata = tensors(args.run / f"{name}.safetensors")
    bits = int(metadata["dhih.bits"])
    return np.unpackbits(found["codes"], axis=1, count=bits, bitorder="little"), found["labels"]


rng = np.random.default_rng(0)
centres = rng.integers(0, 2, (args.classes, args.bits), dtype=np.uint8)


def draw(count):
    """Codes near their class's centre: one bit in eight is another."""
    labels = rng.integers(0, args.classes, count)
    flips = rng.random((count, args.bits), dtype=np.float32) < 0.125
    return centres[labels] ^ flips, labels


args.dir.mkdir(parents=True, exist_ok=True)
sets = {}
for name, of, count in [("database", "codes", args.database), ("queries", "queries", args.queries)]:
    bits, labels = of_run(of) if args.run else draw(count)
    np.save(args.dir / f"{name}.npy", np.packbits(bits, axis=1, bitorder="little"))
    np.save(args.dir / f"{name}-labels.npy", labels.astype(np.int64))
    signs = bits[: args.sample] if name == "queries" else bits
    sets[name] = (signs.astype(np.float32) * 2 - 1, labels)

(database, database_labels), (queries, query_labels) = sets["database"], sets["queries"]
distance_type = np.uint8 if queries.shape[1] < 256 else np.uint16
started = time.perf_counter()
total = 0.0
for i in range(args.sample):
    relevant = database_labels == query_labels[i]
    distance = 0.5 * (queries.shape[1] - queries[i] @ database.T)
    ranked = relevant[np.argsort(distance.astype(distance_type))]
    places = np.flatnonzero(ranked) + 1.0
    total += np.mean(np.arange(1, len(places) + 1) / places)
seconds = (time.perf_counter() - started) / args.sample * len(query_labels)
print(json.dumps({"seconds": seconds, "map_of_sample": total / args.sample}))
