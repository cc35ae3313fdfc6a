// ⌘K or Ctrl+K finds anything, `/` goes to the search of the page, `?` shows the keys, arrows go through the rows of a list.
import { openPalette } from "./palette.js"; // here before it is wanted: what is typed at once is not lost

const finds = document.getElementById("find"); // a guest, who sees one page, has nothing to find
const typing = (element) => element?.closest?.("input, textarea, select, [contenteditable]");

function showKeys() {
  let dialog = document.getElementById("keys");
  if (!dialog) {
    dialog = document.createElement("dialog");
    Object.assign(dialog, { id: "keys", ariaLabel: "Keys" });
    dialog.innerHTML = `<h2>Keys</h2><dl class="keys"><div><dt><kbd>Ctrl</kbd> <kbd>K</kbd> or <kbd>⌘</kbd> <kbd>K</kbd><dd>find pages, jobs, endpoints, models</div>
      <div><dt><kbd>/</kbd><dd>search on this page</div><div><dt><kbd>↓</kbd> <kbd>↑</kbd><dd>the next or previous row of a list</div>
      <div><dt><kbd>x</kbd><dd>choose the job of the row</div>
      <div><dt><kbd>Shift</kbd> and a click<dd>choose all jobs up to this one</div><div><dt><kbd>Enter</kbd><dd>open it</div><div><dt><kbd>Esc</kbd><dd>close this</div><div><dt><kbd>?</kbd><dd>these keys</div></dl>
      <form method="dialog"><button class="main">Close</button></form>`;
    document.body.append(dialog);
  }
  if (!dialog.open) dialog.showModal();
}

/** From the link that has the focus to that of the row below or above; from nowhere to the first. */
function go(step) {
  const links = [...document.querySelectorAll("main tbody tr")].map((row) => row.querySelector("a[href]")).filter(Boolean);
  if (!links.length) return false;
  const at = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
  if (at < 0 && step < 0) return false;
  const next = links[at < 0 ? 0 : at + step];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
  return true;
}

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if ((event.ctrlKey || event.metaKey) && key.toLowerCase() === "k" && !event.altKey && !event.shiftKey) {
    event.preventDefault();
    return void (finds && openPalette());
  }
  if (event.ctrlKey || event.metaKey || event.altKey || typing(target) || document.querySelector("dialog[open]")) return;
  if (key === "/") {
    event.preventDefault();
    const search = document.querySelector("main input[type=search], main [role=search] input:not([type=hidden])");
    if (search) search.focus();
    else if (finds) openPalette();
  } else if (key === "?") {
    event.preventDefault();
    showKeys();
  } else if ((key === "ArrowDown" || key === "ArrowUp") && (target === document.body || target.id === "content" || target.closest("main tbody a"))) {
    if (go(key === "ArrowDown" ? 1 : -1)) event.preventDefault();
  }
});

finds?.addEventListener("click", openPalette);
document.getElementById("keys-shown")?.addEventListener("click", showKeys);
