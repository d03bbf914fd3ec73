"""Plans of the benchmark's workload, and pastebank's rendering of them.

The same placements as `pastebank bench` draws: a scene 1 to 1.625 times as wide as the canvas, layers of
75 to 225 pixels a side anywhere on it, blended with a Gaussian edge of sigma 2.
"""

import json
from pathlib import Path

import cv2
import numpy as np

from packs import run

SIGMA = 2.0
PAD = 114


def draw_plan(scenes, cutouts, samples, layers, canvas, seed=2, sides=(75, 225)):
    """A plan as JSON's objects. No cutout is twice in one sample, so that it names its layer."""
    draw = np.random.default_rng(seed)
    drawn = []
    for number in range(samples):
        index = number % len(scenes)
        chosen = draw.choice(len(cutouts), layers, replace=False)
        scene = draw_scene(draw, index, scenes[index].image, canvas)
        drawn.append({"scene": scene, "layers": [draw_layer(draw, it, canvas, sides) for it in chosen]})
    return {"canvas": list(canvas), "pad": [PAD] * 3, "samples": drawn}


def draw_scene(draw, index, image, canvas):
    height, width = image.shape[:2]
    scale = draw.uniform(1.0, 1.625) * canvas[0] / width
    share = canvas[0] / 1024
    return {
        "index": index,
        "resized": [int(width * scale), int(height * scale)],
        "offset": [-int(draw.integers(100) * share), -int(draw.integers(50) * share)],
        "flip": bool(draw.random() < 0.5),
    }


def draw_layer(draw, cutout, canvas, sides):
    resized = [int(it) for it in draw.integers(sides[0], sides[1] + 1, 2)]
    offset = [int(draw.integers(-(r // 2), c - r // 2)) for r, c in zip(resized, canvas)]
    return layer(int(cutout), resized, offset, bool(draw.random() < 0.5))


def layer(cutout, resized, offset, flip=False):
    blend = {"gaussian": {"sigma": SIGMA}}
    return {"cutout": cutout, "resized": resized, "offset": offset, "flip": flip, "blend": blend}


def render(pastebank, folder: Path, plan):
    """What pastebank makes of a plan: for each sample its pixels, RGB, and a dictionary from an
    instance's number (scene instances first, then layers) to its mask and box."""
    (folder / "plan.json").write_text(json.dumps(plan))
    command = [pastebank, "render", "--scenes", folder / "scenes", "--bank", folder / "bank"]
    command += ["--plan", folder / "plan.json", "--out", folder / "rendered", "--device", "cpu", "--force"]
    run(command)
    written = json.loads((folder / "rendered" / "annotations.json").read_text())["samples"]
    rendered = []
    for number, (sample, planned) in enumerate(zip(written, plan["samples"], strict=True)):
        pixels = cv2.imread(str(folder / "rendered" / f"{number}.png"), cv2.IMREAD_COLOR_RGB)
        rendered.append((pixels, sample["instances"], planned))
    return rendered


def numbered(instances, scene, planned):
    """The instances of one rendered sample by number: each a mask and a box [x0, y0, x1, y1)."""
    cutouts = {layer["cutout"]: len(scene.annotations) + i for i, layer in enumerate(planned["layers"])}
    annotations = {annotation: i for i, annotation in enumerate(scene.annotations)}
    found = {}
    for instance in instances:
        source = instance["source"]
        number = cutouts[source["cutout"]] if "cutout" in source else annotations[source["annotation"]]
        x, y, width, height = instance["bbox"]
        box = [int(it) for it in (x, y, x + width, y + height)]
        found[number] = (decode(instance["segmentation"]), box)
    return found


def decode(segmentation):
    """A mask of COCO's compressed run lengths: columns, runs of 0 and 1 in turn."""
    height, width = segmentation["size"]
    runs = np.array(run_lengths(segmentation["counts"]))
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def run_lengths(text):
    """Numbers of 5 bits a character, the lowest first, each from the fourth on as the difference from
    the one before the last."""
    runs, value, shift = [], 0, 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    return runs
