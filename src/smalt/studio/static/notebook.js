// <s-notebook>: a notebook of this machine, or of a datastore (`data-source`): uploaded as code, its parameters as fields.
import { size } from "./blobs.js";
import { asCode } from "./code-upload.js";

const MOST = 64 * 1024 * 1024;
const LITERAL = /^([A-Za-z_]\w*)\s*(?::[^=]+)?=\s*(?:(['"])([^'"\\]*)\2|(-?\d[\d_.eE+-]*|True|False|None))\s*(?:#\s*(.*))?$/;

/** Name, value, kind and comment of each plain value in the cell with the tag `parameters`. */
function parametersOf({ cells }) {
  const cell = cells.find(({ metadata }) => metadata?.tags?.includes("parameters"));
  return [cell?.source ?? ""].flat().join("").split("\n").map((line) => LITERAL.exec(line)).filter(Boolean)
    .map(([, name, quote, text, plain, comment]) => ({ name, value: quote ? text : plain, kind: quote ? "text" : "value", comment }));
}

customElements.define("s-notebook", class extends HTMLElement {
  connectedCallback() {
    [this.code, this.name] = ["[name=code]", "[name=notebook]"].map((one) => this.querySelector(one));
    this.said = this.querySelector("[role=status]");
    this.fields = this.querySelector("#parameters");
    const input = this.querySelector("input[type=file]");
    input.addEventListener("change", () => input.files.length && this.take(input.files[0]));
    if (this.dataset.source) this.bring();
  }

  async bring() {
    const answer = await fetch(this.dataset.source);
    if (answer.ok) this.take(new File([await answer.blob()], this.dataset.name));
    else this.said.textContent = `${this.dataset.name} could not be read (${answer.status}).`;
  }

  async take(file) {
    this.control?.abort(); // of what was chosen before
    const { signal } = this.control = new AbortController();
    this.code.value = this.name.value = "";
    this.said.textContent = "Reads it …";
    try {
      if (file.size > MOST) throw new Error("it is larger than 64 MB");
      let notebook;
      try {
        notebook = JSON.parse(await file.text());
      } catch {
        throw new Error("it is no notebook");
      }
      if (!Array.isArray(notebook?.cells)) throw new Error("it is no notebook of version 4");
      const language = notebook.metadata?.kernelspec?.language ?? notebook.metadata?.language_info?.name ?? "python";
      if (language !== "python") throw new Error(`its language is ${language}, and only Python runs here`);
      const { id, bytes } = await asCode(this.dataset.workspace, [file], () => {}, signal);
      if (signal.aborted) return;
      [this.code.value, this.name.value] = [id, file.name];
      this.said.textContent = `${file.name}: ${notebook.cells.length} cells, ${size(bytes)}, uploaded.`;
      this.show(parametersOf(notebook));
    } catch (error) {
      if (signal.aborted) return;
      this.said.textContent = `${file.name} was not taken: ${error.message}.`;
      this.show([]);
    }
  }

  show(parameters) {
    const rows = parameters.map(({ name, value, kind, comment }, at) => {
      const row = Object.assign(document.createElement("div"), { className: "row" });
      const label = Object.assign(document.createElement("label"), { className: "field grow" });
      const field = Object.assign(document.createElement("input"), { name: `parameter-value-${at}`, value, spellcheck: false });
      label.append(Object.assign(document.createElement("span"), { textContent: comment ? `${name}: ${comment}` : name }), field);
      const hidden = [["name", name], ["kind", kind]].map(([part, said]) => Object.assign(document.createElement("input"), { type: "hidden", name: `parameter-${part}-${at}`, value: said }));
      row.append(label, ...hidden);
      return row;
    });
    const none = Object.assign(document.createElement("p"), { className: "quiet", textContent: "It has no cell with the tag “parameters” that gives names plain values: it runs as it is." });
    this.fields.replaceChildren(...(rows.length ? rows : [none]));
  }
});
