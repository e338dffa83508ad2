"use strict";
// Without this script the page shows everything; it adds fading, filtering, enlarging and the choice of light or dark.
(() => {
  const one = (id) => document.getElementById(id);
  const root = document.documentElement;

  const theme = one("theme");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const name = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  theme.hidden = false;
  name();
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });

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
