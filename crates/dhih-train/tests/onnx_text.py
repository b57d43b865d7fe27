"""Runs an exported text tower with onnxruntime on tokens, and compares its codes, values and vectors with the expected ones.

`--expected` is JSON: `tokens`, and `values` and `vectors` as this workspace computes them, a list for each text. Needs numpy and
onnxruntime. Exits 1 where a value or a vector differs, or a bit whose value is not almost exactly 0.
"""
import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", required=True)
parser.add_argument("--expected", type=Path, required=True)
args = parser.parse_args()

expected = json.loads(args.expected.read_text())
session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
bits = int(session.get_modelmeta().custom_metadata_map["dhih.bits"])
tokens = np.array(expected["tokens"], np.int64)
codes, values, vectors = session.run(["codes", "values", "vectors"], {"tokens": tokens})


def error(got, name):
    """The largest difference, relative to the largest number."""
    wanted = np.array(expected[name], np.float32)
    assert got.shape == wanted.shape, (name, got.shape, wanted.shape)
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


wanted = np.array(expected["values"], np.float32)
packed = np.packbits(wanted >= 0, axis=1, bitorder="little")
differing = np.unpackbits(codes ^ packed, axis=1, bitorder="little")[:, :bits].astype(bool)
wrong = differing & (np.abs(wanted) > 1e-5 * np.abs(wanted).mean())
errors = {"values": error(values, "values"), "vectors": error(vectors, "vectors")}
print(json.dumps({"texts": len(tokens), "distinct_codes": len(np.unique(codes, axis=0)), "wrong_bits": int(wrong.sum()), **errors}))
sys.exit(0 if not wrong.any() and max(errors.values()) < 1e-4 else 1)
