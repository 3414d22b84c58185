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
  render(findings) {
    if (!findings.length) {
      return [h("section", { class: "panel empty" }, h("h2", {}, "Nothing found"),
        h("p", {}, "No call missed a prompt cache that it could have hit."))];
    }
    return findings.map((finding) => h("section", { class: "panel finding", "data-key": finding.id },
      h("h2", {}, h("span", { class: `severity ${finding.severity}` }, finding.severity), " ", finding.title),
      h("p", {}, finding.detail),
      h("dl", { class: "facts" },
        h("dt", {}, "It cost"), h("dd", {}, money(finding.cost_pico), " ", h("small", {}, "computed, in 7 days")),
        h("dt", {}, "Missed"), h("dd", {}, `${count(finding.tokens)} tokens in ${count(finding.calls)} calls, ${count(finding.conversations)} ${finding.conversations === 1 ? "conversation" : "conversations"}`),
        h("dt", {}, "Model"), h("dd", {}, finding.model, h("small", {}, ` ${finding.provider}`)),
        h("dt", {}, "Client"), h("dd", {}, named(finding.client)),
        h("dt", {}, "Fix"), h("dd", {}, finding.fix),
        finding.setting && [h("dt", {}, "Setting"), h("dd", {}, h("code", { class: "lines" }, finding.setting))]),
      h("div", { class: "buttons" },
        finding.applicable &&
          h("button", { type: "button", class: "main", "data-action": "apply", "data-id": finding.id }, "Apply the fix"),
        finding.worst.call_id &&
          h("button", { type: "button", "data-action": "call", "data-id": finding.worst.call_id }, "The dearest call"))));
  },
};
