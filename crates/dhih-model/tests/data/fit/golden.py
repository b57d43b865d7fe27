#!/usr/bin/env python3
"""Writes expected.safetensors, which tests/fit.rs compares with ours: a picture of ../perceptual, whole and in parts, as the image processors of
transformers and torchvision bring it to a network, without normalisation. Networks take 56 x 56 pixels here in place of 224 x 224, and what
pictures are scaled to before is a quarter, too.

    pip install torch torchvision transformers safetensors pillow
    python golden.py
"""
import pathlib

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

SIDE = 56
# Left, upper, right, lower.
PARTS = {"whole": (0, 0, 128, 128), "wide": (0, 20, 128, 100), "tall": (10, 0, 87, 128), "small": (40, 50, 83, 81)}


def processor(kind, **settings):
    made = kind(do_rescale=False, do_normalize=False, **settings)
    return lambda image: made(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)


def torchvision(scaled, interpolation):
    made = Compose([Resize(scaled, interpolation), CenterCrop(SIDE)])
    return lambda image: np.asarray(made(image))


crop = {"height": SIDE, "width": SIDE}
PROCESSORS = {
    # DINOv2
    "bicubic 0.875": processor(BitImageProcessorPil, size={"shortest_edge": 64}, crop_size=crop),
    # CLIP
    "bicubic": processor(CLIPImageProcessorPil, size={"shortest_edge": SIDE}, crop_size=crop),
    # SigLIP
    "bicubic whole": processor(SiglipImageProcessorPil, size=crop, resample=Image.Resampling.BICUBIC),
    # ResNet and most others of torchvision
    "linear 0.875": torchvision(64, InterpolationMode.BILINEAR),
    # the second weights of torchvision, Resize(232)
    "linear 0.966": torchvision(58, InterpolationMode.BILINEAR),
}

here = pathlib.Path(__file__).parent
expected = {}
picture = Image.open(here.parent / "perceptual" / "harbor.webp").convert("RGB")
for part, box in PARTS.items():
    for fit, process in PROCESSORS.items():
        pixels = np.array(process(picture.crop(box)), dtype=np.uint8)
        assert pixels.shape == (SIDE, SIDE, 3), (fit, pixels.shape)
        expected[f"{part}, {fit}"] = torch.from_numpy(pixels).contiguous()
save_file(expected, here / "expected.safetensors")
