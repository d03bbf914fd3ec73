// The histogram of sizes and the maps of where instances lie.

/** Sizes as bars: bins half an octave of the square root of the area wide. */
function buildSizes() {
  const { own, pasted } = index.sizes;
  const all = [...own, ...pasted];
  byId("sizes-section").hidden = all.length === 0;
  if (all.length === 0) return;
  const first = 2 * Math.floor(Math.min(...all.map(([bin]) => bin)) / 2);
  const last = Math.max(...all.map(([bin]) => bin));
  const most = Math.max(...all.map(([, count]) => count));
  const width = 272, height = 96, step = width / (last + 1 - first);
  const series = hasPasted ? [["own", own], ["pasted", pasted]] : [["own", own]];
  const svg = makeSvg("svg", { viewBox: `0 0 ${width} ${height + 16}`, role: "img" });
  series.forEach(([className, bins], at) => {
    for (const [bin, count] of bins) {
      const tall = Math.max(1, height * count / most), wide = (step - 2) / series.length;
      const range = `${(2 ** (bin / 2)).toFixed(0)} to ${(2 ** ((bin + 1) / 2)).toFixed(0)} px: ${count}`;
      svg.append(makeSvg("rect", {
        class: className, x: (bin - first) * step + 1 + at * wide, y: height - tall, width: wide, height: tall, rx: 1,
      }, makeSvg("title", {}, range)));
    }
  });
  svg.append(makeSvg("line", { class: "axis", x1: 0, x2: width, y1: height + .5, y2: height + .5 }));
  for (let bin = first; bin <= last + 1; bin += 2) {
    const text = makeSvg("text", { x: (bin - first) * step, y: height + 13 }, String(2 ** (bin / 2)));
    svg.append(text);
  }
  const total = (bins) => bins.reduce((sum, [, count]) => sum + count, 0);
  svg.setAttribute("aria-label", `Histogram of sizes: ${total(own)} of the data, ${total(pasted)} pasted`);
  byId("sizes").append(svg, make("p", { className: "note", textContent: "Square root of the visible area in pixels" }));
  if (hasPasted) legend("sizes-legend", [["own", "scene"], ["pasted", "pasted"]]);
}

function coverageFigure(label, { most, cells }, className) {
  const { side } = index.coverage;
  const canvas = make("canvas", { width: side, height: side });
  canvas.style.aspectRatio = wellRatio;
  const probe = make("i", { className });
  document.body.append(probe);
  const [red, green, blue] = getComputedStyle(probe).backgroundColor.match(/\d+/g).map(Number);
  probe.remove();
  const context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  cells.forEach((cell, at) => image.data.set([red, green, blue, 255 * cell / 1000], 4 * at));
  context.putImageData(image, 0, 0);
  const percent = Number((100 * most).toPrecision(2));
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Where instances of ${label} lie: a cell is covered in at most ${percent} % of the pictures`);
  return make("figure", {}, canvas,
    make("figcaption", { textContent: `${label}: up to ${percent} %` }));
}

function buildCoverage() {
  const { own, pasted } = index.coverage;
  const there = [[hasPasted ? "scene" : "covered", own, "own"], ["pasted", pasted, "pasted"]]
    .filter(([, { most }]) => most > 0);
  byId("coverage-section").hidden = there.length === 0;
  byId("coverage").replaceChildren(...there.map((figure) => coverageFigure(...figure)));
}
