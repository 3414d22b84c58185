// Both caches: the provider's prompt cache, and our own of whole answers.

import { chart } from "../chart.js";
import { h, panel, table } from "../dom.js";
import { count, money, named, percent, short, stepName } from "../format.js";

export default {
  path: "caches",
  title: "Caches",
  load: (ask) => ask("caches"),
  render(data) {
    if (!data.total?.calls) return [h("section", { class: "panel empty" }, h("h2", {}, "No calls in this time"))];
    const { total, steps } = data;
    const hourly = steps.length > 1 && steps[1].at - steps[0].at < 86400;
    return [
      h("dl", { class: "cards" },
        card("Prompt cache", percent(total.prompt_cache_rate), `${short(total.cached_tokens)} of ${short(total.input_tokens)} input tokens were read from the provider's cache`),
        card("Written to it", short(total.written_tokens), "tokens, where the provider tells"),
        card("Response cache", percent(total.response_cache_rate), `${count(total.replayed_calls)} of ${count(total.calls)} calls answered without asking a provider`),
        card("Computed saving", money(total.computed), "of answers served again (computed)")),
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
