// Asking the gateway. A key that somebody gives is kept for this tab only, and sent to this gateway only.

const KEY = "pennyweight-key";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** The JSON at a path. Raises Refused with the gateway's own words. */
export const get = (path, signal) => ask(path, { signal });

/** What the gateway says to a change that was asked for. */
export const post = (path, body) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

async function ask(path, options) {
  const headers = { ...options.headers };
  if (key.get()) headers.authorization = `Bearer ${key.get()}`;
  const answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
  const text = await answer.text();
  const body = text && answer.headers.get("content-type")?.startsWith("application/json") ? JSON.parse(text) : null;
  if (!answer.ok) throw new Refused(answer.status, body?.error?.message ?? `The gateway answered ${answer.status}.`);
  return body;
}
