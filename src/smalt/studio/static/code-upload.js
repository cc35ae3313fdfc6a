// Files of a folder to the platform, as a new version of code.
import { Container, each } from "./blobs.js";

const VERSION = "api-version=2024-04-01";
const FILES_MOST = 5000;
const SKIPPED = /(^|\/)(\.git|\.venv|venv|__pycache__|node_modules|\.ipynb_checkpoints|\.amlignore)(\/|$)/;

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

/** `progress` hears of the part that is done, from 0 to 1; `signal` stops it. */
export async function asCode(workspace, files, progress, signal) {
  const all = named(files);
  const bytes = all.reduce((sum, { file }) => sum + file.size, 0);
  const id = `${workspace}/codes/${crypto.randomUUID()}/versions/1`;
  let blobUri;
  const place = new Container(async () => {
    if (blobUri) throw new Error("the time for it is over: choose the files again."); // each signature is of a container of its own
    const given = (await api("POST", `${id}/startPendingUpload`, { pendingUploadType: "TemporaryBlobReference" })).blobReferenceForConsumption;
    const { pathname, search } = new URL(given.credential.sasUri, location);
    blobUri = given.blobUri;
    return { container: pathname, sas: search.slice(1) };
  }, signal, (sent) => progress(Math.min(1, sent / (bytes || 1))));
  await place.open();
  await each(all, async ({ file, name }) => {
    await place.put(name, file);
    place.count(name, file.size);
  });
  await api("PUT", id, { properties: { codeUri: blobUri } });
  return { id, count: all.length, bytes };
}
