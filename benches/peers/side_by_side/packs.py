"""The benchmark's input: a drawn data set, packed by pastebank, and its packs read with numpy.

The data set is what `pastebank bench --synthetic` draws too: photographs of hills of colour with noise,
640x480, with 8 elliptic instances each.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load_file

SIZE = (640, 480)
INSTANCES = 8
CORNERS = 48


def draw_data_set(folder: Path, images: int, seed: int = 1):
    """Writes JPEG photographs and their COCO file below `folder`."""
    draw = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    listed, annotations = [], []
    for number in range(images):
        name = f"{number:06}.jpg"
        written = cv2.imwrite(
            str(folder / "images" / name), photograph(draw), [cv2.IMWRITE_JPEG_QUALITY, 90]
        )
        if not written:
            raise OSError(f"{folder / 'images' / name} cannot be written")
        listed.append({"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        annotations += [annotation(draw, number, INSTANCES * number + k) for k in range(INSTANCES)]
    write_coco(folder, listed, annotations)


def write_coco(folder: Path, images, annotations):
    categories = [{"id": 1, "name": "ellipse"}]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(data))


def photograph(draw):
    width, height = SIZE
    image = np.empty((height, width, 3), np.float32)
    for channel in range(3):
        across, down = draw.uniform(0.01, 0.15, 2)
        image[..., channel] = 128 + 80 * np.outer(
            np.cos(down * np.arange(height)), np.sin(across * np.arange(width))
        )
    image += draw.uniform(-12, 12, (height, width, 1))
    return image.clip(0, 255).astype(np.uint8)


def annotation(draw, image, number):
    width, height = draw.uniform(80, 180, 2)
    x, y = draw.uniform(0, SIZE[0] - width), draw.uniform(0, SIZE[1] - height)
    return ellipse_annotation(image, number, (x, y, width, height))


def ellipse_annotation(image, number, box, corners=CORNERS):
    x, y, width, height = box
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    points = np.stack(
        [x + width / 2 * (1 + np.cos(angles)), y + height / 2 * (1 + np.sin(angles))], axis=1
    )
    return {
        "id": number + 1,
        "image_id": image,
        "iscrowd": 0,
        "category_id": 1,
        "bbox": [x, y, width, height],
        "area": width * height,
        "segmentation": [points.ravel().tolist()],
    }


def pack(pastebank, folder: Path):
    """Packs the data set of `folder` to its `scenes` and `bank`."""
    command = [pastebank, "pack", "--annotations", folder / "instances.json", "--images", folder / "images"]
    command += ["--scenes", folder / "scenes", "--bank", folder / "bank", "--force"]
    run(command)


def run(command, **options):
    """Runs a command quietly; what it said is in the error if it fails."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, **options
    )
    if done.returncode:
        words = " ".join(str(word) for word in command)
        raise RuntimeError(f"{words}\nended with {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout


@dataclass
class Scene:
    """A photograph, RGB, and its instances: the box of each as (x, y, w, h) and its mask in the box."""

    image: np.ndarray
    boxes: list
    masks: list
    annotations: list

    def full_masks(self):
        """The masks as [n, height, width] of bool."""
        full = np.zeros((len(self.masks), *self.image.shape[:2]), bool)
        for out, (x, y, w, h), mask in zip(full, self.boxes, self.masks):
            out[y : y + h, x : x + w] = mask
        return full


@dataclass
class Cutout:
    """An object with its chain of halved sizes, RGBA."""

    levels: list

    def level(self, resized):
        """The smallest size that is not smaller than what it is resized to."""
        width, height = resized
        fits = [it for it in self.levels if it.shape[1] >= width and it.shape[0] >= height]
        return fits[-1] if fits else self.levels[0]


def shards(folder: Path):
    manifest = json.loads((folder / "manifest.json").read_text())
    for shard in manifest["shards"]:
        yield load_file(folder / shard["file"])


def read_scenes(folder: Path):
    """Every scene of a raw scene pack, in memory."""
    scenes = []
    for shard in shards(folder):
        for row, (width, height) in enumerate(shard["size"].astype(int)):
            if shard["encoding"][row] != 0:
                raise ValueError(f"{folder}: scene {row} is not raw")
            start = int(shard["offset"][row])
            image = shard["pixels"][start : start + width * height * 3].reshape(height, width, 3)
            first, last = (int(shard["instance_start"][row + i]) for i in (0, 1))
            boxes = [tuple(int(it) for it in box) for box in shard["instance_box"][first:last]]
            masks = [scene_mask(shard, first + i, box) for i, box in enumerate(boxes)]
            annotations = [int(it) for it in shard["instance_annotation"][first:last]]
            scenes.append(Scene(image.copy(), boxes, masks, annotations))
    return scenes


def scene_mask(shard, instance, box):
    _, _, width, height = box
    start = int(shard["mask_offset"][instance])
    packed = shard["mask_bits"][start : start + (width * height + 7) // 8]
    return np.unpackbits(packed, count=width * height, bitorder="little").reshape(height, width) > 0


def read_bank(folder: Path):
    """Every cutout of a bank, in memory."""
    cutouts = []
    for shard in shards(folder):
        for (width, height), start in zip(shard["size"].astype(int), shard["offset"].astype(int)):
            levels = []
            while True:
                end = start + width * height * 4
                levels.append(shard["pixels"][start:end].reshape(height, width, 4).copy())
                if (width, height) == (1, 1):
                    break
                start, width, height = end, (width + 1) // 2, (height + 1) // 2
            cutouts.append(Cutout(levels))
    return cutouts
