// Advice from rolling figures: what is slow, dear or idle, and what to do about it.

import { get } from "../api.js";
import { h } from "../dom.js";

export default {
  path: "advice",
  title: "Advice",
  ranged: false,
  offered: (about) => about.offers.includes("advice"),
  load: () => get("/pennyweight/advice"),
  render(data) {
    const lines = data.advice ?? data.findings ?? [];
    if (!lines.length) return [h("section", { class: "panel empty" }, h("h2", {}, "Nothing to advise"))];
    return lines.map((line, at) => h("section", { class: "panel finding", "data-key": line.id ?? String(at) },
      h("h2", {}, h("span", { class: `severity ${line.severity}` }, line.severity), " ", line.title ?? line.code),
      h("p", {}, line.what ?? line.text ?? ""), line.remedy && h("p", {}, h("strong", {}, "Do: "), line.remedy)));
  },
};
