/** Brings a figure onto the page with plotly, at the least cost that shows what changed. */

const CONFIG = {
  displaylogo: false,
  displayModeBar: "hover",
  modeBarButtons: [["zoom2d", "resetScale2d", "toImage"]],
  doubleClick: "reset",
  responsive: false,
  showSendToCloud: false,
  showTips: false,
};

const MOVED = ["scatter", "bar"]; // the traces that plotly can move without drawing the whole figure anew

const AT_ONCE = { mode: "immediate", frame: { duration: 0, redraw: false }, transition: { duration: 0 } };

const KERNEL_TYPE = 14; // pixels; the kernel's margins and widths are meant for type of this size

/** Plotly takes numbers with the same revision for the same numbers, so that no two figures may share one. */
let revision = 0;

/**
 * Draws a figure of another size, theme or kind.
 * @param {Object} plotly
 * @param {HTMLElement} plot
 * @param {{figure: Object, original: Object}} variant  the figure, and its layout as the kernel made it
 * @param {number} type  the size of its type in pixels
 * @param {Object} template
 * @param {number} width
 * @param {number} height
 */
export async function drawWhole(plotly, plot, { figure, original }, type, template, width, height) {
  setSize(figure.layout, original, type, width, height);
  figure.layout.template = template;
  await redraw(plotly, plot, figure);
}

/**
 * Draws what differs from the last position. Making the whole figure takes three times as long, so it is done only
 * when something changed that is neither such a trace nor a shape, such as the range of an axis, or when a trace appears.
 * @param {Object} plotly
 * @param {HTMLElement} plot
 * @param {Object} figure
 * @param {import("./film.js").Changes} changes
 */
export async function drawChanges(plotly, plot, figure, { changed, appeared }) {
  const ofTraces = changed.filter(([part]) => part === "data");
  const ofShapes = changed.filter(([part, name]) => part === "layout" && name === "shapes");
  const movable = ofTraces.every(([, trace]) => MOVED.includes(figure.data[trace].type));
  if (appeared || !movable || ofTraces.length + ofShapes.length < changed.length) {
    await redraw(plotly, plot, figure);
    return;
  }
  if (ofShapes.length) await plotly.relayout(plot, { shapes: structuredClone(figure.layout.shapes) });
  if (ofTraces.length) await moveTraces(plotly, plot, figure.data, ofTraces);
}

async function redraw(plotly, plot, { data, layout }) {
  layout.datarevision = ++revision;
  await plotly.react(plot, data, layout, CONFIG);
}

/** Draws some traces anew and leaves the rest of the figure alone. */
function moveTraces(plotly, plot, data, changed) {
  const attributes = new Map();
  for (const [, trace, attribute] of changed) {
    if (!attributes.has(trace)) attributes.set(trace, {});
    attributes.get(trace)[attribute] = data[trace][attribute];
  }
  // Plotly takes bars off the page that are not moved with the others.
  if ([...attributes.keys()].some((trace) => data[trace].type === "bar")) {
    data.forEach(({ type }, trace) => { if (type === "bar" && !attributes.has(trace)) attributes.set(trace, {}); });
  }
  const frame = { data: [...attributes.values()], traces: [...attributes.keys()] };
  return new Promise((resolve) => {
    // Plotly says so just before it draws, in one go. Its own promise waits for another animation frame, and fails
    // when the next move comes sooner.
    plot.once("plotly_transitioning", () => queueMicrotask(resolve));
    plotly.animate(plot, frame, AT_ONCE).catch(() => {});
  });
}

/** Fits a figure to its room: its size, that of its type, and the distances that follow from the type's. */
function setSize(layout, original, type, width, height) {
  const grown = type / KERNEL_TYPE;
  Object.assign(layout, { width, height, font: { size: type } });
  for (const side of ["l", "r", "t", "b"]) layout.margin[side] = original.margin[side] * grown;
  for (const [name, axis] of Object.entries(original)) {
    if (axis.title?.text) layout[name].title.font = { size: type };
  }
  if (original.meta?.columns) {
    const inner = width - layout.margin.l - layout.margin.r;
    const bars = Math.max(1 - (original.meta.columns * grown) / inner, 0.05);
    layout.xaxis.domain = [0, bars];
    layout.xaxis2.domain = [bars, 1];
  }
}
