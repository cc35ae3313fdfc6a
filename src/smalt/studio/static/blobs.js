// Files from a browser to a container, by the Blob protocol: in blocks, several at once, each tried again.

const BLOCK = 8 * 1024 * 1024;
const BLOCKS_MOST = 50000; // of one blob
const AT_ONCE = 4;
const TRIES = 5;

export class Refusal extends Error {}

export const size = (bytes) => {
  let at = 0;
  while (bytes >= 1000 && at < 4) { bytes /= 1000; at += 1; }
  return `${bytes.toFixed(at ? 1 : 0)} ${["B", "kB", "MB", "GB", "TB"][at]}`;
};

/** Runs `call` for all of `items`, some at once; the first error ends it. */
export async function each(items, call) {
  const rest = items[Symbol.iterator]();
  let failed = false;
  const work = async () => {
    for (let { value, done } = rest.next(); !done && !failed; { value, done } = rest.next()) {
      try { await call(value); } catch (error) { failed = true; throw error; }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

/** `sign` gives {container, sas}: a path of this origin, and the query that opens it; it is asked again when that is over.
 * `progress` hears how many bytes were sent of all files. */
export class Container {
  constructor(sign, signal, progress) {
    Object.assign(this, { sign, signal, progress, sent: new Map() });
  }

  async open() {
    Object.assign(this, await this.sign());
  }

  /** `name` is a path in the container; `guard`: headers of the request that makes the blob. */
  async put(name, file, guard = {}) {
    const place = name.split("/").map(encodeURIComponent).join("/");
    const kind = { "x-ms-blob-content-type": file.type || "application/octet-stream" };
    if (file.size <= BLOCK) {
      await this.ask(place, "", file, { "x-ms-blob-type": "BlockBlob", ...kind, ...guard }, name, 0, file.size);
      return;
    }
    const length = Math.max(BLOCK, Math.ceil(file.size / BLOCKS_MOST));
    const count = Math.ceil(file.size / length);
    const id = (at) => btoa(String(at).padStart(6, "0"));
    await each(Array(count).keys(), (at) => this.ask(
      place, `comp=block&blockid=${encodeURIComponent(id(at))}`, file.slice(at * length, (at + 1) * length), {}, name, at));
    const list = Array.from({ length: count }, (_, at) => `<Latest>${id(at)}</Latest>`).join("");
    await this.ask(place, "comp=blocklist", `<?xml version="1.0" encoding="utf-8"?><BlockList>${list}</BlockList>`, { ...kind, ...guard }, "", 0, file.size);
  }

  /** Of a blob, in bytes; null: there is none. By a list, whose answer is no error where nothing is. */
  async length(name) {
    const query = new URLSearchParams({ restype: "container", comp: "list", maxresults: "1", prefix: name });
    const answer = await fetch(`${this.container}?${query}&${this.sas}`, { signal: this.signal });
    if (!answer.ok) throw new Refusal(`the storage answered ${answer.status} for a list`);
    const found = new DOMParser().parseFromString(await answer.text(), "application/xml").querySelector("Blob");
    if (found?.querySelector("Name").textContent !== name) return null;
    return Number(found.querySelector("Content-Length").textContent);
  }

  /** One request, tried again where that may help. `whole`: bytes of the blob that it makes; there by an earlier try whose
   * answer was lost is there. */
  async ask(place, query, body, headers, name, part = 0, whole = null) {
    for (let attempt = 1; ; attempt += 1) {
      const status = await this.send(place, query, body, headers, (bytes) => name && this.count(name, bytes, part)).catch((error) => {
        if (this.signal.aborted) throw error;
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

  /** XMLHttpRequest, because fetch does not say how far it is. */
  send(place, query, body, headers, progressed) {
    return new Promise((resolve, reject) => {
      const asked = new XMLHttpRequest();
      asked.open("PUT", `${this.container}/${place}?${query ? `${query}&` : ""}${this.sas}`);
      for (const [name, value] of Object.entries({ "x-ms-version": "2023-11-03", ...headers })) asked.setRequestHeader(name, value);
      asked.upload.onprogress = (event) => progressed(event.loaded);
      asked.onload = () => { this.signal.removeEventListener("abort", abort); resolve(asked.status); };
      asked.onerror = () => reject(new Error("no answer"));
      asked.onabort = () => reject(new Error("stopped"));
      const abort = () => asked.abort();
      if (this.signal.aborted) return reject(new Error("stopped"));
      this.signal.addEventListener("abort", abort, { once: true });
      asked.send(body);
    });
  }

  count(name, bytes, part = 0) {
    this.sent.set(`${name}\n${part}`, bytes);
    this.progress([...this.sent.values()].reduce((sum, one) => sum + one, 0));
  }
}
