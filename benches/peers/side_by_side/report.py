"""The tables as Markdown, the plot, and JSON."""

import json
import platform
import time
from importlib.metadata import version
from pathlib import Path

from agreement import OWN
from measure import spread
from peers import PEERS

LIBRARIES = ["numpy", "opencv-python-headless", "torch", "torchvision", "albumentationsx"]

NOTES = """\
- All compose the same plans (1024x1024, a 640x480 scene with 8 instances, 20 objects of 150 pixels a side on
  average, Gaussian edges of sigma 2 where they can, f16 CHW out, masks and boxes corrected) of data that is
  decoded and in memory before the clock starts. pastebank is `pastebank bench` on the same packs with plans
  that it draws by the same rule; its CPU time is its threads' wall time. On two cores, peers are two
  processes without any transport of images between them; pastebank is one process with two threads.
- Ratios are medians of pairs of runs, one right before or after the other. Memory that was freed stays with the peers'
  processes (glibc's tunables), which spares them page faults.
- numpy + OpenCV: masks as bytes, no areas, no share that is still visible; blending rounds twice.
- albumentationsx: the scene is resized, cropped, padded and flipped by its transforms. It blends once over
  all objects, and nothing of an object outside of its mask; objects do not cut the masks of those that they
  cover. Boxes are found again from the masks. Resizing the objects, which it does not do, is by OpenCV.
- torchvision: there is no bank. What is pasted are all 20 objects of a second photograph (the reference draws
  with replacement, so about two thirds of them), jittered with its masks as every image of a batch is;
  "objects in place" leaves that out, and with it all resizing of objects. The mask is blurred as bool, so
  that the edge stays hard and grows by two pixels, which the masks of what is pasted do not say.
- X-Paste: its mapper's steps in our words, with the scene's jitter by OpenCV and cutouts in memory; reading
  and checking of PNG files, which it does for each paste, are left out. Its edge is a box of 5x5 pixels and
  its mask is whatever has any alpha."""

EDGE_NOTE = """\
IoU, boxes (difference of the edge that is furthest off) and pixels (mean difference of 0..255) are against pastebank's
rendering of the same placements. The edge is that of a white disc on black, from 90 to 10 % along the radius
(a hard edge measures 0.9), and its half-way point against the peer's own mask."""


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(names),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "date": time.strftime("%Y-%m-%d"),
    }


def summary(pairs, agreements, core_counts, pastebank):
    """Everything as JSON's objects."""
    speed = []
    for cores in core_counts:
        # One run of pastebank serves the peer before it and the one behind it.
        own = list({id(run): run for peer in PEERS for run in pairs[cores, peer.name].own}.values())
        speed.append(speed_of(OWN, cores, own))
        for peer in PEERS:
            pair = pairs[cores, peer.name]
            entry = speed_of(peer.name, cores, pair.peers)
            entry["pastebank_times_as_fast"] = spread(pair.ratios())
            if cores == 1 and peer.goal is not None:
                entry["goal"] = peer.goal
                entry["goal_met"] = entry["pastebank_times_as_fast"]["median"] >= peer.goal
            speed.append(entry)
    return {"machine": machine() | {"pastebank": pastebank}, "speed": speed, "agreement": agreements}


def speed_of(name, cores, runs):
    return {
        "name": name,
        "cores": cores,
        "images_per_second": spread([run.images_per_second for run in runs]),
        "cpu_seconds_per_image": spread([run.cpu_seconds_per_image for run in runs]),
    }


def markdown(told):
    machine, cores = told["machine"], sorted({it["cores"] for it in told["speed"]})
    libraries = ", ".join(f"{name} {number}" for name, number in machine["libraries"].items())
    head = f"{machine['cpu']} with {machine['cores']} cores; {machine['pastebank']}, Python {machine['python']}"
    runs = min(it["images_per_second"]["runs"] for it in told["speed"])
    head = f"{head}, {libraries}. Median [least..greatest] of {runs} rounds."
    return "\n\n".join(
        [head, speed_table(told["speed"], cores), NOTES, agreement_table(told["agreement"]), EDGE_NOTE]
    )


def speed_table(speed, core_counts):
    found = {(it["name"], it["cores"]): it for it in speed}
    heads = ["composer", "1 core: images/s", "CPU ms an image", "pastebank is so many times as fast", "goal"]
    for cores in core_counts[1:]:
        heads += [f"{cores} cores: images/s", "pastebank is so many times as fast"]
    rows = []
    for name in [OWN] + [peer.name for peer in PEERS]:
        one = found[name, 1]
        cpu = one["cpu_seconds_per_image"]["median"] * 1e3
        row = [name, figure(one["images_per_second"]), number(cpu), times(one), goal(one)]
        for cores in core_counts[1:]:
            several = found[name, cores]
            row += [figure(several["images_per_second"]), times(several)]
        rows.append(row)
    return table(heads, rows)


def agreement_table(agreements):
    heads = ["composer", "mask IoU, mean (least)", "instances missing, extra", "box, mean (greatest) px", "pixels", "pixels of two pasted masks"]
    heads += ["edge's width, px", "half-way point outside the mask, px"]
    rows = []
    for name, it in agreements.items():
        row = [name] + ["1 (1)", "0, 0", "0 (0)", "0", "0"]
        if "mask_iou_mean" in it:
            row = [name, f"{it['mask_iou_mean']:.4f} ({it['mask_iou_least']:.2f})"]
            row += [f"{it['instances_missing']}, {it['instances_extra']}"]
            boxes = f"{it['box_difference_mean_px']:.2f} ({it['box_difference_greatest_px']:.0f})"
            row += [boxes, f"{it['pixel_difference_mean']:.2f}"]
            row += [f"{it['pixels_of_two_pasted_masks_mean']:,.0f}"]
        row += [f"{it['rim_width_px']:.1f}", f"{it['rim_half_way_outside_mask_px']:+.1f}"]
        rows.append(row)
    return table(heads, rows)


def table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value):
    """Three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def figure(spread):
    median, least, greatest = (number(spread[key]) for key in ("median", "least", "greatest"))
    return f"{median} [{least}..{greatest}]"


def times(entry):
    ratio = entry.get("pastebank_times_as_fast")
    return figure(ratio) if ratio else ""


def goal(entry):
    if "goal" not in entry:
        return ""
    return f"{entry['goal']}: {'met' if entry['goal_met'] else 'not met'}"


def plot(told, path: Path):
    """Images a second as bars on a logarithmic axis, with how much faster pastebank is."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "pastebank"
    from matplotlib import pyplot

    names = [OWN] + [peer.name for peer in PEERS]
    found = {(it["name"], it["cores"]): it for it in told["speed"]}
    core_counts = sorted({cores for _, cores in found})
    figure, axes = pyplot.subplots(figsize=(9, 0.75 * len(names) + 1.2))
    height = 0.8 / len(core_counts)
    for place, cores in enumerate(core_counts):
        entries = [found[name, cores] for name in names]
        values = [it["images_per_second"]["median"] for it in entries]
        at = [row + (place - (len(core_counts) - 1) / 2) * height for row in range(len(names))]
        label = f"{cores} core{'s' * (cores > 1)}"
        bars = axes.barh(at, values, height, label=label, color=("#1f6f8b", "#99c1b9")[place % 2])
        axes.bar_label(bars, [bar_label(it) for it in entries], padding=4, fontsize=9)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 12)
    axes.set_xlabel("images/s (1024x1024, 8 instances there, 20 pasted), logarithmic")
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    kind = path.suffix.lstrip(".") or "svg"
    # The same figures give the same file.
    metadata = {"Date": None} if kind == "svg" else None
    replace(path, lambda partial: figure.savefig(partial, format=kind, metadata=metadata))


def bar_label(entry):
    rate = number(entry["images_per_second"]["median"])
    ratio = entry.get("pastebank_times_as_fast")
    return f"{rate}   (pastebank: {number(ratio['median'])}x)" if ratio else rate


def write_json(told, path: Path):
    replace(path, lambda partial: partial.write_text(json.dumps(told, indent=1) + "\n"))


def replace(path: Path, write):
    """Writes under a temporary name first: an interrupted run leaves nothing half-written."""
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    partial.replace(path)
