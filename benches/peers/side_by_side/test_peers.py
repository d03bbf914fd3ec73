"""The peers against pastebank on a small plan, and what reads pastebank's files.

    run.sh --check
"""

from peers import PEERS, SAME_CODE, set_environment

set_environment()

import os
import tempfile
import unittest
from pathlib import Path

import cv2
import numpy as np

import agreement
import measure
import packs
import plans
import report

PASTEBANK = os.environ["PASTEBANK"]
# Not smaller than the photographs: scenes are only enlarged here, as in the benchmark.
CANVAS = (640, 480)
SIDES = (30, 120)
PEER_OF = {peer.name: peer for peer in PEERS}


class Peers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.temporary.name)
        packs.draw_data_set(cls.folder, 4)
        packs.pack(PASTEBANK, cls.folder)
        cls.scenes = packs.read_scenes(cls.folder / "scenes")
        cls.cutouts = packs.read_bank(cls.folder / "bank")
        cls.plan = plans.draw_plan(cls.scenes, cls.cutouts, 8, 6, CANVAS, sides=SIDES)
        cls.rendered = plans.render(PASTEBANK, cls.folder, cls.plan)
        cls.rims = agreement.measure_rims(
            PASTEBANK, cls.folder / "rim", [it for it in PEERS if it.name not in SAME_CODE]
        )

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def differences(self, name):
        composer = PEER_OF[name].composer(self.scenes, self.cutouts, self.plan)
        differences = agreement.Differences()
        for pixels, instances, planned in self.rendered:
            scene = self.scenes[planned["scene"]["index"]]
            expected = plans.numbered(instances, scene, planned)
            differences.add(pixels, expected, agreement.compose(composer, planned), len(scene.masks))
        return differences.summary()

    def test_the_packs_are_read_as_they_were_drawn(self):
        self.assertEqual((len(self.scenes), len(self.cutouts)), (4, 4 * packs.INSTANCES))
        for number, scene in enumerate(self.scenes):
            drawn = cv2.imread(str(self.folder / "images" / f"{number:06}.jpg"), cv2.IMREAD_COLOR_RGB)
            # Another JPEG decoder may be off by some levels.
            self.assertLess(np.abs(scene.image.astype(int) - drawn).mean(), 1.0)
            for (_, _, width, height), mask in zip(scene.boxes, scene.masks):
                self.assertAlmostEqual(mask.sum() / (np.pi / 4 * width * height), 1, delta=0.05)
        for cutout in self.cutouts:
            self.assertEqual(cutout.levels[-1].shape, (1, 1, 4))

    def test_numpy_and_opencv_compose_what_pastebank_composes(self):
        found = self.differences("numpy + OpenCV")
        self.assertEqual((found["instances_missing"], found["instances_extra"]), (0, 0))
        self.assertGreater(found["mask_iou_mean"], 0.995)
        self.assertLessEqual(found["box_difference_greatest_px"], 1)
        self.assertLess(found["pixel_difference_mean"], 0.5)

    def test_its_output_is_the_normalised_image(self):
        composer = PEER_OF["numpy + OpenCV"].composer(self.scenes, self.cutouts, self.plan)
        for sample in self.plan["samples"]:
            composed = composer.compose(composer.prepare(sample))
            expected = (composed.pixels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
            got = composed.image.astype(float).transpose(1, 2, 0)
            self.assertLess(np.abs(got - expected).max(), 2e-3)

    def test_its_buffers_do_not_remember_earlier_images(self):
        composer = PEER_OF["numpy + OpenCV"].composer(self.scenes, self.cutouts, self.plan)
        samples = [composer.prepare(sample) for sample in self.plan["samples"]]
        first = [composer.compose(sample).masks.copy() for sample in samples]
        for _ in range(3):
            for masks, sample in zip(first, samples):
                np.testing.assert_array_equal(composer.compose(sample).masks, masks)

    def test_the_other_peers_compose_the_same_placements(self):
        least = {"albumentationsx CopyAndPaste": 0.85, "torchvision reference": 0.9, "X-Paste mapper": 0.85}
        for name, least_overlap in least.items():
            with self.subTest(name):
                found = self.differences(name)
                self.assertGreater(found["mask_iou_mean"], least_overlap)
                self.assertLess(found["pixel_difference_mean"], 6)

    def test_edges_are_what_the_peers_are_known_for(self):
        own, reference = self.rims[agreement.OWN], self.rims["torchvision reference"]
        # A Gaussian edge of sigma 2 falls from 90 to 10 % in 2 · 1.2816 · 2 pixels.
        self.assertAlmostEqual(own["rim_width_px"], 5.13, delta=0.15)
        self.assertAlmostEqual(own["rim_half_way_outside_mask_px"], 0, delta=0.1)
        self.assertLess(reference["rim_width_px"], 1.2)
        self.assertAlmostEqual(reference["rim_half_way_outside_mask_px"], 2.4, delta=0.5)
        self.assertAlmostEqual(self.rims["numpy + OpenCV"]["rim_width_px"], own["rim_width_px"], delta=0.1)

    def test_run_lengths_are_read_as_coco_writes_them(self):
        # Worked by hand: 6, 1, 40 (two characters), 4 more than the 1, 0 less than the 40.
        self.assertEqual(plans.run_lengths("61X140"), [6, 1, 40, 5, 40])
        mask = plans.decode({"size": [3, 2], "counts": "231"})
        np.testing.assert_array_equal(mask, [[0, 1], [0, 1], [1, 0]])


class Reports(unittest.TestCase):
    def test_ratios_are_those_of_pairs(self):
        pairs = measure.Pairs(
            [measure.Rate(100, 0.01), measure.Rate(50, 0.02)], [measure.Rate(10, 0.1), measure.Rate(10, 0.1)]
        )
        self.assertEqual(pairs.ratios(), [10, 5])

    def test_a_peer_is_paired_with_the_run_beside_it(self):
        told = []

        class Runs:
            def __init__(self, name):
                self.name = name

            def run(self, *_):
                told.append(self.name)
                return len(told)

        for count in (1, 2, 5):
            told.clear()
            workers = [Runs(name) for name in "abcde"[:count]]
            pairs = list(measure.one_round(Runs("own"), workers, 1, measure.QUICK, lambda _: None))
            self.assertEqual([name for name, _, _ in pairs], list("abcde"[:count]))
            for name, own, peer in pairs:
                self.assertEqual((told[own - 1], told[peer - 1], abs(own - peer)), ("own", name, 1))

    def test_a_run_of_pastebank_gives_its_rate(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            packs.draw_data_set(folder, 2)
            packs.pack(PASTEBANK, folder)
            plan = {"canvas": [96, 64], "samples": [{"layers": [{}]}]}
            core = min(os.sched_getaffinity(0))
            own = measure.Pastebank(PASTEBANK, folder, plan, [core]).run(1, 0.02)
            self.assertGreater(own.images_per_second, 1)
            self.assertAlmostEqual(own.images_per_second * own.cpu_seconds_per_image, 1)

    def test_goals_are_told_as_they_are(self):
        own, peer = measure.Rate(100.0, 0.01), measure.Rate(1.0, 1.0)
        pairs = {(1, it.name): measure.Pairs([own], [peer]) for it in PEERS}
        told = report.summary(pairs, {}, [1], "pastebank")
        met = {it["name"]: it["goal_met"] for it in told["speed"] if "goal_met" in it}
        self.assertEqual(list(met.values()), [True, True, True, False])
        self.assertIn("500: not met", report.speed_table(told["speed"], [1]))


if __name__ == "__main__":
    unittest.main()
