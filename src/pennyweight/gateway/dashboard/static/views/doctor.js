// The doctor's findings: why prompt caches missed, what it cost, and the fix.

import { get } from "../api.js";
import { h } from "../dom.js";
import { money } from "../format.js";

export default {
  path: "doctor",
  title: "Doctor",
  ranged: false,
  offered: (about) => about.offers.includes("doctor"),
  load: () => get("/pennyweight/doctor"),
  render(data, { about }) {
    const findings = data.findings ?? [];
    if (!findings.length) return [h("section", { class: "panel empty" }, h("h2", {}, "Nothing found"), h("p", {}, "No miss of a prompt cache that could have been a hit."))];
    return findings.map((finding) => h("section", { class: "panel finding", "data-key": finding.id },
      h("h2", {}, h("span", { class: `severity ${finding.severity}` }, finding.severity), " ", finding.title ?? finding.code),
      h("p", {}, finding.what ?? finding.text ?? ""),
      h("dl", { class: "facts" }, h("dt", {}, "It cost"), h("dd", {}, money(finding.cost_pico ?? finding.cost ?? null)),
        h("dt", {}, "Fix"), h("dd", {}, finding.fix)),
      finding.applicable && about.operator &&
        h("button", { type: "button", class: "main", "data-action": "apply", "data-id": finding.id }, "Apply the fix")));
  },
};
