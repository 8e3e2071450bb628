// The keys of the page, and the list of them that the help shows.

const isMac = navigator.platform.startsWith("Mac");

/** A table of [group, keys as shown, what they do, names of the keys, action]. */
export function keyTable(act) {
  return [
    ["Tools", "B", "Brush", ["b"], act.brush],
    ["Tools", "E", "Eraser", ["e"], act.eraser],
    ["Tools", "P", "Polygon", ["p"], act.polygon],
    ["Tools", "F", "Fill a predicted region (with Shift: as it is predicted)", ["f"], act.fill],
    ["Tools", "Enter", "Close the polygon", ["enter"], act.finish],
    ["Tools", "Backspace", "Take back a corner of the polygon", ["backspace"], act.removeCorner],
    ["Tools", "[ ]", "Size", ["[", "]"], (event) => act.size(event.key === "[" ? -1 : 1)],
    ["Tools", "Esc", "Drop the stroke, the polygon or the suggestion", ["escape"], act.cancel],
    ["Tools", "Ctrl Z", "Undo", ["ctrl+z"], act.undo],
    ["Tools", "Ctrl Shift Z", "Redo", ["ctrl+shift+z", "ctrl+y"], act.redo],
    ["Classes", "1 … 9, 1 2", "Class by its number, two digits in a row too", [..."123456789"], act.digit],
    ["Classes", "0", "Not labelled", ["0"], act.digit],
    ["Classes", "/", "Find a class by name", ["/"], act.findClass],
    ["View", "+ −", "Zoom (or the wheel)", ["+", "=", "-"], (event) => act.zoom(event.key === "-" ? 0.8 : 1.25)],
    ["View", "W", "Whole image", ["w"], act.fit],
    ["View", "O", "One to one", ["o"], act.original],
    ["View", "↑ ↓ ← →", "Pan (or drag with Space or the middle button)", ARROWS, act.arrow],
    ["View", "V", "Classes, certainty, nothing", ["v"], act.nextMode],
    ["View", "T", "Borders of the prediction", ["t"], act.borders],
    ["View", "L", "My labels", ["l"], act.labels],
    ["View", "H", "The photo alone", ["h"], act.hide],
    ["View", ", .", "Opacity", [",", "."], (event) => act.opacity(event.key === "," ? -0.1 : 0.1)],
    ["View", "D", "Light or dark", ["d"], act.theme],
    ["Images", "N, Shift N", "Next or previous image", ["n", "shift+n"], (event) => act.step(event.shiftKey ? -1 : 1)],
    ["Images", "S", "Go where a label would teach most", ["s"], act.suggest],
    ["Images", "A", "Accept the suggestion", ["a"], act.accept],
    ["Images", "Shift A", "Accept it as the chosen class", ["shift+a"], act.acceptAs],
    ["Images", "Ctrl S", "Save the model", ["ctrl+s"], act.save],
    ["Without a mouse", "K", "A cursor for the arrow keys (Shift: single pixels)", ["k"], act.keyboardCursor],
    ["Without a mouse", "Space", "Put down or lift the brush, set a corner, fill", [" "], act.press],
    ["Without a mouse", "Enter", "End the stroke, close the polygon", [], act.finish],
    ["Without a mouse", "?", "This list", ["?"], act.help],
  ];
}

export const ARROWS = ["arrowup", "arrowdown", "arrowleft", "arrowright"];

// What a key means to the element that has the focus comes first.
function belongsTo(target, key) {
  if (target.matches("input[type=search], select")) return key !== "escape";
  if (target.matches("input[type=range], input[type=radio]")) return [...ARROWS, " "].includes(key);
  if (target.matches("button, input")) return [" ", "enter"].includes(key);
  return false;
}

const isAltGraph = (event) => event.getModifierState("AltGraph"); // some keyboards write [ and ] with it

function nameOf(event) {
  const key = event.key.toLowerCase();
  const isLetter = /^[a-z]$/.test(key);
  const isControl = (event.ctrlKey || event.metaKey) && !isAltGraph(event);
  return (isControl ? "ctrl+" : "") + (event.shiftKey && isLetter ? "shift+" : "") + key;
}

export function listenToKeys(table) {
  const actions = new Map(table.flatMap(([, , , names, action]) => names.map((name) => [name, action])));
  window.addEventListener("keydown", (event) => {
    if ((event.altKey && !isAltGraph(event)) || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const name = nameOf(event);
    if (belongsTo(event.target, name)) return;
    const action = actions.get(name);
    if (!action) return;
    event.preventDefault();
    action(event);
  });
}

/** Write the list of keys into the help. */
export function writeHelp(table, into) {
  for (const group of new Set(table.map(([name]) => name))) {
    const section = document.createElement("section");
    const title = document.createElement("h3");
    title.textContent = group;
    section.append(title);
    for (const [, keys, text] of table.filter(([name]) => name === group)) section.append(helpRow(keys, text));
    into.append(section);
  }
}

function helpRow(keys, text) {
  const row = document.createElement("div");
  const what = document.createElement("span");
  what.textContent = text;
  const shown = document.createElement("kbd");
  shown.className = "keys";
  shown.textContent = isMac ? keys.replaceAll("Ctrl", "⌘") : keys;
  row.append(what, shown);
  return row;
}
