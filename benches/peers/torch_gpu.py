#!/usr/bin/env python3
"""The benchmark's workload written with torch operations on a GPU, as one would write it today.

Scenes, cutouts and masks lie on the device already and batches are made sample by sample: large
scale jittering by `interpolate`, each layer resized, its mask blurred for the edge and pasted, the
masks of what it covers cut, boxes by torchvision's `masks_to_boxes`, small ones left out, the image
normalised to f16. Nothing is loaded or copied to the device, and what is drawn at random is drawn on
the host: compare with `GPU composing, resident` of `pastebank bench`.

    python3 torch_gpu.py                              1024x1024, batch 16, 20 layers, on the GPU
    python3 torch_gpu.py --device cpu --canvas 256    to try it

Prints a table line and one line of JSON for each way: eager and torch.compile.
"""

import argparse
import json
import random
import statistics
import sys
import time

import torch
import torch.nn.functional as F
import torchvision
from torchvision.ops import masks_to_boxes
from torchvision.transforms.functional import gaussian_blur

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCENE = (480, 640)
INSTANCES = 8
PAD = 114
SIGMA = 2.0
LEAST_AREA = 1


def ellipse(height, width, device):
    y = torch.linspace(-1, 1, height, device=device)[:, None]
    x = torch.linspace(-1, 1, width, device=device)[None, :]
    return x * x + y * y <= 1


class Data:
    """Scenes with instance masks, and cutouts with theirs, on the device."""

    def __init__(self, device, scenes=64, cutouts=512):
        draw = random.Random(1)
        height, width = SCENE
        self.scenes, self.masks, self.cutouts = [], [], []
        for _ in range(scenes):
            image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, device=device)
            masks = torch.zeros(INSTANCES, height, width, dtype=torch.bool, device=device)
            for mask in masks:
                h, w = draw.randrange(80, 180), draw.randrange(80, 180)
                y, x = draw.randrange(height - h), draw.randrange(width - w)
                mask[y : y + h, x : x + w] = ellipse(h, w, device)
            self.scenes.append(image)
            self.masks.append(masks)
        for _ in range(cutouts):
            h, w = draw.randrange(80, 180), draw.randrange(80, 180)
            image = torch.randint(0, 256, (3, h, w), dtype=torch.uint8, device=device)
            self.cutouts.append((image, ellipse(h, w, device)))


def draw_sample(draw, data, canvas, layers):
    """What `pastebank`'s benchmark draws: a scene 1 to 1.6 times as wide as the canvas and layers of
    75 to 225 pixels a side anywhere on it."""
    scale = draw.uniform(1.0, 1.625) * canvas / SCENE[1]
    scene = {
        "index": draw.randrange(len(data.scenes)),
        "size": [int(side * scale) for side in SCENE],
        "crop": [draw.randrange(50), draw.randrange(100)],
        "flip": draw.random() < 0.5,
    }
    placed = []
    for _ in range(layers):
        size = [draw.randint(75, 225), draw.randint(75, 225)]
        top_left = [draw.randrange(-side // 2, canvas - side // 2) for side in size]
        placed.append((draw.randrange(len(data.cutouts)), size, top_left, draw.random() < 0.5))
    return scene, placed


def resize(image, size):
    """An image of bytes, as floats."""
    return F.interpolate(image[None].float(), size=size, mode="bilinear", antialias=False)[0]


def resize_masks(masks, size):
    return F.interpolate(masks[None].to(torch.uint8), size=size, mode="nearest")[0].bool()


def jitter(image, masks, size, crop, flip, canvas):
    """Large scale jittering: resize, crop or pad to the canvas, perhaps mirror."""
    image, masks = resize(image, size), resize_masks(masks, size)
    if flip:
        image, masks = image.flip(-1), masks.flip(-1)
    top, left = crop
    image, masks = (it[:, top : top + canvas, left : left + canvas] for it in (image, masks))
    below, right = canvas - image.shape[1], canvas - image.shape[2]
    image = F.pad(image, (0, right, 0, below), value=PAD)
    masks = F.pad(masks, (0, right, 0, below))
    return image, masks


def paste(image, masks, cutout, size, top_left, flip, canvas):
    """One layer: the blurred mask is its weight, the mask itself cuts those below. Changes `image`
    and `masks`; returns the layer's own mask, or None if it lies outside."""
    pixels, mask = resize(cutout[0], size), resize_masks(cutout[1][None], size)[0]
    if flip:
        pixels, mask = pixels.flip(-1), mask.flip(-1)
    reach = 6
    pixels = F.pad(pixels[None], (reach,) * 4, mode="replicate")[0]
    mask = F.pad(mask, (reach,) * 4)
    alpha = gaussian_blur(mask[None].float(), kernel_size=2 * reach + 1, sigma=SIGMA)
    (top, left), (height, width) = (side - reach for side in top_left), mask.shape
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + height, canvas), min(left + width, canvas)
    if y0 >= y1 or x0 >= x1:
        return None
    inside = (..., slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    there = (..., slice(y0, y1), slice(x0, x1))
    pixels, alpha, mask = pixels[inside], alpha[inside], mask[inside]
    image[there] = image[there] + alpha * (pixels - image[there])
    masks[there] &= ~mask
    own = torch.zeros(canvas, canvas, dtype=torch.bool, device=image.device)
    own[there] = mask
    return own


def finish(image, masks, mean, std):
    """Normalised f16 image, masks and boxes of what is still to be seen."""
    masks = masks[masks.flatten(1).sum(1) >= LEAST_AREA]
    image = ((image.round() / 255 - mean) / std).half()
    return image, masks, masks_to_boxes(masks)


class Composer:
    def __init__(self, data, canvas, device, compiled):
        wrap = (lambda f: torch.compile(f, dynamic=True)) if compiled else (lambda f: f)
        self.jitter, self.paste, self.finish = wrap(jitter), wrap(paste), wrap(finish)
        self.data, self.canvas = data, canvas
        self.mean, self.std = (torch.tensor(v, device=device)[:, None, None] for v in (MEAN, STD))

    @torch.no_grad()
    def batch(self, samples):
        images, targets = [], []
        for scene, layers in samples:
            index = scene["index"]
            image, masks = self.jitter(
                self.data.scenes[index], self.data.masks[index],
                scene["size"], scene["crop"], scene["flip"], self.canvas,
            )
            # Room for the layers' masks, so that those below are cut in one operation each.
            all_masks = torch.cat([masks, masks.new_zeros(len(layers), self.canvas, self.canvas)])
            count = len(masks)
            for cutout, size, top_left, flip in layers:
                own = self.paste(
                    image, all_masks[:count], self.data.cutouts[cutout], size, top_left, flip, self.canvas
                )
                if own is not None:
                    all_masks[count] = own
                    count += 1
            image, masks, boxes = self.finish(image, all_masks[:count], self.mean, self.std)
            images.append(image)
            targets.append({"masks": masks, "boxes": boxes})
        return torch.stack(images), targets


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def measure(composer, data, options):
    """Images a second of one batch after another, warm-up apart."""
    draw = random.Random(2)
    make = lambda: [draw_sample(draw, data, options.canvas, options.layers) for _ in range(options.batch)]
    for _ in range(3):
        composer.batch(make())
    synchronize(options.device)
    rates, started = [], time.perf_counter()
    while len(rates) < 3 or time.perf_counter() - started < options.seconds:
        samples = make()
        begin = time.perf_counter()
        images, targets = composer.batch(samples)
        synchronize(options.device)
        rates.append(options.batch / (time.perf_counter() - begin))
    check(images, targets, options)
    return rates


def check(images, targets, options):
    """That what was measured is a batch: shapes, types, and masks that do not overlap where pasted."""
    assert images.shape == (options.batch, 3, options.canvas, options.canvas), images.shape
    assert images.dtype == torch.float16 and bool(images.isfinite().all())
    for target in targets:
        masks, boxes = target["masks"], target["boxes"]
        assert masks.shape[1:] == images.shape[2:] and len(boxes) == len(masks) > 0
        assert masks.dtype == torch.bool and bool((boxes[:, 2:] >= boxes[:, :2]).all())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--canvas", type=int, default=1024, help="side of the square images")
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10, help="time for each way")
    parser.add_argument("--ways", nargs="+", choices=["eager", "compile"], default=["eager", "compile"])
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device; --device cpu tries the script")
    torch.manual_seed(0)
    data = Data(options.device)
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    for way in options.ways:
        composer = Composer(data, options.canvas, options.device, way == "compile")
        rates = measure(composer, data, options)
        line = {
            "peer": f"torch {way}",
            "canvas": [options.canvas] * 2,
            "batch": options.batch,
            "layers": options.layers,
            "device": name,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "unit": "images/s",
            "median": statistics.median(rates),
            "least": min(rates),
            "greatest": max(rates),
            "runs": len(rates),
        }
        size = f"{options.canvas}x{options.canvas}"
        print(
            f"{size:<12}{options.batch:>6}{options.layers:>7}  {line['peer']:<32}{line['median']:>10.2f}"
            f"  [{line['least']:.2f}..{line['greatest']:.2f}]  images/s on {name}"
        )
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
