// Figures as people read them. Money is whole pico-dollars as text: it is never a floating-point number here.

import { h } from "./dom.js";

const PICO = 10n ** 12n;

/** "$12.35"; below a dollar "$0.1235", below a cent "$0.001234"; never "$0.00" for what is not nothing. */
export function usd(pico) {
  let amount = BigInt(pico);
  const sign = amount < 0n ? "-" : "";
  if (amount < 0n) amount = -amount;
  if (amount >= PICO) {
    const cents = nearest(amount, PICO / 100n);
    const dollars = (cents / 100n).toString().replace(/\B(?=(\d{3})+$)/g, ",");
    return `${sign}$${dollars}.${(cents % 100n).toString().padStart(2, "0")}`;
  }
  if (amount === 0n) return "$0.00";
  const places = amount >= PICO / 100n ? 4 : 6;
  const parts = nearest(amount, 10n ** BigInt(12 - places));
  if (!parts) return `${sign}<$0.000001`;
  const digits = parts.toString().padStart(places + 1, "0");
  return `${sign}$${digits.slice(0, -places)}.${digits.slice(-places)}`;
}

/** All digits: "0.001234567". */
export function exactUsd(pico) {
  const amount = BigInt(pico);
  const whole = amount < 0n ? -amount : amount;
  const rest = (whole % PICO).toString().padStart(12, "0").replace(/0+$/, "").padEnd(2, "0");
  return `${amount < 0n ? "-" : ""}${whole / PICO}.${rest}`;
}

function nearest(amount, unit) {
  const count = amount / unit;
  const rest = (amount % unit) * 2n;
  return rest > unit || (rest === unit && count % 2n === 1n) ? count + 1n : count;
}

/** An amount with its exact value beside it; without a price it says so. */
export function money(pico, none = "no price") {
  if (pico === null || pico === undefined) return h("span", { class: "quiet" }, none);
  return h("data", { class: "money", value: exactUsd(pico), title: `$${exactUsd(pico)}` }, usd(pico));
}

const WORDS = ["measured", "computed", "estimated"];

/** The words that belong to a saving, for instance "computed + estimated". */
export function words(line) {
  return WORDS.filter((word) => line[word] && line[word] !== "0").join(" + ");
}

/** A saving, always with the word for how it is known. */
export function saving(line) {
  if (line.saved === null || line.saved === undefined || line.saved === "0") return h("span", { class: "quiet" }, "–");
  const known = line.basis ?? words(line);
  return h("span", { class: BigInt(line.saved) < 0n ? "saving loss" : "saving" }, money(line.saved), " ", known && h("small", {}, known));
}

export const count = (number) => (number ?? 0).toLocaleString("en-US");

/** 1,234,567 as "1.23M"; below ten thousand in full. */
export function short(number) {
  return number < 1e4 ? count(number) : SHORT.format(number);
}

const SHORT = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });

export const percent = (share) => (share === null || share === undefined ? "–" : `${(share * 100).toFixed(1)}%`);

export function duration(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "–";
  if (milliseconds < 10) return `${milliseconds.toFixed(2)} ms`;
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** A moment in UTC, like the days of all figures. */
export function moment(seconds) {
  const iso = new Date(seconds * 1000).toISOString();
  return h("time", { datetime: iso, title: `${iso.slice(0, 19).replace("T", " ")} UTC` }, iso.slice(5, 19).replace("T", " "));
}

export function stepName(seconds, hourly) {
  const iso = new Date(seconds * 1000).toISOString();
  return hourly ? iso.slice(5, 16).replace("T", " ") : iso.slice(0, 10);
}

export const named = (key) => (key === "" ? h("span", { class: "quiet" }, "(none)") : key);
