"""What the tests share: the definition of Hamming search, pictures, the command, and one small run."""

import atexit
import functools
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import zlib

import numpy as np

NONE = np.iinfo(np.uint32).max, np.iinfo(np.uint64).max


def some_codes(seed, n, bits):
    """Random codes near a few centres, so that distances tie."""
    random = np.random.default_rng(seed)
    signs = random.standard_normal((5, bits))[random.integers(0, 5, n)]
    flipped = random.random((n, bits)) < 0.1
    return np.packbits((signs > 0) ^ flipped, axis=1, bitorder="little")


def distances(queries, codes):
    """All Hamming distances, [q, n]: the definition."""
    return np.unpackbits(queries[:, None] ^ codes[None], axis=2).sum(axis=2, dtype=np.int64)


def nearest(queries, codes, ids, k):
    """The k nearest of each query by distance, then id, among all codes: the definition."""
    found = np.full((len(queries), k), NONE[0], np.uint32), np.full((len(queries), k), NONE[1], np.uint64)
    for row, all_of_row in enumerate(distances(queries, codes)):
        order = np.lexsort((ids, all_of_row))[:k]
        found[0][row, : len(order)] = all_of_row[order]
        found[1][row, : len(order)] = ids[order]
    return found


@functools.cache
def scratch():
    """A directory that goes with the process."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="dhih-python-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def directory():
    """A new directory."""
    return pathlib.Path(tempfile.mkdtemp(dir=scratch()))


def command(*args):
    """What `dhih-train` prints."""
    program = os.environ.get("DHIH_TRAIN_PROGRAM")
    if program is None:
        raise RuntimeError("DHIH_TRAIN_PROGRAM names no dhih-train: run `cargo xtask test-python`")
    done = subprocess.run([program, *map(str, args)], capture_output=True, text=True, cwd=scratch())
    if done.returncode != 0:
        raise RuntimeError(f"dhih-train {args}: {done.stderr}")
    return done.stdout


@functools.cache
def run():
    """The path of a run of codes that fill no whole byte; its parent has the link `latest`."""
    path = scratch() / "runs" / "first"
    train = ["train", "--dataset", "demo", "--demo-images", "1200", "--epochs", "1", "--bits", "36"]
    command(*train, "--run-dir", path)
    return path


def tensors(path):
    """A safetensors file, read without dhih."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    types = {"U8": "<u1", "U64": "<u8", "I64": "<i8", "F32": "<f4"}
    found = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        array = np.frombuffer(data[8 + length + start : 8 + length + end], types[entry["dtype"]])
        found[name] = array.reshape(entry["shape"])
    return found


def png(pixels):
    """A PNG file's bytes of uint8 [height, width, 3]."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def picture(seed, height, width):
    """Smooth colours of any size."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = random.random((3, 3)) * 0.3
    colours = [np.sin(a * x + b * y + 9 * c) * 127 + 128 for a, b, c in waves]
    return np.stack(colours, axis=2).astype(np.uint8)
