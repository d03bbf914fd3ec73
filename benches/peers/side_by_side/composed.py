"""What every peer takes and gives, and what all of them share."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass
class Composed:
    """One composed image. A peer may reuse its arrays for the next one."""

    # Normalised f16 CHW: what goes to the network.
    image: Any
    # The same as bytes, HWC, before it was normalised.
    pixels: Any
    # What is visible of each instance: [n, height, width] of bool.
    masks: Any
    # Their boxes, [x0, y0, x1, y1), [n, 4].
    boxes: Any
    # Which each is: scene instances are counted first, then the layers of the plan.
    numbers: list[int]


@dataclass
class Placement:
    """A source on the canvas, as a plan has it."""

    resized: tuple[int, int]
    offset: tuple[int, int]
    flip: bool

    @staticmethod
    def of(planned: dict) -> "Placement":
        return Placement(tuple(planned["resized"]), tuple(planned["offset"]), planned.get("flip", False))

    def window(self, canvas, reach=0):
        """The part of the canvas that the source covers, grown by `reach` pixels, and the same part in
        the coordinates of the resized source: two pairs of slices (rows, columns), or None."""
        (rw, rh), (ox, oy), (width, height) = self.resized, self.offset, canvas
        x0, y0 = max(ox - reach, 0), max(oy - reach, 0)
        x1, y1 = min(ox + rw + reach, width), min(oy + rh + reach, height)
        if x0 >= x1 or y0 >= y1:
            return None
        # Sources that were grown themselves have their first pixel `reach` further to the left.
        left, top = ox - reach, oy - reach
        inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        return (slice(y0, y1), slice(x0, x1)), inside


class HalfPrecision:
    """The output conversion of the numpy peers: a look-up table a channel, as 16-bit patterns."""

    def __init__(self):
        values = np.arange(256) / 255
        self.tables = [((values - m) / s).astype(np.float16).view(np.uint16) for m, s in zip(MEAN, STD)]

    def __call__(self, planes, out):
        """Three planes of bytes to `out`, f16 [3, height, width]."""
        for plane, table, half in zip(planes, self.tables, out):
            cv2.LUT(plane, table, dst=half.view(np.uint16))
        return out


def resize_cutout(cutout, placement):
    """A cutout's RGBA pixels in their place's size, mirrored if the plan says so."""
    pixels = cutout.level(placement.resized)
    if placement.flip:
        pixels = cv2.flip(pixels, 1)
    return cv2.resize(pixels, placement.resized, interpolation=cv2.INTER_LINEAR)


def box_of(mask):
    """The tight box of a mask, [x0, y0, x1, y1); None if it is empty."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return (x, y, x + width, y + height) if width else None
