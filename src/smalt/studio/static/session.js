// A session that ends while a page is open: the page says so, and where one signs in; what was typed stays. Once there is
// a session again, in whichever page of this browser, forms are that one's, and the page goes on.
const ENDED = ["NoSession", "LinkIsOver"];
const others = new BroadcastChannel("smalt-session"); // the pages of this browser
const { session } = document.body.dataset; // the address that says whether there is one
let bar = null;

function say(message, code) {
  document.getElementById("feed").textContent = "Signed out";
  if (bar) return;
  bar = document.createElement("div");
  Object.assign(bar, { id: "signed-out", className: "note bad", tabIndex: -1 });
  bar.setAttribute("role", "alert");
  bar.append(message, " ");
  if (code === "NoSession") {
    const to = document.createElement("a");
    Object.assign(to, { href: `/studio/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`, target: "_blank", textContent: "Sign in again" });
    bar.replaceChildren("Your session has ended. What this page shows may be old; what you typed stays. ", to, " in another tab, and go on here.");
  }
  document.getElementById("content").prepend(bar);
}

/** Whether there is a session; if so, forms are of it. Undefined where nobody answers. */
export async function check() {
  if (!session) return undefined; // nobody is signed in, and the page says so
  let answer, text;
  try {
    answer = await fetch(session, { headers: { "smalt-form": "1" } });
    text = await answer.text();
  } catch {
    return undefined;
  }
  if (answer.headers.get("content-type").startsWith("application/json")) {
    const { code, message } = JSON.parse(text);
    if (!ENDED.includes(code)) return undefined;
    say(message, code);
    return false;
  }
  const found = new DOMParser().parseFromString(text, "text/html");
  const token = found.querySelector(".bar input[name=token]")?.value;
  for (const one of document.querySelectorAll("input[type=hidden][name=token]")) one.value = token ?? one.value;
  if (bar) {
    document.getElementById("feed").textContent = "";
    bar.remove();
    bar = null;
    dispatchEvent(new CustomEvent("smalt:session", { detail: found.body.dataset.cursor }));
  }
  return true;
}

/** Whether it is known that there is none. */
export const over = () => bar !== null;

// What would be answered by another page, and so lose what was typed, is not sent.
addEventListener("submit", (event) => {
  if (!over() || event.target.getAttribute("method") !== "post" || event.target.hasAttribute("data-stays")) return;
  event.preventDefault();
  bar.focus();
}, true);
document.addEventListener("htmx:responseError", ({ detail }) => { if (detail.xhr.status === 403) check(); });

others.onmessage = ({ data }) => { if (over() === data) check(); }; // whoever knows it already asks nothing
others.postMessage(Boolean(session));
