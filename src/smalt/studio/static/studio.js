import "./dialogs.js";
import "./live.js";
import "./time.js";

// What is large is had where it is used.
for (const name of ["chart", "log", "tail"]) if (document.querySelector(`s-${name}`)) import(`./${name}.js`);
