// Before the page's scripts have run, so not a module: a button that is pressed then would do nothing, and a form would be
// sent without its script. What was done waits for "smalt:ready", once each; where that never comes, for some seconds.
(() => {
  const LATEST_MS = 5000;
  const HELD = { click: (one) => one.click(), submit: (one, { submitter }) => one.requestSubmit(submitter) };
  const SAID_AGAIN = ["input", "change"];
  const waiting = new Map(); // element to what is done with it
  const hold = (event) => {
    const { target, type } = event;
    const one = type === "click" ? target.closest("button") : target;
    if (!one) return;
    if (!(type in HELD)) return void waiting.set(one, () => SAID_AGAIN.forEach((name) => one.dispatchEvent(new Event(name, { bubbles: true }))));
    event.preventDefault();
    event.stopImmediatePropagation();
    waiting.set(one, () => HELD[type](one, event));
  };
  const types = [...Object.keys(HELD), ...SAID_AGAIN];
  const release = () => {
    for (const type of types) removeEventListener(type, hold, true);
    for (const go of waiting.values()) go();
    waiting.clear();
  };
  for (const type of types) addEventListener(type, hold, true);
  addEventListener("smalt:ready", release, { once: true });
  addEventListener("load", () => setTimeout(release, LATEST_MS));
})();
