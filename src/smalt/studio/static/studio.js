import "./copy.js";
import "./dialogs.js";
import "./forms.js";
import "./keys.js";
import "./live.js";
import "./rows.js";
import "./shows.js";
import "./time.js";

// On a narrow screen the list of pages is opened by its button.
const pages = document.getElementById("pages");
pages?.addEventListener("click", () => {
  const open = document.getElementById("navigation").classList.toggle("open");
  pages.setAttribute("aria-expanded", String(open));
});

// So are filters, by theirs; styles say where they are folded.
for (const fold of document.querySelectorAll("button.fold")) {
  fold.addEventListener("click", () => fold.setAttribute("aria-expanded", String(fold.getAttribute("aria-expanded") === "false")));
}

// What is large is had where it is used.
const ELEMENTS = [
  "ask", "build", "chart", "code", "columns", "file", "graph", "lines", "log", "many", "notebook", "since", "tail", "traffic", "upload", "views", "yaml", "zone",
];
const used = ELEMENTS.filter((name) => document.querySelector(`s-${name}`));
if (document.querySelector("form[data-new-asset]")) used.push("new-asset");
if (document.querySelector("s-scatter, s-parallel")) used.push("plots");
const parsed = new Promise((go) => addEventListener("DOMContentLoaded", go, { once: true }));
Promise.allSettled([parsed, ...used.map((name) => import(`./${name}.js`))]).then(() => dispatchEvent(new Event("smalt:ready")));

// A form of choices shows what is chosen at once.
document.addEventListener("change", ({ target }) => target.form?.hasAttribute("data-sends") && target.form.requestSubmit());
