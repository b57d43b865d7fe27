"""Measures searches by vectors: dhih's codes with rescoring beside numpy, faiss and usearch, on the same drawn vectors.

Needs numpy; faiss and usearch are left out where they are missing. Prints a table in Markdown: recall of the 10 nearest by the exact cosine,
milliseconds a query, one query after the other, bytes a vector of what is searched, and seconds to make it. Every search runs on as many
threads as is said, every index is made on all of them.

The vectors are drawn around centres, whose spread has few directions, as embeddings have, and some noise in all; lengths are 1.
"""
import argparse
import os
import pathlib
import re
import subprocess
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--dhih-train", required=True)
parser.add_argument("--dhih-index", required=True)
parser.add_argument("--dir", required=True, type=pathlib.Path)
parser.add_argument("--vectors", type=int, required=True)
parser.add_argument("--dims", type=int, required=True)
parser.add_argument("--queries", type=int, required=True)
parser.add_argument("--threads", type=int, required=True)
parser.add_argument("--rounds", type=int, required=True)
parser.add_argument("--file", type=pathlib.Path, help="an .npy file of vectors, in place of drawn ones; the last are the queries")
args = parser.parse_args()
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(args.threads)

import numpy as np  # noqa: E402, because it reads these when it is loaded

K, BITS, RESCORED = 10, (64, 128, 256), (10, 50, 100, 500)
file = lambda name: str(args.dir / name)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def drawn(count, random, centres, basis):
    near = centres[random.integers(0, len(centres), count)]
    spread = random.standard_normal((count, len(basis)), dtype=np.float32) @ basis
    noise = 0.6 * random.standard_normal((count, args.dims), dtype=np.float32)
    return unit(near + spread + noise)


if args.file:
    read = unit(np.load(args.file).astype(np.float32))
    vectors, queries = read[: -args.queries], read[-args.queries :]
else:
    random = np.random.default_rng(0)
    centres = random.standard_normal((max(1, args.vectors // 250), args.dims), dtype=np.float32)
    basis = random.standard_normal((24, args.dims), dtype=np.float32) / 5
    parts = [min(100_000, args.vectors - start) for start in range(0, args.vectors, 100_000)]
    vectors = np.concatenate([drawn(part, random, centres, basis) for part in parts])
    queries = drawn(args.queries, random, centres, basis)
count, dims = vectors.shape
np.save(file("v.npy"), vectors)
np.save(file("q.npy"), queries)


def nearest(query, of=None):
    """The nearest by the exact cosine, among all or some."""
    of = np.arange(count) if of is None else of
    scores = vectors[of] @ query if len(of) < count else vectors @ query
    best = np.argpartition(-scores, min(K, len(of)) - 1)[:K]
    return of[best[np.argsort(-scores[best], kind="stable")]]


truth = [set(nearest(query)) for query in queries]
print("| search | recall@10 | ms a query | bytes a vector | made in, s |")
print("|---|---:|---:|---:|---:|")


def line(name, found, seconds, size, made):
    recall = np.mean([len(truth[row] & set(map(int, ids))) / K for row, ids in enumerate(found)])
    each = 1e3 * seconds / len(queries)
    print(f"| {name} | {recall:.3f} | {each:.3f} | {size:.0f} | {made:.1f} |", flush=True)


def measure(name, search, size, made):
    """`search` finds the nearest of one query."""
    search(queries[0])
    times = []
    for _ in range(args.rounds):
        started = time.perf_counter()
        found = [search(query) for query in queries]
        times.append(time.perf_counter() - started)
    line(name, found, float(np.median(times)), size, made)


def timed(words):
    started = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def ours():
    import json

    for bits in BITS:
        if bits > dims:
            continue
        codec, codes, asked = file("codec.safetensors"), file(f"{bits}.safetensors"), file("q.safetensors")
        train = [args.dhih_train]
        made = timed(train + ["codec", "--vectors", file("v.npy"), "--bits", str(bits), "--out", codec])
        encode = train + ["encode", "--codec", codec, "--vectors"]
        made += timed(encode + [file("v.npy"), "--out", codes])
        timed(encode + [file("q.npy"), "--out", asked])
        for kept in ("int8", "f16") if bits == BITS[-1] else ("int8",):
            build = [args.dhih_index, "build", "--codes", codes, "--vectors", file("v.npy"), "--as", kept]
            made_index = made + timed(build + ["--out", file("idx")])
            size = sum(path.stat().st_size for path in (args.dir / "idx").iterdir()) / count
            for rescored in RESCORED:
                search = [args.dhih_index, "--threads", str(args.threads), "search", "--index", file("idx")]
                search += ["--queries", asked, "--query-vectors", file("q.npy"), "-k", str(K)]
                search += ["--rescore", str(rescored), "--in-memory", "--json"]
                times = []
                for _ in range(args.rounds):
                    done = subprocess.run(search, check=True, capture_output=True, text=True)
                    times.append(float(re.search(r"queries in ([\d.]+) s", done.stderr)[1]))
                found = [[hit["id"] for hit in json.loads(row)["hits"]] for row in done.stdout.splitlines()]
                name = f"dhih, {bits} bits, {kept}, {rescored} rescored"
                line(name, found, float(np.median(times)), size, made_index)


def faiss_indexes():
    try:
        import faiss
    except ImportError:
        return
    faiss.omp_set_num_threads(args.threads)
    bits = min(BITS[-1], dims)
    started = time.perf_counter()
    transform = faiss.ITQTransform(dims, bits, bits < dims)
    transform.train(vectors[:: max(1, count // 100_000)])
    codes = np.packbits(transform.apply(vectors) >= 0, axis=1, bitorder="little")
    flat = faiss.IndexBinaryFlat(bits)
    flat.add(codes)
    made = time.perf_counter() - started

    def refined(rescored):
        def search(query):
            code = np.packbits(transform.apply(query[None]) >= 0, axis=1, bitorder="little")
            return nearest(query, flat.search(code, rescored)[1][0])

        return search

    for rescored in (100, 500):
        name = f"faiss IndexBinaryFlat, {bits} bits of ITQ, {rescored} refined from f32"
        measure(name, refined(rescored), bits / 8 + 4 * dims, made)
    lists = max(16, int(4 * count**0.5) // 16 * 16)
    started = time.perf_counter()
    index = faiss.index_factory(dims, f"IVF{lists},RaBitQ", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:: max(1, count // (40 * lists))])
    index.add(vectors)
    made = time.perf_counter() - started
    size = faiss.serialize_index(index).nbytes / count
    for probes in (8, 64):
        index.nprobe = probes
        search = lambda query: nearest(query, (lambda ids: ids[ids >= 0])(index.search(query[None], 100)[1][0]))
        measure(f"faiss IVF{lists},RaBitQ, {probes} lists, 100 refined from f32", search, size + 4 * dims, made)


def usearch_indexes():
    try:
        from usearch.index import Index
    except ImportError:
        return
    started = time.perf_counter()
    index = Index(ndim=dims, metric="cos", dtype="f16")
    index.add(np.arange(count), vectors)
    made = time.perf_counter() - started
    for expansion in (64, 256):
        index.expansion_search = expansion
        search = lambda query: index.search(query, K, threads=args.threads).keys
        measure(f"usearch f16, expansion {expansion}", search, index.memory_usage / count, made)
    del index
    started = time.perf_counter()
    signs = np.packbits(vectors >= 0, axis=1, bitorder="little")
    index = Index(ndim=dims, metric="hamming", dtype="b1")
    index.add(np.arange(count), signs)
    made = time.perf_counter() - started
    index.expansion_search = 256

    def search(query):
        sign = np.packbits(query >= 0, bitorder="little")
        return nearest(query, index.search(sign, 100, threads=args.threads).keys.astype(np.int64))

    measure("usearch b1, signs, expansion 256, 100 refined from f32", search, index.memory_usage / count + 4 * dims, made)


ours()
measure("numpy, all vectors in f32", nearest, 4 * dims, 0)
faiss_indexes()
usearch_indexes()
