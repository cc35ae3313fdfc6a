// <s-upload src="…/datastores/NAME" folder="raw/" below="id of an input" fresh>: files or a folder, from the browser to a
// datastore by the Blob protocol: in blocks, several at once, each tried again. With `below`, an input names a folder below
// `folder`; `fresh`: nothing can be there yet. When all is there it says "uploaded" with {names, bytes}; without a listener the list of files is asked for anew.

const BLOCK = 8 * 1024 * 1024;
const BLOCKS_MOST = 50000; // of one blob
const AT_ONCE = 4;
const TRIES = 5;
const SUFFIX = "blob.core.smalt";

class Refusal extends Error {}

const size = (bytes) => {
  let at = 0;
  while (bytes >= 1000 && at < 4) { bytes /= 1000; at += 1; }
  return `${bytes.toFixed(at ? 1 : 0)} ${["B", "kB", "MB", "GB", "TB"][at]}`;
};

/** Runs `call` for all of `items`, some at once; the first error ends it. */
async function each(items, most, call) {
  const rest = items[Symbol.iterator]();
  let failed = false;
  const work = async () => {
    for (let { value, done } = rest.next(); !done && !failed; { value, done } = rest.next()) {
      try { await call(value); } catch (error) { failed = true; throw error; }
    }
  };
  await Promise.all(Array.from({ length: most }, work));
}

customElements.define("s-upload", class extends HTMLElement {
  connectedCallback() {
    if (this.firstChild) return;
    this.innerHTML = `<div class="drop">
      <div class="row"><label class="button">Choose files <input type="file" multiple></label>
      <label class="button">Choose a folder <input type="file" webkitdirectory></label>
      <span class="quiet">or drop files here</span>
      <label class="check"${this.hasAttribute("fresh") ? " hidden" : ""}><input type="checkbox" name="replace"> Replace files that are there</label></div>
      <div class="row going" hidden><progress max="1" value="0" aria-label="Uploaded"></progress> <button type="button">Stop</button></div>
      <p role="status"></p><ul class="plain left"></ul></div>`;
    [this.bar, this.said, this.stop] = ["progress", "[role=status]", ".going button"].map((one) => this.querySelector(one));
    this.going = this.querySelector(".going");
    for (const input of this.querySelectorAll("[type=file]")) {
      input.addEventListener("change", () => { this.start([...input.files]); input.value = ""; });
    }
    this.addEventListener("dragover", (event) => event.preventDefault());
    this.addEventListener("drop", (event) => { event.preventDefault(); this.start([...event.dataTransfer.files]); });
    this.stop.addEventListener("click", () => this.control?.abort());
    this.leaving = (event) => { if (!this.going.hidden) event.preventDefault(); };
    addEventListener("beforeunload", this.leaving);
  }

  disconnectedCallback() {
    this.control?.abort();
    removeEventListener("beforeunload", this.leaving);
  }

  async start(files) {
    if (!files.length || !this.going.hidden) return;
    const left = this.querySelector(".left");
    left.replaceChildren();
    this.control = new AbortController();
    this.sent = new Map();
    this.total = files.reduce((sum, file) => sum + file.size, 0);
    this.replace = this.querySelector("[name=replace]").checked;
    const more = document.getElementById(this.getAttribute("below") ?? "")?.value.trim().replaceAll("\\", "/").replace(/^\/+|\/+$/g, "");
    this.into = this.getAttribute("folder") + (more ? `${more}/` : "");
    this.going.hidden = false;
    const [names, skipped] = [[], []];
    try {
      if (this.into.split("/").some((one) => one === "." || one === "..")) throw new Refusal("a folder's name cannot be . or ..");
      await this.open();
      await each(files, AT_ONCE, async (file) => {
        const name = file.webkitRelativePath || file.name;
        (await this.file(name, file) ? names : skipped).push(name);
        this.shown(names.length, files.length);
      });
      this.said.textContent = `${names.length} of ${files.length} files, ${size(this.total)}: done.`;
      left.replaceChildren(...skipped.slice(0, 50).map((name) => Object.assign(document.createElement("li"), { textContent: `${name}: is there already, and was left as it is` })));
      this.done(names);
    } catch (error) {
      const stopped = this.control.signal.aborted && !(error instanceof Refusal);
      this.control.abort();
      this.said.textContent = stopped ? `Stopped; ${names.length} files are there.` : `It did not work: ${error.message}. ${names.length} files are there.`;
    } finally {
      this.going.hidden = true;
    }
  }

  done(names) {
    const event = new CustomEvent("uploaded", { detail: { names, into: this.into, bytes: this.total }, cancelable: true, bubbles: true });
    if (!names.length || !this.dispatchEvent(event)) return;
    htmx.ajax("GET", location.pathname + location.search, { target: "#live", select: "#live", swap: "outerHTML" });
  }

  /** A signature for the container. */
  async open() {
    const answer = await fetch(this.getAttribute("src"), { signal: this.control.signal });
    const found = await answer.json();
    if (!answer.ok) throw new Refusal(found.error?.message ?? `the server answered ${answer.status}`);
    const { accountName, containerName, credential } = found.azureStorageSection;
    this.container = `/${accountName.split("/").pop()}.${SUFFIX}/${containerName}`;
    this.sas = credential;
  }

  /** False: it is there already. */
  async file(name, file) {
    const place = (this.into + name).split("/").map(encodeURIComponent).join("/");
    const fresh = this.hasAttribute("fresh");
    if (!fresh && !this.replace && await this.length(this.into + name) !== null) {
      this.count(name, file.size);
      return false;
    }
    const kind = { "x-ms-blob-content-type": file.type || "application/octet-stream" };
    const guard = fresh || this.replace ? {} : { "If-None-Match": "*" };
    if (file.size <= BLOCK) {
      await this.ask("PUT", place, "", file, { "x-ms-blob-type": "BlockBlob", ...kind, ...guard }, name, 0, file.size);
      return true;
    }
    const length = Math.max(BLOCK, Math.ceil(file.size / BLOCKS_MOST));
    const count = Math.ceil(file.size / length);
    const id = (at) => btoa(String(at).padStart(6, "0"));
    await each(Array(count).keys(), AT_ONCE, (at) => this.ask(
      "PUT", place, `comp=block&blockid=${encodeURIComponent(id(at))}`, file.slice(at * length, (at + 1) * length), {}, name, at));
    const list = Array.from({ length: count }, (_, at) => `<Latest>${id(at)}</Latest>`).join("");
    await this.ask("PUT", place, "comp=blocklist", `<?xml version="1.0" encoding="utf-8"?><BlockList>${list}</BlockList>`, { ...kind, ...guard }, "", 0, file.size);
    return true;
  }

  /** Of a blob, in bytes; null: there is none. By a list, whose answer is no error where nothing is. */
  async length(name) {
    const query = new URLSearchParams({ restype: "container", comp: "list", maxresults: "1", prefix: name });
    const answer = await fetch(`${this.container}?${query}&${this.sas}`, { signal: this.control.signal });
    if (!answer.ok) throw new Refusal(`the storage answered ${answer.status} for a list`);
    const found = new DOMParser().parseFromString(await answer.text(), "application/xml").querySelector("Blob");
    if (found?.querySelector("Name").textContent !== name) return null;
    return Number(found.querySelector("Content-Length").textContent);
  }

  /** One request, tried again where that may help. `whole`: bytes of the blob that it makes; there by an earlier try whose
   * answer was lost is there. */
  async ask(method, place, query, body, headers = {}, name = "", part = 0, whole = null) {
    for (let attempt = 1; ; attempt += 1) {
      const status = await this.send(method, place, query, body, headers, (bytes) => name && this.count(name, bytes, part)).catch((error) => {
        if (this.control.signal.aborted) throw error;
        return 0;
      });
      if (status >= 200 && status < 300) return;
      const there = status === 412 || status === 409;
      if (there && attempt > 1 && whole !== null && await this.length(decodeURIComponent(place)) === whole) return;
      if (there) throw new Refusal(`${decodeURIComponent(place)} is there already, or is being written by somebody else`);
      if (attempt === TRIES || (status && status < 500 && ![401, 403, 408, 429].includes(status))) {
        throw new Refusal(status ? `the storage answered ${status} for ${decodeURIComponent(place)}` : "the server cannot be reached");
      }
      await new Promise((go) => setTimeout(go, 250 * 2 ** attempt));
      if (status === 401 || status === 403) await this.open(); // the signature is over
    }
  }

  send(method, place, query, body, headers, progressed) {
    return new Promise((resolve, reject) => {
      const asked = new XMLHttpRequest();
      asked.open(method, `${this.container}/${place}?${query ? `${query}&` : ""}${this.sas}`);
      for (const [name, value] of Object.entries({ "x-ms-version": "2023-11-03", ...headers })) asked.setRequestHeader(name, value);
      asked.upload.onprogress = (event) => progressed(event.loaded);
      asked.onload = () => { this.control.signal.removeEventListener("abort", abort); resolve(asked.status); };
      asked.onerror = () => reject(new Error("no answer"));
      asked.onabort = () => reject(new Error("stopped"));
      const abort = () => asked.abort();
      if (this.control.signal.aborted) return reject(new Error("stopped"));
      this.control.signal.addEventListener("abort", abort, { once: true });
      asked.send(body);
    });
  }

  count(name, bytes, part = 0) {
    this.sent.set(`${name}\n${part}`, bytes);
    this.shown();
  }

  shown(files, of) {
    if (of) [this.files, this.of] = [files, of];
    const sent = Math.min(this.total, [...this.sent.values()].reduce((sum, one) => sum + one, 0));
    this.bar.value = this.total ? sent / this.total : 1;
    this.said.textContent = `${size(sent)} of ${size(this.total)}${this.of > 1 ? `, ${this.files} of ${this.of} files` : ""}`;
  }
});
