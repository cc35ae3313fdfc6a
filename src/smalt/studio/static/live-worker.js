// The one connection of all pages of a browser: HTTP/1.1 allows six to a host.
import { join } from "./feed.js";

onconnect = ({ ports: [port] }) => {
  let leave = () => {};
  port.onmessage = ({ data }) => {
    leave();
    leave = data.join ? join(data.join, data.cursor, (message) => port.postMessage(message)) : () => {};
  };
};
