// Files from a browser to the platform: into the place that an asset's upload was given, a few at a time, large ones in blocks.
const VERSION = "api-version=2024-04-01";
const AT_ONCE = 4;
const BLOCK = 32 * 1024 * 1024;
const FILES_MOST = 5000;
const SKIPPED = /(^|\/)(\.git|\.venv|venv|__pycache__|node_modules|\.ipynb_checkpoints|\.amlignore)(\/|$)/;

export const size = (bytes) => (bytes < 1e4 ? `${bytes} bytes` : bytes < 1e7 ? `${Math.round(bytes / 1e3)} kB` : `${Math.round(bytes / 1e6)} MB`);

async function api(method, path, body) {
  const answer = await fetch(`${path}?${VERSION}`, { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error?.message ?? `${answer.status}`);
  return found;
}

/** The chosen folder itself is not in the names, as in `code: ./src`. */
function named(files) {
  const kept = files.map((file) => ({ file, name: file.webkitRelativePath.replace(/^[^/]+\//, "") || file.name }))
    .filter(({ name }) => !SKIPPED.test(name));
  if (!kept.length) throw new Error("there is no file in it.");
  if (kept.length > FILES_MOST) throw new Error(`there are ${kept.length} files in it, and at most ${FILES_MOST} are taken here.`);
  return kept;
}

/** XMLHttpRequest, because fetch does not say how far it is. */
function put(url, body, headers, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded }) => progress(loaded);
    request.onload = () => (request.status < 300 ? resolve() : reject(new Error(`the store answered ${request.status}`)));
    request.onerror = () => reject(new Error("the connection broke off"));
    request.send(body);
  });
}

async function send(place, { file, name }, progress) {
  const { pathname, search } = new URL(place, location);
  const url = `${pathname}/${name.split("/").map(encodeURIComponent).join("/")}${search}`;
  if (file.size <= BLOCK) return put(url, file, { "x-ms-blob-type": "BlockBlob" }, progress);
  const ids = [];
  for (let at = 0; at < file.size; at += BLOCK) {
    const id = btoa(String(ids.length).padStart(8, "0"));
    await put(`${url}&comp=block&blockid=${encodeURIComponent(id)}`, file.slice(at, at + BLOCK), {}, (loaded) => progress(at + loaded));
    ids.push(id);
  }
  const list = `<?xml version="1.0" encoding="utf-8"?><BlockList>${ids.map((id) => `<Latest>${id}</Latest>`).join("")}</BlockList>`;
  await put(`${url}&comp=blocklist`, list, {}, () => {});
}

/** `files` into `place`, a container's URL with its signature. `progress` hears of the part that is done, from 0 to 1. */
export async function upload(place, files, progress) {
  const all = named(files);
  const bytes = all.reduce((sum, { file }) => sum + file.size, 0);
  const done = new Map();
  const tell = (one, loaded) => {
    done.set(one, Math.min(loaded, one.file.size));
    progress([...done.values()].reduce((sum, part) => sum + part, 0) / (bytes || 1));
  };
  const waiting = [...all];
  const work = async () => {
    for (let one = waiting.shift(); one; one = waiting.shift()) {
      await send(place, one, (loaded) => tell(one, loaded));
      tell(one, one.file.size);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return { count: all.length, bytes };
}

/** A new version of code with these files. */
export async function asCode(workspace, files, progress) {
  const id = `${workspace}/codes/${crypto.randomUUID()}/versions/1`;
  const place = (await api("POST", `${id}/startPendingUpload`, { pendingUploadType: "TemporaryBlobReference" })).blobReferenceForConsumption;
  const sent = await upload(place.credential.sasUri, files, progress);
  await api("PUT", id, { properties: { codeUri: place.blobUri } });
  return { id, ...sent };
}
