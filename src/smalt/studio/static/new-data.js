// The form of /data/new: what was uploaded becomes its address and type; the code says what the form will do.
const form = document.querySelector("form[data-new-data]");
const templates = [...form.querySelectorAll("[data-says]")].map((one) => [one, one.textContent]);

function say() {
  const fields = Object.fromEntries(new FormData(form));
  const path = fields.uri || "./the/files";
  const text = (value) => JSON.stringify(value).slice(1, -1);
  for (const [one, template] of templates) {
    const isYaml = one.getAttribute("aria-label") === "In YAML";
    const version = fields.version ? JSON.stringify(fields.version) : isYaml ? "" : "None";
    one.textContent = template.replace(/\{(name|dataType|description|path|version)\}/g, (_, name) => ({ ...fields, path, version }[name] === version ? version : text({ ...fields, path }[name] ?? "")));
  }
}

form.addEventListener("input", say);
form.addEventListener("uploaded", (event) => {
  event.preventDefault(); // there is no list to be asked for anew
  const { names, into } = event.detail;
  const base = form.dataset.newData + into;
  const folders = new Set(names.map((name) => name.includes("/") ? name.split("/")[0] : ""));
  const top = folders.size === 1 ? [...folders][0] : "";
  const folder = top ? `${base}${top}/` : base;
  const one = names.length === 1 && !names[0].includes("/");
  const table = names.some((name) => name === (top ? `${top}/MLTable` : "MLTable"));
  form.elements.uri.value = one && !table ? base + names[0] : folder;
  form.elements.dataType.value = table ? "mltable" : one ? "uri_file" : "uri_folder";
  document.getElementById("chosen").textContent = `Uploaded: ${form.elements.uri.value}`;
  form.querySelector("button.main").disabled = false;
  if (!form.elements.name.value) form.elements.name.value = (top || names[0]).replace(/\.[^.]*$/, "").replace(/[^A-Za-z0-9_-]+/g, "-");
  say();
});
say();
