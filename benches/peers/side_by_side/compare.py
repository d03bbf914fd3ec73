"""pastebank beside the peers, in one run. run.sh calls it.

    compare.py --pastebank PATH [--quick] [--json FILE] [--plot FILE]
"""

from peers import PEERS, set_environment

set_environment()

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

import agreement
import packs
import plans
import report
from measure import FULL, QUICK, Pastebank, Workers, measure

CANVAS = (1024, 1024)
LAYERS = 20
SAMPLES = 32
SCENES = 64
# Samples whose masks, boxes and pixels are compared.
COMPARED = 8


def say(text):
    print(text, file=sys.stderr, flush=True)


def own_version(pastebank):
    return packs.run([pastebank, "--version"]).strip()


def compare(options, folder: Path):
    cores = sorted(os.sched_getaffinity(0))[:2]
    core_counts = list(range(1, len(cores) + 1))
    if len(cores) < 2:
        say("only one core may be used here: nothing is measured on two")
    effort = QUICK if options.quick else FULL
    say(f"drawing and packing {SCENES} photographs")
    packs.draw_data_set(folder, SCENES)
    packs.pack(options.pastebank, folder)
    scenes, cutouts = packs.read_scenes(folder / "scenes"), packs.read_bank(folder / "bank")
    plan = plans.draw_plan(scenes, cutouts, SAMPLES, LAYERS, CANVAS)
    say("comparing masks, boxes and pixels")
    compared = 2 if options.quick else COMPARED
    agreements = agreement.agreement(options.pastebank, folder, plan, compared)
    workers = []
    try:
        say("starting the peers")
        for peer in PEERS:
            workers.append(Workers(peer, folder, plan, cores))
        for worker in workers:
            worker.wait_until_ready()
        own = Pastebank(options.pastebank, folder, plan, cores)
        pairs = measure(own, workers, core_counts, effort, say)
    finally:
        for worker in workers:
            worker.stop()
    return report.summary(pairs, agreements, core_counts, own_version(options.pastebank))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pastebank", required=True, help="the binary, built with --release")
    parser.add_argument("--quick", action="store_true", help="one short round: a look, no figure to quote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw the bars: .svg or .png")
    options = parser.parse_args()
    for path in (options.json, options.plot):
        if path is not None and not path.absolute().parent.is_dir():
            parser.error(f"{path}: its folder does not exist")
    if options.plot is not None and options.plot.suffix not in (".svg", ".png"):
        parser.error(f"--plot {options.plot}: expected a name that ends in .svg or .png")
    # Ended from outside, it leaves no folder behind either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with tempfile.TemporaryDirectory(prefix="pastebank-peers-") as folder:
            told = compare(options, Path(folder))
    except KeyboardInterrupt:
        say("interrupted; nothing was written")
        sys.exit(130)
    except (RuntimeError, OSError) as error:
        sys.exit(f"error: {error}")
    print(report.markdown(told))
    if options.json is not None:
        report.write_json(told, options.json)
    if options.plot is not None:
        report.plot(told, options.plot)


if __name__ == "__main__":
    main()
