"""Pictures for `cargo xtask bench intake`, and what is measured beside ours.

make DIR COUNT WIDTH HEIGHT baseline|progressive   draws so many JPEGs into two class folders, DIR/a and DIR/b
pillow SIDE FILE...   seconds in which Pillow reads each: draft, crop, resize
peak COMMAND...   runs a command; its seconds and the most memory it had, in MiB
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

what, *arguments = sys.argv[1:]


def make(folder, count, width, height, coding):
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    # A sum of smooth noises, coarse and fine, and a little grain: it compresses as photographs do. Pictures are windows of it.
    high, wide = height + height // 4, width + width // 4
    canvas = np.full((high, wide, 3), 128, np.float32)
    for cells, strength in ((5, 60), (25, 40), (125, 22), (500, 10)):
        for channel in range(3):
            shape = (cells * height // width + 2, cells + 2) if cells < width else (2, 2)
            noise = Image.fromarray(rng.standard_normal(shape).astype(np.float32))
            canvas[:, :, channel] += strength * np.asarray(noise.resize((wide, high), Image.Resampling.BICUBIC))
    canvas += rng.standard_normal((high, wide, 1)).astype(np.float32) * 3
    # The classes differ in colour, so that they can be learnt.
    canvases = []
    for channel in range(2):
        tinted = canvas.copy()
        tinted[:, :, channel] += 50
        canvases.append(tinted.clip(0, 255).astype(np.uint8))
    for number in range(count):
        top, left = rng.integers(0, height // 4), rng.integers(0, width // 4)
        picture = canvases[number % 2][top : top + height, left : left + width]
        place = Path(folder) / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{number:07}.jpg", quality=87, progressive=coding == "progressive")


def pillow(side, files):
    from PIL import Image

    contents = [Path(file).read_bytes() for file in files]
    import io

    started = time.perf_counter()
    for content in contents:
        image = Image.open(io.BytesIO(content))
        image.draft("RGB", (side, side))
        image = image.convert("RGB")
        width, height = image.size
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        box = (left, top, left + short, top + short)
        image.resize((side, side), Image.Resampling.BILINEAR, box=box).tobytes()
    print(json.dumps({"seconds": (time.perf_counter() - started) / len(contents)}))


def peak(command):
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    seconds = time.perf_counter() - started
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "mebibytes": most}))
    sys.exit(done.returncode)


match what:
    case "make":
        make(arguments[0], *map(int, arguments[1:4]), arguments[4])
    case "pillow":
        pillow(int(arguments[0]), arguments[1:])
    case "peak":
        peak(arguments)
