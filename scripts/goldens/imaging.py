"""Pillow's resizing and PyTorch's bilinear upsampling."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Down, up, one side only, and by a factor with many taps: width, height.
SIZES = [(20, 13), (90, 77), (47, 12), (31, 61), (5, 3)]
MAPS = [(7, 9), (16, 20), (5, 5), (3, 1)]


def make(folder: Path) -> None:
    random = np.random.default_rng(5)
    image = random.integers(0, 256, (61, 47, 3), dtype=np.uint8)
    # Flat black and white too: overshoot must be cut off.
    image[10:30, 5:25] = 255
    image[20:50, 25:40] = 0
    arrays = {"image": image}
    for name, resampling in FILTERS.items():
        for size in SIZES:
            key = f"{name}.{size[0]}x{size[1]}"
            arrays[f"rgb.{key}"] = np.array(Image.fromarray(image).resize(size, resampling))
            gray = Image.fromarray(image[:, :, 0]).resize(size, resampling)
            arrays[f"gray.{key}"] = np.array(gray)
    maps = torch.from_numpy(random.standard_normal((2, 3, 5, 5), dtype=np.float32))
    arrays["maps"] = maps.numpy()
    for size in MAPS:
        for corners in (False, True):
            output = torch.nn.functional.interpolate(
                maps, size, mode="bilinear", align_corners=corners
            )
            arrays[f"maps.{size[0]}x{size[1]}.{str(corners).lower()}"] = output.numpy()
    save_file(arrays, folder / "imaging.safetensors")
