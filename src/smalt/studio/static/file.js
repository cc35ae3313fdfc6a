// <s-file src="…" name="plot.png" size="1234">: an image, a table or the beginning of a text. What it holds is never made
// part of the page as HTML.
const PIECE = 256 * 1024;
const IMAGE_MOST = 64 * 1024 * 1024;
const ROWS_MOST = 200;
const COLUMNS_MOST = 50;
const IMAGES = /\.(png|jpe?g|gif|webp|bmp)$/i;
const NOTEBOOK_MOST = 16 * 1024 * 1024;
const TABLES = /\.(csv|tsv)$/i;

customElements.define("s-file", class extends HTMLElement {
  async connectedCallback() {
    const [address, name, size] = ["src", "name", "size"].map((one) => this.getAttribute(one));
    const title = document.createElement("h3");
    title.textContent = name;
    const download = document.createElement("a");
    Object.assign(download, { href: address, download: name.split("/").pop(), textContent: "Download" });
    this.said = document.createElement("p");
    this.said.className = "quiet";
    this.append(title, download, this.said);
    if (IMAGES.test(name) && size <= IMAGE_MOST) return this.image(address, name);
    if (Number(size) === 0) return void (this.said.textContent = "It is empty.");
    if (/\.ipynb$/i.test(name) && size <= NOTEBOOK_MOST && await this.notebook(address)) return;
    const answer = await fetch(address, { headers: { "x-ms-range": `bytes=0-${PIECE - 1}` } });
    if (!answer.ok) return void (this.said.textContent = `The file could not be read (${answer.status}).`);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    let [text, encoding] = decoded(bytes);
    if (text.slice(0, 8000).includes("\0")) return void (this.said.textContent = "It is no text: download it to look at it.");
    const cut = size > PIECE;
    if (cut) text = text.slice(0, text.lastIndexOf("\n") + 1) || text;
    if (cut) this.said.textContent = `Its first ${Math.round(PIECE / 1000)} kB of ${Math.round(size / 1000)} kB.`;
    if (TABLES.test(name)) this.table(rows(text, /\.tsv$/i.test(name) ? "\t" : separator(text)), cut);
    else this.text(/\.(json|ipynb)$/i.test(name) && !cut ? pretty(text) : text);
    if (encoding) this.said.textContent += ` Read as ${encoding}.`;
  }

  /** Whether it could be shown as one. */
  async notebook(address) {
    const [answer, { cells }] = await Promise.all([fetch(address), import("./cells.js")]);
    const shown = answer.ok && cells(await answer.text());
    if (shown) this.append(shown);
    return Boolean(shown);
  }

  image(address, name) {
    const image = document.createElement("img");
    image.alt = name;
    image.addEventListener("load", () => { this.said.textContent = `${image.naturalWidth} × ${image.naturalHeight}`; });
    image.addEventListener("error", () => { this.said.textContent = "It is no image that this browser can show."; });
    image.decoding = "async";
    const bring = () => {
      this.said.textContent = "Comes …";
      image.src = address;
      this.append(image);
    };
    if (!this.hasAttribute("large")) return bring(); // else it comes when somebody wants it
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: `Show it (${Math.round(this.getAttribute("size") / 1e6)} MB)` });
    button.addEventListener("click", () => { button.remove(); bring(); });
    this.append(button);
  }

  text(text) {
    const place = document.createElement("pre");
    Object.assign(place, { className: "code", tabIndex: 0, textContent: text });
    this.append(place);
  }

  table(found, cut) {
    const place = document.createElement("div");
    Object.assign(place, { className: "scroll tall", tabIndex: 0 });
    const table = place.appendChild(document.createElement("table"));
    table.className = "dense";
    found.slice(0, ROWS_MOST + 1).forEach((cells, at) => {
      const row = (at ? table.tBodies[0] ?? table.createTBody() : table.createTHead()).insertRow();
      for (const cell of cells.slice(0, COLUMNS_MOST)) row.appendChild(document.createElement(at ? "td" : "th")).textContent = cell;
    });
    const more = found.length - 1 > ROWS_MOST || cut;
    this.said.textContent = `${more ? `The first ${Math.min(ROWS_MOST, found.length - 1)}` : found.length - 1} rows, ${Math.min(found[0]?.length ?? 0, COLUMNS_MOST)} of ${found[0]?.length ?? 0} columns.`;
    this.append(place);
  }
});

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** A text, and its encoding where that is not UTF-8: as its first bytes say, else Windows-1252, which has a letter for each byte. */
function decoded(bytes) {
  const marked = { "255,254": "utf-16le", "254,255": "utf-16be" }[bytes.subarray(0, 2).join()];
  if (marked) return [new TextDecoder(marked).decode(bytes), marked.toUpperCase()];
  try {
    return [new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true }), ""]; // its end may be cut within a letter
  } catch {
    return [new TextDecoder("windows-1252").decode(bytes), "Windows-1252"];
  }
}

/** Of a table: what its first line has most of. */
function separator(text) {
  const line = text.slice(0, text.search(/[\r\n]|$/));
  const count = (one) => line.split(one).length;
  return [",", ";", "\t", "|"].reduce((most, one) => (count(one) > count(most) ? one : most));
}

/** Of a text with separated values, quoted as RFC 4180 has it. */
function rows(text, separator) {
  const found = [[]];
  const cell = new RegExp(`(?:"((?:[^"]|"")*)"|([^${separator}\\r\\n]*))([${separator}]|\\r?\\n|\\r|$)`, "y");
  for (let match; cell.lastIndex < text.length && (match = cell.exec(text)) && found.length <= ROWS_MOST + 2;) {
    found.at(-1).push(match[1]?.replaceAll('""', '"') ?? match[2]);
    if (match[3] !== separator) found.push([]);
  }
  return found.filter((one) => one.length > 1 || one[0]);
}
