/** What ipywidgets' sliders lack: names and values that a screen reader can say, and readouts that take what they show. */

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
    for (const control of controls) await labelViews(control);
    if (++tries < TRIES) timer = setTimeout(look, INTERVAL);
  };
  const spoken = controls.map((control) => {
    const say = () => setTimeout(() => labelViews(control)); // after the slider has set its own
    control.on("change:value", say);
    return () => control.off("change:value", say);
  });
  look();
  return () => {
    tries = TRIES;
    clearTimeout(timer);
    for (const end of spoken) end();
  };
}

/** Labels every view of a control; again and again without harm. */
async function labelViews(control) {
  for (const { el } of await Promise.all(Object.values(control.views ?? {}))) {
    const readout = el.querySelector(".widget-readout");
    for (const handle of el.querySelectorAll("[role=slider]")) {
      handle.setAttribute("aria-label", control.get("description"));
      if (readout?.textContent) handle.setAttribute("aria-valuetext", readout.textContent);
    }
    if (readout && control.get("readout_format") && !el.dataset.ceLabelled) {
      el.dataset.ceLabelled = "true";
      readWhatIsShown(el, control);
    }
  }
}

/**
 * On Enter, ipywidgets reads a slider's readout: "90.0%" as 90, and "0.123" although the value is 0.12345. So just
 * before, a text that was not changed is replaced by the value itself, and per cent by the fraction; capturing listeners
 * of the view run before those of the readout. A text that is left without Enter counts, too.
 * @param {HTMLElement} view
 * @param {Object} control
 */
function readWhatIsShown(view, control) {
  let shown = null;
  const remember = (readout) => { shown = readout.textContent; };
  const enter = (readout) => {
    const number = parseFloat(readout.textContent.replace(",", "."));
    const perCent = control.get("readout_format").endsWith("%");
    if (readout.textContent === shown) readout.textContent = String(control.get("value"));
    else if (perCent && Number.isFinite(number)) readout.textContent = String(Number((number / 100).toPrecision(12)));
    setTimeout(remember, 0, readout); // it is still in hand
  };
  const leave = (readout) => {
    if (readout.textContent === shown) return;
    readout.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", keyCode: 13, bubbles: true }));
  };
  const listen = (type, react) => view.addEventListener(type, (event) => {
    if (event.target.classList?.contains("widget-readout")) react(event.target, event);
  }, true);
  listen("focus", remember);
  listen("keydown", (readout, event) => { if (event.key === "Enter") enter(readout); });
  listen("blur", leave);
}
