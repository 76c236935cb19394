/** Light or dark: the Stage's own wish, else JupyterLab's theme, else the browser's. */

/**
 * @param {string} wish  "auto", "light" or "dark"
 * @returns {"light"|"dark"}
 */
export function currentMode(wish) {
  if (wish === "light" || wish === "dark") return wish;
  const jupyter = document.body.getAttribute("data-jp-theme-light");
  if (jupyter !== null) return jupyter === "true" ? "light" : "dark";
  return window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/**
 * Calls back whenever the page's theme may have changed.
 * @param {() => void} callback
 * @returns {() => void} ends it
 */
export function watchTheme(callback) {
  const observer = new MutationObserver(callback);
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  const query = window.matchMedia("(prefers-color-scheme: dark)");
  query.addEventListener("change", callback);
  return () => {
    observer.disconnect();
    query.removeEventListener("change", callback);
  };
}
