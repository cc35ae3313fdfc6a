// The forms of /data/new and /models/new: what was uploaded becomes its address and type; the code says what the form will do.
const form = document.querySelector("form[data-new-asset]");
const { newAsset: group, entity, type: typeField, store } = form.dataset;
const [python, yaml] = ["In Python", "In YAML"].map((label) => form.querySelector(`[aria-label="${label}"]`));

function say() {
  const { name, version, description, uri, ...more } = Object.fromEntries(new FormData(form));
  const type = more[typeField];
  const text = JSON.stringify; // a string of JSON is one of Python and of YAML
  const path = text(uri || "./the/files");
  python.textContent = `from azure.ai.ml.entities import ${entity}
ml_client.${group}.create_or_update(${entity}(name=${text(name)}, version=${version ? text(version) : "None"}, type=${text(type)},
                                     description=${text(description)}, path=${path}))`;
  yaml.textContent = `$schema: https://azuremlschemas.azureedge.net/latest/${entity.toLowerCase()}.schema.json
name: ${text(name)}
${version ? `version: ${text(version)}\n` : ""}type: ${type}
description: ${text(description)}
path: ${path}`;
}

/** What files of these names are, below `top`. */
function typeOf(names, top, single) {
  const has = (file) => names.includes(top ? `${top}/${file}` : file);
  if (group === "models") return has("MLmodel") ? "mlflow_model" : "custom_model";
  return has("MLTable") ? "mltable" : single ? "uri_file" : "uri_folder";
}

form.addEventListener("input", ({ target }) => {
  const known = [...(target.list?.options ?? [])].find((one) => one.value === target.value);
  if (known?.dataset.type) form.elements[typeField].value = known.dataset.type;
  say();
});
form.addEventListener("uploaded", (event) => {
  event.preventDefault(); // there is no list to be asked for anew
  const { names, into } = event.detail;
  const base = store + into;
  const tops = new Set(names.map((name) => (name.includes("/") ? name.split("/")[0] : "")));
  const top = tops.size === 1 ? [...tops][0] : "";
  const type = typeOf(names, top, names.length === 1 && !top);
  const file = names.length === 1 && !top && !["mltable", "mlflow_model"].includes(type);
  form.elements.uri.value = file ? base + names[0] : top ? `${base}${top}/` : base;
  form.elements[typeField].value = type;
  form.elements.name.value ||= (top || names[0]).replace(/\.[^.]*$/, "").replace(/[^A-Za-z0-9_-]+/g, "-");
  document.getElementById("chosen").textContent = `Uploaded: ${form.elements.uri.value}`;
  form.querySelector("button.main").disabled = false;
  say();
});
say();
