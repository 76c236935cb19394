/** Loads plotly once a page, from text that the page already has: no network. */

const KEY = Symbol.for("compress-explorer.plotly");

/**
 * @param {() => Promise<BlobPart>} source  gives plotly's script; called only when the page has not loaded it yet
 * @returns {Promise<Object>} plotly
 */
export function loadPlotly(source) {
  window[KEY] ??= source().then(runScript).catch((error) => {
    window[KEY] = undefined; // the next Stage tries again
    throw error;
  });
  return window[KEY];
}

/** Runs plotly's script where it sees a module of ours, so that it leaves another `window.Plotly` as it was. */
function runScript(script) {
  const before = "(function(){var define,module={exports:{}},exports=module.exports,kept=window.Plotly;\n";
  const after = "\n;window.Plotly=kept;document.currentScript.plotly=module.exports;})();";
  const address = URL.createObjectURL(new Blob([before, script, after], { type: "text/javascript" }));
  return new Promise((resolve, reject) => {
    const tag = document.createElement("script");
    tag.onload = () => (tag.plotly?.react ? resolve(tag.plotly) : reject(new Error("plotly.js did not load")));
    tag.onerror = () => reject(new Error("plotly.js could not be loaded"));
    tag.src = address;
    document.head.append(tag);
  }).finally(() => URL.revokeObjectURL(address));
}
