"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  // Pictures this close to the window are drawn; those further away give their memory back.
  const NEAR = "700px 0px";
  const MASK_OPACITY = 110, OUTLINE_OPACITY = 235;
  const ORIGINS = ["scene", "pasted", "annotated"];
  const PARTS = ["masks", "boxes", "names"];

  const byId = (id) => document.getElementById(id);
  const index = JSON.parse(byId("index").textContent);
  const categories = new Map(index.categories.map((category) => [category.id, category]));
  const hasPasted = index.totals.pasted > 0;
  const number = new Intl.NumberFormat("en").format;
  const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

  /** An element with properties and children; texts are set as text, never as markup. */
  function make(name, properties = {}, ...children) {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  }

  function makeSvg(name, attributes, ...children) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  // ---- What is chosen -------------------------------------------------------------------------

  const state = { categories: new Set(), sources: new Set(), ...index.style };
  const sourceNames = [...ORIGINS, "ignored", "crowd"];
  const sourcesOf = (instance) =>
    [instance.origin, ...(instance.ignored ? ["ignored"] : []), ...(instance.crowd ? ["crowd"] : [])];
  const isFiltered = () => state.categories.size > 0 || state.sources.size > 0;

  function matches(instance) {
    return (state.categories.size === 0 || state.categories.has(instance.category)) &&
      (state.sources.size === 0 || sourcesOf(instance).some((source) => state.sources.has(source)));
  }

  /** Reads `#category=cat&source=pasted&masks=0&picture=3` from the address. */
  function readAddress() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const names = new Set(wanted.getAll("category"));
    state.categories = new Set(index.categories.filter(({ name }) => names.has(name)).map(({ id }) => id));
    state.sources = new Set(wanted.getAll("source").filter((name) => sourceNames.includes(name)));
    for (const part of PARTS) {
      state[part] = wanted.has(part) ? wanted.get(part) !== "0" : index.style[part];
    }
    return Number.parseInt(wanted.get("picture"), 10);
  }

  /** Does what the address says. */
  function followAddress() {
    const picture = readAddress();
    update();
    if (index.pictures[picture]) openLarge(picture);
    else if (large.open) large.close();
  }

  function writeAddress() {
    const wanted = new URLSearchParams();
    for (const id of state.categories) wanted.append("category", categories.get(id).name);
    for (const source of state.sources) wanted.append("source", source);
    for (const part of PARTS) {
      if (state[part] !== index.style[part]) wanted.append(part, state[part] ? "1" : "0");
    }
    if (large.open) wanted.append("picture", largePosition);
    history.replaceState(null, "", "#" + wanted);
  }

  function toggle(set, value) {
    if (!set.delete(value)) set.add(value);
    update();
  }

  // ---- Drawing a picture ----------------------------------------------------------------------

  /** COCO's compressed run lengths: signed numbers in groups of five bits, lowest first. */
  function runLengths(text) {
    const counts = [];
    for (let position = 0; position < text.length;) {
      let value = 0, shift = 0, group;
      do {
        group = text.charCodeAt(position++) - 48;
        value += (group & 31) * 2 ** shift;
        shift += 5;
      } while (group & 32);
      if (group & 16) value -= 2 ** shift;
      // From the fourth run on it is the difference to the run before the previous one.
      counts.push(counts.length > 2 ? value + counts[counts.length - 2] : value);
    }
    return counts;
  }

  /** Paints one mask, columns first as its runs are, with a darker edge. */
  function paintMask(pixels, width, height, text, [red, green, blue]) {
    const plane = new Uint8Array(width * height);
    const runs = [];
    let start = 0;
    runLengths(text).forEach((length, run) => {
      if (run % 2) {
        plane.fill(1, start, start + length);
        runs.push([start, start + length]);
      }
      start += length;
    });
    for (const [first, end] of runs) {
      for (let place = first; place < end; place++) {
        const x = Math.floor(place / height), y = place % height;
        const inside = x > 0 && x < width - 1 && y > 0 && y < height - 1 &&
          plane[place - 1] && plane[place + 1] && plane[place - height] && plane[place + height];
        const target = 4 * (y * width + x), shade = inside ? 1 : 0.45;
        pixels[target] = red * shade;
        pixels[target + 1] = green * shade;
        pixels[target + 2] = blue * shade;
        pixels[target + 3] = inside ? MASK_OPACITY : OUTLINE_OPACITY;
      }
    }
  }

  const channels = (tint) => [1, 3, 5].map((at) => parseInt(tint.slice(at, at + 2), 16));
  const nameOf = (instance) => categories.get(instance.category).name;

  function maskCanvas(picture, masks) {
    const [width, height] = picture.drawn;
    const canvas = make("canvas", { width, height });
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    picture.instances.forEach((instance, position) => {
      if (matches(instance)) paintMask(image.data, width, height, masks[position], channels(instance.tint));
    });
    context.putImageData(image, 0, 0);
    return canvas;
  }

  function boxes(picture) {
    const [width, height] = picture.size;
    const svg = makeSvg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    for (const instance of picture.instances.filter(matches)) {
      const [left, top, right, bottom] = instance.box;
      svg.append(makeSvg("rect", {
        x: left, y: top, width: right - left, height: bottom - top, stroke: instance.tint,
        class: sourcesOf(instance).join(" "),
      }));
    }
    return svg;
  }

  /** Tags at their boxes, the largest instances first; one that would cover another is left out. */
  function placeTags(frame, picture) {
    const scale = frame.clientWidth / picture.size[0];
    const room = [frame.clientWidth, frame.clientHeight];
    const placed = [];
    const bySize = picture.instances.filter(matches).sort((a, b) => b.area - a.area);
    for (const instance of bySize) {
      const tag = make("span", { className: "tag " + sourcesOf(instance).join(" "), textContent: nameOf(instance) });
      tag.style.background = instance.tint;
      frame.append(tag);
      const width = tag.offsetWidth, height = tag.offsetHeight;
      const [left, top, , bottom] = instance.box.map((edge) => edge * scale);
      const x = Math.max(0, Math.min(left, room[0] - width));
      const free = [top - height, top, bottom - height, bottom].find((y) =>
        y >= 0 && y + height <= room[1] &&
        placed.every((other) => x + width <= other.x || other.x + other.width <= x ||
          y + height <= other.y || other.y + other.height <= y));
      if (free === undefined) {
        tag.remove();
        continue;
      }
      // In shares of the picture, so that they stay with it until it is drawn anew.
      tag.style.left = `${100 * x / room[0]}%`;
      tag.style.top = `${100 * free / room[1]}%`;
      placed.push({ x, y: free, width, height });
    }
  }

  /** A picture in its well: drawn, drawn again when the choice changes, and given back. */
  class View {
    constructor(well) {
      this.well = well;
      this.picture = null;
    }

    show(position) {
      this.picture = index.pictures[position];
      this.payload = JSON.parse(byId(`picture-${position}`).textContent);
      const { title, size, problem } = this.picture;
      if (!this.payload.image) {
        const text = make("span", { className: "problem", textContent: problem || "no picture" });
        this.well.replaceChildren(text);
        return;
      }
      this.frame = make("span", { className: "frame" });
      this.frame.style.aspectRatio = `${size[0]} / ${size[1]}`;
      this.image = make("img", { src: this.payload.image, alt: title, draggable: false });
      this.frame.append(this.image);
      this.well.replaceChildren(this.frame);
      this.fit();
    }

    /** Draws anew if the well has changed its size: tags are placed for one size. */
    refit() {
      if (this.frame && this.fitted !== this.wellSize()) this.fit();
    }

    wellSize() {
      return `${this.well.clientWidth} ${this.well.clientHeight}`;
    }

    fit() {
      this.fitted = this.wellSize();
      const [width, height] = this.picture.size;
      const wide = width * this.well.clientHeight >= height * this.well.clientWidth;
      this.frame.style.width = wide ? "100%" : "auto";
      this.frame.style.height = wide ? "auto" : "100%";
      this.draw();
    }

    draw() {
      if (!this.frame) return;
      // The picture stays where it is: put in anew, it would flicker.
      for (const overlay of [...this.frame.children].slice(1)) overlay.remove();
      if (state.masks) this.frame.append(maskCanvas(this.picture, this.payload.masks));
      if (state.boxes) this.frame.append(boxes(this.picture));
      if (state.names) placeTags(this.frame, this.picture);
    }

    clear() {
      this.picture = this.payload = this.frame = this.image = null;
      this.well.replaceChildren();
    }
  }

  // ---- The grid -------------------------------------------------------------------------------

  const grid = byId("grid");
  const cards = index.pictures.map(makeCard);
  const sizes = new Set(index.pictures.filter((picture) => picture.size[0]).map(({ size }) => size.join("/")));
  const wellRatio = sizes.size === 1 ? [...sizes][0] : "4/3";

  function makeCard(picture, position) {
    const well = make("button", { type: "button", className: "well" });
    const counts = make("span", { className: "counts" });
    const title = make("span", { className: "title", textContent: picture.title, title: picture.title });
    const element = make("article", {}, well, make("div", { className: "caption" }, title, counts));
    element.dataset.position = position;
    well.addEventListener("click", () => openLarge(position));
    return { element, well, counts, picture, position, view: new View(well), near: false, drawn: false };
  }

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const card = cards[entry.target.dataset.position];
      card.near = entry.isIntersecting;
      settle(card);
    }
    report();
  }, { rootMargin: NEAR });

  /** Draws a card that is near, empties one that is not. */
  function settle(card) {
    const wanted = card.near && !card.element.hidden;
    if (wanted && !card.drawn) card.view.show(card.position);
    if (!wanted && card.drawn) card.view.clear();
    card.drawn = wanted;
  }

  function updateCard(card) {
    const shown = card.picture.instances.filter(matches);
    card.element.hidden = isFiltered() && shown.length === 0;
    card.matching = shown.length;
    const pasted = shown.filter((instance) => instance.origin === "pasted").length;
    const own = shown.length - pasted;
    const text = hasPasted ? [`${own} + `, make("b", { textContent: pasted })] : [String(own)];
    card.counts.replaceChildren(...(card.picture.problem ? [] : text));
    card.counts.title = hasPasted ? `${own} of the scene, ${pasted} pasted` : plural(own, "instance");
    card.well.setAttribute("aria-label",
      `${card.picture.title}: ` + (card.picture.problem || (hasPasted ? card.counts.title : plural(own, "instance"))));
    settle(card);
    if (card.drawn) card.view.draw();
  }

  function update() {
    cards.forEach(updateCard);
    updateControls();
    if (large.open) drawLarge();
    writeAddress();
    report();
  }

  /** Says how much is shown: to people, and in the root's data to whoever checks the page. */
  function report() {
    const shown = cards.filter((card) => !card.element.hidden);
    const instances = shown.reduce((sum, card) => sum + card.matching, 0);
    byId("status").textContent = isFiltered()
      ? `${number(shown.length)} of ${plural(cards.length, "picture")}, ${plural(instances, "instance")}`
      : `${plural(cards.length, "picture")}, ${plural(instances, "instance")}`;
    byId("clear").hidden = !isFiltered();
    const empty = byId("empty");
    empty.hidden = shown.length > 0;
    empty.textContent = cards.length === 0 ? "There are no pictures." : "No picture has such instances.";
    const drawn = cards.filter((card) => card.drawn && card.view.frame);
    Object.assign(document.documentElement.dataset, {
      cards: cards.length,
      shown: shown.length,
      instances,
      rendered: cards.filter((card) => card.drawn).length,
      masks: drawn.filter((card) => card.view.frame.querySelector("canvas")).length,
      boxes: drawn.reduce((sum, card) => sum + card.view.frame.querySelectorAll("rect").length, 0),
      tags: drawn.reduce((sum, card) => sum + card.view.frame.querySelectorAll(".tag").length, 0),
    });
  }

  // ---- The large view -------------------------------------------------------------------------

  const large = byId("large");
  const largeView = new View(byId("large-well"));
  let largePosition = 0;

  function openLarge(position) {
    largePosition = position;
    if (!large.open) large.showModal();
    drawLarge();
    writeAddress();
  }

  function drawLarge() {
    const picture = index.pictures[largePosition];
    byId("large-title").textContent = picture.title;
    largeView.clear();
    largeView.show(largePosition);
    byId("large-instances").replaceChildren(...picture.instances.filter(matches).map((instance) => {
      const swatch = make("i");
      swatch.style.background = instance.tint;
      const marks = sourcesOf(instance).filter((source) => source !== "annotated").join(", ");
      const detail = `${marks ? marks + " · " : ""}${Math.round(Math.sqrt(instance.area))} px`;
      return make("li", {}, swatch, make("span", { textContent: nameOf(instance), title: nameOf(instance) }),
        make("small", { textContent: detail }));
    }));
    document.documentElement.dataset.large = `${largePosition}: ${byId("large-instances").children.length}`;
  }

  /** The next card that is not filtered out. */
  function step(by) {
    let position = largePosition + by;
    while (cards[position] && cards[position].element.hidden) position += by;
    if (cards[position]) openLarge(position);
  }

  // ---- Filters and counts ---------------------------------------------------------------------

  function chip(label, count, pressed, act) {
    const button = make("button", { type: "button" }, label);
    if (count !== null) button.append(make("small", { textContent: number(count) }));
    button.pressed = pressed;
    button.addEventListener("click", act);
    return button;
  }

  const chips = [];
  function buildChips() {
    for (const part of PARTS) {
      chips.push(chip(part[0].toUpperCase() + part.slice(1), null, () => state[part], () => switchPart(part)));
    }
    byId("switches").append(...chips);
    const counts = new Map(sourceNames.map((source) => [source, 0]));
    for (const { instances } of index.pictures) {
      for (const instance of instances) {
        for (const source of sourcesOf(instance)) counts.set(source, counts.get(source) + 1);
      }
    }
    const there = sourceNames.filter((source) => counts.get(source) > 0);
    if (there.length < 2) return;
    for (const source of there) {
      const button = chip(source, counts.get(source), () => state.sources.has(source), () => toggle(state.sources, source));
      byId("sources").append(button);
      chips.push(button);
    }
  }

  function switchPart(part) {
    state[part] = !state[part];
    update();
  }

  function categoryRow(category, most) {
    const { name, before, after, pasted } = category;
    const bar = (className, count) => {
      const part = make("i", { className });
      part.style.width = `${100 * count / most}%`;
      return part;
    };
    const bars = make("span", { className: "bars" });
    if (hasPasted) bars.append(make("div", {}, bar("before", before)));
    bars.append(make("div", {}, bar("own", after - pasted), bar("pasted", pasted)));
    const count = hasPasted ? `${number(before)} → ${number(after)}` : number(after);
    const button = make("button", { type: "button" },
      make("span", { className: "name", textContent: name, title: name }),
      make("span", { className: "count", textContent: count }), bars);
    button.setAttribute("aria-label", hasPasted
      ? `${name}: ${before} before pasting, ${after} after, ${pasted} of them pasted` : `${name}: ${after}`);
    button.pressed = () => state.categories.has(category.id);
    button.addEventListener("click", () => toggle(state.categories, category.id));
    chips.push(button);
    return make("li", {}, button);
  }

  function buildCategories() {
    const most = Math.max(1, ...index.categories.map(({ before, after }) => Math.max(before, after)));
    const rows = index.categories.map((category) => categoryRow(category, most));
    byId("categories").append(...rows);
    const search = byId("search");
    search.hidden = rows.length <= 12;
    search.addEventListener("input", () => {
      const wanted = search.value.trim().toLowerCase();
      rows.forEach((row, at) => { row.hidden = !index.categories[at].name.toLowerCase().includes(wanted); });
    });
    if (hasPasted) legend("categories-legend", [["before", "before"], ["own", "scene"], ["pasted", "pasted"]]);
    byId("categories-section").hidden = rows.length === 0;
  }

  function legend(id, entries) {
    byId(id).append(...entries.flatMap(([className, text]) => [make("i", { className }), text]));
  }

  function buildTotals() {
    const { pictures, missing, instances, pasted, ignored, crowds } = index.totals;
    const mean = pictures > missing ? (instances / (pictures - missing)).toFixed(1) : "0";
    const rows = [["Pictures", pictures], ["Missing", missing], ["Instances", instances],
      ["pasted", pasted], ["ignored", ignored], ["crowds", crowds], ["Categories", index.categories.length]]
      .filter(([name, count]) => count > 0 || name === "Pictures" || name === "Instances")
      .map(([name, count]) => [name, number(count)]);
    rows.push(["Instances a picture", mean]);
    byId("totals").append(...rows.flatMap(([name, text]) =>
      [make("dt", { textContent: name, className: name === name.toLowerCase() ? "part" : "" }), make("dd", { textContent: text })]));
    const problems = index.problems.reduce((sum, { count }) => sum + count, 0);
    byId("problems").hidden = problems === 0;
    byId("problems").querySelector("summary").textContent = plural(problems, "problem") + " in the data";
    byId("problems").querySelector("ul").append(...index.problems.map(({ what, count, examples }) =>
      make("li", { textContent: `${number(count)} ${what}`, title: examples.join("\n") })));
  }

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

  function coverageFigure(label, cells, className) {
    const { side } = index.coverage;
    const most = Math.max(...cells);
    const canvas = make("canvas", { width: side, height: side });
    canvas.style.aspectRatio = wellRatio;
    const probe = make("i", { className });
    document.body.append(probe);
    const [red, green, blue] = getComputedStyle(probe).backgroundColor.match(/\d+/g).map(Number);
    probe.remove();
    const context = canvas.getContext("2d");
    const image = context.createImageData(side, side);
    cells.forEach((cell, at) => image.data.set([red, green, blue, most ? 255 * cell / most : 0], 4 * at));
    context.putImageData(image, 0, 0);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Where instances of ${label} lie: a cell is covered in at most ${most / 10} % of the pictures`);
    return make("figure", {}, canvas,
      make("figcaption", { textContent: `${label}: up to ${Math.round(most / 10)} %` }));
  }

  function buildCoverage() {
    const { own, pasted } = index.coverage;
    const there = [[hasPasted ? "scene" : "covered", own, "own"], ["pasted", pasted, "pasted"]]
      .filter(([, cells]) => cells.some((cell) => cell > 0));
    byId("coverage-section").hidden = there.length === 0;
    byId("coverage").replaceChildren(...there.map((figure) => coverageFigure(...figure)));
  }

  function updateControls() {
    for (const button of chips) button.setAttribute("aria-pressed", String(button.pressed()));
  }

  // ---- Start ----------------------------------------------------------------------------------

  function listen() {
    byId("clear").addEventListener("click", () => {
      state.categories.clear();
      state.sources.clear();
      update();
    });
    byId("previous").addEventListener("click", () => step(-1));
    byId("next").addEventListener("click", () => step(1));
    byId("close").addEventListener("click", () => large.close());
    large.addEventListener("close", () => {
      largeView.clear();
      cards[largePosition].well.focus();
      writeAddress();
    });
    document.addEventListener("keydown", (event) => {
      if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
      const part = PARTS.find((part) => part[0] === event.key);
      if (part) switchPart(part);
      if (large.open && event.key === "ArrowLeft") step(-1);
      if (large.open && event.key === "ArrowRight") step(1);
    });
    window.addEventListener("hashchange", followAddress);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", buildCoverage);
    new ResizeObserver(() => {
      for (const { drawn, view } of cards) if (drawn) view.refit();
    }).observe(grid);
    new ResizeObserver(() => largeView.refit()).observe(largeView.well);
  }

  if (matchMedia("(max-width: 860px)").matches) {
    // On a narrow window the pictures come first; the charts are a touch away.
    for (const section of document.querySelectorAll("aside details.section")) section.open = false;
  }
  if (index.columns) {
    grid.classList.add("fixed");
    grid.style.setProperty("--columns", index.columns);
  }
  for (const card of cards) card.well.style.aspectRatio = wellRatio;
  grid.append(...cards.map((card) => card.element));
  buildTotals();
  buildChips();
  buildCategories();
  buildSizes();
  buildCoverage();
  listen();
  followAddress();
  for (const card of cards) watcher.observe(card.element);
  document.documentElement.dataset.ready = "1";
})();
