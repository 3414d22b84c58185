// A chart that the gateway drew, with its legend, the figures of the step that is pointed at, and a table of all steps.

import { h, table } from "./dom.js";

const shown = new Map(); // by a chart's name: its steps and how to tell of one, as last drawn

/**
 * svg: text as the gateway sent it. legend: [[class, words]]. steps: rows with `at`. columns: of the table;
 * tell(step): what to show of one step, as [[words, value]].
 */
export function chart(name, svg, { legend, steps, columns, tell, caption }) {
  shown.set(name, { steps, tell });
  const drawn = document.importNode(new DOMParser().parseFromString(svg, "image/svg+xml").documentElement, true);
  return h("figure", { "data-chart": name },
    h("ul", { class: "legend", "aria-hidden": "true" },
      legend.map(([series, words]) => h("li", {}, h("span", { class: `swatch ${series}` }), words))),
    h("div", { class: "plot" }, drawn, h("div", { class: "tip", hidden: true })),
    h("details", {}, h("summary", {}, "As a table"), table(caption, columns, [...steps].reverse())));
}

document.addEventListener("pointermove", (event) => {
  const figure = event.target.closest?.("figure[data-chart]");
  for (const tip of document.querySelectorAll(".tip:not([hidden])")) {
    if (!figure?.contains(tip)) tip.hidden = true;
  }
  if (figure) point(figure, event);
});

function point(figure, event) {
  const { steps, tell } = shown.get(figure.dataset.chart);
  const group = event.target.closest(".step");
  const step = group && steps[Number(group.dataset.step)];
  const tip = figure.querySelector(".tip");
  tip.hidden = !step;
  if (!step) return;
  tip.replaceChildren(h("dl", {}, tell(step).map(([words, value]) => [h("dt", {}, words), h("dd", {}, value)])));
  const plot = figure.querySelector(".plot").getBoundingClientRect();
  const at = event.clientX - plot.left;
  const right = at + 14 + tip.offsetWidth < plot.width;
  tip.style.left = `${Math.max(0, right ? at + 14 : at - tip.offsetWidth - 14)}px`;
}
