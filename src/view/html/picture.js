// Drawing one picture: masks, boxes and tags over a JPEG.

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
