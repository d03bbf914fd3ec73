// The cards in their grid, drawn while they are near the window, and the large view of one.

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
