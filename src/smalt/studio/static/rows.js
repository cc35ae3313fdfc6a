// <button data-adds="id">: one more row like the last of that element, empty, its fields numbered on.
document.addEventListener("click", ({ target }) => {
  const button = target.closest?.("button[data-adds]");
  if (!button) return;
  const rows = document.getElementById(button.dataset.adds);
  const row = rows.lastElementChild.cloneNode(true);
  for (const one of row.querySelectorAll("[name]")) {
    one.name = one.name.replace(/\d+$/, (number) => Number(number) + 1);
    const label = one.getAttribute("aria-label");
    if (label) one.setAttribute("aria-label", label.replace(/\d+$/, (number) => Number(number) + 1));
    if (["INPUT", "TEXTAREA"].includes(one.tagName)) one.value = "";
  }
  rows.append(row);
  row.querySelector("input").focus();
});
