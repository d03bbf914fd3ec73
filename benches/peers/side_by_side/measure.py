"""Timing: every peer in processes of its own, one a core, and pastebank in turns with them.

The machine's speed wanders, so a ratio is always that of two runs that followed one another: pastebank,
peer, peer, pastebank, and so on, and all again.
"""

import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Rate:
    """One run."""

    images_per_second: float
    cpu_seconds_per_image: float


@dataclass
class Effort:
    rounds: int
    # Seconds of a peer's run; at least so many images are composed.
    seconds: float
    least_images: int
    # Seconds of each of pastebank's measurements.
    own_seconds: float
    # Seconds after which no further round begins that would not be over by then.
    limit: float = 440.0


FULL = Effort(rounds=5, seconds=2.0, least_images=2, own_seconds=0.5)
QUICK = Effort(rounds=1, seconds=0.7, least_images=1, own_seconds=0.3)


@dataclass
class Pairs:
    """Runs of pastebank and of one peer, the one right before or after the other."""

    own: list[Rate] = field(default_factory=list)
    peers: list[Rate] = field(default_factory=list)

    def ratios(self):
        pairs = zip(self.own, self.peers, strict=True)
        return [own.images_per_second / peer.images_per_second for own, peer in pairs]


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values), "runs": len(values)}


def serve(pipe, peer, folder, plan, core):
    """A peer's process: prepares everything in memory, then composes for as long as it is told to."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.sched_setaffinity(0, {core})
    from packs import read_bank, read_scenes

    composer = peer.composer(read_scenes(folder / "scenes"), read_bank(folder / "bank"), plan)
    prepare = getattr(composer, peer.prepare)
    samples = [prepare(sample) for sample in plan["samples"]]
    composer.compose(samples[0])
    pipe.send("ready")
    next_sample = 0
    while True:
        try:
            seconds, least_images = pipe.recv()
        except EOFError:
            return
        images, begin, cpu = 0, time.perf_counter(), time.process_time()
        while images < least_images or time.perf_counter() - begin < seconds:
            composer.compose(samples[next_sample % len(samples)])
            next_sample += 1
            images += 1
        pipe.send((images, time.perf_counter() - begin, time.process_time() - cpu))


class Workers:
    """A peer's processes, one on each of some cores."""

    def __init__(self, peer, folder, plan, cores):
        self.name, self.processes, self.pipes = peer.name, [], []
        context = multiprocessing.get_context("spawn")
        for core in cores:
            pipe, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, peer, folder, plan, core), daemon=True)
            process.start()
            theirs.close()
            self.processes.append(process)
            self.pipes.append(pipe)

    def wait_until_ready(self):
        for pipe in self.pipes:
            self.receive(pipe)

    def run(self, cores, seconds, least_images):
        """Images a second of the first so many processes together."""
        pipes = self.pipes[:cores]
        for pipe in pipes:
            pipe.send((seconds, least_images))
        told = [self.receive(pipe) for pipe in pipes]
        rate = sum(images / wall for images, wall, _ in told)
        cpu = sum(cpu for _, _, cpu in told) / sum(images for images, _, _ in told)
        return Rate(rate, cpu)

    def receive(self, pipe):
        try:
            return pipe.recv()
        except EOFError:
            raise RuntimeError(f"{self.name}: a process ended; what it said is above") from None

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join()


class Pastebank:
    """`pastebank bench` on the same packs, canvas and layers."""

    def __init__(self, binary, folder, plan, cores):
        self.binary, self.folder, self.cores = binary, folder, cores
        self.canvas = "x".join(str(side) for side in plan["canvas"])
        self.layers = len(plan["samples"][0]["layers"])

    def run(self, cores, seconds):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bench.json"
            command = [self.binary, "bench", "--device", "cpu", "--scenes", self.folder / "scenes"]
            command += ["--bank", self.folder / "bank", "--canvas", self.canvas, "--batch", 16]
            command += ["--layers", self.layers, "--threads", cores, "--seconds", seconds, "--json", path]
            affinity = set(self.cores[:cores])
            done = subprocess.run(
                [str(word) for word in command],
                capture_output=True,
                text=True,
                preexec_fn=lambda: os.sched_setaffinity(0, affinity),
            )
            if done.returncode:
                raise RuntimeError(f"pastebank bench ended with {done.returncode}:\n{done.stderr.strip()}")
            rate = composing_rate(json.loads(path.read_text()))
        # All threads compose all the time.
        return Rate(rate, cores / rate)


def composing_rate(report):
    """Images a second of composing alone on all threads, as `pastebank bench --json` tells it."""
    return report["composing"]["images_per_second"]["median"]


def measure(own, workers, core_counts, effort, say):
    """Pairs for each number of cores and each peer, by (cores, name)."""
    pairs = {(cores, it.name): Pairs() for cores in core_counts for it in workers}
    for worker in workers:
        # Warm-up, apart from what counts; every process has composed an image already.
        worker.run(max(core_counts), effort.seconds / 2, 0)
    begin = time.monotonic()
    for turn in range(effort.rounds):
        elapsed = time.monotonic() - begin
        if turn and elapsed + elapsed / turn > effort.limit:
            say(f"no time for more than {turn} of {effort.rounds} rounds: the machine is slow or busy")
            break
        for cores in core_counts:
            what = f"round {turn + 1} of {effort.rounds}, {cores} core{'s' * (cores > 1)}"
            for name, run_own, run_peer in one_round(own, workers, cores, effort, lambda it: say(f"{what}: {it}")):
                pairs[cores, name].own.append(run_own)
                pairs[cores, name].peers.append(run_peer)
    return pairs


def one_round(own, workers, cores, effort, say):
    """Every peer once. pastebank runs before the first and after every second one, so that each peer's
    run is beside one of pastebank's: (name, pastebank's run, the peer's run)."""
    say("pastebank")
    before = own.run(cores, effort.own_seconds)
    for start in range(0, len(workers), 2):
        runs = []
        for worker in workers[start : start + 2]:
            say(worker.name)
            runs.append((worker.name, worker.run(cores, effort.seconds, effort.least_images)))
        name, run_peer = runs[0]
        yield name, before, run_peer
        if len(runs) == 2:
            say("pastebank")
            before = own.run(cores, effort.own_seconds)
            name, run_peer = runs[1]
            yield name, before, run_peer
