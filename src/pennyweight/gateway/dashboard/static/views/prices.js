// The price book in force: of the models in use, or of those that are searched for.

import { h, panel, table } from "../dom.js";
import { count, exactUsd } from "../format.js";

const RATES = [["input", "Input"], ["output", "Output"], ["cache_read", "Cache read"], ["cache_write_5m", "Write, 5 min"], ["cache_write_1h", "Write, 1 h"]];

export default {
  path: "prices",
  title: "Prices",
  ranged: false,
  load: (ask, { params }) => ask("prices", params.get("search") ? { search: params.get("search") } : {}),
  render(data) {
    const title = data.search ? `Models with “${data.search}” in their name` : "Models in use";
    const more = data.count > data.lines.length ? ` The first ${data.lines.length} of ${count(data.count)}.` : "";
    return [
      h("form", { class: "search", role: "search", "data-action": "search" },
        h("label", {}, "Search the price book", h("input", { name: "text", type: "search", value: data.search })),
        h("button", {}, "Search")),
      panel(title, h("p", { class: "quiet" }, `US dollars per million tokens.${more}`), table(title, [
        { label: "Model", cell: (line) => [line.model, " ", h("small", {}, line.provider)] },
        !data.search && { label: "Recent calls", number: true, cell: (line) => count(line.calls) },
        ...RATES.map(([name, label]) => ({ label, number: true, cell: (line) => rate(line, name) })),
        { label: "Notes", cell: (line) => notes(line) },
      ].filter(Boolean), data.lines.map((line) => ({ ...line, id: `${line.provider}/${line.model}` })), data.search ? "No model has that in its name." : "No calls yet.")),
      h("p", { class: "quiet" }, `${data.source}, as of ${String(data.made).slice(0, 10)}; own prices: ${count(data.own)}. `, "A dash is billed as input. Newer list prices: ", h("code", {}, "pennyweight prices update"), "."),
    ];
  },
};

function rate(line, name) {
  if (!line.priced) return name === "input" ? h("span", { class: "bad" }, "no price") : "–";
  return line[name] === null ? "–" : h("data", { class: "money", value: exactUsd(line[name]) }, `$${exactUsd(line[name])}`);
}

function notes(line) {
  const told = [line.origin && line.origin !== "catalogue" && line.origin, line.free && "free", ...(line.notes ?? [])].filter(Boolean);
  return [told.join("; "), " ", line.until && h("small", {}, `until ${new Date(line.until * 1000).toISOString().slice(0, 10)}`)];
}
