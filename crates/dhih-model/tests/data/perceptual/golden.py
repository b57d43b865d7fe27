"""Writes the reference hashes of `tests/perceptual.rs`: PDQ by the package `pdqhash`, difference hashes by `imagehash`.

    pip install pdqhash imagehash "pillow<12"
    python golden.py                 the pictures of this folder, in several sizes, into golden.jsonl
    python golden.py FOLDER OUT      all pictures below another folder, in their own size: see CONTRIBUTING.md

Pillow before version 12 scales rows, then columns. Later ones begin with the cheaper of the two, which changes a grey level by one here and
there, and with it a bit of a difference hash now and then.

Pictures in other sizes are made by repeating or leaving out pixels, so that other programs can make the same ones.
"""

import json
import pathlib
import sys

import imagehash
import numpy as np
import pdqhash
from PIL import Image

SIZES = [(64, 64), (65, 63), (9, 8), (5, 5), (4, 90), (300, 200), (517, 1031), (129, 128), (1000, 40)]


def hexadecimal(bits):
    return np.packbits(np.asarray(bits, dtype=np.uint8)).tobytes().hex()


def resampled(pixels, width, height):
    rows = np.arange(height) * pixels.shape[0] // height
    columns = np.arange(width) * pixels.shape[1] // width
    return np.ascontiguousarray(pixels[rows][:, columns])


def entry(name, pixels):
    height, width = pixels.shape[:2]
    hashes, quality = pdqhash.compute_dihedral(pixels)
    own, own_quality = pdqhash.compute(pixels)
    assert quality == own_quality
    difference = imagehash.dhash(Image.fromarray(pixels))
    return {
        "file": name, "width": width, "height": height, "quality": quality, "pdq": hexadecimal(own),
        "symmetries": [hexadecimal(bits) for bits in hashes], "dhash": str(difference),
    }


def main():
    here = pathlib.Path(__file__).parent
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here
    out = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else here / "golden.jsonl"
    sizes = [] if len(sys.argv) > 1 else SIZES
    endings = {".png", ".webp", ".jpg", ".jpeg"}
    with out.open("w") as lines:
        for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings):
            pixels = np.asarray(Image.open(path).convert("RGB"))
            own = pixels.shape[1::-1]
            for width, height in [own, *sizes]:
                name = path.relative_to(folder).as_posix()
                lines.write(json.dumps(entry(name, resampled(pixels, width, height))) + "\n")


if __name__ == "__main__":
    main()
