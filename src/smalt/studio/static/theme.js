// Before the first paint, so not a module. "" follows the system.
const themes = ["", "light", "dark"];
const apply = () => { document.documentElement.dataset.theme = localStorage.getItem("smalt-theme") ?? ""; };
apply();
addEventListener("storage", apply);
addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("theme");
  const name = () => { button.textContent = `Theme: ${document.documentElement.dataset.theme || "system"}`; };
  name();
  button.addEventListener("click", () => {
    const at = themes.indexOf(document.documentElement.dataset.theme);
    localStorage.setItem("smalt-theme", themes[(at + 1) % themes.length]);
    apply();
    name();
  });
});
