// Whoever works in a part of a page keeps the place when it comes anew: the focus, what was typed or chosen in a form and
// not sent yet, and how far its tables were scrolled.
const SCROLLED = ".scroll, pre";
const FIELDS = "input:not([type=hidden]), select, textarea";
const ANSWERING = ["dialog[open]", "select:focus", "input:not([type=checkbox]):focus", "textarea:focus", ".refused:focus"];
let parts = []; // that are about to be replaced, as they were

/** What an element says of itself. */
const said = (one) => one.cloneNode(false).outerHTML;
const alike = (part, { tag, like }) => [...part.querySelectorAll(tag)].filter((one) => said(one) === like);
const goal = (form) => form?.getAttribute("action");
const mark = (form) => form?.getAttribute("id") || goal(form);

/** Whether somebody marks a text there, or is about to answer. */
export function worked(part) {
  const selection = getSelection();
  return (!selection.isCollapsed && selection.containsNode(part, true)) || part.querySelector(ANSWERING.join()) !== null;
}

function changed(field) {
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (!field.options) return field.value !== field.defaultValue;
  return field.selectedIndex !== Math.max(0, [...field.options].findLastIndex((one) => one.defaultSelected));
}

/** Somebody has begun to fill it in, waits for its answer or reads why it was refused: then it stays, and so does what it saw. */
const begun = (form) => form.matches("[data-sent]") || form.querySelector(":scope > .refused:not([hidden])") !== null
  || [...form.querySelectorAll(FIELDS)].some(changed);

/** What an element is found by in the same part, had anew. */
function described(part, element) {
  const found = { element, tag: element.localName, like: said(element) };
  return { ...found, at: alike(part, found).indexOf(element) };
}

function focusIn(part) {
  const focused = document.activeElement;
  if (!part.contains(focused)) return null;
  const [row, { form }] = [focused.closest("tbody tr"), focused];
  return {
    ...described(part, focused), form: mark(form), text: form?.outerHTML,
    region: focused.closest("[role=region]")?.getAttribute("aria-label"),
    row: row ? [...row.parentNode.rows].indexOf(row) : -1,
  };
}

/** The same element. Of a form that has changed meanwhile the same button, but never that of another form. */
function same(part, was) {
  if (was.element.isConnected) return was.element;
  const found = alike(part, was).filter(({ form }) => mark(form) === was.form);
  if (!was.form) return found[Math.min(was.at, found.length - 1)];
  return found.find(({ form }) => form.outerHTML === was.text) ?? (found.length === 1 ? found[0] : undefined);
}

/** Where that is gone: what is in its row now, or the table that it was in. */
function near(part, { region, row, tag }) {
  const table = [...part.querySelectorAll("[role=region]")].find((one) => !region || one.getAttribute("aria-label") === region);
  const rows = table?.querySelectorAll("tbody tr") ?? [];
  const wanted = { a: "a[href]", input: "input[type=checkbox]" }[tag];
  return (row >= 0 && wanted && rows[Math.min(row, rows.length - 1)]?.querySelector(wanted)) || table || document.getElementById("content");
}

function leave({ target, detail }) {
  if (!detail.shouldSwap) return;
  const scrolled = [...target.querySelectorAll(SCROLLED)].filter((one) => one.scrollTop || one.scrollLeft);
  parts.push({
    id: target.id, focus: focusIn(target), forms: [...target.querySelectorAll("form")].filter(begun),
    scrolled: scrolled.map((one) => ({ ...described(target, one), top: one.scrollTop, left: one.scrollLeft })),
  });
}

function back({ id, focus, forms, scrolled }) {
  const part = document.getElementById(id);
  if (!part) return;
  for (const form of forms) [...part.querySelectorAll("form")].find((one) => goal(one) === goal(form))?.replaceWith(form);
  for (const one of scrolled) alike(part, one)[one.at]?.scrollTo({ top: one.top, left: one.left, behavior: "instant" });
  const lost = document.activeElement === document.body || !document.activeElement; // htmx itself finds one with an id
  if (focus && lost) (same(part, focus) ?? near(part, focus)).focus({ preventScroll: true });
}

document.addEventListener("htmx:beforeSwap", (event) => {
  parts = [];
  leave(event);
});
document.addEventListener("htmx:oobBeforeSwap", leave);
document.addEventListener("htmx:afterSwap", () => {
  parts.forEach(back);
  parts = [];
});
