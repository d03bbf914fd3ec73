"""The peers by name: what each is, where it is written, and how much faster pastebank means to be."""

import importlib
import os
from dataclasses import dataclass

# Every library computes on the one core it is given. Memory that was freed stays with the process, as
# pastebank keeps its buffers: page faults would cost the numpy peers up to a fifth of their time.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "NO_ALBUMENTATIONS_UPDATE": "1",
}


@dataclass(frozen=True)
class Peer:
    name: str
    module: str
    # Times as fast as the peer on one core; None if that is not a goal of its own.
    goal: float | None
    # The composer's way to prepare a sample before the clock.
    prepare: str = "prepare"

    def composer(self, scenes, cutouts, plan):
        """Its composer, with every library told to use one thread."""
        import cv2

        cv2.setNumThreads(1)
        return importlib.import_module(self.module).Composer(scenes, cutouts, plan)


# The references jitter each image of a batch once, as a target, and paste the jittered ones onto each
# other: per image they cost what "objects in place" does, so the goal is held against that.
PEERS = [
    Peer("numpy + OpenCV", "opencv_floor", 3),
    Peer("albumentationsx CopyAndPaste", "albumentations_pipeline", 20),
    Peer("torchvision reference", "torchvision_reference", None),
    Peer("torchvision, objects in place", "torchvision_reference", 50, "prepare_placed"),
    Peer("X-Paste mapper", "xpaste_mapper", 500),
]

# Peers whose results are those of another one.
SAME_CODE = {"torchvision, objects in place"}


def set_environment():
    """Before any of the libraries is imported: they read it only once."""
    os.environ.update(ENVIRONMENT)
