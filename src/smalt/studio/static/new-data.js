// The form of /data/new: what was uploaded becomes its address and type; the code says what the form will do.
const form = document.querySelector("form[data-new-data]");
const [python, yaml] = ["In Python", "In YAML"].map((label) => form.querySelector(`[aria-label="${label}"]`));

function say() {
  const { name, version, dataType, description, uri } = Object.fromEntries(new FormData(form));
  const text = JSON.stringify; // a string of JSON is one of Python and of YAML
  const path = text(uri || "./the/files");
  python.textContent = `from azure.ai.ml.entities import Data
ml_client.data.create_or_update(Data(name=${text(name)}, version=${version ? text(version) : "None"}, type=${text(dataType)},
                                     description=${text(description)}, path=${path}))`;
  yaml.textContent = `$schema: https://azuremlschemas.azureedge.net/latest/data.schema.json
name: ${text(name)}
${version ? `version: ${text(version)}\n` : ""}type: ${dataType}
description: ${text(description)}
path: ${path}`;
}

form.addEventListener("input", say);
form.addEventListener("uploaded", (event) => {
  event.preventDefault(); // there is no list to be asked for anew
  const { names, into } = event.detail;
  const base = form.dataset.newData + into;
  const tops = new Set(names.map((name) => name.split("/").slice(0, -1)[0] ?? ""));
  const top = tops.size === 1 ? [...tops][0] : "";
  const folder = top ? `${base}${top}/` : base;
  const table = names.includes(top ? `${top}/MLTable` : "MLTable");
  const file = names.length === 1 && !top && !table;
  form.elements.uri.value = file ? base + names[0] : folder;
  form.elements.dataType.value = table ? "mltable" : file ? "uri_file" : "uri_folder";
  form.elements.name.value ||= (top || names[0]).replace(/\.[^.]*$/, "").replace(/[^A-Za-z0-9_-]+/g, "-");
  document.getElementById("chosen").textContent = `Uploaded: ${form.elements.uri.value}`;
  form.querySelector("button.main").disabled = false;
  say();
});
say();
