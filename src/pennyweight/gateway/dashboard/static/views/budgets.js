// Budgets: each virtual key's daily limit, and what is spent of it.

import { h, panel, table } from "../dom.js";
import { count, money, moment, percent } from "../format.js";

export default {
  path: "budgets",
  title: "Budgets",
  ranged: false,
  load: (ask) => ask("budgets"),
  render({ keys, local, resets_at: resets }) {
    const rows = local ? [...keys, { name: "local", limit: null, spent: local.cost, calls: local.calls, local: true }] : keys;
    return [panel("Today", table("Virtual keys, their daily limits and what is spent", [
      { label: "Key", cell: (key) => [key.name, " ", key.local && h("small", {}, "callers on this machine without a key")] },
      { label: "Calls today", number: true, cell: (key) => count(key.calls) },
      { label: "Spent today", number: true, cell: (key) => money(key.spent) },
      { label: "Daily limit", number: true, cell: (key) => (key.limit === null ? "none" : money(key.limit)) },
      { label: "Used", number: true, cell: used },
      { label: "Expires (UTC)", cell: (key) => (key.expires_at ? moment(key.expires_at) : "–") },
    ], rows.map((key) => ({ ...key, key: key.name })), "There is no virtual key. Make one: pennyweight keys add NAME --daily-usd 5")),
      h("p", { class: "quiet" }, "A limit covers a UTC day. The next begins at ", moment(resets), ".")];
  },
};

function used(key) {
  if (key.limit === null) return "–";
  const share = Number((BigInt(key.spent) * 10000n) / BigInt(key.limit)) / 10000;
  return [h("meter", { class: "bar", min: "0", max: "1", high: "0.8", value: Math.min(share, 1).toFixed(3), "aria-label": `${key.name}: ${percent(share)} of the limit` }), percent(share)];
}
