// What buttons and forms do, by the name in their data-action. A change is a POST; the gateway decides who may make it.

import { get, post } from "./api.js";
import { detail } from "./detail.js";
import { offers, refresh, say } from "./main.js";

async function change(element, path, body, done) {
  const buttons = element.matches("form") ? element.querySelectorAll("button") : [element];
  for (const button of buttons) button.disabled = true;
  try {
    const answer = await post(path, body);
    if (done) say(done);
    return answer ?? true;
  } catch (error) {
    say(error.message, true);
    return null;
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

export const actions = {
  async call(element, event) {
    event.preventDefault();
    const dialog = document.getElementById("call");
    try {
      const call = await get(`/pennyweight/calls/${encodeURIComponent(element.dataset.id)}`);
      dialog.replaceChildren(...detail(call, offers("feedback")).filter(Boolean));
      if (!dialog.open) dialog.showModal();
    } catch (error) {
      say(error.message, true);
    }
  },

  close(element) {
    element.closest("dialog").close();
  },

  async feedback(element) {
    const { id, value } = element.dataset;
    const done = await change(element, "/v1/feedback", { call_id: id, thumbs: value }, "Noted.");
    if (!done) return;
    for (const button of element.parentElement.querySelectorAll("[data-value]")) {
      button.setAttribute("aria-pressed", button.dataset.value === value);
    }
  },

  share(element) {
    const form = element.closest("form");
    form.dataset.touched = "";
    form.querySelector("output").textContent = `${element.form.share.value}%`;
  },

  touched(element) {
    element.closest("form").dataset.touched = "";
  },

  async optimizer(form) {
    const body = {
      mode: form.mode.value,
      share: Number(form.share.value) / 100,
      reason: form.reason.value.trim() || "set in the dashboard",
    };
    const name = form.dataset.name;
    const path = `/pennyweight/optimizers/${encodeURIComponent(name)}`;
    if (await change(form, path, body, `${name}: ${body.mode}, ${form.share.value}% of sessions.`)) {
      delete form.dataset.touched;
      form.reason.value = "";
      await refresh();
    }
  },

  async apply(element) {
    const answer = await change(element, "/pennyweight/doctor/apply", { id: element.dataset.id }, null);
    if (!answer) return;
    const kept = answer.backup ? ` The file as it was: ${answer.backup}` : "";
    say(answer.changed ? `Applied: ${answer.applied}.${kept}` : `${answer.applied} is on already.`);
    await refresh();
  },

  async purge(form) {
    const [model, tenant, age] = [form.model.value.trim(), form.tenant.value.trim(), form.age.value];
    const body = { ...(model && { model }), ...(tenant && { tenant }), ...(age && { older_than_s: Number(age) }) };
    const everything = Object.keys(body).length === 0;
    if (!confirm(everything ? "Drop every answer that is kept?" : "Drop the answers that fit?")) return;
    const answer = await change(form, "/pennyweight/caches/purge", everything ? { all: true } : body, null);
    if (!answer) return;
    say(`${answer.purged} answers dropped.`);
    delete form.dataset.touched;
    form.reset();
    await refresh();
  },

  search(form) {
    const text = form.text.value.trim();
    location.hash = text ? `#/prices?search=${encodeURIComponent(text)}` : "#/prices";
  },
};
