// Switches, filters by source and category, and totals.

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
  if (hasBefore) bars.append(make("div", {}, bar("before", before)));
  bars.append(make("div", {}, bar("own", after - pasted), bar("pasted", pasted)));
  const count = hasBefore ? `${number(before)} → ${number(after)}` : number(after);
  const button = make("button", { type: "button" },
    make("span", { className: "name", textContent: name, title: name }),
    make("span", { className: "count", textContent: count }), bars);
  const now = hasPasted ? `${after}, ${pasted} of them pasted` : after;
  button.setAttribute("aria-label", hasBefore
    ? `${name}: ${before} before pasting, ${after} after, ${pasted} of them pasted` : `${name}: ${now}`);
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
  const now = [["own", "scene"], ["pasted", "pasted"]];
  if (hasPasted) legend("categories-legend", hasBefore ? [["before", "before"], ...now] : now);
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

function updateControls() {
  for (const button of chips) button.setAttribute("aria-pressed", String(button.pressed()));
}
