// Builds the page and listens.

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
