// Advice from rolling figures: what is slow, dear or idle, and what to do about it.

import { get } from "../api.js";
import { h } from "../dom.js";
import { money } from "../format.js";

export default {
  path: "advice",
  title: "Advice",
  ranged: false,
  offered: (about) => about.offers.includes("advice"),
  load: () => get("/pennyweight/advice"),
  render(findings) {
    if (!findings.length) {
      return [h("section", { class: "panel empty" }, h("h2", {}, "Nothing to advise"),
        h("p", {}, "The last 24 hours gave no cause."))];
    }
    return findings.map((finding) => h("section", { class: "panel finding", "data-key": finding.id },
      h("h2", {}, h("span", { class: `severity ${finding.severity}` }, finding.severity), " ", finding.title),
      h("p", {}, finding.detail),
      h("dl", { class: "facts" },
        finding.cost_pico_per_day !== null && [h("dt", {}, "Costs a day"),
          h("dd", {}, money(finding.cost_pico_per_day), " ", h("small", {}, finding.basis))],
        h("dt", {}, "Do"), h("dd", {}, finding.remedy),
        finding.setting && [h("dt", {}, "Setting"), h("dd", {}, h("code", { class: "lines" }, finding.setting))])));
  },
};
