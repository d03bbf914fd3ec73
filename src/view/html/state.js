// What the page's data are and what of them is chosen. The scripts make up one module, in the order
// state, picture, grid, filters, charts, start.

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
// What scenes held before pasting is not known of all that can be looked at.
const hasBefore = hasPasted && index.categories.every(({ before }) => before !== null);
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
