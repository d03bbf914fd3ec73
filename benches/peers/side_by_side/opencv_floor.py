"""Peer 1: numpy and OpenCV, written as fast as we can: the floor of what Python can do.

- The scene is mirrored before it is enlarged. Its masks are bit planes of one byte image, so that all
  eight are enlarged by one nearest-neighbour look-up of rows and columns.
- A layer is resized as RGBA bytes; its mask is blurred and blended in its own rectangle only, in bytes.
- Occlusion is an owner map: each layer writes its number where its mask is. Masks are read off it at the
  end, each in its own rectangle.
- Buffers are reused, and of masks only the rectangles that were written are cleared.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from composed import Composed, HalfPrecision, Placement, box_of, resize_cutout
from plans import PAD, SIGMA

# Pixels that the blur reaches: three standard deviations.
REACH = int(np.ceil(3 * SIGMA))
KERNEL = cv2.getGaussianKernel(2 * REACH + 1, SIGMA, cv2.CV_32F)
# An image's masks wait in a ring as long as a batch.
RING = 16


@dataclass
class Prepared:
    image: np.ndarray
    # Bit planes of the scene's masks: instance i is bit i % 8 of plane i // 8.
    planes: list
    boxes: list
    scene: Placement
    layers: list


class Composer:
    def __init__(self, scenes, cutouts, plan):
        self.scenes, self.cutouts = scenes, cutouts
        self.canvas = tuple(plan["canvas"])
        width, height = self.canvas
        self.pixels = np.empty((height, width, 3), np.uint8)
        self.planes = list(np.empty((3, height, width), np.uint8))
        most_pixels = max(np.prod(sample["scene"]["resized"]) for sample in plan["samples"])
        self.resized = np.full(3 * most_pixels, 0, np.uint8)
        layers = max(len(sample["layers"]) for sample in plan["samples"])
        if layers > 255:
            raise ValueError(f"{layers} layers: the owner map is one byte a pixel, at most 255")
        self.owner = np.empty((height, width), np.uint8)
        most = layers + max(len(scene.masks) for scene in scenes)
        # Filled, not only reserved: pages are fetched here and not while it is measured.
        self.masks = [np.full((most, height, width), False) for _ in range(RING)]
        self.images = [np.full((3, height, width), 0, np.float16) for _ in range(RING)]
        self.written = [[] for _ in range(RING)]
        self.turn = 0
        self.half = HalfPrecision()

    def prepare(self, sample):
        scene = self.scenes[sample["scene"]["index"]]
        layers = [(self.cutouts[it["cutout"]], Placement.of(it)) for it in sample["layers"]]
        return Prepared(scene.image, planes_of(scene), scene.boxes, Placement.of(sample["scene"]), layers)

    def compose(self, prepared):
        self.turn = (self.turn + 1) % RING
        covers = self.place_scene(prepared)
        self.owner.fill(0)
        windows = [self.paste(number, *layer) for number, layer in enumerate(prepared.layers, 1)]
        masks, boxes, numbers = self.read_masks(covers, windows)
        image = self.half(cv2.split(self.pixels, self.planes), self.images[self.turn])
        return Composed(image, self.pixels, masks, boxes, numbers)

    def place_scene(self, prepared):
        """Writes the scene's pixels; gives for each instance its window of the canvas and the enlarged
        bit plane there."""
        place = prepared.scene
        window = place.window(self.canvas)
        if window is None:
            self.pixels.fill(PAD)
            return [None] * len(prepared.boxes)
        (rows, columns), inside = window
        if (rows.stop - rows.start, columns.stop - columns.start) != self.canvas[::-1]:
            self.pixels.fill(PAD)
        image = cv2.flip(prepared.image, 1) if place.flip else prepared.image
        width, height = place.resized
        resized = self.resized[: 3 * width * height].reshape(height, width, 3)
        cv2.resize(image, place.resized, dst=resized, interpolation=cv2.INTER_LINEAR)
        self.pixels[rows, columns] = resized[inside]
        return self.place_masks(prepared, rows, columns)

    def place_masks(self, prepared, rows, columns):
        place, (height, width) = prepared.scene, prepared.image.shape[:2]
        y_of = nearest(rows, place.offset[1], place.resized[1], height, False)
        x_of = nearest(columns, place.offset[0], place.resized[0], width, place.flip)
        planes = [it.take(x_of, axis=1).take(y_of, axis=0) for it in prepared.planes]
        covers = []
        for number, (x, y, w, h) in enumerate(prepared.boxes):
            top, bottom = np.searchsorted(y_of, (y, y + h))
            left, right = columns_of(x_of, x, x + w, place.flip)
            if top == bottom or left == right:
                covers.append(None)
                continue
            there = slice(rows.start + top, rows.start + bottom), slice(
                columns.start + left, columns.start + right
            )
            covers.append((there, planes[number // 8][top:bottom, left:right], 1 << number % 8))
        return covers

    def paste(self, number, cutout, place):
        """Blends a layer and writes its number into the owner map. Gives its window of the canvas."""
        window = place.window(self.canvas, REACH)
        if window is None:
            return None
        there, inside = window
        resized = resize_cutout(cutout, place)
        alpha = cv2.extractChannel(resized, 3)
        color = cv2.copyMakeBorder(
            cv2.cvtColor(resized, cv2.COLOR_RGBA2RGB), *(REACH,) * 4, cv2.BORDER_REPLICATE
        )
        mask = cv2.threshold(alpha, 127, 255, cv2.THRESH_BINARY)[1]
        mask = cv2.copyMakeBorder(mask, *(REACH,) * 4, cv2.BORDER_CONSTANT, value=0)
        weight = cv2.sepFilter2D(mask, -1, KERNEL, KERNEL, borderType=cv2.BORDER_CONSTANT)[inside]
        blend(self.pixels[there], color[inside], weight)
        # Numbers grow, so the greater one is the layer on top.
        owner = self.owner[there]
        np.maximum(owner, mask[inside] & np.uint8(number), out=owner)
        return there

    def read_masks(self, covers, windows):
        """Masks and boxes of everything that is seen, scene instances first."""
        masks, written = self.masks[self.turn], self.written[self.turn]
        for mask, there in zip(masks, written):
            mask[there] = False
        written.clear()
        boxes, numbers = [], []
        free = cv2.threshold(self.owner, 0, 255, cv2.THRESH_BINARY_INV)[1]
        for number, cover in enumerate(covers):
            if cover is not None:
                there, plane, bit = cover
                out = masks[len(boxes)][there]
                np.not_equal(plane & free[there] & np.uint8(bit), 0, out=out)
                keep_seen(out, there, number, boxes, numbers, written)
        for layer, there in enumerate(windows):
            if there is not None:
                out = masks[len(boxes)][there]
                np.equal(self.owner[there], layer + 1, out=out)
                keep_seen(out, there, len(covers) + layer, boxes, numbers, written)
        return masks[: len(boxes)], np.array(boxes).reshape(-1, 4), numbers


def keep_seen(out, there, number, boxes, numbers, written):
    """Counts a mask that was written to its window, unless nothing of it is seen."""
    box = box_of(out)
    if box is None:
        return
    y, x = there[0].start, there[1].start
    boxes.append((x + box[0], y + box[1], x + box[2], y + box[3]))
    numbers.append(number)
    written.append(there)


def blend(below, above, weight):
    """`below` becomes (above·weight + below·(255 - weight)) / 255, rounded twice: at most 1 off."""
    weights = cv2.cvtColor(weight, cv2.COLOR_GRAY2RGB)
    above = cv2.multiply(above, weights, scale=1 / 255)
    rest = cv2.multiply(below, cv2.bitwise_not(weights), scale=1 / 255)
    cv2.add(above, rest, dst=below)


def nearest(span, offset, resized, size, flip):
    """Which source row or column each of the canvas has."""
    odd = 2 * (np.arange(span.start, span.stop) - offset) + 1
    if flip:
        odd = 2 * resized - odd
    return odd * size // (2 * resized)


def columns_of(x_of, first, last, flip):
    """The columns of the canvas whose source columns are `first..last`; `x_of` falls if mirrored."""
    if flip:
        count = len(x_of)
        left, right = np.searchsorted(x_of[::-1], (first, last))
        return count - right, count - left
    return np.searchsorted(x_of, (first, last))


def planes_of(scene):
    height, width = scene.image.shape[:2]
    planes = [np.zeros((height, width), np.uint8) for _ in range((len(scene.masks) + 7) // 8)]
    for number, ((x, y, w, h), mask) in enumerate(zip(scene.boxes, scene.masks)):
        planes[number // 8][y : y + h, x : x + w] |= mask.astype(np.uint8) << number % 8
    return planes

