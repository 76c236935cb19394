import { element, setText } from "./dom.js";

/** The readouts: SIZE, ACCURACY, ZEROS, SQNR and the state. Each keeps its place while its numbers change. */

const CELLS = [
  { name: "size", label: "Size", main: "size", side: [], below: ["ratio"] },
  { name: "accuracy", label: "Accuracy", main: "accuracy", side: ["interval"], below: ["difference", "verdict"] },
  { name: "zeros", label: "Zeros", main: "zeros", side: [], below: ["zeros_of"] },
  { name: "sqnr", label: "SQNR", main: "sqnr", side: [], below: ["sqnr_of"] },
];

const HELP = {
  size: "Bytes of the file that would be saved; 1 KB = 1000 bytes",
  accuracy: "Share of right predictions with its 95 % interval, and the change against the network before compression",
  zeros: "Share of exact zeros among the treated weights",
  sqnr: "Signal to quantization noise ratio of the treated weights: higher is closer to the original",
};

/**
 * @param {HTMLElement} parent
 * @returns {{draw: (reading: Object) => void, summary: () => string}}
 */
export function createStrip(parent) {
  const strip = element("div", "ce-strip");
  const row = element("div", "ce-cells");
  const cells = CELLS.map((cell) => createCell(row, cell));
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
function createCell(strip, { name, label, main, side, below }) {
  const cell = element("div", `ce-cell ce-${name}`, { title: HELP[name] });
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
