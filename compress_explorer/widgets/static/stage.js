import { applyPatch, decodeFilm } from "./film.js";
import { labelControls } from "./labels.js";
import { loadPlotly } from "./plotly.js";
import { mount } from "./core.js";

/** The Stage as a widget: hands what the kernel sends, and the sliders' values, to the core. */

const TRAITS = ["film", "figures", "status", "theme", "templates", "arrangement"];

/** A slider's value; of a menu, the index of its choice. */
function valueOf(control) {
  const value = control.get("value");
  return typeof value === "number" ? value : control.get("index");
}

/**
 * Keeps the film that the page holds up to date, shown or not, so that a view that comes later finds every patch in it.
 * What was sent before anybody listened, while the page was opened, the kernel is asked for.
 * @param {{model: Object}} widget
 */
function initialize({ model }) {
  const decode = () => Object.assign(model.get("film"), decodeFilm(model.get("film")));
  decode();
  model.on("change:film", decode);
  model.on("msg:custom", (message, buffers) => {
    if (message.type === "patch") applyPatch(model.get("film"), message, buffers[0]);
  });
  const { key = "", patches = 0 } = model.get("film");
  model.send({ type: "opened", key, patches, status: model.get("status") });
}

/** @param {{model: Object, el: HTMLElement}} widget */
async function render({ model, el }) {
  const manager = model.widget_manager;
  const load = (reference) => manager.get_model(String(reference).replace("IPY_MODEL_", ""));
  const state = { value: null };
  for (const name of TRAITS) state[name] = model.get(name);
  const plotly = loadPlotly(async () => (await load(model.get("plotly"))).get("script"));
  const core = mount(el, state, { plotly, send: (message) => model.send(message) });
  const followed = followControls(model, load, (value) => core.update({ value }));

  const undo = [];
  const listen = (event, callback) => {
    model.on(event, callback);
    undo.push(() => model.off(event, callback));
  };
  for (const name of TRAITS) {
    listen(`change:${name}`, () => {
      core.update({ [name]: model.get(name) });
      if (name === "film") followed.refresh();
    });
  }
  listen("change:controls", followed.refresh);
  listen("msg:custom", (message, buffers) => {
    if (message.type === "patch") core.patch(message, buffers[0]);
  });
  el.addEventListener("ce-painted", () => keepKeys(el), { once: true }); // by then it is on the page
  await followed.refresh();

  return () => {
    for (const step of undo) step();
    followed.end();
    core.destroy();
  };
}

/**
 * Keys pressed in the explorer's controls are not the notebook's: a menu would lose its arrow keys to it. JupyterLab
 * looks for the mark on the focused element itself.
 */
function keepKeys(el) {
  const keep = ({ target }) => { target.dataset.lmSuppressShortcuts = "true"; };
  el.closest(".ce-root")?.addEventListener("focusin", keep);
}

/**
 * Follows, in the browser, the control of the film's parameter.
 * @param {Object} model
 * @param {(reference: string) => Promise<Object>} load
 * @param {(value: number) => void} moved
 */
function followControls(model, load, moved) {
  let control = null;
  let turn = 0;
  let endLabels = () => {};
  const tell = () => control && moved(valueOf(control));
  const follow = (next) => {
    control?.off("change:value change:index", tell);
    control = next;
    control?.on("change:value change:index", tell);
    tell();
  };
  return {
    async refresh() {
      const mine = ++turn;
      const references = Object.entries(model.get("controls") ?? {});
      const loaded = await Promise.all(references.map(async ([name, reference]) => [name, await load(reference)]));
      if (mine !== turn) return; // a newer set of controls came meanwhile
      const controls = Object.fromEntries(loaded);
      endLabels();
      endLabels = labelControls(Object.values(controls));
      follow(controls[model.get("film")?.parameter] ?? null);
    },
    end() {
      turn++;
      endLabels();
      follow(null);
    },
  };
}

export { loadPlotly, mount };
export default { initialize, render };
