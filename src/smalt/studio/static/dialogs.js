// <button data-opens="id"> opens the <dialog> that asks; <button data-closes> in it changes nothing.
document.addEventListener("click", ({ target }) => {
  const button = target.closest?.("button");
  if (button?.dataset.opens) document.getElementById(button.dataset.opens).showModal();
  if (button?.hasAttribute("data-closes")) button.closest("dialog").close();
});
