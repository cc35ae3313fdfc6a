// Which fields of a form a refusal is about: each says itself what is wrong with it.
const FIELDS = "input:not([type=hidden], [type=radio], [type=checkbox], [type=file]), select, textarea";
// Words of the API for what forms call otherwise.
const MEANS = {
  environmentid: "environment", computeid: "compute", environmentvariables: "variables", timezone: "zone", schedule: "at",
  instancecount: "instances", capacity: "instances", vmsize: "size", minnodecount: "least", maxnodecount: "most",
  idletimebeforeshutdown: "idle", nodeidletimebeforescaledown: "idle", mininstances: "least", maxinstances: "most",
  targetutilizationpercentage: "target", condafile: "conda", scoringscript: "script",
  scopes: "endpoint", windowsize: "window", evaluationfrequency: "every", serviceuri: "webhook", webhookresourceid: "schedule",
};
const plain = (text) => text.toLowerCase().replace(/[^a-z0-9]/g, "");
let count = 0;

/** Of a target such as `properties.trigger.expression`: by its last word that a field is named by; by the name of an input. */
function meant(form, target) {
  const [fields, words] = [[...form.querySelectorAll(FIELDS)].filter(({ name }) => name), target.split(".")];
  const row = fields.find(({ name, value }) => {
    const [, kind] = /^(input|output)-name-\d+$/.exec(name) ?? [];
    return kind && words.includes(`${kind}s`) && words.includes(value);
  });
  if (row) return form.elements[row.name.replace("-name-", "-value-")];
  for (const word of words.reverse().map(plain)) {
    const found = fields.find(({ name }) => [word, MEANS[word]].includes(plain(name)));
    if (found) return found;
  }
  return null;
}

/** Of the form, or of one field of it. */
export function right(form, field = null) {
  for (const one of form.querySelectorAll("[aria-invalid]")) {
    if (field && one !== field) continue;
    document.getElementById(one.getAttribute("aria-describedby"))?.remove();
    for (const name of ["aria-invalid", "aria-describedby"]) one.removeAttribute(name);
  }
}

/** The first of the fields that say so now, if any does. */
export function wrong(form, faults) {
  for (const { target, message } of faults) {
    const field = meant(form, target);
    if (!field || field.hasAttribute("aria-invalid")) continue;
    const said = Object.assign(document.createElement("small"), { id: `wrong-${count += 1}`, className: "wrong-field", textContent: message });
    said.setAttribute("aria-hidden", "true"); // it describes the field, and is no part of its label, in which it stands
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", said.id);
    field.after(said);
  }
  return form.querySelector("[aria-invalid]");
}

document.addEventListener("input", ({ target }) => target.form && right(target.form, target));
