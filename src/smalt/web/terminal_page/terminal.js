// A shell of the job in xterm.js. Each message of the socket is a letter and what it is about: what is typed (d), the
// size (w) there; what is said (o, r) and the exit code (x) here.
"use strict";

const place = document.getElementById("terminal");
const state = document.getElementById("state");
const again = document.getElementById("again");
const light = matchMedia("(prefers-color-scheme: light)");
const encoder = new TextEncoder();
let socket = null;

function theme() {
  const of = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colours = { background: of("--ground"), foreground: of("--ink"), cursor: of("--accent"), cursorAccent: of("--ground"), selectionBackground: "#6ea8fe55" };
  // the sixteen colours of a light ground: those of a dark one cannot be read there
  return light.matches
    ? { ...colours, black: "#1c2430", red: "#b3261e", green: "#1b6e3c", yellow: "#7a5b00", blue: "#1a56c4", magenta: "#8a2d8f", cyan: "#0b6b78", white: "#5b6675", brightBlack: "#5b6675", brightRed: "#b3261e", brightGreen: "#1b6e3c", brightYellow: "#7a5b00", brightBlue: "#1a56c4", brightMagenta: "#8a2d8f", brightCyan: "#0b6b78", brightWhite: "#1c2430" }
    : colours;
}

const terminal = new Terminal({ cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches, fontFamily: "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace", fontSize: 13, scrollback: 10000, theme: theme() });
const fit = new FitAddon.FitAddon();
terminal.loadAddon(fit);
terminal.open(place);
fit.fit();
light.addEventListener("change", () => { terminal.options.theme = theme(); });

function send(letter, body) {
  if (socket?.readyState !== WebSocket.OPEN) return;
  const message = new Uint8Array(body.length + 1);
  message[0] = letter.charCodeAt(0);
  message.set(body, 1);
  socket.send(message);
}

function say(words, over = false) {
  state.textContent = words;
  state.classList.toggle("over", over);
}

function connect() {
  again.hidden = true;
  say("Connecting…");
  const here = new WebSocket(`wss://${location.host}/shell?rows=${terminal.rows}&columns=${terminal.cols}`);
  here.binaryType = "arraybuffer";
  socket = here;
  let opened = false;
  here.onopen = () => { opened = true; say("Connected"); terminal.focus(); };
  here.onmessage = ({ data }) => {
    const message = new Uint8Array(data);
    const letter = String.fromCharCode(message[0]);
    if (letter === "o" || letter === "r") terminal.write(message.subarray(1));
  };
  here.onclose = async ({ reason }) => {
    if (here !== socket) return;
    say(reason || (opened ? "The connection was lost." : await why()), true);
    again.hidden = false;
  };
}

async function why() {
  // a socket that is refused does not say so
  try {
    const answer = await fetch(`/shell?rows=0`, { headers: { accept: "application/json" } });
    return (await answer.json()).error.message;
  } catch {
    return "The platform cannot be reached.";
  }
}

const asTyped = (text) => Uint8Array.from(text, (one) => one.charCodeAt(0) & 255);
const inPieces = (bytes) => { for (let at = 0; at < bytes.length; at += 65536) send("d", bytes.subarray(at, at + 65536)); };
terminal.onData((text) => inPieces(encoder.encode(text)));
terminal.onBinary((text) => inPieces(asTyped(text)));
terminal.onResize(({ rows, cols }) => send("w", encoder.encode(JSON.stringify([rows, cols]))));
new ResizeObserver(() => fit.fit()).observe(place);
again.addEventListener("click", () => { terminal.reset(); connect(); });
connect();
