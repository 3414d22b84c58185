// Both kinds of caches: the provider's prompt cache, and our own of whole answers.

import { chart } from "../chart.js";
import { h, panel, table } from "../dom.js";
import { count, duration, money, named, percent, short, stepName } from "../format.js";

export default {
  path: "caches",
  title: "Caches",
  load: (ask) => ask("caches"),
  render(data, { about }) {
    if (!data.total?.calls) return [h("section", { class: "panel empty" }, h("h2", {}, "No calls in this time"))];
    const { total, steps } = data;
    const hourly = steps.length > 1 && steps[1].at - steps[0].at < 86400;
    return [
      h("dl", { class: "cards" },
        card("Prompt cache", percent(total.prompt_cache_rate), `${short(total.cached_tokens)} of ${short(total.input_tokens)} input tokens were read from the provider's cache`),
        card("Written to it", short(total.written_tokens), "tokens, where the provider tells"),
        card("Response cache", percent(total.response_cache_rate), `${count(total.replayed_calls)} of ${count(total.calls)} calls answered without asking a provider`),
        card("Saved by answers served again", money(sum(data.answers.caches)), "computed: what asking again would have cost")),
      panel("Hit rates over time", chart("rates", data.chart, {
        caption: "Hit rates over time",
        legend: [["prompt", "prompt cache: share of input tokens"], ["response", "response cache: share of calls"]],
        steps,
        columns: [
          { label: hourly ? "From (UTC)" : "Day (UTC)", cell: (step) => stepName(step.at, hourly) },
          { label: "Prompt cache", number: true, cell: (step) => percent(step.prompt_cache_rate) },
          { label: "Response cache", number: true, cell: (step) => percent(step.response_cache_rate) },
          { label: "Calls", number: true, cell: (step) => count(step.calls) },
        ],
        tell: (step) => [[hourly ? "from" : "day", `${stepName(step.at, hourly)} UTC`],
          ["prompt cache", percent(step.prompt_cache_rate)], ["response cache", percent(step.response_cache_rate)]],
      })),
      ...answers(data.answers),
      data.functions.length > 0 && panel("Functions and tools", table("Cached functions and tools", [
        { label: "Function", cell: (line) => named(line.function) },
        { label: "Tenant", cell: (line) => named(line.tenant) },
        { label: "Calls", number: true, cell: (line) => count(line.calls) },
        { label: "Hits", number: true, cell: (line) => count(line.hits) },
        { label: "Hit rate", number: true, cell: (line) => percent(line.hit_rate) },
        { label: "Time saved", number: true, cell: (line) => duration(line.saved_s * 1000) },
        { label: "Saved (estimated)", number: true, cell: (line) => money(line.saved) },
      ], data.functions)),
      about.offers.includes("caches") && panel("Purge", h("div", { class: "switches" }, purge())),
      pairs(data.pairs, data.pairs_of),
      panel("By model", table("Hit rates by model", [
        { label: "Model", cell: (line) => named(line.key) },
        { label: "Input tokens", number: true, cell: (line) => count(line.input_tokens) },
        { label: "of them cached", number: true, cell: (line) => count(line.cached_tokens) },
        { label: "Prompt cache", number: true, cell: (line) => percent(line.prompt_cache_rate) },
        { label: "Calls", number: true, cell: (line) => count(line.calls) },
        { label: "Response cache", number: true, cell: (line) => percent(line.response_cache_rate) },
      ], data.models)),
    ];
  },
};

const card = (label, value, note) =>
  h("div", { "data-key": label }, h("dt", {}, label), h("dd", {}, value), h("dd", { class: "note" }, note));

/** What our caches saved, in pico-dollars as text. */
const sum = (lines) => String(lines.reduce((total, line) => total + BigInt(line.saved ?? 0), 0n));

const known = (share, words = "not audited") => (share === null ? h("span", { class: "quiet" }, words) : percent(share));

const RATES = [
  { label: "Could answer", number: true, cell: (line) => count(line.looks) },
  { label: "Hits", number: true, cell: (line) => count(line.hits) },
  { label: "Hit rate", number: true, cell: (line) => known(line.hit_rate, "–") },
  { label: "Valid hit rate", number: true, cell: (line) => known(line.valid_hit_rate) },
  { label: "at least", number: true, cell: (line) => known(line.valid_at_least, "–") },
  { label: "Wrong at most", number: true, cell: (line) => known(line.wrong_at_most, "–") },
  { label: "Saved (computed)", number: true, cell: (line) => money(line.saved) },
];

/** What each of our caches did: as a whole, by route and by the store that had the answer. */
function answers({ caches, routes, tiers }) {
  return [
    panel("Our caches", table("What each cache did", [
      { label: "Cache", cell: (line) => line.cache }, ...RATES,
      { label: "Only watched", number: true, cell: (line) => count(line.shadowed) },
      { label: "Audited", number: true, cell: (line) => `${count(line.audited)}, ${count(line.wrong)} wrong` },
      { label: "Rated by callers", number: true, cell: (line) => `${count(line.rated)}, ${count(line.reported)} as wrong` },
    ], caches, "No cache has looked at a call yet."),
    h("p", { class: "quiet" }, "A hit is valid when a fresh answer says the same, by a random sample and by what callers say. ",
      "\u201cAt least\u201d and \u201cat most\u201d hold with 95% confidence.")),
    routes.length > 0 && panel("By route", table("Caches by route", [
      { label: "Route", cell: (line) => named(line.route) }, { label: "Cache", cell: (line) => line.cache }, ...RATES], routes)),
    tiers.length > 0 && panel("By store", table("Hits by store", [
      { label: "Store", cell: (line) => line.tier }, { label: "Cache", cell: (line) => line.cache },
      { label: "Had an answer", number: true, cell: (line) => count(line.looks) },
      { label: "Hits", number: true, cell: (line) => count(line.hits) },
      { label: "Saved (computed)", number: true, cell: (line) => money(line.saved) },
    ], tiers)),
  ];
}

function purge() {
  return h("form", { "data-action": "purge", "data-key": "purge", "aria-label": "Purge" },
    h("label", {}, "Model", h("input", { name: "model", type: "text", maxlength: "200", placeholder: "all; gpt-5* for some", "data-input": "touched" })),
    h("label", {}, "Tenant", h("input", { name: "tenant", type: "text", maxlength: "100", placeholder: "all", "data-input": "touched" })),
    h("label", {}, "Older than",
      h("select", { name: "age", "data-input": "touched" },
        [["", "of any age"], ["3600", "an hour"], ["86400", "a day"], ["604800", "a week"]].map(([value, words]) => h("option", { value }, words)))),
    h("button", { class: "main" }, "Drop answers"));
}

/** The last answers that were held against fresh ones, side by side. */
function pairs(audits, tenant) {
  if (!audits.length) return null;
  const whose = tenant === "local" ? "calls without a key" : tenant;
  return panel("Last audits", h("p", { class: "quiet" }, `Texts of ${whose}; nobody else sees them.`),
    audits.map((audit) => h("article", { class: "audit", "data-key": audit.id },
      h("h3", {}, `${audit.cache}: `, audit.valid ? "says the same" : h("strong", { class: "loss" }, "says something else"),
        h("small", {}, ` ${audit.route}, ${audit.source}`)),
      h("div", { class: "pair" },
        side("Kept", audit.kept_asked, audit.kept_answer), side("Asked anew", audit.asked, audit.answer)))));
}

const side = (title, asked, answer) =>
  h("div", {}, h("h4", {}, title), h("p", { class: "quiet" }, asked || "(no text)"), h("pre", { tabindex: "0", "aria-label": `${title}: the answer` }, answer));
