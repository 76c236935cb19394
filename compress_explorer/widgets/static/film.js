/**
 * The film: what every position of one slider shows. Plain data in, plain data out; nothing here touches the page.
 *
 * @typedef {{shape: number[], data: Float32Array}} NumberArray  row-major
 * @typedef {{path: (string|number)[], array: string, kind: "row"|"scalar"|"whole"|"text"|"label", floor: number|null}} Binding
 * @typedef {{key: string, patches: number, parameter: string, positions: number[], arrays: Object<string, NumberArray>,
 *   texts: Object<string, (string|string[])[]>, labels: Object<string, string|string[]>, sizes: (number|null)[],
 *   accuracies: (number|null)[], states: string[]}} Film
 */

/**
 * Floats from the bytes that the kernel sent. The bytes are copied: a view may begin at any address.
 * @param {DataView|ArrayBuffer|Uint8Array} bytes
 * @returns {Float32Array}
 */
function floats(bytes) {
  if (bytes instanceof ArrayBuffer) return new Float32Array(bytes.slice(0));
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/**
 * The film that the kernel sent, its bytes turned into floats; null while there is none.
 * @param {Object|null} state
 * @returns {Film|null}
 */
export function decodeFilm(state) {
  if (!state || !state.positions) return null;
  const arrays = {};
  for (const [name, { shape, data }] of Object.entries(state.arrays)) arrays[name] = { shape, data: floats(data) };
  const texts = {};
  for (const [name, entries] of Object.entries(state.texts)) texts[name] = [...entries];
  return {
    ...state,
    arrays,
    texts,
    labels: { ...state.labels },
    sizes: [...state.sizes],
    accuracies: [...state.accuracies],
    states: [...state.states],
  };
}

/**
 * The position of a slider's value: that value's own, or the nearest one.
 * @param {Film} film
 * @param {number} value
 * @returns {number} an index into film.positions
 */
export function positionOf(film, value) {
  let best = 0;
  for (let i = 1; i < film.positions.length; i++) {
    if (Math.abs(film.positions[i] - value) < Math.abs(film.positions[best] - value)) best = i;
  }
  return best;
}

/**
 * Whether a slider's value is one of the film's positions, apart from the last digits of its floating-point number.
 * @param {Film} film
 * @param {number} value
 * @returns {boolean}
 */
export function isPosition(film, value) {
  const nearest = film.positions[positionOf(film, value)];
  return Math.abs(nearest - value) <= 1e-9 * Math.max(1, Math.abs(nearest));
}

/** @typedef {{changed: (string|number)[][], appeared: boolean}} Changes */

/**
 * Fills a figure's bound places with one position of the film: the same rules as `apply_bindings` in Python.
 * A place whose numbers are not known yet stays as it is.
 * @param {Object} figure  plotly JSON, changed in place
 * @param {Binding[]} bindings
 * @param {Film} film
 * @param {number} frame
 * @returns {Changes} the paths of the places that differ from before, and whether one had none, or not as many, before
 */
export function applyBindings(figure, bindings, film, frame) {
  const changed = [];
  let appeared = false;
  for (const binding of bindings) {
    const filling = fillingOf(binding, film, frame);
    if (filling === undefined) continue;
    let place = figure;
    for (const key of binding.path.slice(0, -1)) place = place[key];
    const last = binding.path[binding.path.length - 1];
    if (!same(place[last], filling)) {
      changed.push(binding.path);
      appeared ||= hasNumbers(filling) && !(hasNumbers(place[last]) && filling.length === place[last].length);
    }
    place[last] = filling;
  }
  return { changed, appeared };
}

function hasNumbers(filling) {
  return Array.isArray(filling) && filling.some(Number.isFinite);
}

/** Whether two fillings look alike; an unknown number is like another. */
function same(one, other) {
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((entry, index) => Object.is(entry, other[index]));
  }
  return Object.is(one, other);
}

/** What one binding puts in its place; undefined when it is not known. */
function fillingOf({ array, kind, floor }, film, frame) {
  if (kind === "text") return film.texts[array]?.[frame];
  if (kind === "label") return film.labels[array];
  const source = film.arrays[array];
  if (!source) return undefined;
  const width = kind === "row" ? source.shape[1] : kind === "scalar" ? 1 : source.data.length;
  const start = kind === "whole" ? 0 : frame * width;
  let numbers = source.data.subarray(start, start + width);
  if (floor !== null) numbers = numbers.map((number) => Math.max(number, floor));
  if (kind !== "scalar") return Array.from(numbers);
  return floor !== null && Number.isNaN(numbers[0]) ? floor : numbers[0];
}

/**
 * Puts newer numbers for one position into the film.
 * @param {Film} film  changed in place
 * @param {Object} patch  see `widgets/film.py`
 * @param {DataView} bytes  the patch's numbers, end to end
 * @returns {boolean} false when the patch is of another film
 */
export function applyPatch(film, patch, bytes) {
  if (patch.key !== film.key) return false;
  film.patches += 1;
  for (const { name, row, shape, offset, length } of patch.arrays) {
    const numbers = floats(new DataView(bytes.buffer, bytes.byteOffset + offset, length));
    if (row === null) film.arrays[name] = { shape, data: numbers };
    else film.arrays[name].data.set(numbers, row * numbers.length);
  }
  for (const [name, text] of Object.entries(patch.texts)) film.texts[name][patch.index] = text;
  Object.assign(film.labels, patch.labels);
  film.sizes[patch.index] = patch.size;
  film.accuracies[patch.index] = patch.accuracy;
  film.states[patch.index] = patch.state;
  return true;
}

/**
 * Whether a patch changes what a figure shows at a position.
 * @param {Binding[]} bindings
 * @param {Object} patch
 * @param {number} frame
 * @returns {boolean}
 */
export function touches(bindings, patch, frame) {
  const names = new Set(patch.arrays.map((entry) => entry.name));
  return bindings.some(({ array, kind }) => {
    if (kind === "text") return patch.index === frame && array in patch.texts;
    if (kind === "label") return array in patch.labels;
    return names.has(array) && (kind === "whole" || patch.index === frame || kind === "scalar");
  });
}
