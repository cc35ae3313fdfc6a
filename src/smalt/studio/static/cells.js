// A notebook as it is read: its cells and what they said. Nothing of it becomes HTML of the page; pictures are PNG and JPEG.
const TEXT_MOST = 100_000; // characters of one output
const joined = (text) => [text ?? ""].flat().join("");
const plain = (text) => joined(text).replace(/\x1b\[[0-9;]*[A-Za-z]/g, "");

function element(name, className, text = "") {
  return Object.assign(document.createElement(name), { className, textContent: text.length > TEXT_MOST ? `${text.slice(0, TEXT_MOST)} …` : text });
}

function said(output) {
  if (output.output_type === "stream") return element("pre", "said", plain(output.text));
  if (output.output_type === "error") return element("pre", "said wrong", plain((output.traceback ?? []).join("\n")) || `${output.ename}: ${output.evalue}`);
  const data = output.data ?? {};
  const type = ["image/png", "image/jpeg"].find((one) => one in data);
  if (!type) return element("pre", "said", plain(data["text/plain"]));
  const image = document.createElement("img");
  Object.assign(image, { alt: joined(data["text/plain"]) || "a picture", src: `data:${type};base64,${joined(data[type]).replace(/\s/g, "")}` });
  return image;
}

/** Of a notebook's text; null where it is none. */
export function cells(text) {
  let found;
  try {
    found = JSON.parse(text).cells.map((cell) => {
      const place = element("section", `cell ${cell.cell_type === "code" ? "code-cell" : "words"}`);
      place.append(element("pre", cell.cell_type === "code" ? "code" : "markdown", joined(cell.source)));
      place.append(...(cell.outputs ?? []).map(said));
      return place;
    });
  } catch {
    return null;
  }
  const all = element("div", "notebook");
  all.append(...found);
  return all;
}
