// Building pages from data, and bringing a page on the screen up to date without disturbing who uses it.

/** An element. Attributes of null or false are left out; children may be nodes, text, numbers, null, or lists of these. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(9)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

/**
 * A table with a caption. columns: {label, cell(row), number}; the first column's cells are the rows' headings.
 * It scrolls sideways by itself where there is no room, by keyboard too.
 */
export function table(caption, columns, rows, empty = "Nothing yet.") {
  const head = columns.map((column) => h("th", { scope: "col", class: column.number && "number" }, column.label));
  const body = rows.map((row) =>
    h("tr", { "data-key": row.id ?? row.key ?? null },
      columns.map((column, at) =>
        h(at ? "td" : "th", { scope: at ? null : "row", class: column.number && "number" }, column.cell(row)))));
  const whole = h("table", {}, h("caption", { class: "unseen" }, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body));
  return h("div", { class: "wide", role: "region", "aria-label": caption, tabindex: "0" },
    rows.length ? whole : h("p", { class: "quiet" }, empty));
}

export function panel(title, ...children) {
  return h("section", { class: "panel" }, h("h2", {}, title), children);
}

/**
 * Make `old` look like `fresh`: elements that stay keep their focus, scroll and open state. What somebody is editing
 * (an element marked data-touched) is left alone.
 */
export function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.dataset?.key !== fresh.dataset?.key) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE || "touched" in old.dataset) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.matches("input") && old !== document.activeElement) old.value = fresh.value;
  if (old.nodeName.toLowerCase() === "svg") {
    if (old.innerHTML !== fresh.innerHTML) old.replaceChildren(...fresh.childNodes);
    return;
  }
  const wanted = [...fresh.childNodes];
  const held = new Map([...old.children].filter((child) => child.dataset.key).map((child) => [child.dataset.key, child]));
  wanted.forEach((child, at) => {
    const keyed = child.dataset?.key && held.get(child.dataset.key);
    const current = old.childNodes[at];
    if (keyed && keyed !== current) old.insertBefore(keyed, current ?? null);
    const place = old.childNodes[at];
    if (!place) old.append(child);
    else if (child.dataset?.key && place.dataset?.key !== child.dataset.key) old.insertBefore(child, place);
    else morph(place, child);
  });
  while (old.childNodes.length > wanted.length) old.lastChild.remove();
}
