// Sessions: the latest or the dearest.

import { h, panel, table } from "../dom.js";
import { count, money, moment, named, percent, saving, short } from "../format.js";
import { address } from "../main.js";

const ORDERS = [["recent", "Latest"], ["cost", "Dearest"]];

export default {
  path: "sessions",
  title: "Sessions",
  load: (ask, { params }) => ask("sessions", { order: params.get("order") ?? "recent" }),
  render(data, { about }) {
    return [
      h("div", { class: "ranges", role: "group", "aria-label": "Order" }, ORDERS.map(([order, words]) =>
        h("a", { href: address("sessions", { order }), "aria-current": order === data.order ? "true" : null }, words))),
      panel("Sessions", table("Sessions with their calls and money", [
        { label: "Session", cell: (line) => h("a", { href: address("calls", { session: line.session, tenant: line.tenant }) }, named(line.session)) },
        { label: "Spent", number: true, cell: (line) => money(line.cost, line.subscription_calls ? "subscription" : "no price") },
        { label: "Saved", number: true, cell: (line) => saving(line) },
        { label: "Calls", number: true, cell: (line) => count(line.calls) },
        { label: "Last call (UTC)", cell: (line) => (line.at ? moment(line.at) : "–") },
        { label: "Agent", cell: (line) => named(line.agent ?? "") },
        { label: "Model", cell: (line) => named(line.model ?? "") },
        { label: "Tokens", number: true, cell: (line) => short(line.input_tokens + line.output_tokens) },
        { label: "Cached", number: true, cell: (line) => percent(line.prompt_cache_rate) },
        about.operator && { label: "Tenant", cell: (line) => line.tenant },
      ].filter(Boolean), data.sessions.map((line) => ({ ...line, id: `${line.tenant}/${line.session}` })), "No sessions in this time.")),
    ];
  },
};
