// Where the money goes: by model, provider, agent, session, task, skill or tenant.

import { h, panel, table } from "../dom.js";
import { count, duration, money, named, percent, saving, short } from "../format.js";
import { address } from "../main.js";

const BY = ["model", "provider", "agent", "session", "task", "skill", "tenant"];

export default {
  path: "breakdown",
  title: "Breakdown",
  load: (ask, { params }) => ask("breakdown", { by: params.get("by") ?? "model" }),
  render(data, { about }) {
    const rows = data.others ? [...data.groups, { ...data.others, key: "(all others)" }] : data.groups;
    const total = data.total?.calls ? [{ ...data.total, key: "Total", id: " total" }] : [];
    return [
      h("div", { class: "ranges", role: "group", "aria-label": "Broken down by" },
        BY.filter((by) => by !== "tenant" || about.operator).map((by) =>
          h("a", { href: address("breakdown", { by }), "aria-current": by === data.by ? "true" : null }, by))),
      panel(`By ${data.by}`, table(`Calls by ${data.by}, dearest first`, [
        { label: data.by[0].toUpperCase() + data.by.slice(1), cell: (line) => named(line.key) },
        { label: "Spent", number: true, cell: (line) => money(line.cost, nothing(line)) },
        { label: "Share", number: true, cell: (line) => share(line, data.total) },
        { label: "Saved", number: true, cell: (line) => saving(line) },
        { label: "Untouched", number: true, cell: (line) => money(line.baseline, nothing(line)) },
        { label: "Calls", number: true, cell: (line) => count(line.calls) },
        { label: "Input", number: true, cell: (line) => short(line.input_tokens) },
        { label: "Cached", number: true, cell: (line) => percent(line.prompt_cache_rate) },
        { label: "Output", number: true, cell: (line) => short(line.output_tokens) },
        { label: "Mean time", number: true, cell: (line) => duration(line.mean_latency_ms) },
        { label: "Failed", number: true, cell: (line) => count(line.failed_calls) },
      ], [...rows, ...total], "No calls in this time.")),
    ];
  },
};

const nothing = (line) => (line.subscription_calls ? "subscription" : "no price");

/** Of all that was spent. */
function share(line, total) {
  if (line.cost === null || !Number(total.cost)) return "–";
  const part = Number((BigInt(line.cost) * 10000n) / BigInt(total.cost)) / 10000;
  return [h("meter", { class: "bar", min: "0", max: "1", value: part.toFixed(3), "aria-hidden": "true" }), percent(part)];
}
