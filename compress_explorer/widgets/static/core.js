import { applyPatch, decodeFilm, isPosition, positionOf, touches } from "./film.js";
import { createPanel } from "./panel.js";
import { createStrip } from "./strip.js";
import { currentMode, watchTheme } from "./theme.js";
import { element } from "./dom.js";

/** The Stage without its kernel: draws a film's position in an element of the page. */

const LONGEST_WAIT = 120; // ms after which the later figures are drawn although the slider still moves
const ONE_FRAME = 16; // ms: a page is painted no more often
const RETRY = 200; // ms until a figure that has no size is tried again
const WIDE = 1150; // pixels from which the figures have room for larger type
const SMALL_TYPE = 14;
const LARGE_TYPE = 17;
const UNKNOWN = "…";

/**
 * @typedef {{first: string[], later: string[], cells: Object[]}} Arrangement  the figures that follow the slider at
 *   once, those that are drawn in a frame of their own, and the readouts, see `strip.js`
 * @typedef {{film: Object|null, figures: Object, status: Object, templates: {light: Object, dark: Object},
 *   arrangement: Arrangement, theme: string, value: number|null}} State
 *
 * @param {HTMLElement} el
 * @param {State} state
 * @param {{plotly: Promise<Object>, send: (message: Object) => void}} options
 * @returns {{update: (changes: Partial<State>) => void, patch: (patch: Object, bytes: DataView) => void,
 *   destroy: () => void}}
 */
export function mount(el, state, { plotly: loading, send }) {
  el.classList.add("ce-stage");
  el.dataset.lmSuppressShortcuts = "true"; // keys pressed in here are not the notebook's
  const { first, later, cells } = state.arrangement;
  const strip = createStrip(el, cells);
  const grid = element("div", "ce-grid");
  const room = element("div", "ce-figures");
  room.append(grid);
  el.append(room);

  const panels = new Map();
  const dirty = new Set();
  const waiting = [...later];
  let plotly = null;
  let film = decodeFilm(state.film);
  let drawnFrame = -1;
  let pending = 0;
  let pendingLater = 0;
  let waitingSince = 0;
  let drawnAt = 0;
  let gone = false;

  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) dirty.add(target.ceName);
    schedule();
  });
  const endTheme = watchTheme(() => applyTheme());
  applyTheme();
  loading.then((loaded) => {
    plotly = loaded;
    if (!gone) arrange();
  }).catch(fail);
  schedule();

  /** Makes the panels that `state.figures` names, keeping those that are there. */
  function arrange() {
    for (const name of [...first, ...later]) {
      const spec = state.figures[name];
      const panel = panels.get(name);
      if (panel && spec) panel.update(spec);
      else if (panel) remove(panel);
      else if (spec) add(name, spec);
      dirty.add(name);
    }
    schedule();
  }

  function add(name, spec) {
    const panel = createPanel(grid, name, spec, {
      plotly,
      template: () => state.templates[currentMode(state.theme)],
      type: () => (room.clientWidth < WIDE ? SMALL_TYPE : LARGE_TYPE),
      changed: touch,
      clicked: send,
    });
    panel.scroll.ceName = name;
    panels.set(name, panel);
    observer.observe(panel.scroll);
  }

  function remove(panel) {
    observer.unobserve(panel.scroll);
    panel.destroy();
    panels.delete(panel.name);
  }

  function applyTheme() {
    const inherits = state.theme === "auto" && document.body.hasAttribute("data-jp-theme-light");
    el.dataset.ceTheme = inherits ? "jupyter" : currentMode(state.theme);
    for (const name of panels.keys()) dirty.add(name);
    schedule();
  }

  function touch(name) {
    dirty.add(name);
    schedule();
  }

  function schedule() {
    if (!pending && !gone) pending = requestAnimationFrame(drawFirst);
  }

  /** Draws at once what has moved, so that the very next frame shows it; several moves within one frame wait for it. */
  function drawNow() {
    if (!pending && !gone && plotly && performance.now() - drawnAt >= ONE_FRAME) drawFirst();
    else schedule();
  }

  /** In the frame after the next, so that the next one, with the first figures, is on the screen at once. */
  function scheduleLater() {
    if (pendingLater || gone) return;
    pendingLater = requestAnimationFrame(() => { pendingLater = requestAnimationFrame(drawLater); });
  }

  /** The position that the slider's value asks for. */
  function frameNow() {
    return film && state.value !== null ? positionOf(film, state.value) : -1;
  }

  function drawFirst() {
    pending = 0;
    drawnAt = performance.now();
    guard(() => {
      const frame = frameNow();
      if (frame !== drawnFrame) {
        for (const name of panels.keys()) dirty.add(name);
        drawnFrame = frame;
      }
      strip.draw(reading(frame));
      drawPanels(first, frame);
      if (later.some((name) => dirty.has(name))) {
        waitingSince ||= performance.now();
        scheduleLater();
      }
    });
  }

  /** Draws one of the later figures, then lets the page breathe. */
  function drawLater() {
    pendingLater = 0;
    if (pending && performance.now() - waitingSince < LONGEST_WAIT) {
      scheduleLater(); // a newer value goes first
      return;
    }
    const name = waiting.find((other) => dirty.has(other));
    if (name) {
      waiting.push(...waiting.splice(waiting.indexOf(name), 1)); // the next time it is the other's turn
      guard(() => drawPanels([name], frameNow()));
    }
    if (later.some((other) => dirty.has(other))) scheduleLater();
    else waitingSince = 0;
  }

  function drawPanels(names, frame) {
    if (frame < 0) return;
    const now = reading(frame);
    const value = isPosition(film, state.value) ? film.positions[frame] : state.value;
    const detail = { parameter: film.parameter, value, request: now.request, state: now.state };
    for (const name of names) {
      const panel = panels.get(name);
      if (!panel || !dirty.delete(name)) continue;
      panel.draw(film, frame, strip.summary()).then((drawn) => {
        if (gone) return;
        if (drawn) el.dispatchEvent(new CustomEvent("ce-painted", { bubbles: true, detail: { figure: name, ...detail } }));
        else retry(name);
      }).catch((error) => {
        if (panels.get(name) === panel) fail(error); // of a figure taken off the page in mid-draw nothing is missing
      });
    }
  }

  /** A figure without a size, in a hidden tab or while JupyterLab changes its theme, is drawn when it has one. */
  function retry(name) {
    setTimeout(() => {
      if (!panels.has(name)) return;
      dirty.add(name);
      schedule();
    }, RETRY);
  }

  /** What the strip shows at a position: the film's texts, and the kernel's state if it stands there too. */
  function reading(frame) {
    const { request = 0, position = null, state: kernel = "estimating", word, text = "", progress = null } = state.status;
    const reached = frame >= 0 && frame === position && isPosition(film, state.value);
    const failed = kernel === "error";
    const shown = failed ? "error" : reached ? kernel : "estimating";
    const texts = {};
    for (const { main } of cells) texts[main] = UNKNOWN;
    if (frame >= 0) for (const [name, entries] of Object.entries(film.texts)) texts[name] = entries[frame];
    return {
      texts,
      size: frame < 0 ? null : film.sizes[frame],
      accuracy: frame < 0 ? null : film.accuracies[frame],
      accuracyState: frame < 0 ? "" : film.states[frame],
      request,
      state: shown,
      word: (shown === kernel && word) || shown,
      detail: reached || failed || position === null ? text : "",
      progress: reached && shown === "estimating" ? progress : null,
    };
  }

  /** A failure is shown where the figures would be, never a blank. */
  function guard(draw) {
    try {
      draw();
    } catch (error) {
      fail(error);
    }
  }

  function fail(error) {
    console.error(error);
    grid.querySelector(".ce-fallback")?.remove();
    const text = `The figures cannot be drawn: ${error?.message ?? error}. The numbers above are right; `
      + "run the cell again, or reload the page.";
    grid.prepend(element("div", "ce-fallback", { role: "alert" }, text));
  }

  return {
    update(changes) {
      Object.assign(state, changes);
      if ("film" in changes) {
        film = decodeFilm(state.film);
        drawnFrame = -1;
      }
      if ("theme" in changes) applyTheme();
      if ("figures" in changes && plotly) guard(arrange);
      if ("status" in changes) guard(() => strip.draw(reading(frameNow()))); // a few words: no need to wait for a frame
      if ("value" in changes) drawNow();
      else schedule();
    },
    patch(patch, bytes) {
      if (!film || !applyPatch(film, patch, bytes)) return;
      const frame = frameNow();
      for (const panel of panels.values()) if (touches(panel.bindings(), patch, frame)) dirty.add(panel.name);
      schedule();
    },
    destroy() {
      gone = true;
      cancelAnimationFrame(pending);
      cancelAnimationFrame(pendingLater);
      observer.disconnect();
      endTheme();
      for (const panel of [...panels.values()]) remove(panel);
      el.replaceChildren();
    },
  };
}
