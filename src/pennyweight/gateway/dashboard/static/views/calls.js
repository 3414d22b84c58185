// Live calls, the newest first, each with its trail: what every optimizer proposed, and why it was taken or not.

import { h, panel, table } from "../dom.js";
import { count, duration, money, moment, named, saving } from "../format.js";
import { address } from "../main.js";

export default {
  path: "calls",
  title: "Live calls",
  ranged: false,
  load(ask, { params }) {
    const kept = ["session", "tenant", "before", "before_id"].filter((name) => params.has(name));
    return ask("calls", Object.fromEntries(kept.map((name) => [name, params.get(name)])));
  },
  render(data, { params }) {
    const session = params.get("session");
    const last = data.calls.at(-1);
    const kept = session === null ? {} : { session, tenant: params.get("tenant") ?? "local" };
    return [
      session !== null && h("p", {}, "Session ", h("code", {}, session || "(none)"), " · ", h("a", { href: "#/calls" }, "all calls")),
      panel("Calls", table("Calls, newest first", [
        { label: "Time (UTC)", cell: (call) => h("a", { href: "#/calls", "data-action": "call", "data-id": call.call_id, "aria-haspopup": "dialog" }, moment(call.at)) },
        { label: "Model", cell: (call) => [named(call.model), " ", call.target_model !== call.model && h("small", {}, `as ${call.target_model}`)] },
        { label: "Spent", number: true, cell: (call) => money(call.cost, call.pricing === "subscription" ? "subscription" : "no price") },
        { label: "Saved", number: true, cell: (call) => saving(call) },
        { label: "Input", number: true, cell: (call) => tokens(call.input_tokens) },
        { label: "Cached", number: true, cell: (call) => (call.replayed ? "replayed" : tokens(call.cache_read_tokens)) },
        { label: "Output", number: true, cell: (call) => tokens(call.output_tokens) },
        { label: "Took", number: true, cell: (call) => duration(call.latency_s * 1000) },
        { label: "Status", cell: (call) => h("span", { class: call.status >= 400 ? "bad" : null }, call.error || String(call.status)) },
        { label: "Agent", cell: (call) => named(call.agent) },
        { label: "Optimizers", cell: chips },
      ], data.calls.map((call) => ({ ...call, id: call.call_id })), "No calls yet.")),
      h("p", {},
        params.has("before") && h("a", { href: address("calls", kept) }, "Newest"), params.has("before") && data.more && " · ",
        data.more && h("a", { href: address("calls", { ...kept, before: last.at, before_id: last.call_id }) }, "Older")),
    ];
  },
};

const tokens = (number) => (number === null ? "–" : count(number));

/** Those that did something, or would have; how many had nothing to offer. */
function chips(call) {
  const acted = call.trail.filter((step) => step.verdict !== "abstained");
  const others = call.trail.length - acted.length;
  return h("span", { class: "chips" },
    acted.map((step) => {
      const said = step.verdict.replaceAll("_", " ");
      return [h("span", { class: `chip ${step.verdict}`, title: `${step.optimizer}: ${said}${step.why ? `, ${step.why}` : ""}` },
        step.optimizer, h("span", { class: "unseen" }, ` ${said}`)), " "];
    }),
    others > 0 && h("span", { class: "quiet" }, acted.length ? `+${others}` : `${others} abstained`,
      acted.length > 0 && h("span", { class: "unseen" }, " abstained")));
}
