"""Correctness beside speed: every peer's masks, boxes and pixels against pastebank's on the same
placements, and how wide and how far outside the mask its edges are."""

from pathlib import Path

import cv2
import numpy as np

import packs
import plans
from peers import PEERS, SAME_CODE

OWN = "pastebank"
RIM_RADIUS = 60
RIM_SIDE = 256


def agreement(pastebank, folder: Path, plan, samples: int):
    """For each peer how far it is from pastebank's rendering of the first samples, and its edges."""
    scenes, cutouts = packs.read_scenes(folder / "scenes"), packs.read_bank(folder / "bank")
    plan = plan | {"samples": plan["samples"][:samples]}
    rendered = plans.render(pastebank, folder, plan)
    peers = [peer for peer in PEERS if peer.name not in SAME_CODE]
    rims = measure_rims(pastebank, folder / "rim", peers)
    found = {OWN: rims[OWN]}
    for peer in peers:
        composer = peer.composer(scenes, cutouts, plan)
        differences = Differences()
        for pixels, instances, planned in rendered:
            scene = scenes[planned["scene"]["index"]]
            expected = plans.numbered(instances, scene, planned)
            differences.add(pixels, expected, compose(composer, planned), len(scene.masks))
        found[peer.name] = differences.summary() | rims[peer.name]
    return found


def compose(composer, planned):
    """A peer's image of one sample, as arrays: pixels and a dictionary of masks and boxes by number."""
    prepare = getattr(composer, "prepare_placed", composer.prepare)
    composed = composer.compose(prepare(planned))
    pixels_of = getattr(composer, "pixels_of", lambda it: it.pixels)
    masks, boxes = np.asarray(composed.masks), np.asarray(composed.boxes)
    return np.asarray(pixels_of(composed)), dict(zip(composed.numbers, zip(masks, boxes), strict=True))


class Differences:
    """What is gathered over samples."""

    def __init__(self):
        self.overlaps, self.shifts, self.pixels, self.shared = [], [], [], []
        self.missing = self.extra = self.instances = 0

    def add(self, pixels, expected, composed, scene_instances):
        their_pixels, theirs = composed
        self.pixels.append(np.abs(pixels.astype(np.int16) - their_pixels).mean())
        self.instances += len(expected)
        self.missing += len(expected.keys() - theirs.keys())
        self.extra += len(theirs.keys() - expected.keys())
        for number in expected.keys() & theirs.keys():
            (mask, box), (their_mask, their_box) = expected[number], theirs[number]
            self.overlaps.append((mask & their_mask).sum() / (mask | their_mask).sum())
            self.shifts.append(np.abs(np.array(box) - their_box).max())
        pasted = sum(mask.astype(np.uint8) for number, (mask, _) in theirs.items() if number >= scene_instances)
        self.shared.append(int(np.sum(pasted > 1)))

    def summary(self):
        return {
            "mask_iou_mean": float(np.mean(self.overlaps)),
            "mask_iou_least": float(np.min(self.overlaps)),
            "box_difference_mean_px": float(np.mean(self.shifts)),
            "box_difference_greatest_px": float(np.max(self.shifts)),
            "pixel_difference_mean": float(np.mean(self.pixels)),
            "instances": self.instances,
            "instances_missing": self.missing,
            "instances_extra": self.extra,
            "pixels_of_two_pasted_masks_mean": float(np.mean(self.shared)),
        }


def measure_rims(pastebank, folder: Path, peers):
    """The edge of a white disc on black, pasted in its own size, as pastebank and every peer blend it."""
    scenes, cutouts = rim_packs(pastebank, folder)
    disc = max(range(len(cutouts)), key=lambda it: cutouts[it].levels[0].size)
    side = cutouts[disc].levels[0].shape[0]
    corner = (RIM_SIDE - side) // 2
    scene = {"index": 0, "resized": [RIM_SIDE] * 2, "offset": [0, 0], "flip": False}
    planned = {"scene": scene, "layers": [plans.layer(disc, [side, side], [corner, corner])]}
    plan = {"canvas": [RIM_SIDE] * 2, "pad": [0] * 3, "samples": [planned]}
    number = len(scenes[0].masks)
    [(pixels, instances, _)] = plans.render(pastebank, folder, plan)
    rims = {OWN: rim(pixels, plans.numbered(instances, scenes[0], planned)[number][0])}
    for peer in peers:
        pixels, found = compose(peer.composer(scenes, cutouts, plan), planned)
        rims[peer.name] = rim(pixels, found[number][0])
    return rims


def rim_packs(pastebank, folder: Path):
    """A black photograph with a speck in a corner, and a white one with a disc in its middle."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    edge = RIM_SIDE / 2 - RIM_RADIUS
    boxes = [(2, 2, 6, 6), (edge, edge, 2 * RIM_RADIUS, 2 * RIM_RADIUS)]
    images, annotations = [], []
    for number, (value, box) in enumerate(zip((0, 255), boxes)):
        name = f"{number}.png"
        cv2.imwrite(str(folder / "images" / name), np.full((RIM_SIDE, RIM_SIDE, 3), value, np.uint8))
        images.append({"id": number, "file_name": name, "width": RIM_SIDE, "height": RIM_SIDE})
        annotations.append(packs.ellipse_annotation(number, number, box, corners=720))
    packs.write_coco(folder, images, annotations)
    packs.pack(pastebank, folder)
    return packs.read_scenes(folder / "scenes"), packs.read_bank(folder / "bank")


def rim(pixels, mask):
    """Width of the edge, from 90 to 10 % of the disc's white, and how far its half-way point lies outside
    of the peer's own mask, both in pixels along the radius."""
    weights = pixels.astype(float).mean(axis=2) / 255
    rows, columns = np.nonzero(mask)
    y, x = np.indices(mask.shape)
    distance = np.hypot(y - rows.mean(), x - columns.mean())
    radius = np.sqrt(mask.sum() / np.pi)
    at = np.arange(radius - 15, radius + 15, 0.25)
    # Mean weight of the pixels whose centres lie within half a pixel of each radius.
    profile = np.array([weights[np.abs(distance - r) < 0.5].mean() for r in at])
    reach = {share: crossing(at, profile, share) for share in (0.9, 0.5, 0.1)}
    return {
        "rim_width_px": float(reach[0.1] - reach[0.9]),
        "rim_half_way_outside_mask_px": float(reach[0.5] - radius),
    }


def crossing(at, profile, share):
    """Where a falling profile first goes below a share."""
    below = int(np.argmax(profile < share))
    high, low = profile[below - 1], profile[below]
    return at[below - 1] + (at[below] - at[below - 1]) * (high - share) / (high - low)

