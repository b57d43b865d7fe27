"""Runs an exported network with onnxruntime on the images of a run, and compares its codes with the run's, bit for bit.

Two programs add the same numbers in different orders, so a value of almost exactly 0 has no sign that both must agree on: bits
whose value is below a hundred-thousandth of the mean value are counted apart, as ties.

Needs numpy and onnxruntime. Prints one JSON object; exits 1 where a bit that is no tie differs, or more than one bit in 10,000
is a tie, which would be too many to be chance.
"""
import argparse
import json
import struct
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def read(path, name):
    """One u8 tensor of a safetensors file."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    entry = json.loads(data[8 : 8 + length])[name]
    assert entry["dtype"] == "U8", entry
    start, end = entry["data_offsets"]
    values = np.frombuffer(data, np.uint8, end - start, 8 + length + start)
    return values.reshape(entry["shape"])


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", required=True)
parser.add_argument("--run", type=Path, required=True)
parser.add_argument("--images", type=int, default=1000)
args = parser.parse_args()

images = read(args.run / "gallery.safetensors", "database")[: args.images]
expected = read(args.run / "codes.safetensors", "codes")[: args.images]
session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
metadata = session.get_modelmeta().custom_metadata_map
bits = int(metadata["dhih.bits"])
codes, values = [], []
for start in range(0, len(images), 64):
    some = session.run(["codes", "values"], {"images": np.ascontiguousarray(images[start : start + 64])})
    codes.append(some[0])
    values.append(some[1])
codes, values = np.concatenate(codes), np.concatenate(values)
differing = np.unpackbits(codes ^ expected, axis=1, bitorder="little")[:, :bits].astype(bool)
size = np.abs(values)
ties = size < 1e-5 * size.mean()
wrong = differing & ~ties
print(json.dumps({
    "images": len(images),
    "distinct_codes": len(np.unique(codes, axis=0)),
    "ties": int(ties.sum()),
    "differing_ties": int((differing & ties).sum()),
    "differing_bits": int(wrong.sum()),
    "values_at_differing_bits": size[wrong].tolist()[:8],
    "mean_value": float(size.mean()),
    "model_sha256": metadata["dhih.model_sha256"],
}))
sys.exit(0 if len(images) and not wrong.any() and ties.mean() <= 1e-4 else 1)
