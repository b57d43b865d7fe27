"""Measures faiss's exact binary indexes on one thread: microseconds a query, one by one, the k nearest.

Needs numpy and faiss. Prints one JSON object a line. What is not exact on these queries is reported with the share of queries it
answers exactly, and does not count as exact.
"""
import argparse
import json
import time

import faiss
import numpy as np

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--codes", required=True)
parser.add_argument("--queries", required=True)
parser.add_argument("-k", type=int, default=10)
parser.add_argument("--sample", type=int, default=40, help="queries that are measured")
parser.add_argument("--seconds", type=float, default=20, help="time after which a hash index with more flips is not tried")
args = parser.parse_args()

faiss.omp_set_num_threads(1)
codes, queries = np.load(args.codes), np.load(args.queries)[: args.sample]
bits = 8 * codes.shape[1]


def measure(index):
    index.search(queries[:1], args.k)
    started, distances = time.perf_counter(), []
    for i in range(len(queries)):
        distances.append(index.search(queries[i : i + 1], args.k)[0][0])
    return 1e6 * (time.perf_counter() - started) / len(queries), np.array(distances)


def report(name, micros, exact, batch=None):
    print(json.dumps({"name": name, "micros": micros, "exact": exact, "batch": batch}), flush=True)


flat = faiss.IndexBinaryFlat(bits)
flat.add(codes)
truth = None
for heap in (True, False):
    flat.use_heap = heap
    micros, distances = measure(flat)
    truth = distances if truth is None else truth
    started = time.perf_counter()
    flat.search(queries, args.k)
    batch = 1e6 * (time.perf_counter() - started) / len(queries)
    name = "faiss IndexBinaryFlat, " + ("heap" if heap else "counting")
    report(name, micros, float((distances == truth).all(1).mean()), batch)
del flat
for tables, length in ((3, 20), (4, 16)):
    if tables * length > bits:
        continue
    index = faiss.IndexBinaryMultiHash(bits, tables, length)
    index.add(codes)
    began = time.perf_counter()
    for flips in range(5):
        index.nflip = flips
        micros, distances = measure(index)
        exact = float((distances == truth).all(1).mean())
        report(f"faiss MultiHash, {tables} of {length} bits, {flips} flips", micros, exact)
        if exact == 1 or time.perf_counter() - began > args.seconds:
            break
    del index
