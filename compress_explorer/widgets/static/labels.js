/** Names for the sliders' handles, which ipywidgets leaves without any, and readouts that take what they show. */

const INTERVAL = 300; // ms between two looks for views that are not on the page yet
const TRIES = 40;

/**
 * Labels the views of some controls as soon as they are on the page.
 * @param {Object[]} controls  widget models
 * @returns {() => void} ends it
 */
export function labelControls(controls) {
  let tries = 0;
  let timer = 0;
  const look = async () => {
    for (const control of controls) {
      for (const view of await Promise.all(Object.values(control.views ?? {}))) label(view.el, control);
    }
    if (++tries < TRIES) timer = setTimeout(look, INTERVAL);
  };
  look();
  return () => {
    tries = TRIES;
    clearTimeout(timer);
  };
}

/** Labels one view; again and again without harm. */
function label(view, control) {
  for (const handle of view.querySelectorAll("[role=slider]")) {
    handle.setAttribute("aria-label", control.get("description"));
  }
  if (view.dataset.ceLabelled) return;
  view.dataset.ceLabelled = "true";
  if (String(control.get("readout_format") ?? "").endsWith("%")) readPerCent(view);
}

/**
 * ipywidgets shows a fraction of 0.9 as "90%" but reads a typed "90%" as 90: turn it into the fraction first.
 * Capturing listeners of the view run before those of the readout.
 */
function readPerCent(view) {
  const convert = (event) => {
    if (!event.target.classList?.contains("widget-readout")) return;
    if (event.type === "keydown" && event.key !== "Enter") return;
    const number = parseFloat(event.target.textContent.replace(",", "."));
    if (Number.isFinite(number)) event.target.textContent = String(Number((number / 100).toPrecision(12)));
  };
  for (const type of ["keydown", "blur"]) view.addEventListener(type, convert, true);
}
