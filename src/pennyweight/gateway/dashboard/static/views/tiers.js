// Tiers: which the calls to virtual models went to, beside their goals, and how each target is now.

import { get } from "../api.js";
import { h, panel, table } from "../dom.js";
import { count, percent } from "../format.js";

export default {
  path: "tiers",
  title: "Tiers",
  ranged: false,
  offered: (about) => about.offers.includes("tiers"),
  load: () => get("/pennyweight/tiers"),
  render({ tiers, calls, days }) {
    const rows = tiers.flatMap((tier) => tier.targets.map((target, place) => ({
      ...target, tier, key: target.target, first: place === 0,
    })));
    return [panel(`${days} days`, table("Targets by tier, with what they were asked and how they are now", [
      { label: "Tier", cell: (row) => (row.first ? row.tier.name || "in no tier" : "") },
      { label: "Target", cell: (row) => row.target },
      { label: "Calls", number: true, cell: (row) => count(row.calls) },
      { label: "Share of tier", number: true, cell: (row) => (row.first ? percent(row.tier.share) : "") },
      { label: "Goal", number: true, cell: (row) => (row.first && row.tier.goal !== null ? percent(row.tier.goal) : "") },
      { label: "Failed", number: true, cell: (row) => (row.failed ? count(row.failed) : "") },
      { label: "Now", cell: (row) => now(row.now) },
    ], rows, "No call has named a virtual model yet. Let a client ask for the model auto.")),
      h("p", { class: "quiet" }, `${count(calls)} calls to virtual models. Goals are soft: no call goes below its bar for one.`)];
  },
};

function now(state) {
  if (!state) return "not configured";
  const told = [];
  if (state.resting) told.push("rests after a failure");
  if (state.quota_left !== null) told.push(`${count(state.quota_left)} requests left`);
  if (!state.fits) told.push("no memory for it");
  if (state.wait_s + state.load_s > 0) told.push(`${Math.round(state.wait_s + state.load_s)} s to wait`);
  return told.join(", ") || "well";
}
