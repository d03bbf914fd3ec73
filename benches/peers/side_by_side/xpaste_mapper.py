"""Peer 4: what X-Paste's mapper does to paste its synthetic instances, written anew.

As in its `_load_RGBA`, `random_start_xy` and `_copy_paste`: every object is resized and moved into a frame
as large as the image (pixels and mask), one after another; each paste multiplies whole frames, cuts every
mask there is, counts it and looks for its box again. Its mask is what has any alpha; its "gaussian" edge is
a box of 5x5 pixels over the mask of the frame; `np.where` makes 64-bit numbers of the masks. Instances are
dropped by its own rule (301 pixels, or a box that moved at most 10 pixels).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from composed import Composed, HalfPrecision, Placement, resize_cutout
from plans import PAD

LEAST_AREA = 300
GREATEST_SHIFT = 10


@dataclass
class Prepared:
    image: np.ndarray
    masks: np.ndarray
    scene: Placement
    layers: list


class Composer:
    def __init__(self, scenes, cutouts, plan):
        self.scenes, self.cutouts = scenes, cutouts
        self.canvas = tuple(plan["canvas"])
        self.half = HalfPrecision()

    def prepare(self, sample):
        scene = self.scenes[sample["scene"]["index"]]
        layers = [(self.cutouts[it["cutout"]], Placement.of(it)) for it in sample["layers"]]
        return Prepared(scene.image, scene.full_masks(), Placement.of(sample["scene"]), layers)

    def compose(self, prepared):
        frame = self.place_scene(prepared)
        count = len(prepared.masks)
        for number, (cutout, place) in enumerate(prepared.layers, count):
            image, mask = self.move(resize_cutout(cutout, place), place)
            frame = copy_paste(frame, image[:3], mask, number)
        image, masks, boxes, numbers = frame
        # detectron2's BitMasks are of bool.
        masks = masks.astype(bool)
        half = self.half(image, np.empty(image.shape, np.float16))
        return Composed(half, image.transpose(1, 2, 0), masks, boxes, numbers.tolist())

    def place_scene(self, prepared):
        """The scene on the canvas with what is seen of it: image CHW, masks, boxes, numbers."""
        place, (width, height) = prepared.scene, self.canvas
        image = np.full((height, width, 3), PAD, np.uint8)
        masks = np.zeros((len(prepared.masks), height, width), bool)
        window = place.window(self.canvas)
        if window is not None:
            there, inside = window
            image[there] = mirror(cv2.resize(prepared.image, place.resized), place.flip)[inside]
            for out, mask in zip(masks, prepared.masks):
                resized = cv2.resize(mask.view(np.uint8), place.resized, interpolation=cv2.INTER_NEAREST_EXACT)
                out[there] = mirror(resized, place.flip)[inside]
        seen = masks.any(axis=(1, 2))
        masks = masks[seen]
        return np.ascontiguousarray(image.transpose(2, 0, 1)), masks, find_boxes(masks), np.flatnonzero(seen)

    def move(self, pixels, place):
        """An object in a frame of its own: RGBA as planes, and its mask."""
        matrix = np.float32([[1, 0, place.offset[0]], [0, 1, place.offset[1]]])
        mask = (pixels[..., 3] > 0).astype(np.uint8)
        mask = cv2.warpAffine(mask, matrix, self.canvas)[None]
        pixels = cv2.warpAffine(pixels, matrix, self.canvas)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)), mask


def mirror(image, flip):
    return cv2.flip(image, 1) if flip else image


def copy_paste(frame, above, above_masks, number):
    """One object onto the whole frame."""
    image, masks, boxes, numbers = frame
    covered = np.where(np.any(above_masks, axis=0), 1, 0)
    masks = np.where(covered, 0, masks)
    updated = find_boxes(masks)
    unmoved = np.all(np.abs(updated - boxes) <= GREATEST_SHIFT, axis=-1)
    kept = unmoved | (masks.sum(axis=(1, 2)) > LEAST_AREA)
    weight = cv2.blur(covered.astype(np.float32), (5, 5))
    image = (image * (1 - weight) + above * weight).astype(image.dtype)
    masks = np.concatenate([masks[kept], above_masks])
    boxes = np.concatenate([updated[kept], find_boxes(above_masks)])
    return image, masks, boxes, np.concatenate([numbers[kept], [number]])


def find_boxes(masks):
    boxes = np.zeros((len(masks), 4), np.float32)
    columns, rows = masks.any(axis=1), masks.any(axis=2)
    for box, column, row in zip(boxes, columns, rows):
        x, y = np.flatnonzero(column), np.flatnonzero(row)
        if len(x) and len(y):
            box[:] = x[0], y[0], x[-1] + 1, y[-1] + 1
    return boxes
