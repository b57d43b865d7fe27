"""Measures how long other programs take for all pairs of codes within a radius: hammingbird and faiss.

Needs numpy, and measures those of hammingbird and faiss-cpu that are installed. Prints one JSON object a line: name, seconds, the number of
pairs, and `part`, the share of the codes that were asked for where all of them would take too long; seconds are then extrapolated, as each code
takes as long as any other. Every method runs in a process of its own and is given up after --seconds or above --gigabytes.
"""
import argparse
import json
import multiprocessing
import os
import resource
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--codes", required=True)
parser.add_argument("--radius", type=int, required=True)
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--seconds", type=float, default=300, help="time after which a method is given up")
parser.add_argument("--gigabytes", type=float, default=8, help="memory above which a method is given up")
args = parser.parse_args()
# Rust's and OpenMP's pools read these when they are made.
os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(args.threads)

import numpy as np  # noqa: E402


def codes():
    return np.load(args.codes)


def timed(run):
    """Seconds, and the number of pairs."""
    started = time.perf_counter()
    pairs = run()
    return time.perf_counter() - started, pairs


def hammingbird(name):
    import hammingbird

    array = codes()
    seconds, pairs = timed(lambda: len(getattr(hammingbird, name)(array, args.radius)))
    return {"seconds": seconds, "pairs": pairs, "part": 1.0}


def faiss_scan():
    """faiss compares a code with all others, and each pair twice."""
    import faiss

    faiss.omp_set_num_threads(args.threads)
    array = codes()
    index = faiss.IndexBinaryFlat(8 * array.shape[1])
    index.add(array)
    part = min(1.0, 4000 / len(array))
    asked = array[: int(part * len(array))]
    seconds, _ = timed(lambda: len(index.range_search(asked, args.radius + 1)[2]))
    return {"seconds": seconds / part, "pairs": None, "part": part}


def faiss_multi_hash(tables):
    """As many flipped bits as make it exact."""
    import faiss

    faiss.omp_set_num_threads(args.threads)
    array = codes()
    bits = 8 * array.shape[1]
    length = min(bits // tables, 32)
    index = faiss.IndexBinaryMultiHash(bits, tables, length)
    index.nflip = args.radius // tables
    # The hash tables are part of the work, as they are of all others.
    build, _ = timed(lambda: index.add(array))
    part = min(1.0, 20000 / len(array))
    asked = array[: int(part * len(array))]
    seconds, found = timed(lambda: len(index.range_search(asked, args.radius + 1)[2]))
    pairs = (found - len(array)) // 2 if part == 1 else None
    return {"seconds": build + seconds / part, "pairs": pairs, "part": part}


def run(method, words, results):
    limit = int(args.gigabytes * 1e9)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        results.put(method(*words))
    except ImportError as missing:
        results.put({"missing": str(missing)})
    except MemoryError:
        pass


def main():
    bits = 8 * codes().shape[1]
    methods = [
        ("hammingbird find_pairs_self", hammingbird, ("find_pairs_self",)),
        ("hammingbird find_pairs_self_bit", hammingbird, ("find_pairs_self_bit",)),
        ("hammingbird find_pairs_self_adaptive", hammingbird, ("find_pairs_self_adaptive",)),
        ("faiss IndexBinaryFlat", faiss_scan, ()),
    ]
    for tables in {64: (2, 3, 4, 6), 256: (8, 11, 16)}.get(bits, (4, 8)):
        methods.append((f"faiss IndexBinaryMultiHash {tables}", faiss_multi_hash, (tables,)))
    for name, method, words in methods:
        results = multiprocessing.Queue()
        process = multiprocessing.Process(target=run, args=(method, words, results))
        process.start()
        process.join(args.seconds)
        if process.is_alive():
            process.kill()
            process.join()
        # One that was killed, or ran out of memory, has left nothing.
        found = {"seconds": None, "pairs": None, "part": 1.0} if results.empty() else results.get()
        if "missing" not in found:
            print(json.dumps({"name": name, **found}), flush=True)


if __name__ == "__main__":
    main()
