"use strict";
// Without this script the page shows everything; it adds sorting, folding, fading, filtering, enlarging and the choice of
// light or dark.
(() => {
  const one = (id) => document.getElementById(id);
  const root = document.documentElement;

  const theme = one("theme");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const name = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  theme.hidden = false;
  name();
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });

  // A click on a column's name sorts by it: numbers first from high to low, words from A to Z; rows of means stay below.
  const value = (cell) => {
    const given = cell?.dataset.order ?? (cell?.tagName === "TH" ? cell.textContent.trim() : "");
    return given !== "" && !Number.isNaN(Number(given)) ? Number(given) : given;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const rows = [...body.rows].filter((row) => !row.classList.contains("total"));
    if (rows.length < 2) continue;
    const columns = [...table.tHead.rows[0].cells];
    const rest = [...body.rows].filter((row) => row.classList.contains("total"));
    const sort = (place, rising) => {
      const its = (row) => value(row.cells[place]);
      for (const column of columns) column.removeAttribute("aria-sort");
      columns[place].setAttribute("aria-sort", rising ? "ascending" : "descending");
      rows.sort((a, b) => (its(a) === "") - (its(b) === "") || (rising ? 1 : -1) * compare(its(a), its(b)));
      body.append(...rows, ...rest);
    };
    const wordy = (place) => rows.every((row) => typeof value(row.cells[place]) === "string");
    // On a phone the columns' names are not shown: a list of them takes their place.
    const choice = document.createElement("select");
    const label = document.createElement("label");
    label.className = "sort-by";
    label.append("Sort by ", choice);
    choice.add(new Option("the page's order", ""));
    const order = [...rows];
    choice.addEventListener("change", () => {
      if (choice.value !== "") return sort(Number(choice.value), wordy(Number(choice.value)));
      rows.splice(0, rows.length, ...order);
      body.append(...rows, ...rest);
    });
    columns.forEach((column, place) => {
      if ("fixed" in column.dataset) return;
      choice.add(new Option(column.textContent.trim(), place));
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...column.childNodes);
      column.append(button);
      button.addEventListener("click", () => {
        const before = column.getAttribute("aria-sort");
        sort(place, before ? before === "descending" : wordy(place));
      });
    });
    table.parentElement.before(label);
  }

  // On a phone long sections start folded; a link to one opens it, and printing opens everything.
  const folds = [...document.querySelectorAll("details.fold")];
  if (matchMedia("(max-width: 44rem)").matches) for (const fold of folds) fold.open = false;
  const reveal = () => {
    const target = location.hash.length > 1 && one(decodeURIComponent(location.hash.slice(1)));
    const fold = target && target.querySelector("details.fold");
    if (fold) fold.open = true;
  };
  addEventListener("hashchange", reveal);
  for (const link of document.querySelectorAll("nav a")) link.addEventListener("click", () => setTimeout(reveal));
  reveal();
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const fold of closed) fold.open = true;
  });
  addEventListener("afterprint", () => { for (const fold of closed) fold.open = false; });

  const controls = one("controls");
  if (!controls) return;
  controls.hidden = false;
  const cases = [...document.querySelectorAll(".case")];
  const [finding, kind, heat, boxes] = ["finding", "kind", "heat", "boxes"].map(one);
  const large = one("large");
  const heatLarge = one("heat-large");

  const fade = (from) => {
    heat.value = heatLarge.value = from.value;
    root.style.setProperty("--heat", from.value / 100);
    one("heat-value").value = `${from.value} %`;
  };
  for (const slider of [heat, heatLarge]) slider.addEventListener("input", () => fade(slider));
  fade(heat);

  boxes.addEventListener("change", () => root.classList.toggle("no-boxes", !boxes.checked));

  const filter = () => {
    let count = 0;
    for (const article of cases) {
      const { finding: its, kind: sort, rank } = article.dataset;
      const asked = finding.value === "*" || (finding.value ? its === finding.value : rank === "0");
      const fits = asked && (!kind.value || sort === kind.value);
      article.hidden = !fits;
      count += fits;
    }
    one("shown").textContent = `${count} of ${cases.length} cases`;
  };
  finding.addEventListener("change", filter);
  kind.addEventListener("change", filter);
  filter();

  for (const article of cases) {
    const button = article.querySelector(".enlarge");
    button.hidden = false;
    button.addEventListener("click", () => {
      const body = large.querySelector(".dialog-body");
      const copy = article.cloneNode(true);
      copy.querySelector(".enlarge").remove();
      body.replaceChildren(copy);
      large.showModal();
    });
  }
  one("close").addEventListener("click", () => large.close());
  large.addEventListener("click", (event) => { if (event.target === large) large.close(); });
})();
