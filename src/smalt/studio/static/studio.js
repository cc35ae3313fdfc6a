import "./copies.js";
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

// What is large is had where it is used.
for (const name of ["ask", "chart", "code", "log", "tail", "traffic", "yaml"]) if (document.querySelector(`s-${name}`)) import(`./${name}.js`);
