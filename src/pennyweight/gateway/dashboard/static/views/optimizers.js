// Optimizers: what each is told to do, what it did, how its arms compare, and the switches.

import { get } from "../api.js";
import { h, panel, table } from "../dom.js";
import { count, duration, money, percent } from "../format.js";

const MODES = [["off", "off"], ["shadow", "shadow: only watch"], ["on", "on"]];
const VERDICTS = [["accepted", "Accepted"], ["shadowed", "Shadowed"], ["not_worth_it", "Would not pay"],
  ["too_risky", "Too risky"], ["failed", "Failed"]];
const METRICS = {
  errors: "errors", latency: "time to answer", call_cost: "cost of a call", session_cost: "cost of a session", tools: "wrong tool calls",
  reasks: "asked again", retries: "retried", cut: "cut off", feedback: "thumbs up", judge: "judged good",
};

export default {
  path: "optimizers",
  title: "Optimizers",
  async load(ask, { about }) {
    const [figures, experiments] = await Promise.all([
      ask("optimizers"), about.offers.includes("experiments") ? get("/pennyweight/experiments") : null]);
    return { ...figures, experiments };
  },
  render({ optimize, optimizers, experiments }) {
    const now = new Map((experiments?.optimizers ?? []).map((line) => [line.name, line]));
    const lines = optimizers.map((line) => ({ ...line, ...now.get(line.name), key: line.name }));
    return [
      h("p", {}, "Level: ", h("strong", {}, optimize), ". ",
        optimize === "off" ? "Nothing is changed or answered, whatever the switches say." :
        optimize === "safe" ? "Only what cannot change an answer." : "Everything that is not switched off."),
      experiments && panel("Switches", h("div", { class: "switches" }, lines.filter((line) => now.has(line.name)).map(form))),
      panel("What they did", table("What became of each optimizer's proposals", [
        { label: "Optimizer", cell: (line) => line.name },
        { label: "Mode", cell: (line) => (line.mode === null ? "not configured" : `${line.mode}, ${percent(line.share)}`) },
        { label: "Asked", number: true, cell: (line) => count(line.asked) },
        ...VERDICTS.map(([verdict, label]) =>
          ({ label, number: true, cell: (line) => count(line.verdicts?.[verdict]) })),
        { label: "Saving (computed or estimated)", number: true, cell: (line) => money(line.saving ?? "0") },
        { label: "In shadow (estimated)", number: true, cell: (line) => money(line.shadowed ?? "0") },
        { label: "Spent", number: true, cell: (line) => money(line.spent ?? "0") },
      ], lines, "No optimizer is configured."),
      h("p", { class: "quiet" }, "Savings of several optimizers overlap; only a holdout measures the total.")),
      experiments?.total && trial("All optimizers against the holdout", experiments.total, experiments),
      ...lines.filter((line) => line.experiment).map((line) => trial(line.name, line.experiment, experiments)),
    ];
  },
};

function form(line) {
  const share = Math.round(line.share * 100);
  const who = line.by === "config" ? "as configured" : `set by ${line.by === "loop" ? "the evidence" : "an operator"}`;
  return h("form", { "data-action": "optimizer", "data-name": line.name, "data-key": line.name, "aria-label": line.name },
    h("div", { class: "name" }, h("strong", {}, line.name), h("small", {}, who, line.reason && `: ${line.reason}`)),
    h("label", {}, "Mode",
      h("select", { name: "mode", "data-input": "touched" },
        MODES.map(([mode, words]) => h("option", { value: mode, selected: mode === line.mode }, words)))),
    h("label", {}, "Share of sessions",
      h("span", { class: "slider" },
        h("input", { name: "share", type: "range", min: "0", max: "100", step: "1", value: share, "data-input": "share" }),
        h("output", {}, `${share}%`))),
    h("label", {}, "Reason",
      h("input", { name: "reason", type: "text", maxlength: "200", placeholder: "for the record", "data-input": "touched" })),
    h("button", { class: "main" }, "Set"));
}

/** Both arms of an experiment, and how they differ, measured, with intervals that hold at every look. */
function trial(name, found, { alpha }) {
  const [on, off] = Object.entries(found.arms);
  const sure = `${Math.round((1 - alpha) * 100)}%`;
  return panel(name, table(`${name}: outcomes by arm`, [
    { label: "Arm", cell: ([arm]) => arm },
    { label: "Sessions", number: true, cell: ([, arm]) => count(arm.sessions) },
    { label: "Calls", number: true, cell: ([, arm]) => count(arm.calls) },
    { label: "Errors", number: true, cell: ([, arm]) => percent(arm.error_rate) },
    { label: "Mean time", number: true, cell: ([, arm]) => duration(arm.latency_s === null ? null : arm.latency_s * 1000) },
    { label: "Spent", number: true, cell: ([, arm]) => money(arm.cost_pico, arm.calls ? "no price" : "–") },
    { label: "Thumbs", number: true, cell: ([, arm]) => `${arm.feedback.up} up, ${arm.feedback.down} down` },
  ], [on, off].map((pair) => Object.assign(pair, { key: pair[0] }))),
  table(`${name}: measured differences`, [
    { label: "Outcome (measured)", cell: (line) => METRICS[line.metric] ?? line.metric },
    { label: "Over", cell: (line) => ({ early: "first calls", whole: "whole sessions", said: "what was said" })[line.look] ?? line.look },
    { label: "Sessions", number: true, cell: (line) => count(line.sessions) },
    { label: "On against off", number: true, cell: (line) => effect(line.effect, line.shown) },
    { label: `${sure} interval`, number: true, cell: (line) => (line.low === null ? "–" : `${effect(line.low, line.shown)} to ${effect(line.high, line.shown)}`) },
    { label: "Harm", cell: (line) => (line.alarm ? h("strong", { class: "bad" }, "alarm") : "no sign") },
  ], found.metrics.map((line) => ({ ...line, key: `${line.metric} ${line.look}` })), "Not enough sessions yet."));
}

/** A difference in points, or a factor as a change in percent. */
export function effect(value, shown) {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return "∞";
  const points = shown === "ratio" ? (value - 1) * 100 : value * 100;
  return `${points > 0 ? "+" : ""}${points.toFixed(1)}${shown === "ratio" ? "%" : " points"}`;
}
