"""U²-NetP at 320x320 and CLIP ViT-B/32's image tower by PyTorch on the CPU, random weights.

benches/models.rs calls it. As it comes (eager), and U²-NetP also with its batch norms folded, as
ours has them.
"""

import argparse
import copy
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from goldens.u2net import U2NETP, Rebnconv, U2Net, randomise


def report(name, runs, work):
    work()
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    median = statistics.median(times)
    print(
        f"{name:>32}: {median * 1e3:7.1f} ms [{min(times) * 1e3:.1f}..{max(times) * 1e3:.1f}]"
        f" = {1 / median:6.2f} images/s",
        flush=True,
    )


def folded(network):
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, Rebnconv):
            module.conv_s1 = fuse_conv_bn_eval(module.conv_s1, module.bn_s1)
            module.bn_s1 = torch.nn.Identity()
    return network


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--runs", type=int, default=11)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    u2netp = randomise(U2Net(U2NETP), 0)
    clip = CLIPVisionModelWithProjection(CLIPVisionConfig()).eval()
    with torch.inference_mode():
        image = torch.randn(1, 3, 320, 320)
        report("U²-NetP, PyTorch", arguments.runs, lambda: u2netp(image))
        u2netp = folded(u2netp)
        report("U²-NetP, PyTorch, folded", arguments.runs, lambda: u2netp(image))
        image = torch.randn(1, 3, 224, 224)
        report("CLIP ViT-B/32, images, PyTorch", arguments.runs, lambda: clip(image))


if __name__ == "__main__":
    main()
