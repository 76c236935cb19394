import { applyBindings } from "./film.js";
import { drawChanges, drawWhole } from "./draw.js";
import { element } from "./dom.js";

/** One figure with its heading, legend and scale switch, drawn by plotly. */

/**
 * @typedef {{title: string, figure: Object, bindings: Object[], legend: string[][], log: Object|null}} Spec
 *
 * @param {HTMLElement} parent
 * @param {string} name  "histogram", "tradeoff", "layers" or "bytes"
 * @param {Spec} spec
 * @param {{plotly: Object, template: () => Object, type: () => number, changed: (name: string) => void,
 *   clicked: (message: Object) => void}} env
 */
export function createPanel(parent, name, spec, env) {
  const root = element("section", `ce-figure ce-${name}`);
  const scroll = element("div", "ce-scroll");
  const plot = element("div", "ce-plot", { role: "img" });
  let scale = "linear";
  let heading = null;
  let title = "";
  let variants = {};
  let listening = false;
  let drawn = []; // what the plot was last drawn whole with
  scroll.append(plot);
  root.append(scroll);
  parent.append(root);
  update(spec);

  /** Takes another figure for the same place, e.g. of another method. */
  function update(next) {
    title = next.title;
    variants = { linear: prepare(next), log: next.log && prepare(next.log) };
    if (!next.log) scale = "linear";
    heading?.remove();
    heading = createHeading(next, scale, (chosen) => {
      scale = chosen;
      env.changed(name);
    });
    root.prepend(heading);
    root.setAttribute("aria-label", title);
  }

  /** Draws one position of the film; false when the panel has no size on the page. */
  async function draw(film, frame, description) {
    const variant = variants[scale];
    if (!scroll.clientWidth) return false;
    makeScrollable(scroll, variant.height > scroll.clientHeight);
    const changes = applyBindings(variant.figure, variant.bindings, film, frame);
    const room = [variant, env.type(), env.template(), scroll.clientWidth, Math.max(scroll.clientHeight, variant.height)];
    plot.setAttribute("aria-label", `${title}: ${description}`);
    if (room.some((entry, index) => entry !== drawn[index])) await drawWhole(env.plotly, plot, ...room);
    else await drawChanges(env.plotly, plot, variant.figure, changes);
    drawn = room;
    if (!listening) listen();
    return true;
  }

  function listen() {
    listening = true;
    plot.on("plotly_click", ({ points }) => {
      const { curveNumber, pointIndex } = points[0];
      env.clicked({ type: "click", figure: name, trace: curveNumber, point: pointIndex });
    });
  }

  function destroy() {
    env.plotly.purge(plot);
    root.remove();
  }

  return { name, scroll, update, draw, destroy, bindings: () => variants[scale].bindings };
}

/** A figure of our own to fill: the kernel's is kept as it came. Its height, where it has one, is a minimum. */
function prepare({ figure, bindings }) {
  return { figure: structuredClone(figure), bindings, original: figure.layout, height: figure.layout.height ?? 0 };
}

/** A region that scrolls must be reachable by keyboard. */
function makeScrollable(scroll, scrolls) {
  scroll.classList.toggle("ce-scrolls", scrolls);
  if (scrolls) scroll.setAttribute("tabindex", "0");
  else scroll.removeAttribute("tabindex");
}

/** The title, the legend, and a switch for the logarithmic axis where there is one. */
function createHeading(spec, scale, choose) {
  const heading = element("header", "ce-heading");
  heading.append(element("div", "ce-title", { role: "heading", "aria-level": "3" }, spec.title));
  const legend = element("div", "ce-legend");
  for (const [label, colour] of spec.legend) {
    const entry = element("span", "ce-entry");
    const chip = element("span", "ce-chip", { "aria-hidden": "true" });
    chip.style.background = colour;
    entry.append(chip, element("span", "", {}, label));
    legend.append(entry);
  }
  heading.append(legend);
  if (spec.log) heading.append(createSwitch(scale, choose));
  return heading;
}

/** A button that is pressed while the axis is logarithmic. */
function createSwitch(scale, choose) {
  const attributes = { type: "button", "aria-pressed": String(scale === "log"), title: "Logarithmic scale" };
  const button = element("button", "ce-log", attributes, "log");
  button.addEventListener("click", () => {
    const pressed = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(pressed));
    choose(pressed ? "log" : "linear");
  });
  return button;
}
