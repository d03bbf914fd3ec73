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
# Pixels around a mask that its blur reaches.
REACH = 6


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


def resize(image, masks, size):
    """An image of bytes as floats, and its masks, in another size."""
    image = F.interpolate(image[None].float(), size=size, mode="bilinear")[0]
    masks = F.interpolate(masks[None].to(torch.uint8), size=size, mode="nearest")[0].bool()
    return image, masks


def jitter(image, masks, crop, flip, canvas):
    """The rest of large scale jittering: crop or pad a resized scene, perhaps mirrored."""
    if flip:
        image, masks = image.flip(-1), masks.flip(-1)
    top, left = crop
    image, masks = (it[:, top : top + canvas, left : left + canvas] for it in (image, masks))
    rest = (0, canvas - image.shape[2], 0, canvas - image.shape[1])
    return F.pad(image, rest, value=PAD), F.pad(masks, rest)


def weigh(image, mask, size):
    """A resized cutout, its mask and its blurred mask, with room for the blur around it."""
    image, mask = resize(image, mask[None], size)
    image = F.pad(image[None], (REACH,) * 4, mode="replicate")[0]
    mask = F.pad(mask, (REACH,) * 4)
    alpha = gaussian_blur(mask.float(), kernel_size=2 * REACH + 1, sigma=SIGMA)
    return image, mask[0], alpha


def blend(below, masks, image, mask, alpha):
    """One layer over a window of the canvas: the blurred mask is its weight, the mask itself cuts
    those of what it covers."""
    return below + alpha * (image - below), masks & ~mask


def paste(operations, canvas_image, canvas_masks, cutout, size, top_left, flip):
    """One layer anywhere on the canvas. Changes `canvas_image` and `canvas_masks`, whose last one
    becomes the layer's own."""
    layer = operations["weigh"](*cutout, size)
    if flip:
        layer = [it.flip(-1) for it in layer]
    canvas = canvas_image.shape[-1]
    (top, left), (height, width) = (side - REACH for side in top_left), layer[1].shape
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + height, canvas), min(left + width, canvas)
    if y0 >= y1 or x0 >= x1:
        return False
    layer = [it[..., y0 - top : y1 - top, x0 - left : x1 - left] for it in layer]
    window = (..., slice(y0, y1), slice(x0, x1))
    canvas_image[window], canvas_masks[:-1][window] = operations["blend"](
        canvas_image[window], canvas_masks[:-1][window], *layer
    )
    canvas_masks[-1][window] = layer[1]
    return True


def normalise(image, mean, std):
    return ((image.round() / 255 - mean) / std).half()


OPERATIONS = {"resize": resize, "weigh": weigh, "blend": blend, "normalise": normalise}


class Composer:
    def __init__(self, data, canvas, device, compiled):
        wrap = (lambda f: torch.compile(f, dynamic=True)) if compiled else (lambda f: f)
        self.operations = {name: wrap(function) for name, function in OPERATIONS.items()}
        self.data, self.canvas = data, canvas
        self.mean, self.std = (torch.tensor(v, device=device)[:, None, None] for v in (MEAN, STD))

    @torch.no_grad()
    def sample(self, scene, layers):
        data, operations, canvas = self.data, self.operations, self.canvas
        index = scene["index"]
        image, masks = operations["resize"](data.scenes[index], data.masks[index], scene["size"])
        image, masks = jitter(image, masks, scene["crop"], scene["flip"], canvas)
        # Room for the layers' masks, so that all those below are cut by one operation each.
        masks = torch.cat([masks, masks.new_zeros(len(layers), canvas, canvas)])
        count = INSTANCES
        for cutout, size, top_left, flip in layers:
            cutout = data.cutouts[cutout]
            count += paste(operations, image, masks[: count + 1], cutout, size, top_left, flip)
        masks = masks[:count]
        masks = masks[masks.flatten(1).sum(1) >= LEAST_AREA]
        image = operations["normalise"](image, self.mean, self.std)
        return image, {"masks": masks, "boxes": masks_to_boxes(masks)}

    def batch(self, samples):
        images, targets = zip(*(self.sample(*sample) for sample in samples))
        return torch.stack(images), targets


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def measure(composer, data, options):
    """Images a second of one batch after another, warm-up apart."""
    draw = random.Random(2)
    make = lambda: [draw_sample(draw, data, options.canvas, options.layers) for _ in range(options.batch)]
    started, warm = time.perf_counter(), 0
    # Compiling goes on for as long as there are new shapes.
    while warm < 3 or time.perf_counter() - started < options.seconds:
        composer.batch(make())
        synchronize(options.device)
        warm += 1
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
    """That what was measured is a batch: shapes, types, finite values, a box for each mask."""
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
    parser.add_argument("--seconds", type=float, default=10, help="time for each way, and as much again to warm up")
    parser.add_argument("--ways", nargs="+", choices=["eager", "compile"], default=["eager", "compile"])
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device; --device cpu tries the script")
    torch.manual_seed(0)
    data = Data(options.device)
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    for way in options.ways:
        composer = Composer(data, options.canvas, options.device, way == "compile")
        try:
            rates = measure(composer, data, options)
        except Exception as error:
            # torch.compile needs a C compiler, which not every machine has.
            if way == "eager":
                raise
            print(f"torch {way} does not run here: {str(error).strip().splitlines()[0]}", flush=True)
            continue
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
