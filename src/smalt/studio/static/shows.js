// <select data-shows="id">: of the parts with data-of="id" that one is shown whose data-shown-for is what is chosen.
const follow = (select) => {
  for (const part of document.querySelectorAll(`[data-of="${CSS.escape(select.dataset.shows)}"]`)) {
    part.hidden = !part.dataset.shownFor.split(" ").includes(select.value) && part.dataset.shownFor !== select.value;
    for (const one of part.querySelectorAll("input, select, textarea")) one.disabled = part.hidden;
  }
};
for (const select of document.querySelectorAll("[data-shows]")) follow(select);
document.addEventListener("change", ({ target }) => target.dataset?.shows && follow(target));
