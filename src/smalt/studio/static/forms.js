// <form data-stays> is sent by a script: what was typed stays on the page where the platform refuses it, with the reason at
// its end and, as far as it is of fields, at these.
import { check } from "./session.js";
import { right, wrong } from "./wrong.js";

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.hasAttribute("data-stays") || event.defaultPrevented || event.submitter?.hasAttribute("data-plain")) return;
  event.preventDefault();
  const button = event.submitter ?? form.querySelector("button:not([type=button])");
  button?.setAttribute("disabled", "");
  form.setAttribute("data-sent", ""); // it stays where the part of the page that it is in comes anew
  say(form, "");
  right(form);
  try {
    let answer = await send(form, event.submitter);
    if (isJson(answer) && (await answer.clone().json()).code === "WrongForm" && await check()) answer = await send(form, event.submitter);
    const into = event.submitter?.dataset.into;
    if (into && !isJson(answer)) {
      const place = document.getElementById(into);
      place.innerHTML = await answer.text();
      place.focus();
    } else {
      const found = await answer.json();
      if (found.to) return void location.assign(found.to);
      say(form, found.message, found.code);
      wrong(form, found.fields ?? [])?.focus();
      if (found.code === "NoSession") await check();
    }
  } catch {
    say(form, "The server did not answer. Nothing is known of whether it was done: load the page again, and look.");
  }
  form.removeAttribute("data-sent");
  button?.removeAttribute("disabled");
});

const isJson = (answer) => answer.headers.get("content-type").startsWith("application/json");

function send(form, submitter) {
  const to = submitter?.getAttribute("formaction") ?? form.getAttribute("action");
  return fetch(to, { method: "POST", body: new URLSearchParams(new FormData(form, submitter)), headers: { "smalt-form": "1" } });
}

function say(form, message, code = "") {
  let place = form.querySelector(":scope > .refused");
  if (!place) {
    place = document.createElement("p");
    Object.assign(place, { className: "note bad refused", tabIndex: -1 });
    place.setAttribute("role", "alert");
    form.append(place);
  }
  place.hidden = !message;
  place.textContent = code ? `${message} (${code})` : message;
  if (message) place.focus();
}

// <form data-when-shown>: what was wanted once it can be done; it comes with a part of a page that is looked at anew.
// It is sent once: what is refused then is for the one who reads why.
let shown = false;
function whenShown() {
  const form = document.querySelector("form[data-when-shown]");
  if (!form || shown) return;
  shown = true;
  form.requestSubmit();
}
document.addEventListener("htmx:afterSettle", whenShown);
addEventListener("load", whenShown);
