// Budgets: each virtual key's daily limit, the file's budgets, what is spent of them, and what was told of that.

import { h, panel, table } from "../dom.js";
import { count, money, moment, percent } from "../format.js";

export default {
  path: "budgets",
  title: "Budgets",
  ranged: false,
  load: (ask) => ask("budgets"),
  render({ keys, local, resets_at: resets, budgets, events }) {
    const rows = local ? [...keys, { name: "local", limit: null, spent: local.cost, calls: local.calls, local: true }] : keys;
    return [panel("Today", table("Virtual keys, their daily limits and what is spent", [
      { label: "Key", cell: (key) => [key.name, " ", key.local && h("small", {}, "callers on this machine without a key")] },
      { label: "Calls today", number: true, cell: (key) => count(key.calls) },
      { label: "Spent today", number: true, cell: (key) => money(key.spent) },
      { label: "Daily limit", number: true, cell: (key) => (key.limit === null ? "none" : money(key.limit)) },
      { label: "Used", number: true, cell: used },
      { label: "Expires (UTC)", cell: (key) => (key.expires_at ? moment(key.expires_at) : "–") },
    ], rows.map((key) => ({ ...key, key: key.name })), "There is no virtual key. Make one: pennyweight keys add NAME --daily-usd 5")),
      h("p", { class: "quiet" }, "A limit covers a UTC day. The next begins at ", moment(resets), "."),
      panel("Budgets", table("Budgets of the configuration, the fullest first", [
        { label: "Budget", cell: (line) => line.name },
        { label: "Whose", cell: (line) => [line.whose || "all", " ", line.whose && line.tenant && h("small", {}, line.tenant)] },
        { label: "Spent", number: true, cell: (line) => amount(line, line.spent) },
        { label: "Under way", number: true, cell: (line) => amount(line, line.held) },
        { label: "Of", number: true, cell: (line) => amount(line, line.amount) },
        { label: "Used", number: true, cell: (line) => bar(line.name, line.share) },
        { label: "Resets (UTC)", cell: (line) => (line.ends ? moment(line.ends) : "–") },
      ], budgets.map((line) => ({ ...line, key: `${line.name} ${line.tenant} ${line.whose}` })), "No budget has spent anything. They stand in pennyweight.toml as [[budgets]].")),
      panel("Alerts", table("What was told of budgets since the start, the newest first", [
        { label: "At (UTC)", cell: (event) => moment(event.at) },
        { label: "Level", cell: (event) => event.level },
        { label: "What", cell: (event) => event.text },
      ], events.map((event, place) => ({ ...event, key: `${event.at} ${place}` })), "No budget has come to its share for a warning."))];
  },
};

function used(key) {
  if (key.limit === null) return "–";
  const share = Number((BigInt(key.spent) * 10000n) / BigInt(key.limit)) / 10000;
  return bar(key.name, share);
}

function bar(name, share) {
  return [h("meter", { class: "bar", min: "0", max: "1", high: "0.8", value: Math.min(share, 1).toFixed(3), "aria-label": `${name}: ${percent(share)} of the limit` }), percent(share)];
}

function amount(line, value) {
  return line.unit === "usd" ? money(value) : `${count(Math.floor(Number(value) / 1000))} tokens`;
}
