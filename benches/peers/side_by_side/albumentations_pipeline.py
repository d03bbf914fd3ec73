"""Peer 3: albumentationsx: resize, crop, pad and flip of the scene, then `CopyAndPaste`.

Objects are resized beforehand, since `CopyAndPaste` enlarges none, and given in the parts that are on the
canvas. It draws their places at random; here it is given the plan's by overriding that one draw. Its own
boxes of what was there before are not corrected, so boxes are found again from the masks.
"""

from dataclasses import dataclass

import albumentations
import cv2
import numpy as np

from composed import MEAN, STD, Composed, Placement, box_of, resize_cutout
from plans import PAD, SIGMA


class PlannedCopyAndPaste(albumentations.CopyAndPaste):
    """Pastes each object where it is told to; `places` are top left corners, (y, x), in order."""

    def __init__(self):
        super().__init__(
            min_visibility_after_paste=0.0, blend_mode="gaussian", blend_sigma_range=(SIGMA, SIGMA), p=1.0
        )
        self.places = iter(())

    def _sample_placement(self, height, width, target_shape, sampling):
        return next(self.places)


@dataclass
class Prepared:
    image: np.ndarray
    masks: np.ndarray
    pipeline: albumentations.Compose
    copy_and_paste: PlannedCopyAndPaste
    layers: list


class Composer:
    def __init__(self, scenes, cutouts, plan):
        self.scenes, self.cutouts = scenes, cutouts
        self.canvas = tuple(plan["canvas"])
        self.finish = albumentations.Compose(
            [albumentations.Normalize(MEAN, STD), albumentations.ToTensorV2()], telemetry=False
        )

    def prepare(self, sample):
        scene = self.scenes[sample["scene"]["index"]]
        layers = [(self.cutouts[it["cutout"]], Placement.of(it)) for it in sample["layers"]]
        masks = scene.full_masks().view(np.uint8)
        pipeline, copy_and_paste = self.pipeline(Placement.of(sample["scene"]))
        return Prepared(scene.image, masks, pipeline, copy_and_paste, layers)

    def pipeline(self, place):
        """The plan's jitter. Flipping comes first: a plan's offset is that of the mirrored scene."""
        (width, height), (left, top) = self.canvas, (max(-it, 0) for it in place.offset)
        right, bottom = min(left + width, place.resized[0]), min(top + height, place.resized[1])
        copy_and_paste = PlannedCopyAndPaste()
        steps = [
            albumentations.HorizontalFlip(p=float(place.flip)),
            albumentations.Resize(place.resized[1], place.resized[0]),
            albumentations.Crop(left, top, right, bottom),
            albumentations.PadIfNeeded(height, width, position="top_left", fill=PAD),
            copy_and_paste,
        ]
        return albumentations.Compose(steps, telemetry=False, seed=1), copy_and_paste

    def compose(self, prepared):
        objects, places, numbers = self.objects(prepared.layers, len(prepared.masks))
        prepared.copy_and_paste.places = iter(places)
        done = prepared.pipeline(image=prepared.image, masks=prepared.masks, copy_paste_metadata=objects)
        masks = done["masks"].reshape(-1, *self.canvas[::-1])
        numbers = [*range(len(prepared.masks)), *numbers]
        boxes = [box_of(mask) for mask in masks]
        seen = [i for i, box in enumerate(boxes) if box is not None]
        image = self.finish(image=done["image"])["image"].half()
        boxes = np.array([boxes[i] for i in seen]).reshape(-1, 4)
        return Composed(image, done["image"], masks[seen] > 0, boxes, [numbers[i] for i in seen])

    def objects(self, layers, first):
        """What `CopyAndPaste` takes: images and masks, where the tight box of each goes, and numbers."""
        objects, places, numbers = [], [], []
        for number, (cutout, place) in enumerate(layers, first):
            window = place.window(self.canvas)
            if window is None:
                continue
            (rows, columns), inside = window
            pixels = resize_cutout(cutout, place)[inside]
            mask = np.ascontiguousarray(pixels[..., 3] >= 128)
            box = box_of(mask)
            if box is None:
                continue
            color = cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB)
            objects.append({"image": color, "mask": mask.view(np.uint8)})
            places.append((rows.start + box[1], columns.start + box[0]))
            numbers.append(number)
        return objects, places, numbers
