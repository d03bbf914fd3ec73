"""Peer 2: the pipeline of torchvision's detection references, on CPU tensors.

`ScaleJitter`, a crop of fixed size and a flip for each image by torchvision.transforms.v2, then
SimpleCopyPaste, which is not in the wheel and is written anew here: every object of a second image onto
the first. There is no bank: what is pasted comes from a photograph with as many objects, which goes
through the same jitter as every image of a batch does there. The plan's placements are given to the
transforms instead of random ones.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes
from torchvision.transforms import functional as functional_v1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from composed import MEAN, STD, Composed, Placement, box_of, resize_cutout
from plans import PAD

# Side of the photograph that the objects come from, in sides of the canvas: as 640 is to 1024.
SOURCE_SHARE = 640 / 1024


class PlannedScaleJitter(v2.ScaleJitter):
    """Its own resizing to a size that is given instead of drawn."""

    def __init__(self, size):
        super().__init__(target_size=size)
        self.size = size

    def make_params(self, flat_inputs):
        return {"size": self.size}


@dataclass
class Prepared:
    """An image and what is annotated on it, and how the plan has it jittered."""

    image: torch.Tensor
    target: dict
    jitter: PlannedScaleJitter
    offset: tuple[int, int]
    flip: v2.RandomHorizontalFlip
    # The reference crops first, which cannot give every place of a plan.
    flip_first: bool = False


class Composer:
    def __init__(self, scenes, cutouts, plan):
        torch.set_num_threads(1)
        self.scenes, self.cutouts = scenes, cutouts
        self.canvas = tuple(plan["canvas"])
        self.finish = v2.Compose([v2.Normalize(MEAN, STD), v2.ToDtype(torch.float16)])
        self.to_float = v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True)

    def prepare(self, sample):
        return self.prepare_scene(sample), self.prepare_source(sample, jittered=True)

    def prepare_placed(self, sample):
        """As `prepare`, with objects that are in their places already: resized once, as others do."""
        return self.prepare_scene(sample), self.prepare_source(sample, jittered=False)

    def prepare_scene(self, sample):
        scene, place = self.scenes[sample["scene"]["index"]], Placement.of(sample["scene"])
        numbers = range(len(scene.masks))
        prepared = self.annotated(scene.image, scene.full_masks(), numbers, place)
        beyond = place.resized[0] + place.offset[0] - self.canvas[0]
        prepared.flip_first = place.flip and beyond < 0
        if place.flip and not prepared.flip_first:
            # What is cropped at the left before the flip is beyond the right edge after it.
            prepared.offset = (-beyond, place.offset[1])
        return prepared

    def prepare_source(self, sample, jittered):
        first = len(self.scenes[sample["scene"]["index"]].masks)
        image, masks, numbers = self.draw_source(sample, first)
        if jittered:
            size = [max(1, round(side * SOURCE_SHARE)) for side in self.canvas]
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            small = [cv2.resize(it.view(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT) for it in masks]
            masks = np.array(small).reshape(len(small), *size[::-1]) > 0
        return self.annotated(image, masks, numbers, Placement(self.canvas, (0, 0), False))

    def draw_source(self, sample, first):
        """The photograph that the plan's objects would come from: with what surrounds each of them, as a
        cutout has it, and the mask of what is seen of it."""
        width, height = self.canvas
        image = np.full((height, width, 3), PAD, np.uint8)
        owner = np.zeros((height, width), np.uint16)
        layers = []
        for number, planned in enumerate(sample["layers"], 1):
            place = Placement.of(planned)
            window = place.window(self.canvas)
            if window is not None:
                there, inside = window
                pixels = resize_cutout(self.cutouts[planned["cutout"]], place)[inside]
                image[there] = pixels[..., :3]
                layers.append((number, there, pixels))
        for number, there, pixels in layers:
            mask = pixels[..., 3] >= 128
            image[there][mask] = pixels[..., :3][mask]
            owner[there][mask] = number
        seen = [number for number, _, _ in layers if (owner == number).any()]
        masks = np.array([owner == number for number in seen]).reshape(-1, height, width)
        return image, masks, [first + number - 1 for number in seen]

    def annotated(self, image, masks, numbers, place):
        boxes = torch.tensor([box_of(mask) for mask in masks], dtype=torch.float32).reshape(-1, 4)
        boxes = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=image.shape[:2])
        pixels = tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1).contiguous())
        target = {
            "boxes": boxes,
            "masks": tv_tensors.Mask(torch.from_numpy(masks)),
            "labels": torch.tensor(list(numbers), dtype=torch.int64),
        }
        jitter = PlannedScaleJitter(tuple(place.resized[::-1]))
        return Prepared(pixels, target, jitter, place.offset, v2.RandomHorizontalFlip(float(place.flip)))

    def compose(self, prepared):
        scene, source = prepared
        image, target = simple_copy_paste(*self.jitter(scene), *self.jitter(source))
        numbers = target["labels"].tolist()
        return Composed(self.finish(image), image, target["masks"], target["boxes"], numbers)

    def jitter(self, prepared):
        image, target = prepared.image, prepared.target
        if tuple(image.shape[-2:]) != prepared.jitter.size:
            image, target = prepared.jitter(image, target)
        if prepared.flip_first:
            image, target = prepared.flip(image, target)
        image, target = fixed_size_crop(image, target, prepared.offset, self.canvas)
        if not prepared.flip_first:
            image, target = prepared.flip(image, target)
        return self.to_float(image, target)

    @staticmethod
    def pixels_of(composed):
        return (composed.pixels * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


def fixed_size_crop(image, target, offset, canvas):
    """Crops to the canvas, leaves out what is outside, and pads at the right and at the bottom."""
    height, width = image.shape[-2:]
    left, top = (max(-it, 0) for it in offset)
    new_width, new_height = min(width - left, canvas[0]), min(height - top, canvas[1])
    if (new_width, new_height) != (width, height):
        crop = top, left, new_height, new_width
        boxes = functional.crop(target["boxes"], *crop)
        valid = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
        image = functional.crop(image, *crop)
        masks = functional.crop(tv_tensors.wrap(target["masks"][valid], like=target["masks"]), *crop)
        boxes = tv_tensors.wrap(boxes[valid], like=boxes)
        target = {"boxes": boxes, "masks": masks, "labels": target["labels"][valid]}
    padding = [0, 0, canvas[0] - new_width, canvas[1] - new_height]
    if any(padding):
        image = functional.pad(image, padding, fill=[float(PAD)] * 3)
        target = {
            "boxes": functional.pad(target["boxes"], padding),
            "masks": functional.pad(target["masks"], padding),
            "labels": target["labels"],
        }
    return image, target


def simple_copy_paste(image, target, above, above_target):
    """Every object of `above` onto `image`, with `blending=True`."""
    above_masks = above_target["masks"]
    if len(above_masks) == 0:
        return image, target
    covered = above_masks.sum(dim=0) > 0
    # A mask of bool goes in and comes out: every pixel that the blur reaches is covered.
    covered = functional_v1.gaussian_blur(covered.unsqueeze(0), kernel_size=[5, 5], sigma=[2.0])
    image = image * ~covered + above * covered
    masks = target["masks"] * ~covered
    seen = masks.sum((-1, -2)) > 0
    masks = masks[seen]
    boxes = torch.cat([masks_to_boxes(masks), above_target["boxes"]])
    masks = torch.cat([masks, above_masks])
    labels = torch.cat([target["labels"][seen], above_target["labels"]])
    degenerate = boxes[:, 2:] <= boxes[:, :2]
    if degenerate.any():
        valid = ~degenerate.any(dim=1)
        boxes, masks, labels = boxes[valid], masks[valid], labels[valid]
    area = masks.sum((-1, -2)).to(torch.float32)
    return image, {"boxes": boxes, "masks": masks, "labels": labels, "area": area}
