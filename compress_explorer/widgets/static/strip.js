import { element, setText } from "./dom.js";

/**
 * The readouts and the state. Each keeps its place while its numbers change.
 *
 * @typedef {{name: string, label: string, help: string, main: string, side: string[], below: string[]}} Cell  the large
 *   text, the small ones beside it and those in the line below, by their names in the film; "size" and "accuracy" carry
 *   the film's number too
 */

/**
 * @param {HTMLElement} parent
 * @param {Cell[]} wanted
 * @returns {{draw: (reading: Object) => void, summary: () => string}}
 */
export function createStrip(parent, wanted) {
  const strip = element("div", "ce-strip");
  const row = element("div", "ce-cells");
  const cells = wanted.map((cell) => createCell(row, cell));
  const status = createStatus(row);
  strip.append(row);
  parent.append(strip);
  return {
    draw(reading) {
      for (const cell of cells) cell.draw(reading);
      status(reading);
    },
    summary: () => cells.map((cell) => cell.summary()).join(", "),
  };
}

/** One readout: a label, a large number with a small one beside it, and a line below. */
function createCell(strip, { name, label, help, main, side, below }) {
  const cell = element("div", `ce-cell ce-${name}`, { title: help });
  const number = element("div", "ce-number");
  const line = element("div", "ce-line");
  const parts = {};
  for (const [key, parent, className] of [
    [main, number, "ce-main"],
    ...side.map((text) => [text, number, "ce-side"]),
    ...below.map((text) => [text, line, `ce-below ce-text-${text}`]),
  ]) {
    parts[key] = element("span", className);
    parent.append(parts[key]);
  }
  cell.append(element("div", "ce-label", {}, label), number, line);
  strip.append(cell);
  return {
    draw(reading) {
      for (const [key, part] of Object.entries(parts)) setText(part, reading.texts[key] ?? "");
      const value = { size: reading.size, accuracy: reading.accuracy }[name];
      if (value !== undefined) parts[main].dataset.ceValue = value === null ? "" : String(value);
      parts[main].dataset.ceRequest = String(reading.request);
      cell.classList.toggle("ce-pending", name === "accuracy" && reading.accuracyState !== "exact");
    },
    summary: () => `${label} ${parts[main].textContent}`,
  };
}

/** The state: a coloured mark, its word, and the progress of a measurement. */
function createStatus(strip) {
  const cell = element("div", "ce-cell ce-status", { role: "status", "aria-live": "polite" });
  const number = element("div", "ce-number");
  const word = element("span", "ce-word");
  number.append(element("span", "ce-mark", { "aria-hidden": "true" }), word);
  const line = element("div", "ce-line");
  const bar = element("div", "ce-progress", { "aria-hidden": "true" });
  const done = element("div", "ce-done");
  bar.append(done);
  cell.append(element("div", "ce-label", {}, "State"), number, line, bar);
  strip.append(cell);
  return ({ request, state, word: text, detail, progress }) => {
    number.dataset.ceRequest = String(request);
    number.dataset.ceState = state;
    setText(word, text);
    setText(line, detail);
    if (line.title !== detail) line.title = detail; // in whole, where there is no room for it
    bar.classList.toggle("ce-idle", progress === null);
    done.style.width = `${100 * (progress ?? 0)}%`;
  };
}
