"""Measures faiss's exact binary indexes on one thread: microseconds a query, one by one, the k nearest or all within a radius.

Needs numpy and faiss. Prints one JSON object a line. What is not exact on these queries is reported with the share of queries it
answers exactly, and does not count as exact. Hash indexes are tried with more and more flipped bits until they are exact; for a radius
from so many on that no code within it can be missed.

faiss has distance kernels for codes of 4, 8, 16, 20, 32 and 64 bytes and a slow general one for all other lengths. Codes of another length
are padded with zero bytes to the next of these, which changes no distance.
"""
import argparse
import json
import time

import faiss
import numpy as np

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--codes", required=True)
parser.add_argument("--queries", required=True)
reach = parser.add_mutually_exclusive_group(required=True)
reach.add_argument("-k", type=int)
reach.add_argument("--radius", type=int)
parser.add_argument("--sample", type=int, default=40, help="queries that are measured")
parser.add_argument("--seconds", type=float, default=10, help="time after which a hash index with more flips is not tried")
args = parser.parse_args()

faiss.omp_set_num_threads(1)
KERNEL_BYTES = (4, 8, 16, 20, 32, 64)


def padded(codes):
    """The codes with zero bytes behind them, up to a length for which faiss has a kernel; longer ones stay as they are."""
    width = codes.shape[1]
    wanted = next((length for length in KERNEL_BYTES if length >= width), width)
    return np.ascontiguousarray(np.pad(codes, ((0, 0), (0, wanted - width))))


codes, queries = np.load(args.codes), np.load(args.queries)[: args.sample]
# Hash tables take substrings of the codes' own bits alone: padding bits are the same in all codes.
own_bits = 8 * codes.shape[1]
codes, queries = padded(codes), padded(queries)
bits = 8 * codes.shape[1]


def search(index, queries):
    """What must be the same: the distances of the nearest, or who is within the radius."""
    if args.k:
        return list(index.search(queries, args.k)[0])
    # faiss takes those nearer than the radius.
    limits, _, found = index.range_search(queries, args.radius + 1)
    return [np.sort(found[limits[i] : limits[i + 1]]) for i in range(len(queries))]


def measure(index):
    search(index, queries[:1])
    started, found = time.perf_counter(), []
    for i in range(len(queries)):
        found += search(index, queries[i : i + 1])
    return 1e6 * (time.perf_counter() - started) / len(queries), found


def report(name, micros, found, batch=None):
    exact = sum(np.array_equal(a, b) for a, b in zip(found, truth)) / len(truth)
    print(json.dumps({"name": name, "micros": micros, "exact": exact, "batch": batch}), flush=True)
    return exact


flat = faiss.IndexBinaryFlat(bits)
flat.add(codes)
truth = None
for heap in (True, False) if args.k else (True,):
    flat.use_heap = heap
    micros, found = measure(flat)
    truth = truth or found
    many = np.tile(queries, (-(-64 // len(queries)), 1))[:64]
    started = time.perf_counter()
    search(flat, many)
    batch = 1e6 * (time.perf_counter() - started) / len(many)
    kind = ", heap" if heap else ", counting"
    report("faiss IndexBinaryFlat" + (kind if args.k else ""), micros, found, batch)
del flat
for tables, length in ((1, 32), (2, 32), (2, 24), (3, 20), (4, 16)):
    # Of so many differing bits, one of the tables has no more than its share.
    certain = (args.radius or 0) // tables
    if tables * length > own_bits or certain > 4:
        continue
    index = faiss.IndexBinaryMultiHash(bits, tables, length)
    index.add(codes)
    began = time.perf_counter()
    for flips in range(certain, 5):
        index.nflip = flips
        micros, found = measure(index)
        exact = report(f"faiss MultiHash, {tables} of {length} bits, {flips} flips", micros, found)
        if exact == 1 or time.perf_counter() - began > args.seconds:
            break
    del index
