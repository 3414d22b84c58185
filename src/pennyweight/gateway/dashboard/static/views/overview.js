// Spend and saving over time, and what needs attention.

import { get } from "../api.js";
import { chart } from "../chart.js";
import { h, panel, table } from "../dom.js";
import { count, duration, money, named, percent, saving, short, stepName } from "../format.js";
import { address } from "../main.js";
import { effect } from "./optimizers.js";

const WORDS = [
  ["measured", "against sessions that run without optimizers"],
  ["computed", "the same call, priced both ways"],
  ["estimated", "what accepted proposals named"],
];

export default {
  path: "overview",
  title: "Overview",
  async load(ask, { about }) {
    const offered = (name) => (about.offers.includes(name) ? get(`/pennyweight/${name}`) : null);
    const [figures, advice, experiments, pulse] = await Promise.all([
      ask("overview"), offered("advice"), offered("experiments"), ask("pulse")]);
    return { ...figures, advice, experiments, pulse };
  },
  render(data) {
    if (!data.total || !data.total.calls) {
      return [notices(data), h("section", { class: "panel empty" }, h("h2", {}, "No calls in this time"),
        h("p", {}, "Point a client at this gateway: ", h("code", {}, "pennyweight connect"), ", or play a recorded session: ",
          h("code", {}, "pennyweight demo"), "."))];
    }
    return [notices(data), cards(data), spend(data),
      h("div", { class: "pair" }, top("Models", "model", data.models), top("Agents", "agent", data.agents))];
  },
};

function notices({ unpriced = [], damaged = [], pulse, advice }) {
  const lines = damaged.map((words) => ["bad", words]);
  if (pulse.trouble) lines.push(["bad", `Receipts are delayed (${count(pulse.waiting)} waiting): ${pulse.trouble}`]);
  if (pulse.lost) lines.push(["bad", `${count(pulse.lost)} receipts were lost since the start. The log says why.`]);
  if (unpriced.length) {
    const calls = unpriced.reduce((sum, line) => sum + line.calls, 0);
    const models = unpriced.slice(0, 4).map((line) => line.key || "(none)").join(", ");
    lines.push(["bad", `${count(calls)} calls have no known price and are in no sum of money: ${models}. ` +
      "Add their prices to pennyweight.toml."]);
  }
  const worst = advice?.[0];
  if (worst) {
    const more = advice.length > 1 ? ` and ${count(advice.length - 1)} more` : "";
    lines.push(["", [worst.title, ". ", h("a", { href: address("advice") }, `Advice${more}`)]]);
  }
  return lines.map(([kind, text]) => h("p", { class: `notice ${kind}` }, text));
}

function cards({ total, latency }) {
  const share = total.baseline && BigInt(total.baseline) > 0n
    ? Number((BigInt(total.saved) * 10000n) / BigInt(total.baseline)) / 10000 : null;
  return h("dl", { class: "cards" },
    card("Spent", money(total.cost), ["untouched ", money(total.baseline)], "spent"),
    card("Saved", saving(total), [share === null ? "" : `${percent(share)} of the untouched cost`], "saved"),
    card("Calls", count(total.calls), `${count(total.replayed_calls)} from the cache, ${count(total.failed_calls)} failed`, "calls"),
    card("Tokens", short(total.input_tokens + total.output_tokens),
      `${short(total.input_tokens)} in, ${short(total.output_tokens)} out`),
    card("Prompt cache", percent(total.prompt_cache_rate), "of input tokens read from the provider's cache"),
    card("Added latency", duration(latency.added_p50_ms),
      `median; p99 ${duration(latency.added_p99_ms)}, last ${count(latency.calls)} calls`));
}

const card = (label, value, note, id) =>
  h("div", { "data-key": label }, h("dt", {}, label), h("dd", { id: id ?? null }, value), note && h("dd", { class: "note" }, note));

function spend({ chart: svg, steps, total, experiments }) {
  const hourly = steps.length > 1 && steps[1].at - steps[0].at < 86400;
  const columns = [
    { label: hourly ? "From (UTC)" : "Day (UTC)", cell: (step) => stepName(step.at, hourly) },
    { label: "Calls", number: true, cell: (step) => count(step.calls) },
    { label: "Spent", number: true, cell: (step) => money(step.calls ? step.cost : "0") },
    ...WORDS.map(([word]) => ({ label: `Saved, ${word}`, number: true, cell: (step) => money(step.calls ? step[word] : "0") })),
    { label: "Untouched", number: true, cell: (step) => money(step.calls ? step.baseline : "0") },
  ];
  return h("section", { class: "panel" },
    h("h2", {}, "Spend and saving"),
    chart("spend", svg, {
      caption: "Spend and saving over time",
      legend: [["cost", "spent"], ...WORDS.map(([word]) => [word, `saved, ${word}`])],
      steps, columns,
      tell: (step) => [
        [hourly ? "from" : "day", `${stepName(step.at, hourly)} UTC`], ["calls", count(step.calls)], ["spent", money(step.cost ?? "0")],
        ...WORDS.filter(([word]) => step[word] && step[word] !== "0").map(([word]) => [`saved, ${word}`, money(step[word])]),
      ],
    }),
    h("dl", { class: "bases" }, WORDS.map(([word, meaning]) =>
      h("div", { "data-key": word }, h("dt", {}, h("span", { class: `swatch ${word}` }), word),
        h("dd", { id: `saved-${word}` }, money(total[word])), h("dd", { class: "note" }, meaning)))),
    holdout(experiments),
    h("p", { class: "quiet" }, "Savings of several optimizers overlap; only a holdout measures the total."));
}

/** What all optimizers together save, measured on sessions that ran without them. */
function holdout(experiments) {
  const found = experiments?.total?.metrics.find((line) => line.metric === "session_cost" && line.effect !== null);
  if (!found) return null;
  const sure = `${Math.round((1 - experiments.alpha) * 100)}%`;
  return h("p", { id: "holdout" }, "Measured against the holdout, over ", count(found.sessions), " sessions: cost of a session ",
    h("strong", {}, effect(found.effect, found.shown)),
    ` (${sure} interval ${effect(found.low, found.shown)} to ${effect(found.high, found.shown)}).`);
}

function top(title, by, lines) {
  return panel(title, table(`Dearest ${title.toLowerCase()}`, [
    { label: title.slice(0, -1), cell: (line) => named(line.key) },
    { label: "Calls", number: true, cell: (line) => count(line.calls) },
    { label: "Spent", number: true, cell: (line) => money(line.cost) },
    { label: "Saved", number: true, cell: saving },
  ], lines), h("p", {}, h("a", { href: address("breakdown", { by }) }, `All ${title.toLowerCase()}`)));
}
