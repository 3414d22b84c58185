// The doctor's findings: why prompt caches missed, what it cost, and the fix.

import { get } from "../api.js";
import { h } from "../dom.js";
import { count, money, named } from "../format.js";

export default {
  path: "doctor",
  title: "Doctor",
  ranged: false,
  offered: (about) => about.offers.includes("doctor"),
  load: () => get("/pennyweight/doctor"),
  render(data, { about }) {
    const findings = Array.isArray(data) ? data : data.findings;
    if (!findings.length) {
      return [h("section", { class: "panel empty" }, h("h2", {}, "Nothing found"),
        h("p", {}, "No call missed a prompt cache that it could have hit."))];
    }
    return findings.map((finding) => h("section", { class: "panel finding", "data-key": finding.id },
      h("h2", {}, h("span", { class: `severity ${finding.severity}` }, finding.severity), " ", finding.title),
      h("p", {}, finding.detail),
      h("dl", { class: "facts" },
        h("dt", {}, "It cost"), h("dd", {}, money(finding.cost), " ", h("small", {}, "computed")),
        h("dt", {}, "Missed"), h("dd", {}, `${count(finding.tokens)} tokens in ${count(finding.calls)} calls`),
        h("dt", {}, "Model"), h("dd", {}, finding.model, h("small", {}, ` ${finding.provider}`)),
        h("dt", {}, "Client"), h("dd", {}, named(finding.client)),
        h("dt", {}, "Fix"), h("dd", {}, finding.fix),
        finding.setting && [h("dt", {}, "Setting"), h("dd", {}, h("code", {}, finding.setting))]),
      finding.applicable && about.operator &&
        h("button", { type: "button", class: "main", "data-action": "apply", "data-id": finding.id }, "Apply the fix")));
  },
};
