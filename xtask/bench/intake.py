"""Pictures for `cargo xtask bench intake`, and what is measured beside ours.

make DIR COUNT WIDTH HEIGHT   draws so many JPEGs into two class folders, DIR/a and DIR/b
pillow SIDE FILE...           seconds in which Pillow reads each: draft, crop, resize
peak COMMAND...               runs a command; its seconds and the most memory it had, in MiB
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

what, *arguments = sys.argv[1:]


def make(folder, count, width, height):
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(count):
        # A sum of smooth noises, coarse and fine, and a little grain: it compresses as photographs do.
        picture = np.full((height, width, 3), 128, np.float32)
        for cells, strength in ((4, 60), (20, 40), (100, 22), (400, 10)):
            if cells * 2 > width:
                continue
            for channel in range(3):
                noise = rng.standard_normal((cells * height // width + 2, cells + 2)).astype(np.float32)
                smooth = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
                picture[:, :, channel] += strength * np.asarray(smooth)
        picture += rng.standard_normal((height, width, 1)).astype(np.float32) * 3
        # The classes differ in colour, so that they can be learnt.
        picture[:, :, number % 2] += 50
        place = Path(folder) / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(place / f"{number:07}.jpg", quality=87)


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
        make(arguments[0], *map(int, arguments[1:]))
    case "pillow":
        pillow(int(arguments[0]), arguments[1:])
    case "peak":
        peak(arguments)
