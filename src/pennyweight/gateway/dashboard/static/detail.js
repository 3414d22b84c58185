// One call in full: what it cost, and what each optimizer said to it.

import { h, table } from "./dom.js";
import { count, duration, money, moment, named, usd } from "./format.js";

const VERDICTS = {
  accepted: "accepted",
  shadowed: "would have been accepted (only watching)",
  abstained: "had nothing to offer",
  too_risky: "too risky",
  not_worth_it: "would not have paid",
  not_allowed: "not allowed at this level",
  failed: "failed, and was skipped",
  lost: "could not be carried over",
};

const verdict = (step) => h("span", { class: `verdict ${step.verdict}` }, VERDICTS[step.verdict] ?? step.verdict);

/** The trail as a table. What accepted steps saved is known as well as the whole call's saving; the rest is estimated. */
function trail(steps, basis) {
  const known = (step) => (step.verdict === "accepted" && basis) || "estimated";
  return table("What each optimizer said", [
    { label: "Optimizer", cell: (step) => step.optimizer },
    { label: "Verdict", cell: verdict },
    { label: "Why", cell: (step) => step.why || step.error || "" },
    { label: "Saving", number: true, cell: (step) => (Number(step.saving ?? 0) ? [money(step.saving), " ", h("small", {}, known(step))] : "–") },
    { label: "Spent", number: true, cell: (step) => (Number(step.spent ?? 0) ? money(step.spent) : "–") },
    { label: "Risk", number: true, cell: (step) => (step.risk ? `${(step.risk * 100).toFixed(1)}%` : "–") },
  ], steps, "No optimizer was asked.");
}

/** A receipt as `/pennyweight/calls/ID` tells it. */
export function detail(call, rated) {
  const usage = call.usage ?? {};
  const dollars = (text) => (text === null ? money(null, call.pricing === "subscription" ? "subscription" : "no price") : amount(text));
  const facts = [
    ["Time", moment(call.at)],
    ["Model", call.model === call.target_model ? call.model : `${call.model}, sent as ${call.target_model}`],
    ["Provider", call.provider], ["Answered by", call.answered_by || "nobody"],
    ["Agent", named(call.agent)], ["Session", named(call.session)], ["Task", named(call.task)], ["Skill", named(call.skill)],
    ["Tenant", call.tenant], ["Experiment arm", named(call.arm)],
    ["Status", `${call.status}${call.error ? ` ${call.error}` : ""}${call.abandoned ? ", caller left" : ""}`],
    ["Ended with", named(call.finish_reason)],
    ["Input tokens", count(usage.input_tokens)], ["of them cached", count(usage.cache_read_tokens)],
    ["Output tokens", count(usage.output_tokens)],
    ["First byte", duration(call.ttft_s === null ? null : call.ttft_s * 1000)], ["Whole answer", duration(call.latency_s * 1000)],
    ["Added by us", duration(call.added_s * 1000)],
  ];
  return [
    h("div", { class: "top" },
      h("h2", { id: "call-title" }, "Call ", h("code", {}, call.call_id)),
      h("button", { type: "button", "data-action": "close", "aria-label": "Close" }, "Close")),
    h("dl", { class: "cards" },
      card("Cost", dollars(call.cost_usd)),
      card("Untouched", dollars(call.baseline_usd)),
      card("Saved", [dollars(call.saved_usd), call.basis && h("small", {}, call.basis)])),
    trail(call.trail ?? [], call.basis),
    rated && h("div", { class: "feedback" }, h("span", { id: "good" }, "Was the answer good?"),
      thumb(call, "up", "Yes"), thumb(call, "down", "No")),
    h("dl", { class: "facts" }, facts.map(([words, value]) => [h("dt", {}, words), h("dd", {}, value)])),
  ];
}

const card = (words, value) => h("div", {}, h("dt", {}, words), h("dd", {}, value));

const thumb = (call, value, words) =>
  h("button", { type: "button", "data-action": "feedback", "data-id": call.call_id, "data-value": value, id: `thumb-${value}`,
    "aria-pressed": "false", "aria-describedby": "good" },
    h("span", { "aria-hidden": "true" }, value === "up" ? "👍 " : "👎 "), words);

/** Dollars as the gateway wrote them, all digits. */
function amount(text) {
  const [whole, part = ""] = text.replace("-", "").split(".");
  const pico = BigInt(whole) * 10n ** 12n + BigInt(part.padEnd(12, "0"));
  return h("data", { class: "money", value: text, title: `$${text}` }, usd(text.startsWith("-") ? -pico : pico));
}
