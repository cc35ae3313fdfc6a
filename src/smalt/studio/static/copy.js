// <button data-copies="id">: the text of that element is in the clipboard then.
document.addEventListener("click", async ({ target }) => {
  const button = target.closest?.("button[data-copies]");
  if (!button) return;
  const from = document.getElementById(button.dataset.copies);
  const label = button.dataset.label ??= button.textContent;
  try {
    await navigator.clipboard.writeText(from.value ?? from.textContent);
    button.textContent = "Copied";
  } catch { // not allowed here: it is marked, and one presses the keys oneself
    getSelection().selectAllChildren(from);
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => { button.textContent = label; }, 1500);
});
