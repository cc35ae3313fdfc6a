// ⌘K: a dialog with one field; what is found of the pages of the navigation, and of what the platform has by that name.
const PAUSE_MS = 120;
let dialog;

function build() {
  dialog = document.createElement("dialog");
  Object.assign(dialog, { id: "palette", ariaLabel: "Find" });
  dialog.innerHTML = `<input type="text" role="combobox" aria-expanded="true" aria-controls="found" aria-autocomplete="list" aria-label="Find pages, jobs, endpoints and models" autocomplete="off" spellcheck="false">
    <ul id="found" role="listbox" aria-label="Found"></ul><p class="quiet" role="status"></p>`;
  document.body.append(dialog);
  const [input, list, said] = ["input", "ul", "[role=status]"].map((one) => dialog.querySelector(one));
  const pages = [...document.querySelectorAll("#navigation a")].map((link) => ({ kind: "Page", name: link.textContent, to: link.href }));
  let [turn, timer, chosen] = [0, 0, 0];

  const choose = (at) => {
    const options = [...list.children];
    chosen = options.length ? (at + options.length) % options.length : 0;
    options.forEach((one, other) => one.setAttribute("aria-selected", String(other === chosen)));
    input.setAttribute("aria-activedescendant", options[chosen]?.id ?? "");
    options[chosen]?.scrollIntoView({ block: "nearest" });
  };
  const show = (found, kept = 0) => {
    list.replaceChildren(...found.map(({ kind, name, to }, at) => {
      const item = document.createElement("li");
      Object.assign(item, { id: `found-${at}` });
      item.setAttribute("role", "option");
      item.dataset.to = to;
      const small = Object.assign(document.createElement("small"), { textContent: kind });
      item.append(small, name);
      return item;
    }));
    choose(kept);
  };
  const look = async () => {
    const words = input.value.trim();
    const mine = ++turn;
    const near = pages.filter(({ name }) => name.toLowerCase().includes(words.toLowerCase()));
    show(near);
    said.textContent = "";
    clearTimeout(timer);
    if (words.length < 2) return;
    timer = setTimeout(async () => {
      const query = new URLSearchParams({ q: words });
      const here = new URLSearchParams(location.search).get("wsid");
      if (here) query.set("wsid", here);
      try {
        const answer = await fetch(`/studio/find?${query}`);
        const { found } = await answer.json();
        if (mine !== turn) return;
        show([...near, ...found], chosen); // somebody may be on the way down already
        said.textContent = near.length + found.length ? "" : "Nothing is called so.";
      } catch {
        if (mine === turn) said.textContent = "The server did not answer.";
      }
    }, PAUSE_MS);
  };
  input.addEventListener("input", look);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) event.preventDefault(), choose(chosen + step);
    if (event.key === "Enter") {
      event.preventDefault();
      const to = list.children[chosen]?.dataset.to;
      if (to) location.assign(to);
    }
  });
  list.addEventListener("click", ({ target }) => {
    const to = target.closest("li")?.dataset.to;
    if (to) location.assign(to);
  });
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
  dialog.begin = () => { input.value = ""; look(); input.focus(); };
}

export function openPalette() {
  if (!dialog) build();
  if (!dialog.open) dialog.showModal();
  dialog.begin();
}
