// Optimizers: what each is told to do, what it did, and the switches.

import { get } from "../api.js";
import { h, panel, table } from "../dom.js";
import { count, money } from "../format.js";

const MODES = [["off", "off"], ["shadow", "shadow: only watch"], ["on", "on"]];

export default {
  path: "optimizers",
  title: "Optimizers",
  async load(ask, { about }) {
    const [figures, experiments] = await Promise.all([
      ask("optimizers"), about.offers.includes("experiments") && about.operator ? get("/pennyweight/experiments") : null]);
    return { ...figures, experiments };
  },
  render({ optimize, optimizers, experiments }, { about }) {
    const editable = experiments !== null && about.operator;
    return [
      h("p", {}, "Level: ", h("strong", {}, optimize), ". ",
        optimize === "off" ? "Nothing is changed or answered, whatever the switches say." :
        optimize === "safe" ? "Only what cannot change an answer." : "Everything that is not switched off."),
      panel("What they did", table("What became of each optimizer's proposals", [
        { label: "Optimizer", cell: (line) => line.name },
        { label: "Mode", cell: (line) => (line.mode === null ? "not configured" : `${line.mode}, ${Math.round(line.share * 100)}%`) },
        { label: "Asked", number: true, cell: (line) => count(line.asked) },
        ...[["accepted", "Accepted"], ["shadowed", "Shadowed"], ["not_worth_it", "Would not pay"], ["too_risky", "Too risky"],
          ["failed", "Failed"]].map(([verdict, label]) =>
          ({ label, number: true, cell: (line) => count(line.verdicts?.[verdict] ?? 0) })),
        { label: "Saving (estimated)", number: true, cell: (line) => money(line.saving ?? "0") },
        { label: "In shadow (estimated)", number: true, cell: (line) => money(line.shadowed ?? "0") },
        { label: "Spent", number: true, cell: (line) => money(line.spent ?? "0") },
      ], optimizers.map((line) => ({ ...line, key: line.name })), "No optimizer is configured.")),
      editable && panel("Switches", h("div", { class: "switches" },
        optimizers.filter((line) => line.mode !== null).map((line) => form(line)))),
      h("p", { class: "quiet" }, "What single proposals name overlaps between optimizers: do not add it up."),
    ];
  },
};

function form(line) {
  const percent = Math.round(line.share * 100);
  return h("form", { "data-action": "optimizer", "data-name": line.name, "data-key": line.name, "aria-label": line.name },
    h("strong", {}, line.name),
    h("label", {}, "Mode",
      h("select", { name: "mode", "data-input": "touched" },
        MODES.map(([mode, words]) => h("option", { value: mode, selected: mode === line.mode }, words)))),
    h("label", {}, "Share of sessions",
      h("span", { class: "slider" },
        h("input", { name: "share", type: "range", min: "0", max: "100", step: "1", value: percent, "data-input": "share" }),
        h("output", {}, `${percent}%`))),
    h("label", {}, "Reason", h("input", { name: "reason", type: "text", maxlength: "200", placeholder: "for the record", "data-input": "touched" })),
    h("button", { class: "main" }, "Set"));
}
