// What changes on the platform changes on the page: cells by what the feed says, parts by the page, asked for once more.
import { join } from "./feed.js";
import { check, over } from "./session.js";

const { feed, cursor } = document.body.dataset;
const PAUSE_MS = 500; // between two looks at the same page, unless it says more
const ANSWERING = ["dialog[open]", "select:focus", "input:focus", "textarea:focus", ".refused:focus"];
const meanwhile = new Map(); // states by id, said while a part of the page is being asked for: what comes may be older
let asked = 0;
let leave = () => {};
let due = false;
let looked = 0;

document.addEventListener("htmx:beforeRequest", () => { asked += 1; });
document.addEventListener("htmx:afterSwap", () => meanwhile.forEach((state, id) => showState(id, state)));
document.addEventListener("htmx:afterRequest", () => { if (!(asked -= 1)) meanwhile.clear(); });

function showState(id, state) {
  for (const cell of document.querySelectorAll(`[data-state-of="${CSS.escape(id)}"]`)) {
    cell.textContent = cell.dataset.state = state;
  }
}

function show(change) {
  const id = change.resourceId.toLowerCase();
  if (change.to) {
    showState(id, change.to);
    if (asked) meanwhile.set(id, change.to);
  }
  document.dispatchEvent(new CustomEvent("smalt:change", { detail: { ...change, id } }));
  const live = document.getElementById("live");
  const wanted = (live?.dataset.refresh ?? "").split(" "); // ids, and kinds as the feed names them behind "workspaces/"
  const children = live?.hasAttribute("data-refresh-children") && change.what !== "described";
  const jobs = change.type.endsWith("/jobs");
  const kind = change.type.replace(/^.*\/workspaces\//, ""); // of others than a workspace's: with its provider
  const named = wanted.some((one) => one && (one === kind || one === id || id.startsWith(`${one}/`)));
  if (named || (children && jobs)) refresh();
  const newer = document.getElementById("newer");
  if (newer && jobs && change.what === "created") newer.hidden = false;
}

/** What an element with the focus is known by in the same part, had anew: its attributes, and the form that it is of, by
 * its name or, where it is one of many, by what it says. */
const likeness = (one) => one.cloneNode(false).outerHTML + (one.form?.id || (one.form?.outerHTML ?? ""));

/** Whoever goes through a page by keyboard stays where they are when a part of it is replaced. */
document.addEventListener("htmx:beforeSwap", ({ target }) => {
  const focused = document.activeElement;
  if (!target.contains(focused) || focused.id) return; // htmx itself finds one with an id
  const [{ tagName }, like, place] = [focused, likeness(focused), `#${CSS.escape(target.id)}`];
  document.addEventListener("htmx:afterSwap", () => {
    const same = [...document.querySelectorAll(`${place} ${tagName}`)].find((one) => likeness(one) === like);
    if (!document.contains(focused)) same?.focus({ preventScroll: true });
  }, { once: true });
});

function refresh() {
  if (due) return;
  due = true;
  const pause = Number(document.getElementById("live").dataset.pause) || PAUSE_MS;
  setTimeout(() => {
    if (document.hidden) return document.addEventListener("visibilitychange", () => { due = false; refresh(); }, { once: true });
    due = false;
    looked = performance.now();
    const more = document.getElementById("live-more") ? { selectOOB: "#live-more" } : {};
    const busy = document.getElementById("content").contains(getSelection().anchorNode) && !getSelection().isCollapsed;
    const answering = document.querySelector(ANSWERING.map((one) => `#live ${one}, #live-more ${one}`).join());
    if (busy || answering) return void setTimeout(refresh, PAUSE_MS); // somebody marks a text there, or is about to answer
    htmx.ajax("GET", location.pathname + location.search, {
      target: "#live", select: "#live", swap: "outerHTML", ...more,
    });
  }, Math.max(0, looked + pause - performance.now()));
}

function heard({ change, state, resync, refused }) {
  if (change) show(change);
  if (state && !over()) document.getElementById("feed").textContent = { live: "Live", away: "Reconnecting …" }[state] ?? "";
  if (refused || (over() && state === "live")) check();
  if (resync) resynced();
}

// Something may have happened between the page and its connection.
function resynced() {
  const list = document.getElementById("list");
  if (list) htmx.ajax("GET", location.pathname + location.search, { target: "#list", select: "#list", swap: "outerHTML" });
  else if (document.getElementById("live")) refresh();
}

function connect(from) {
  if (!globalThis.SharedWorker) {
    leave = join(feed, from, heard);
    return;
  }
  const { port } = new SharedWorker(new URL("live-worker.js", import.meta.url), { type: "module", name: "smalt" });
  port.onmessage = ({ data }) => heard(data);
  port.postMessage({ join: feed, cursor: from });
  leave = () => port.postMessage({});
}

if (feed) {
  connect(cursor);
  addEventListener("pagehide", () => leave());
  addEventListener("smalt:session", ({ detail }) => {
    leave();
    connect(detail ?? cursor);
    resynced();
  });
  addEventListener("pageshow", ({ persisted }) => {
    if (!persisted) return; // a page that comes back as it was may be old
    connect(cursor);
    resynced();
  });
}
