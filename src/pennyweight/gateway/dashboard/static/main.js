// The page: which view is shown, keeping it live, and what a click does. Views are in views/, one module each.

import { get, key, Refused } from "./api.js";
import { h, morph } from "./dom.js";
import { actions } from "./actions.js";
import overview from "./views/overview.js";
import breakdown from "./views/breakdown.js";
import sessions from "./views/sessions.js";
import calls from "./views/calls.js";
import caches from "./views/caches.js";
import optimizers from "./views/optimizers.js";
import doctor from "./views/doctor.js";
import advice from "./views/advice.js";
import tiers from "./views/tiers.js";
import budgets from "./views/budgets.js";
import prices from "./views/prices.js";

const VIEWS = [overview, breakdown, sessions, calls, caches, optimizers, doctor, advice, tiers, budgets, prices];
const RANGES = [["today", "Today"], ["7d", "7 days"], ["30d", "30 days"], ["90d", "90 days"], ["all", "All"]];
const PULSE_MS = 1000;

const $ = (id) => document.getElementById(id);
const page = { about: null, views: [], pulse: "", loading: null, again: false, drawn: "" };

// --- where we are: the address after #, so that a view can be kept and sent ------------------------------------

function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const view = page.views.find((one) => one.path === path) ?? page.views[0];
  const params = new URLSearchParams(query);
  return { view, params, range: params.get("range") ?? "7d", about: page.about };
}

/** The address of a view; the range goes along. */
export function address(path, params = {}) {
  const query = new URLSearchParams({ ...(place().params.get("range") && { range: place().range }), ...params });
  return `#/${path}${query.size ? `?${query}` : ""}`;
}

// --- showing ---------------------------------------------------------------------------------------------------

/** Read and draw the view that the address names. One at a time: what is asked for meanwhile is done once more after. */
export async function refresh() {
  if (!page.about) return;
  if (page.loading) {
    page.again = true;
    return page.loading;
  }
  page.loading = draw().finally(() => { page.loading = null; });
  await page.loading;
  if (page.again) {
    page.again = false;
    await refresh();
  }
}

async function draw() {
  const here = place();
  const width = Math.max(280, Math.min(1160, $("main").clientWidth - 34));
  try {
    const ask = (path, params = {}) =>
      get(`/pennyweight/dashboard/${path}?${new URLSearchParams({ range: here.range, width: Math.round(width), ...params })}`);
    const data = await here.view.load(ask, here);
    if (location.hash && place().view !== here.view) return; // somebody went on meanwhile
    show(here, here.view.render(data, here));
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return askForKey(error.message);
    show(here, [h("p", { class: "notice bad", role: "alert" }, error.message || "The gateway cannot be reached.")]);
  }
}

function show({ view, params, range }, content) {
  const fresh = h("main", { id: "main", tabindex: "-1" },
    h("div", { class: "top" }, h("h1", {}, view.title), view.ranged !== false && ranges(range, params)),
    content);
  morph($("main"), fresh);
  document.title = `${view.title} · Pennyweight`;
  for (const link of $("views").querySelectorAll("a")) {
    if (link.dataset.path === view.path) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (page.drawn && page.drawn !== view.path) {
    window.scrollTo(0, 0);
    $("views").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  page.drawn = view.path;
}

function ranges(range, params) {
  return h("div", { class: "ranges", role: "group", "aria-label": "Time span, in UTC days" },
    RANGES.map(([value, words]) => {
      const query = new URLSearchParams(params);
      query.set("range", value);
      return h("a", { href: `#/${place().view.path}?${query}`, "aria-current": value === range ? "true" : null }, words);
    }));
}

// --- keeping it live -------------------------------------------------------------------------------------------

async function beat() {
  if (document.hidden || !page.about) return;
  try {
    const pulse = await get("/pennyweight/dashboard/pulse");
    const trouble = pulse.trouble ? "receipts delayed" : "live";
    $("live").className = `live ${pulse.trouble ? "bad" : "on"}`;
    if ($("live").textContent !== trouble) $("live").textContent = trouble;
    if (pulse.state !== page.pulse) {
      page.pulse = pulse.state;
      await refresh();
    }
  } catch (error) {
    if (error.status === 401) return askForKey(error.message);
    $("live").className = "live bad";
    $("live").textContent = "not connected";
    page.pulse = "";
  }
}

async function keepLive() {
  for (;;) {
    await beat();
    await new Promise((done) => { setTimeout(done, PULSE_MS); });
  }
}

/** Whether this gateway has what a view or a button needs. */
export const offers = (name) => page.about?.offers.includes(name) ?? false;

/** Tell the outcome of something that was asked for. */
export function say(words, bad = false) {
  $("said").replaceChildren(h("p", { class: bad ? "bad" : null }, words));
  clearTimeout(say.timer);
  say.timer = setTimeout(() => $("said").replaceChildren(), 8000);
}

// --- getting in ------------------------------------------------------------------------------------------------

async function start() {
  try {
    page.about = await get("/pennyweight/dashboard/about");
  } catch (error) {
    if (error.status === 401) askForKey(error.message);
    else say(error.message || "The gateway cannot be reached.", true);
    return;
  }
  page.views = VIEWS.filter((view) => view.offered?.(page.about) ?? true);
  $("views").replaceChildren(...page.views.map((view) =>
    h("li", {}, h("a", { href: address(view.path), "data-path": view.path }, view.title))));
  $("who").textContent = page.about.operator ? `${page.about.version} · all tenants` : page.about.tenant;
  await refresh();
}

function askForKey(reason) {
  page.about = null;
  const dialog = $("key");
  if (dialog.open) return;
  dialog.replaceChildren(
    h("form", { method: "dialog" },
      h("h2", { id: "key-title" }, "A key is needed"),
      h("p", {}, key.get() ? reason : "This gateway answers to holders of a Pennyweight key. It is kept for this tab only."),
      h("label", {}, "Pennyweight key",
        h("input", { id: "key-value", type: "password", autocomplete: "off", placeholder: "pw-…", required: true })),
      h("button", { class: "main" }, "Open")));
  dialog.addEventListener("close", () => {
    const value = $("key-value").value.trim();
    if (value) key.set(value);
    start();
  }, { once: true });
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const target = event.target.closest?.("[data-action]");
  if (!target || target.matches("form, input, select")) return;
  actions[target.dataset.action]?.(target, event);
});
document.addEventListener("submit", (event) => {
  const action = event.target.dataset.action;
  if (!action) return;
  event.preventDefault();
  actions[action]?.(event.target, event);
});
document.addEventListener("input", (event) => {
  const action = event.target.dataset.input;
  if (action) actions[action]?.(event.target, event);
});
window.addEventListener("hashchange", () => { if (!location.hash || location.hash.startsWith("#/")) refresh(); });
document.addEventListener("visibilitychange", beat);
let resizing;
window.addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(refresh, 150);
});

await start();
keepLive();
