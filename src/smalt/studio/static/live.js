// What changes on the platform changes on the page: cells by what the feed says, parts by the page, asked for once more.
import { join } from "./feed.js";
import { worked } from "./place.js";
import { check, over } from "./session.js";

const { feed, cursor } = document.body.dataset;
const PAUSE_MS = 500; // between two looks at the same page, unless it says more
const LOOK = "smalt-look"; // the header of what nobody asked for
const HELD = /^Held until /; // what is said of a job that has failed and keeps its node: its state stays
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
  const to = HELD.test(change.reason) ? "Held" : change.to !== change.from && change.to; // a tag changes no state
  if (to) {
    showState(id, to);
    if (asked) meanwhile.set(id, to);
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

const here = () => location.pathname + location.search;
const shown = () => ["live", "live-more"].map((id) => document.getElementById(id)).filter(Boolean);

function look(id, more = {}) {
  htmx.ajax("GET", here(), { target: `#${id}`, select: `#${id}`, swap: "outerHTML", headers: { [LOOK]: id }, ...more });
}

// What comes late, when somebody works there by now or the page is another, is not put there.
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const { headers, path } = detail.requestConfig;
  const parts = { list: [detail.target], live: shown() }[headers[LOOK]];
  if (!parts || !detail.shouldSwap || (path === here() && !parts.some(worked))) return;
  detail.shouldSwap = false;
  setTimeout(headers[LOOK] === "list" ? resynced : refresh, PAUSE_MS);
});

function refresh() {
  if (due) return;
  due = true;
  const pause = Number(document.getElementById("live").dataset.pause) || PAUSE_MS;
  setTimeout(() => {
    if (document.hidden) return document.addEventListener("visibilitychange", () => { due = false; refresh(); }, { once: true });
    due = false;
    looked = performance.now();
    if (shown().some(worked)) return void setTimeout(refresh, PAUSE_MS);
    look("live", document.getElementById("live-more") ? { selectOOB: "#live-more" } : {});
  }, Math.max(0, looked + pause - performance.now()));
}

// What tells nobody that it has changed is looked at again so often.
function again() {
  const after = Number(document.getElementById("live")?.dataset.again);
  if (after) setTimeout(refresh, after);
}
again();
document.addEventListener("htmx:afterRequest", again);

function heard({ change, state, resync, refused }) {
  if (change) show(change);
  if (state && !over()) document.getElementById("feed").textContent = { live: "Live", away: "Reconnecting …" }[state] ?? "";
  if (refused || (over() && state === "live")) check();
  if (resync) resynced();
}

// Something may have happened between the page and its connection.
function resynced() {
  const list = document.getElementById("list");
  if (!list) return void (document.getElementById("live") && refresh());
  if (worked(list)) return void setTimeout(resynced, PAUSE_MS);
  look("list");
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
