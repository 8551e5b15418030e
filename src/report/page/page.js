// The report of an image's layers, as a page without dependencies, network access or a build step.
//
// A program joins `page.html`, `page.css` and `page.js` in one pass over `page.html`, so that no marker
// is looked for in what was inserted:
//
//   /*{{css}}*/, /*{{js}}*/         the texts of page.css and page.js, unchanged
//   {{css_sha256}}, {{js_sha256}}   their SHA-256 digests in base64, which the Content-Security-Policy allows
//   {{title}}                       the title, with & and < escaped for HTML
//   {{data}}                        the data as JSON, with each < written as \u003c
//
// The data are one object, which src/report/data.rs and src/difference/json.rs write:
//
//   version        1
//   name           label of the target, or what was read
//   generated_by   name and version of the program
//   layers         from bottom to top: {name, media_type, size, tar_size, digest, diff_id, chunks}
//   components     {kind: "interpreter" | "distribution" | "repository" | "directory", name, version?}
//   patterns?      in matching order: {group, pattern, written, where}; missing if it is unknown how the image
//                  was divided
//   default_group  group of the files that match no pattern
//   exclude        {pattern, written, where}
//   directories    parallel arrays {parent, name}; directory 0 is the image's root, with parent -1
//   files          parallel arrays with one item for each entry that is not a directory:
//                    directory, name, layer, component, size,
//                    compressed   estimated share of the compressed layer, in bytes; all 0 if unknown
//                    pattern?     index into patterns, or -1: matched none
//                    kind         a string: f file, l symlink, h hard link, w whiteout, o other
//                    link         target of a link, by index
//   left_out       parallel arrays {directory, name, size, exclude, pattern}: index into exclude, or -1;
//                  index into patterns of the pattern whose group is dropped, or -1
//   duplicates     most wasteful first: {size, wasted, files: [index]}
//   advice         {title, detail, saves, paste}; the last two may be empty
//   diff?          {old, new, pull_bytes, unpack_bytes, more_files,
//                    layers: {name, change: "same" | "added" | "removed" | "content" | "metadata" | "order" |
//                             "encoding" | "compression" | "moved",
//                             pull, unpack, added, removed, changed, metadata,
//                             moved_in?, moved_out?: parts of added and removed}
//                    files: {path, layer, change: "added" | "removed" | "content" | "moved" | "metadata",
//                            type?: "whiteout" and "opaque" are deletions, old_layer?, old_size?, new_size?}}
//
// Sizes are in bytes. `?` marks what may be missing or null. The page sets `data-ready` on its root element,
// and the performance mark `ready`, when it can be used.
"use strict";
{
const data = JSON.parse(document.getElementById("data").textContent);
const { layers, components, directories, files } = data;
const { patterns, exclude, left_out: leftOut, duplicates, advice } = data;
// Entries that are not directories: regular files, links, whiteouts and others.
const fileCount = files.name.length;
const hasCompressed = files.compressed.some((bytes) => bytes > 0);
const isDivisionKnown = Boolean(patterns);

// --- Text and elements --------------------------------------------------------------------------

const byId = (id) => document.getElementById(id);

/** A new element. `on…` attributes are listeners; `hue` is a number; other values are attributes. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "hue") element.style.setProperty("--hue", value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false) element.append(child);
  }
  return element;
}

// Characters that have no shape of their own, or that change the order of others.
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** Text of the data, with invisible characters as escapes. */
function shown(text) {
  return String(text).replace(INVISIBLE, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

const integer = new Intl.NumberFormat("en");
const count = (number, one, many) => `${integer.format(number)} ${number === 1 ? one : many ?? `${one}s`}`;
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** A size with three digits: 999 B, 1.23 KiB, 45.6 MiB. */
function units(bytes) {
  let value = Math.abs(bytes);
  let unit = 0;
  // 1023.5 would become "1024".
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${bytes < 0 ? "−" : ""}${value.toFixed(digits)} ${UNITS[unit]}`;
}

const exact = (bytes) => `${integer.format(bytes)} bytes`;
const size = (bytes) => make("span", { class: "size", title: exact(bytes) }, units(bytes));
const percent = (part, whole) => {
  if (!whole) return "–";
  const value = (100 * part) / whole;
  return value > 0 && value < 0.1 ? "< 0.1 %" : `${value.toFixed(value < 10 ? 1 : 0)} %`;
};
const code = (text) => make("code", {}, shown(text));
const total = (list, key) => list.reduce((sum, item) => sum + (item[key] ?? 0), 0);

// The colors of docs/idea.svg for the layers that most images have, and others for the rest.
const HUES = { interpreter: 250, packages: 305, default: 150 };
const OTHER_HUES = [80, 195, 25, 345, 115, 225, 55, 275, 170];
const groupHues = new Map(Object.entries(HUES));
const hues = layers.map(({ name }) => {
  // The layers of a split group (`packages_3`) have similar colors.
  const [group, part] = name.split(/_(?=\d+$)/);
  if (!groupHues.has(group)) groupHues.set(group, OTHER_HUES[(groupHues.size - 3) % OTHER_HUES.length]);
  return groupHues.get(group) + (part ? ((part * 13) % 40) - 20 : 0);
});

const layerName = (layer, more) => make("span", { class: "layer", hue: hues[layer] }, make("i"), shown(layers[layer].name), more);

function componentName({ kind, name, version }) {
  const title = kind === "interpreter" && name === "python" ? "Python" : shown(name);
  return version ? `${title} ${shown(version)}` : title;
}

/** A button that copies `text`. */
function copyButton(text, label, title) {
  const button = make("button", { type: "button", class: "button small", title }, label);
  let timer;
  button.addEventListener("click", async () => {
    let copied = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = make("textarea", { class: "hidden", "aria-hidden": "true" });
      field.value = text;
      document.body.append(field);
      field.select();
      copied = document.execCommand("copy");
      field.remove();
      button.focus();
    }
    button.textContent = copied ? "Copied" : "Not copied";
    clearTimeout(timer);
    timer = setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

// --- Files ----------------------------------------------------------------------------------------

// A file's number is its index in `files`. The files that were left out are numbered after them.
const isLeftOut = (file) => file >= fileCount;
const nameOf = (file) => (isLeftOut(file) ? leftOut.name[file - fileCount] : files.name[file]);
const directoryOf = (file) => (isLeftOut(file) ? leftOut.directory[file - fileCount] : files.directory[file]);
const sizeOf = (file) => (isLeftOut(file) ? leftOut.size[file - fileCount] : files.size[file]);

const directoryPaths = [""];
/** Path of a directory with a trailing slash, or "" for the root. */
function directoryPath(directory) {
  return (directoryPaths[directory] ??= `${directoryPath(directories.parent[directory])}${directories.name[directory]}/`);
}
const pathOf = (file) => directoryPath(directoryOf(file)) + nameOf(file);

/** The number of the file with a path. The upper layers hide the lower ones. */
function fileAt(path) {
  const name = path.slice(path.lastIndexOf("/") + 1);
  let found = -1;
  for (let file = 0; file < fileCount; file++) {
    if (files.name[file] === name && pathOf(file) === path && (found < 0 || files.layer[file] >= files.layer[found])) {
      found = file;
    }
  }
  for (let file = fileCount; found < 0 && file < fileCount + leftOut.name.length; file++) {
    if (nameOf(file) === name && pathOf(file) === path) found = file;
  }
  return found;
}

/** A path with an emphasized file name, which may be broken after slashes. */
function pathText(file) {
  const parts = shown(directoryPath(directoryOf(file))).split(/(?<=\/)/);
  return make("span", { class: "path", title: shown(pathOf(file)) }, parts.flatMap((part) => [part, make("wbr")]), make("b", {}, shown(nameOf(file))));
}
const fileButton = (file) => make("button", { type: "button", class: "link", onclick: () => select(file, true) }, pathText(file));

// --- Order of the files -----------------------------------------------------------------------------
//
// The treemap shows layers, components, directories and files. Files are sorted by layer, component and
// directory (in preorder), so each cell is a range of this order. With running sums of the sizes, the children
// of a cell and their sizes are found without looking at each file.

const directoryCount = directories.parent.length;
const preorder = new Int32Array(directoryCount);
const preorderEnd = new Int32Array(directoryCount);
const depth = new Int32Array(directoryCount);
{
  const firstChild = new Int32Array(directoryCount).fill(-1);
  const nextSibling = new Int32Array(directoryCount).fill(-1);
  for (let directory = directoryCount - 1; directory > 0; directory--) {
    const parent = directories.parent[directory];
    nextSibling[directory] = firstChild[parent];
    firstChild[parent] = directory;
  }
  const visited = [];
  const stack = [0];
  while (stack.length) {
    const directory = stack.pop();
    preorder[directory] = visited.length;
    visited.push(directory);
    for (let child = firstChild[directory]; child >= 0; child = nextSibling[child]) {
      depth[child] = depth[directory] + 1;
      stack.push(child);
    }
  }
  for (const directory of visited.reverse()) {
    preorderEnd[directory] = Math.max(preorderEnd[directory], preorder[directory] + 1);
    const parent = directories.parent[directory];
    if (parent >= 0) preorderEnd[parent] = Math.max(preorderEnd[parent], preorderEnd[directory]);
  }
}

/** Sorts by a small number, and keeps the order of those with the same. */
function sortBy(order, keys, key) {
  const starts = new Int32Array(keys + 1);
  for (const file of order) starts[key(file) + 1] += 1;
  for (let index = 0; index < keys; index++) starts[index + 1] += starts[index];
  const sorted = new Int32Array(order.length);
  for (const file of order) sorted[starts[key(file)]++] = file;
  return sorted;
}
let order = Int32Array.from({ length: fileCount }, (_, file) => file);
order = sortBy(order, directoryCount, (file) => preorder[files.directory[file]]);
order = sortBy(order, components.length, (file) => files.component[file]);
order = sortBy(order, layers.length, (file) => files.layer[file]);

const COMPRESSED = 0;
const UNCOMPRESSED = 1;
const measures = [hasCompressed ? files.compressed : files.size, files.size];
const sums = measures.map((sizes) => {
  const sum = new Float64Array(fileCount + 1);
  for (let index = 0; index < fileCount; index++) sum[index + 1] = sum[index] + sizes[order[index]];
  return sum;
});

// What entries are counted as. Hard links are files: nothing distinguishes them from the first path of their file.
const FILE = 0;
const TALLIED = { f: FILE, h: FILE, l: 1, w: 2, o: 3 };
const TALLY_NOUNS = [["file", "files"], ["symlink", "symlinks"], ["deletion", "deletions"], ["device or pipe", "devices and pipes"]];
const TALLY_HEADS = ["Files", "Symlinks", "Deletions", "Devices"];
const TALLY_HINTS = ["Regular files, including hard links", "Symbolic links", "Whiteouts, which delete paths of lower layers", "Devices and pipes"];
const tallied = (file) => TALLIED[files.kind[file]];
const running = TALLY_NOUNS.map(() => new Int32Array(fileCount + 1));
for (let index = 0; index < fileCount; index++) {
  const its = tallied(order[index]);
  for (let which = 0; which < running.length; which++) running[which][index + 1] = running[which][index] + (which === its ? 1 : 0);
}

/** How many entries of each kind there are: `14 files, 65 symlinks`. */
function tallyText(tally) {
  const parts = tally.map((number, which) => (number ? count(number, ...TALLY_NOUNS[which]) : "")).filter(Boolean);
  return parts.join(", ") || count(0, ...TALLY_NOUNS[FILE]);
}

/** The kinds that a table has columns for: files, and whatever else there is. */
const talliedKinds = (tallies) => TALLY_NOUNS.map((_, which) => which).filter((which) => which === FILE || tallies.some((tally) => tally[which]));
const tallyColumns = (kinds) => kinds.map((which) => ({ name: TALLY_HEADS[which], number: true, hint: TALLY_HINTS[which] }));
const tallyCells = (kinds, tally) => kinds.map((which) => numberCell(integer.format(tally[which])));

/** The first index in `from..to` whose key is at least `value`. Keys do not decrease. */
function lowerBound(from, to, value, key) {
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (key(order[middle]) < value) from = middle + 1;
    else to = middle;
  }
  return from;
}

// --- Cells of the treemap -----------------------------------------------------------------------------

/** A range of the order. */
function rangeNode(parent, kind, label, from, to, more) {
  const sizes = sums.map((sum) => sum[to] - sum[from]);
  const tally = running.map((sum) => sum[to] - sum[from]);
  return { parent, kind, label, from, to, sizes, tally, ...more };
}

/** The sizes of whole layers, which are more than the sums over their files. */
function sizesOfLayers(list) {
  const tars = total(list, "tar_size");
  return [hasCompressed ? total(list, "size") : tars, tars];
}

/** The small ones of a node's children, which share a cell. */
function restNode(parent, nodes) {
  const sum = (value) => nodes.reduce((before, node) => before + value(node), 0);
  const tally = TALLY_NOUNS.map((_, which) => sum((node) => node.tally[which]));
  const number = tally.reduce((before, its) => before + its);
  const [one, many] = TALLY_NOUNS[tally.indexOf(number)] ?? ["entry", "entries"];
  return {
    parent,
    kind: "rest",
    label: count(number, `smaller ${one}`, `smaller ${many}`),
    sizes: [sum((node) => node.sizes[0]), sum((node) => node.sizes[1])],
    tally,
    layer: parent.layer,
    list: nodes,
  };
}

/** The directory below `directory` that a deeper directory is in. */
function childToward(directory, deeper) {
  let child = deeper;
  while (depth[child] > depth[directory] + 1) child = directories.parent[child];
  return child;
}

/** The deepest directory that contains all files of a range. */
function commonDirectory(directory, from, to) {
  for (;;) {
    const first = files.directory[order[from]];
    if (first === directory) return directory;
    const child = childToward(directory, first);
    if (preorder[files.directory[order[to - 1]]] >= preorderEnd[child]) return directory;
    directory = child;
  }
}

function fileNode(parent, from, above) {
  const file = order[from];
  const inside = directoryPath(files.directory[file]).slice(directoryPath(above).length);
  return rangeNode(parent, "file", inside + files.name[file], from, from + 1, { file, layer: parent.layer });
}

function componentNode(parent, component, from, to) {
  return rangeNode(parent, "component", componentName(components[component]), from, to, {
    component,
    layer: parent.layer,
    directory: commonDirectory(0, from, to),
  });
}

function listChildren(node) {
  const list = [];
  if (node.kind === "image") {
    let from = 0;
    layers.forEach(({ name }, layer) => {
      const to = lowerBound(from, fileCount, layer + 1, (file) => files.layer[file]);
      list.push(rangeNode(node, "layer", name, from, to, { layer, sizes: sizesOfLayers([layers[layer]]) }));
      from = to;
    });
  } else if (node.kind === "layer") {
    for (let { from } = node, to; from < node.to; from = to) {
      const component = files.component[order[from]];
      to = lowerBound(from, node.to, component + 1, (file) => files.component[file]);
      list.push(componentNode(node, component, from, to));
    }
  } else {
    const above = node.directory;
    for (let { from } = node, to; from < node.to; from = to) {
      const first = files.directory[order[from]];
      to = from + 1;
      if (first !== above) {
        const child = childToward(above, first);
        to = lowerBound(to, node.to, preorderEnd[child], (file) => preorder[files.directory[file]]);
        if (to > from + 1) {
          const directory = commonDirectory(child, from, to);
          const label = directoryPath(directory).slice(directoryPath(above).length);
          list.push(rangeNode(node, "directory", label, from, to, { directory, layer: node.layer }));
          continue;
        }
      }
      list.push(fileNode(node, from, above));
    }
  }
  return list;
}
const childrenOf = (node) => (node.kind === "file" ? [] : (node.list ??= listChildren(node)));

/** The node whose children are shown for a node: levels with a single cell are passed. */
function inside(node) {
  while (childrenOf(node).length === 1 && node.list[0].kind !== "file") node = node.list[0];
  return node;
}

/** The node that is shown after zooming out, or undefined. */
function outside(node) {
  let above = node.parent;
  while (above?.parent && childrenOf(above).length === 1) above = above.parent;
  return above && inside(above) !== node ? above : undefined;
}

const image = rangeNode(undefined, "image", data.name, 0, fileCount, { sizes: sizesOfLayers(layers) });

// --- Layout of the treemap ------------------------------------------------------------------------------

/** Squarified treemap (Bruls, Huizing, van Wijk 2000): a rectangle for each value, in order. */
function squarify(values, { x, y, width, height }) {
  const rectangles = [];
  let left = values.reduce((sum, value) => sum + value, 0);
  for (let start = 0, end; start < values.length; start = end) {
    const side = Math.min(width, height);
    const scale = left > 0 ? (width * height) / left : 0;
    let sum = 0;
    let worst = Infinity;
    for (end = start; end < values.length; end++) {
      // Values decrease, so the row's first is its largest.
      const row = (sum + values[end]) * scale;
      const largest = Math.max(values[start], values[end]) * scale;
      const ratio = Math.max((side * side * largest) / (row * row), (row * row) / (side * side * values[end] * scale));
      if (ratio > worst) break;
      worst = ratio;
      sum += values[end];
    }
    const thickness = side > 0 ? (sum * scale) / side : 0;
    let offset = 0;
    for (let index = start; index < end; index++) {
      const length = sum > 0 ? (values[index] / sum) * side : 0;
      rectangles.push(
        width >= height
          ? { x, y: y + offset, width: thickness, height: length }
          : { x: x + offset, y, width: length, height: thickness },
      );
      offset += length;
    }
    if (width >= height) {
      x += thickness;
      width = Math.max(0, width - thickness);
    } else {
      y += thickness;
      height = Math.max(0, height - thickness);
    }
    left -= sum;
  }
  return rectangles;
}

// Limits for the cells of the current level, those inside them, and those inside these: the smallest area of a
// cell in square pixels, and how many are drawn at most. The outer cells are to be pointed at and focused; the
// others give an impression. More elements take longer than a frame or two.
const LEVELS = [
  { area: 180, atMost: 360 },
  { area: 110, atMost: 36 },
  { area: 170, atMost: 12 },
];
// Heights of the lines above inner cells, and the margin around these.
const HEADS = [20, 18];
const PAD = 2;

/** The cells of a node with their rectangles, from large to small. Small ones are merged. */
function layout(node, rectangle, level) {
  const nodes = childrenOf(node)
    .filter((child) => child.sizes[metric] > 0)
    .sort((one, other) => other.sizes[metric] - one.sizes[metric]);
  const { area, atMost } = LEVELS[level];
  const whole = nodes.reduce((sum, child) => sum + child.sizes[metric], 0);
  const scale = (rectangle.width * rectangle.height) / (whole || 1);
  let some = Math.min(nodes.length, atMost);
  // All layers are shown.
  if (node.kind !== "image") while (some > 0 && nodes[some - 1].sizes[metric] * scale < area) some -= 1;
  let cells = nodes.slice(0, some);
  if (nodes.length - some === 1) cells = nodes;
  else if (nodes.length > some && (some > 0 || level > 0)) cells.push(restNode(node, nodes.slice(some)));
  else if (nodes.length > atMost) {
    // A single cell for all of them would not lead to any of them.
    const number = Math.ceil(Math.sqrt(nodes.length));
    cells = Array.from({ length: Math.ceil(nodes.length / number) }, (_, part) =>
      restNode(node, nodes.slice(part * number, (part + 1) * number)));
  } else if (some === 0) cells = nodes;
  const rectangles = squarify(cells.map((cell) => cell.sizes[metric]), rectangle);
  return cells.map((cell, index) => ({ node: cell, ...rectangles[index] }));
}

// --- The treemap -------------------------------------------------------------------------------------------

const map = byId("map");
const tip = byId("tip");
let metric = hasCompressed ? COMPRESSED : UNCOMPRESSED;
let zoomed = inside(image);
/** The cells of the current level: {node, x, y, width, height, element, outer: the cell of this level}. */
let cells = [];
/** These and the cells inside them. */
let drawn = [];
/** Index of a cell of the current level. */
let focused = 0;

const nameOfKind = { component: (node) => components[node.component].kind, rest: () => "files", image: () => "image" };
const kindOf = (node) => nameOfKind[node.kind]?.(node) ?? node.kind;

/** Names of the nodes from the image's layers down to this. */
function trail(node) {
  const nodes = [];
  for (let above = node; above.parent; above = above.parent) nodes.unshift(above);
  return nodes;
}
const labelOf = (node) => shown(node.label);
const sizesText = (node) =>
  hasCompressed
    ? `${units(node.sizes[COMPRESSED])} compressed, ${units(node.sizes[UNCOMPRESSED])} uncompressed`
    : `${units(node.sizes[UNCOMPRESSED])} uncompressed`;
function description(node) {
  const share = `${percent(node.sizes[metric], image.sizes[metric])} of the image`;
  const number = node.kind === "file" ? "" : `, ${tallyText(node.tally)}`;
  return `${sizesText(node)}, ${share}${number}`;
}

function drawMap() {
  const whole = { x: 0, y: 0, width: map.clientWidth || 800, height: map.clientHeight || 400 };
  drawn = [];
  cells = layout(zoomed, whole, 0);
  for (const cell of cells) drawCell(cell, whole, 0, cell);
  if (cells.length) map.replaceChildren(...cells.map((cell) => cell.element));
  else map.replaceChildren(make("p", { class: "empty quiet" }, fileCount ? "Nothing here takes space." : "The layers contain no files."));
  drawnSize = mapSize();
  focused = Math.min(focused, Math.max(0, cells.length - 1));
  markSelection();
  showFocus(false);
}

/** Makes the element of a cell. Positions are relative, so that a printed page can have another width. */
function drawCell(cell, within, level, outer) {
  const { node, x, y, width, height } = cell;
  const names = ["cell", "part", "part leaf"];
  cell.outer = outer;
  cell.element = make("div", { class: `${names[level]} of-${node.kind}`, "data-cell": drawn.length, "data-bytes": node.sizes[metric], hue: hues[node.layer] });
  drawn.push(cell);
  const { style } = cell.element;
  style.left = `${((x - within.x) / within.width) * 100}%`;
  style.top = `${((y - within.y) / within.height) * 100}%`;
  style.width = `${(width / within.width) * 100}%`;
  style.height = `${(height / within.height) * 100}%`;

  const head = HEADS[level];
  const room = { x: x + PAD, y: y + head, width: width - 2 * PAD, height: height - head - PAD };
  // A cell without room for a label would be covered by what is inside it.
  const smallest = level === 0 ? [34, 14] : [60, 34];
  const hasInner = node.kind !== "file" && room.width > smallest[0] && room.height > smallest[1];
  if (width > 38 && height >= 17) {
    const oneLine = level === 0 || hasInner;
    cell.element.append(
      make("span", { class: oneLine ? "head" : "lines" },
        make("span", { class: "label" }, labelOf(node)),
        (oneLine ? width > 130 : height > 36 && width > 56) && make("span", { class: "bytes" }, units(node.sizes[metric]))));
  }
  if (hasInner) {
    for (const inner of layout(inside(node), room, level + 1)) {
      drawCell(inner, cell, level + 1, outer);
      cell.element.append(inner.element);
    }
  }
}

function markSelection() {
  for (const { node, element } of drawn) element.classList.toggle("selected", node.kind === "file" && node.file === selection);
}

const mapSize = () => `${map.clientWidth}×${map.clientHeight}`;
let drawnSize = "";

function showFocus(announce) {
  map.querySelector(".focused")?.classList.remove("focused");
  const cell = cells[focused];
  if (!cell) {
    byId("map-details").textContent = "";
    return;
  }
  cell.element.classList.add("focused");
  showDetails(cell.node);
  if (announce) byId("map-live").textContent = `${labelOf(cell.node)}, ${kindOf(cell.node)}, ${description(cell.node)}`;
}

function showDetails(node) {
  byId("map-details").replaceChildren(make("b", {}, labelOf(node)), ` ${description(node)}`);
}

function drawCrumbs() {
  const nodes = [image, ...trail(zoomed)];
  byId("crumbs").replaceChildren(
    ...nodes.map((node, index) => {
      const label = node === image ? "Image" : labelOf(node);
      const last = index === nodes.length - 1;
      return make("li", {}, last
        ? make("span", { "aria-current": "location", title: label }, label)
        : make("button", { type: "button", class: "link", title: label, onclick: () => zoomTo(node) }, label));
    }),
  );
}

/** Shows the children of a node. `from` is the node that gets the focus, or a node inside it. */
function zoomTo(node, from) {
  zoomed = inside(node);
  focused = 0;
  drawMap();
  drawCrumbs();
  if (from) focusOn((cell) => contains(cell, from));
  showFocus(document.activeElement === map);
  if (selection === null) drawInspector();
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
    map.animate?.([{ opacity: 0.35 }, { opacity: 1 }], { duration: 140, easing: "ease-out" });
  }
}

function focusOn(test) {
  const found = cells.findIndex(({ node }) => test(node));
  if (found >= 0) focused = found;
}

/** Whether a node is, or is above, another. Merged cells are made for each layout, so their contents count. */
function contains(node, other) {
  while (other.kind === "rest") [other] = other.list;
  for (let above = other; above; above = above.parent) if (above === node) return true;
  return node.kind === "rest" && node.list.some((part) => contains(part, other));
}

function enter(node) {
  if (node.kind === "file") select(node.file, false);
  else zoomTo(node);
}

function zoomOut() {
  const above = outside(zoomed);
  if (above) zoomTo(above, zoomed);
  return Boolean(above);
}

/** The cell next to the focused one in the direction of a key. */
function neighbor(key) {
  const sideways = key === "ArrowLeft" || key === "ArrowRight";
  const forward = key === "ArrowRight" || key === "ArrowDown";
  const [start, extent, across, acrossExtent] = sideways ? ["x", "width", "y", "height"] : ["y", "height", "x", "width"];
  const current = cells[focused];
  const line = current[across] + Math.min(current[acrossExtent] / 2, 20);
  let best = -1;
  let bestScore = Infinity;
  cells.forEach((cell, index) => {
    const gap = forward ? cell[start] - current[start] - current[extent] : current[start] - cell[start] - cell[extent];
    if (index === focused || gap < -0.5) return;
    const aside = Math.max(0, cell[across] - line, line - cell[across] - cell[acrossExtent]);
    const score = Math.max(0, gap) + 4 * aside;
    if (score < bestScore) [best, bestScore] = [index, score];
  });
  return best;
}

map.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const { key } = event;
  let next = -1;
  if (key === "Escape" || key === "Backspace") {
    if (!zoomOut() && key === "Escape") return;
  } else if (!cells.length) return;
  else if (key === "Enter" || key === " ") enter(cells[focused].node);
  else if (key.startsWith("Arrow")) next = neighbor(key);
  else if (key === "Home") next = 0;
  else if (key === "End") next = cells.length - 1;
  else return;
  event.preventDefault();
  if (next >= 0) {
    focused = next;
    showFocus(true);
  }
});
map.addEventListener("focus", () => showFocus(true));

/** The innermost cell that an event is about. */
const cellOf = (event) => drawn[event.target.closest("[data-cell]")?.dataset.cell];
map.addEventListener("click", (event) => {
  const cell = cellOf(event);
  if (!cell) return;
  hideTip();
  focused = cells.indexOf(cell.outer);
  showFocus(false);
  enter(cell.node);
});
let tipNode;
map.addEventListener("pointermove", (event) => {
  const cell = event.pointerType === "touch" ? undefined : cellOf(event);
  if (!cell) return hideTip();
  const { node } = cell;
  if (node !== tipNode) {
    tipNode = node;
    const names = trail(node).map(labelOf);
    tip.replaceChildren(
      make("b", {}, names.pop()),
      make("span", { class: "quiet" }, names.join(" › ")),
      make("span", {}, sizesText(node)),
      make("span", {}, [
        node.kind !== "file" && node.kind !== "rest" && tallyText(node.tally),
        node.kind === "rest" && node.list.some((part) => part.kind !== "file") && `in ${count(node.list.length, "place")}`,
        `${percent(node.sizes[metric], image.sizes[metric])} of the image`,
      ].filter(Boolean).join(", ")),
    );
    tip.hidden = false;
    showDetails(node);
  }
  const { offsetWidth, offsetHeight } = tip;
  const x = event.clientX + 14 + offsetWidth > innerWidth ? event.clientX - 14 - offsetWidth : event.clientX + 14;
  const y = event.clientY + 18 + offsetHeight > innerHeight ? event.clientY - 12 - offsetHeight : event.clientY + 18;
  tip.style.left = `${Math.max(4, x)}px`;
  tip.style.top = `${Math.max(4, y)}px`;
});
function hideTip() {
  if (tip.hidden) return;
  tip.hidden = true;
  tipNode = undefined;
  showFocus(false);
}
map.addEventListener("pointerleave", hideTip);
addEventListener("scroll", hideTip, { passive: true });

function drawMetric() {
  for (const button of byId("metric").children) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.metric) === metric));
  }
}
byId("metric").hidden = !hasCompressed;
byId("metric").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || Number(button.dataset.metric) === metric) return;
  const from = cells[focused]?.node;
  metric = Number(button.dataset.metric);
  drawMetric();
  drawMap();
  if (from) focusOn((node) => node === from);
  showFocus(false);
  if (selection === null) drawInspector();
});

/** Zooms to the cells among which a file is, and focuses its cell. */
function showInMap(file) {
  let node = image;
  // The range of the file's layer, component and directories, and then cells of smaller files.
  const at = lowerBoundOfFile(file);
  for (;;) {
    const next = childrenOf(node).find((child) => child.from <= at && at < child.to);
    if (!next || next.kind === "file") break;
    node = next;
  }
  zoomTo(node);
  const holds = (other) => other.file === file || (other.kind === "rest" && other.list.some(holds));
  let holder;
  while ((holder = cells.find((cell) => holds(cell.node))) && holder.node.kind === "rest") zoomTo(holder.node);
  focusOn(holds);
  map.focus({ preventScroll: true });
  map.scrollIntoView({ block: "nearest" });
  showFocus(true);
}

/** Position of a file in the order. */
function lowerBoundOfFile(file) {
  const key = (other) =>
    (files.layer[other] - files.layer[file]) * 4 +
    Math.sign(files.component[other] - files.component[file]) * 2 +
    Math.sign(preorder[files.directory[other]] - preorder[files.directory[file]]);
  let at = lowerBound(0, fileCount, 0, key);
  while (order[at] !== file) at += 1;
  return at;
}

// --- Details of a cell or a file ------------------------------------------------------------------------------

const inspector = byId("inspector");
/** The file whose details are shown. */
let selection = null;
const LISTED = 14;
const TOP_INSIDE = 8;

function drawInspector() {
  inspector.replaceChildren(...(selection === null ? levelDetails() : fileDetails(selection)));
  inspector.scrollTop = 0;
}

const SIZES_NOTE = "Sizes of layers include tar headers and directories.";
const ESTIMATES_NOTE = "Compressed sizes of files are estimates that include their headers, so a small file can have more compressed than uncompressed bytes.";

function levelDetails() {
  const node = zoomed;
  const whole = node.sizes[metric];
  const parts = childrenOf(node).slice().sort((one, other) => other.sizes[metric] - one.sizes[metric]);
  return [
    make("h2", { class: "inspector-name" }, node === image ? "The image" : labelOf(node)),
    make("p", { class: "quiet" }, `${tallyText(node.tally)}, ${sizesText(node)}`),
    make("p", { class: "note quiet" }, SIZES_NOTE, hasCompressed && ` ${ESTIMATES_NOTE}`),
    make("ol", { class: "parts" }, parts.slice(0, LISTED).map((part) =>
      make("li", {},
        make("button", { type: "button", hue: hues[part.layer], onclick: () => { enter(part); inspector.focus({ preventScroll: true }); } },
          bar(part.sizes[metric], whole),
          make("span", { class: "label" }, labelOf(part)),
          size(part.sizes[metric]),
          make("span", { class: "share" }, percent(part.sizes[metric], whole))),
      ))),
    parts.length > LISTED && make("p", { class: "quiet" }, `and ${integer.format(parts.length - LISTED)} more`),
    parts.some((part) => part.kind !== "file") && [
      make("h3", {}, node === image ? "Largest files" : "Largest files in it"),
      make("ul", { class: "plain top" }, largestInside(node, TOP_INSIDE).map((file) =>
        make("li", {}, make("button", { type: "button", class: "link", title: shown(pathOf(file)), onclick: () => select(file, true) }, shown(nameOf(file))), size(measures[metric][file])))),
    ],
  ].flat().filter(Boolean);
}

function largestInside(node, limit) {
  if (node.kind === "rest") {
    const candidates = node.list.flatMap((part) => largestInside(part, limit));
    return largest(candidates.length, limit, (at) => measures[metric][candidates[at]]).map((at) => candidates[at]);
  }
  return largest(node.to - node.from, limit, (at) => measures[metric][order[node.from + at]]).map((at) => order[node.from + at]);
}

function bar(part, whole) {
  const filled = make("i");
  filled.style.width = `${whole ? Math.max(0.5, (100 * part) / whole) : 0}%`;
  return make("span", { class: "meter", "aria-hidden": "true" }, filled);
}

const KINDS = { f: "file", l: "symlink", h: "hard link", w: "whiteout: deletes this path of the layers below", o: "device or pipe" };
const term = (name, ...values) => [make("dt", {}, name), make("dd", {}, values)];

// What fits into three lines of the panel with the details, in characters.
const SHORT_PATTERN = 100;

/** A pattern. A long one has three lines, and a button that shows the others. */
function patternText(pattern, short = SHORT_PATTERN) {
  const text = code(pattern);
  if (pattern.length <= short) return text;
  text.classList.add("clamped");
  const button = make("button", { type: "button", class: "link", "aria-expanded": "false" }, "show all");
  button.addEventListener("click", () => {
    const clamped = text.classList.toggle("clamped");
    button.textContent = clamped ? "show all" : "show less";
    button.setAttribute("aria-expanded", String(!clamped));
  });
  return [text, " ", button];
}

const ofPatterns = (index) => `${index + 1} of ${integer.format(patterns.length)}`;

/** Terms for a pattern of a group or of `exclude`. */
const patternTerms = ({ pattern, written, where }) => [
  term("Pattern", patternText(written)),
  written !== pattern && term("Matched as", patternText(pattern)),
  term("Set in", shown(where)),
];

/** The patterns before `end`, none of which matched. */
function triedPatterns(end) {
  if (end === 0) return undefined;
  const summary = end === 1 ? "1 pattern was tried before and did not match" : `${integer.format(end)} patterns were tried before and did not match`;
  return make("details", { open: end <= 8 },
    make("summary", {}, end === patterns.length ? `${count(end, "pattern")} did not match` : summary),
    make("ol", { class: "tried" }, patterns.slice(0, end).map((tried) =>
      make("li", {}, make("b", {}, shown(tried.group)), " ", patternText(tried.written), make("span", { class: "quiet" }, shown(tried.where))))));
}

/** Why a file is in its layer. */
function whyHere(file) {
  if (!isDivisionKnown) {
    return [make("p", {}, "How files were divided among the layers is not recorded for this image.")];
  }
  const index = files.pattern[file];
  const group = index < 0 ? data.default_group : patterns[index].group;
  const split = layers[files.layer[file]].name !== group &&
    make("p", {}, "This group has several layers. The name of the distribution determines which.");
  if (index < 0) {
    return [
      make("p", {}, "It matched no pattern, so it is in the group ", make("b", {}, shown(group)), "."),
      split,
      triedPatterns(patterns.length),
    ];
  }
  const found = patterns[index];
  return [
    make("p", {}, `Pattern ${ofPatterns(index)} matched, so it is in the group `, make("b", {}, shown(group)), "."),
    split,
    make("dl", { class: "terms" }, patternTerms(found)),
    triedPatterns(index),
  ];
}

/** Why a file is in no layer. */
function whyLeftOut(file) {
  const excluded = leftOut.exclude[file - fileCount];
  if (excluded >= 0) {
    return [
      make("p", {}, "A pattern of ", make("b", {}, "exclude"), " matched."),
      make("dl", { class: "terms" }, patternTerms(exclude[excluded])),
    ];
  }
  const index = leftOut.pattern[file - fileCount];
  if (index < 0) {
    return [
      make("p", {}, "It matched no pattern, so it is in the group ", make("b", {}, shown(data.default_group)), ", which is dropped."),
      triedPatterns(patterns.length),
    ];
  }
  const found = patterns[index];
  return [
    make("p", {}, `Pattern ${ofPatterns(index)} matched, so it is in the group `, make("b", {}, shown(found.group)), ", which is dropped."),
    make("dl", { class: "terms" }, patternTerms(found)),
    triedPatterns(index),
  ];
}

function fileDetails(file) {
  const out = isLeftOut(file);
  const close = make("button", { type: "button", class: "button small", onclick: closeDetails }, "Close");
  const copies = out ? undefined : duplicates.find((same) => same.files.includes(file));
  const component = out ? undefined : components[files.component[file]];
  return [
    make("div", { class: "inspector-head" }, make("h2", { class: "inspector-name" }, shown(nameOf(file))), close),
    make("p", { class: "inspector-path" }, pathText(file)),
    make("p", { class: "inspector-layer" }, out ? make("span", { class: "layer out" }, make("i"), "left out") : layerName(files.layer[file])),
    make("div", { class: "buttons" },
      !out && make("button", { type: "button", class: "button small", id: "show-in-map", onclick: () => showInMap(file) }, "Show in treemap"),
      copyButton(pathOf(file), "Copy path")),
    make("h3", {}, out ? "Why it is left out" : "Why it is in this layer"),
    make("div", { class: "why", id: "why" }, out ? whyLeftOut(file) : whyHere(file)),
    make("h3", {}, "Details"),
    make("dl", { class: "terms" },
      !out && term("Kind", KINDS[files.kind[file]] ?? KINDS.o),
      !out && files.link[file] !== undefined && term(files.kind[file] === "h" ? "Same file as" : "Points to", code(files.link[file])),
      term("Uncompressed", size(sizeOf(file)), make("span", { class: "quiet" }, ` ${exact(sizeOf(file))}`)),
      !out && hasCompressed && term("Compressed", size(files.compressed[file]), make("span", { class: "quiet" }, " estimated, with its headers")),
      component && term({ interpreter: "Interpreter", distribution: "Distribution", repository: "Repository", directory: "Directory" }[component.kind] ?? "Component", componentName(component))),
    copies && make("h3", {}, "Stored more than once"),
    copies && make("p", {}, `These files have the same content, ${units(copies.size)} each:`),
    copies && make("ul", { class: "plain" }, copies.files.filter((other) => other !== file).slice(0, LISTED).map((other) => make("li", {}, fileButton(other), " ", layerName(files.layer[other])))),
  ].filter(Boolean);
}

// Only the path of the page itself may be kept.
const hashOf = (file) => `#path=${encodeURIComponent(pathOf(file).toWellFormed?.() ?? pathOf(file)).replaceAll("%2F", "/")}`;

/** Shows a file's details, or those of the zoomed cell if `file` is null. */
function select(file, scroll, visit = "pushState") {
  selection = file;
  markSelection();
  drawInspector();
  const hash = file === null ? "" : hashOf(file);
  if (location.hash !== hash) history[visit](null, "", hash || location.pathname + location.search);
  if (scroll) {
    inspector.scrollIntoView({ block: "nearest" });
    inspector.focus({ preventScroll: true });
  }
}

function closeDetails() {
  if (selection === null && !location.hash.startsWith("#path=")) return;
  select(null);
  map.focus({ preventScroll: true });
}

function followHash(scroll) {
  if (location.hash.startsWith("#path=")) {
    if (selection !== null && hashOf(selection) === location.hash) return;
    let path;
    try {
      path = decodeURIComponent(location.hash.slice("#path=".length));
    } catch {
      return;
    }
    const file = fileAt(path.replace(/^\.?\//, ""));
    // Another spelling of the path must not become one more step to go back.
    if (file >= 0) select(file, scroll, "replaceState");
    else {
      selection = null;
      inspector.replaceChildren(
        make("h2", { class: "inspector-name" }, "No such file"),
        make("p", { class: "inspector-path" }, make("span", { class: "path" }, shown(path))),
        make("p", {}, "The layers do not contain this path, and it was not left out."),
        make("button", { type: "button", class: "button small", onclick: closeDetails }, "Close"));
    }
  } else if (selection !== null && location.hash === "") select(null);
}
addEventListener("popstate", () => followHash(true));

// --- Search ----------------------------------------------------------------------------------------------------

const FOUND = 200;
const input = byId("search");
const results = byId("results");
let found = [];
let active = -1;
let index;

/** All paths in lower case, one after another, and where each of them and its file name start. */
function searchIndex() {
  if (index) return index;
  const total = fileCount + leftOut.name.length;
  const starts = new Int32Array(total + 1);
  const names = new Int32Array(total);
  const lowered = [];
  const pieces = [];
  let at = 0;
  for (let file = 0; file < total; file++) {
    const directory = directoryOf(file);
    const above = (lowered[directory] ??= directoryPath(directory).toLowerCase());
    const name = nameOf(file).toLowerCase();
    starts[file] = at;
    names[file] = at + above.length;
    pieces.push(above, name, "\n");
    at += above.length + name.length + 1;
  }
  starts[total] = at;
  index = { text: pieces.join(""), starts, names };
  return index;
}

/** What is searched for: paths have no leading slash. */
const wantedText = () => input.value.toLowerCase().replace(/^\.?\//, "");

/** The numbers of the files that match a text, best first, at most `FOUND`, and how many there are. */
function search(wanted) {
  const { text, starts, names } = searchIndex();
  // The whole path; the start of the name; in the name; elsewhere.
  const ranks = [[], [], [], []];
  let number = 0;
  let file = 0;
  for (let at = text.indexOf(wanted); at >= 0; ) {
    while (starts[file + 1] <= at) file += 1;
    const end = starts[file + 1] - 1;
    let next = at;
    if (at + wanted.length <= end) {
      number += 1;
      let rank = 3;
      if (at === starts[file] && at + wanted.length === end) rank = 0;
      else {
        if (at < names[file]) next = text.indexOf(wanted, names[file]);
        if (next >= 0 && next < end) rank = next === names[file] ? 1 : 2;
      }
      if (ranks[rank].length < FOUND) ranks[rank].push(file);
    }
    if (next < 0) break;
    // What was found may already be in a later path.
    at = next > end ? next : text.indexOf(wanted, end);
  }
  return { number, best: ranks.flat().slice(0, FOUND) };
}

/** A path in which the first place that matches is marked. */
function markedPath(file, wanted) {
  const path = pathOf(file);
  const nameStart = path.length - nameOf(file).length;
  const lower = path.toLowerCase();
  let at = lower.indexOf(wanted, nameStart);
  if (at < 0) at = lower.indexOf(wanted);
  if (at < 0 || lower.length !== path.length) return make("span", { class: "path" }, shown(path));
  return make("span", { class: "path" }, shown(path.slice(0, at)), make("mark", {}, shown(path.slice(at, at + wanted.length))), shown(path.slice(at + wanted.length)));
}

function runSearch() {
  const wanted = wantedText();
  active = -1;
  input.removeAttribute("aria-activedescendant");
  if (!wanted) return closeSearch();
  const { number, best } = search(wanted);
  found = best;
  results.replaceChildren(...best.map((file, position) =>
    make("li", { role: "option", id: `result-${position}`, "data-position": position, "aria-selected": "false" },
      markedPath(file, wanted),
      make("span", { class: "result-more" },
        isLeftOut(file) ? make("span", { class: "layer out" }, make("i"), "left out") : layerName(files.layer[file]),
        size(sizeOf(file))))));
  byId("results-count").textContent =
    number === 0 ? "No path matches." : number > best.length ? `${count(number, "path")} match; ${best.length} are shown.` : `${count(number, "path matches", "paths match")}.`;
  byId("results-box").hidden = false;
  byId("results-box").scrollTop = 0;
  input.setAttribute("aria-expanded", String(number > 0));
  if (best.length) setActive(0);
}

function closeSearch() {
  byId("results-box").hidden = true;
  results.replaceChildren();
  found = [];
  active = -1;
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("aria-activedescendant");
}

function setActive(position) {
  results.children[active]?.setAttribute("aria-selected", "false");
  active = position;
  const element = results.children[position];
  element.setAttribute("aria-selected", "true");
  input.setAttribute("aria-activedescendant", element.id);
  element.scrollIntoView({ block: "nearest" });
}

function choose(position) {
  const file = found[position];
  if (file === undefined) return;
  closeSearch();
  input.value = "";
  select(file, true);
}

input.addEventListener("input", runSearch);
input.addEventListener("focus", runSearch);
input.addEventListener("keydown", (event) => {
  // Without a search to end, Escape closes the details of a file.
  if (event.key === "Escape" && !input.value) return input.blur();
  if (event.key === "ArrowDown" && found.length) setActive((active + 1) % found.length);
  else if (event.key === "ArrowUp" && found.length) setActive((active + found.length - 1) % found.length);
  else if (event.key === "Enter") choose(active);
  else if (event.key === "Escape") {
    input.value = "";
    closeSearch();
  } else return;
  event.preventDefault();
});
results.addEventListener("pointerdown", (event) => event.preventDefault());
results.addEventListener("click", (event) => {
  const element = event.target.closest("[data-position]");
  if (element) choose(Number(element.dataset.position));
});
addEventListener("pointerdown", (event) => {
  if (!event.target.closest(".search")) closeSearch();
});
input.addEventListener("blur", () => closeSearch());
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.defaultPrevented) return closeDetails();
  if (event.key !== "/" || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
  event.preventDefault();
  input.focus();
  input.select();
});

// --- Tables ------------------------------------------------------------------------------------------------------

/** A table. `columns` are {name, number?, sort?: function, hint?}; `rows` gives cells for each sorted column. */
function table(caption, columns, rows) {
  let sorted = columns.findIndex((column) => column.sort === true);
  const body = make("tbody");
  const fill = () => body.replaceChildren(...rows(sorted));
  const heads = columns.map((column, position) => {
    const head = make("th", { scope: "col", class: column.number && "number", title: column.hint });
    if (column.sort !== undefined) {
      head.append(make("button", { type: "button", class: "sort", onclick: () => {
        sorted = position;
        mark();
        fill();
      } }, column.name));
    } else head.append(column.name);
    return head;
  });
  const mark = () => heads.forEach((head, position) => {
    if (columns[position].sort === undefined) return;
    if (position === sorted) head.setAttribute("aria-sort", "descending");
    else head.removeAttribute("aria-sort");
  });
  mark();
  fill();
  return make("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": caption },
    make("table", {}, make("caption", { class: "hidden" }, caption), make("thead", {}, make("tr", {}, heads)), body));
}
const cell = (...content) => make("td", {}, content);
const numberCell = (...content) => make("td", { class: "number" }, content);
const rowHead = (...content) => make("th", { scope: "row" }, content);

/** Adds to a section, which becomes visible. */
function fillSection(id, ...content) {
  const section = byId(id);
  section.hidden = false;
  section.append(...content.filter(Boolean));
}
const lede = (...text) => make("p", { class: "lede" }, text);

/** The `limit` largest of `total` numbers by a value, from large to small. */
function largest(total, limit, value) {
  const kept = [];
  for (let number = 0; number < total; number++) {
    const its = value(number);
    if (kept.length === limit && its <= value(kept[limit - 1])) continue;
    let at = kept.length;
    while (at > 0 && value(kept[at - 1]) < its) at -= 1;
    kept.splice(at, 0, number);
    if (kept.length > limit) kept.pop();
  }
  return kept;
}

/** A list whose first items are visible, and a button that shows more. */
function growing(items, step, parent, row) {
  const more = make("button", { type: "button", class: "button" });
  let visible = 0;
  const grow = () => {
    parent.append(...items.slice(visible, visible + step).map(row));
    visible = Math.min(items.length, visible + step);
    more.textContent = `Show ${integer.format(Math.min(step, items.length - visible))} more of ${integer.format(items.length)}`;
    more.hidden = visible === items.length;
  };
  more.addEventListener("click", grow);
  grow();
  return more;
}

const TOP = 25;

function drawHeader() {
  byId("name").textContent = shown(data.name);
  byId("made-by").textContent = "What the layers of this image contain, and why";
  byId("foot").textContent = `Written by ${shown(data.generated_by)}. Compressed sizes of files are estimates: a file's share, with its tar headers, of the compressed chunks that it is in. Sizes of layers and of the image include the tars' headers, directories and padding; other sizes are sums over files.`;
  const figure = (name, value, title) => make("div", {}, make("dt", {}, name), make("dd", { title }, value));
  const compressed = total(layers, "size");
  const tars = total(layers, "tar_size");
  byId("figures").append(...[
    figure("compressed", units(compressed), exact(compressed)),
    figure("uncompressed", units(tars), `${exact(tars)}, with the headers and the padding of the tars`),
    figure(layers.length === 1 ? "layer" : "layers", integer.format(layers.length)),
    talliedKinds([image.tally]).map((which) => figure(TALLY_NOUNS[which][image.tally[which] === 1 ? 0 : 1], integer.format(image.tally[which]), TALLY_HINTS[which])),
  ].flat());
}

function drawLayers() {
  const compressed = total(layers, "size");
  const tallies = childrenOf(image).map((node) => node.tally);
  const kinds = talliedKinds(tallies);
  fillSection("layers", table("Layers from bottom to top",
    [
      { name: "Layer" },
      ...tallyColumns(kinds),
      { name: "Compressed", number: true },
      { name: "Share" },
      { name: "Uncompressed", number: true, hint: "Size of the tar" },
      { name: "Ratio", number: true, hint: "Uncompressed size divided by compressed size" },
      { name: "Chunks", number: true, hint: "Parts that were compressed independently" },
      { name: "Digest" },
    ],
    () => layers.map((layer, number) =>
      make("tr", { hue: hues[number] },
        rowHead(layerName(number)),
        tallyCells(kinds, tallies[number]),
        numberCell(size(layer.size)),
        cell(make("span", { class: "share-cell" }, bar(layer.size, compressed), make("span", { class: "share" }, percent(layer.size, compressed)))),
        numberCell(size(layer.tar_size)),
        numberCell(layer.size ? `${(layer.tar_size / layer.size).toFixed(1)}×` : "–"),
        numberCell(integer.format(layer.chunks)),
        cell(make("span", { class: "digest" },
          make("code", { title: `digest ${layer.digest}\ndiff ID ${layer.diff_id}\n${layer.media_type}` }, layer.digest.replace(/^sha256:(.{12}).*/, "$1")),
          copyButton(layer.digest, "Copy", `Copy the digest of ${shown(layer.name)}`)))))));
}

function drawComponents() {
  if (!components.length) return;
  const sizes = components.map(() => [0, 0]);
  const tallies = components.map(() => TALLY_NOUNS.map(() => 0));
  const inLayers = components.map(() => new Set());
  for (let file = 0; file < fileCount; file++) {
    const component = files.component[file];
    sizes[component][COMPRESSED] += measures[COMPRESSED][file];
    sizes[component][UNCOMPRESSED] += files.size[file];
    tallies[component][tallied(file)] += 1;
    inLayers[component].add(files.layer[file]);
  }
  const kinds = talliedKinds(tallies);
  const columns = [{ name: "Name" }, { name: "Kind" }, { name: "Layer" }, ...tallyColumns(kinds)];
  if (hasCompressed) columns.push({ name: "Compressed", number: true, sort: true, hint: "Estimated" });
  columns.push({ name: "Uncompressed", number: true, sort: !hasCompressed }, { name: "Share" });
  const rows = (sorted) => {
    const which = columns[sorted].name === "Compressed" ? COMPRESSED : UNCOMPRESSED;
    return largest(components.length, TOP, (number) => sizes[number][which]).map((number) => {
      const where = [...inLayers[number]].sort((one, other) => one - other);
      return make("tr", { hue: hues[where[0]] },
        rowHead(make("button", { type: "button", class: "link", onclick: () => showComponent(number, where[0]) }, componentName(components[number]))),
        cell(components[number].kind),
        cell(where.slice(0, 3).map((layer) => layerName(layer)), where.length > 3 && ` and ${where.length - 3} more`),
        tallyCells(kinds, tallies[number]),
        hasCompressed && numberCell(size(sizes[number][COMPRESSED])),
        numberCell(size(sizes[number][UNCOMPRESSED])),
        cell(make("span", { class: "share-cell" }, bar(sizes[number][which], image.sizes[which]), make("span", { class: "share" }, percent(sizes[number][which], image.sizes[which])))));
    });
  };
  fillSection("components",
    lede(components.length > TOP ? `The largest ${TOP} of ${integer.format(components.length)} distributions, interpreters, repositories and other directories.` : "Distributions, interpreters, repositories and other directories."),
    table("Largest components", columns, rows));
}

function showComponent(component, layer) {
  const above = layer === undefined ? undefined : childrenOf(image).find((node) => node.layer === layer);
  const node = above && childrenOf(above).find((child) => child.component === component);
  if (!node) return;
  if (selection !== null) select(null);
  zoomTo(node);
  map.focus({ preventScroll: true });
  map.scrollIntoView({ block: "center" });
}

function drawFiles() {
  if (!fileCount) return;
  const columns = [{ name: "File" }, { name: "Layer" }];
  if (hasCompressed) columns.push({ name: "Compressed", number: true, sort: true, hint: "Estimated" });
  columns.push({ name: "Uncompressed", number: true, sort: !hasCompressed });
  fillSection("files", table("Largest files", columns, (sorted) =>
    largest(fileCount, TOP, (file) => measures[columns[sorted].name === "Compressed" ? COMPRESSED : UNCOMPRESSED][file]).map((file) =>
      make("tr", {},
        rowHead(fileButton(file)),
        cell(layerName(files.layer[file])),
        hasCompressed && numberCell(size(files.compressed[file])),
        numberCell(size(files.size[file]))))));
}

function drawDuplicates() {
  if (!duplicates.length) return;
  const body = make("tbody");
  const row = (same) => {
    const places = make("ul", { class: "plain" });
    const more = growing(same.files, 4, places, (file) => make("li", {}, fileButton(file), " ", layerName(files.layer[file])));
    more.classList.add("small");
    return make("tr", {}, numberCell(size(same.wasted)), numberCell(integer.format(same.files.length)), numberCell(size(same.size)), cell(places, more));
  };
  const more = growing(duplicates, TOP, body, row);
  fillSection("duplicates",
    lede(`${units(total(duplicates, "wasted"))} (uncompressed) of content is stored again under other paths or in other layers.`),
    make("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": "Stored more than once" },
      make("table", {}, make("caption", { class: "hidden" }, "Files with the same content"),
        make("thead", {}, make("tr", {}, make("th", { scope: "col", class: "number" }, "Wasted"), make("th", { scope: "col", class: "number" }, "Copies"), make("th", { scope: "col", class: "number" }, "Size of each"), make("th", { scope: "col" }, "Paths"))),
        body)),
    more);
}

function drawLeftOut() {
  const number = leftOut.name.length;
  if (!number && !exclude.length) return;
  const groups = new Map();
  const group = (key, make) => groups.get(key) ?? groups.set(key, { bytes: 0, files: [], ...make() }).get(key);
  const ofExclude = (which) => group(`exclude ${which}`, () => ({ rule: exclude[which], title: "exclude" }));
  exclude.forEach((_, which) => ofExclude(which));
  for (let file = fileCount; file < fileCount + number; file++) {
    const excluded = leftOut.exclude[file - fileCount];
    const pattern = leftOut.pattern[file - fileCount];
    const its = excluded >= 0
      ? ofExclude(excluded)
      : group(`group ${pattern}`, () => ({ rule: patterns[pattern], title: `dropped group ${patterns[pattern]?.group ?? data.default_group}` }));
    its.bytes += sizeOf(file);
    its.files.push(file);
  }
  const list = [...groups.values()].sort((one, other) => other.bytes - one.bytes);
  fillSection("left-out",
    lede(`${count(number, "path")} ${number === 1 ? "is" : "are"} not in the layers: ${units(total(list, "bytes"))} in files, uncompressed. Files with the same content would have been stored only once.`),
    make("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": "Left out" },
      make("table", {}, make("caption", { class: "hidden" }, "What was left out, by reason"),
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Left out by"), make("th", { scope: "col", class: "number" }, "Paths"), make("th", { scope: "col", class: "number", title: "Sum of the uncompressed sizes" }, "In files"), make("th", { scope: "col" }, "Largest files"))),
        make("tbody", {}, list.map(({ rule, title, bytes, files: its }) => {
          const top = largest(its.length, 10, (position) => sizeOf(its[position])).map((position) => its[position]);
          return make("tr", {},
            rowHead(make("span", { class: "rule" }, make("span", {}, shown(title)), rule && make("span", {}, patternText(rule.written, 2 * SHORT_PATTERN)), rule && make("span", { class: "quiet" }, shown(rule.where)))),
            numberCell(integer.format(its.length)),
            numberCell(size(bytes)),
            cell(top.length ? make("details", {},
              make("summary", {}, make("span", { class: "path", title: shown(pathOf(top[0])) }, shown(nameOf(top[0]))), " ", size(sizeOf(top[0])), top.length > 1 && ` and ${integer.format(its.length - 1)} more`),
              make("ul", { class: "plain" }, top.map((file) => make("li", {}, fileButton(file), " ", size(sizeOf(file)))))) : make("span", { class: "quiet" }, "nothing matched")));
        })))));
}

function drawAdvice() {
  if (!advice.length) return;
  // The attributes of a rule, and not the names in a load statement or the keys of a dictionary.
  const attributes = (paste) => [...paste.matchAll(/^\w+(?= = )/gm)].map(([name]) => name);
  const replaced = (names) => names.flatMap((name, index) => [index === 0 ? "" : index === names.length - 1 ? " and " : ", ", code(name)]);
  const canBePasted = advice.some(({ paste }) => paste);
  fillSection("advice",
    canBePasted && lede("Paste one suggestion, then build the report again. Pasted lines replace the attribute of the same name, and a ", code("load"), " statement goes to the top of the BUILD file."),
    make("div", { class: "cards" }, advice.map(({ title, detail, saves, paste }) =>
    make("article", { class: "card panel" },
      make("h3", {}, shown(title)),
      saves && make("p", { class: "saves" }, `saves ${shown(saves)}`),
      make("p", {}, shown(detail)),
      paste && make("div", { class: "paste" },
        make("div", { class: "paste-head quiet" }, make("span", {}, "In the BUILD file, set or replace ", replaced(attributes(paste))), copyButton(paste, "Copy", "Copy these lines")),
        // Line breaks are wanted here.
        make("pre", { tabindex: 0 }, make("code", {}, paste.split("\n").map(shown).join("\n"))))))));
}

const LAYER_CHANGES = { same: "unchanged", added: "new layer", removed: "removed", content: "content", metadata: "only metadata", order: "only the order", encoding: "only the tar headers", compression: "only the compression", moved: "only the position" };
const FILE_CHANGES = { added: "added", removed: "removed", content: "changed", moved: "moved", metadata: "metadata" };

/** What happened to a file, the class for its color, and which of its sizes are those of a file. */
function fileChange({ change, type }) {
  if (type === "whiteout" || type === "opaque") {
    const name = change === "added" ? "deletes" : change === "removed" ? "deletes no longer" : FILE_CHANGES[change];
    return { name, kind: change === "added" ? "removed" : "deletion", old: false, new: false };
  }
  return { name: FILE_CHANGES[change], kind: change, old: change !== "added", new: change !== "removed" };
}

function drawChanges() {
  const { diff } = data;
  if (!diff) return;
  const changes = (layer) => {
    const { moved_in: movedIn = 0, moved_out: movedOut = 0 } = layer;
    const numbers = [
      [layer.added - movedIn, "added", "added"],
      [layer.removed - movedOut, "removed", "removed"],
      [layer.changed, "changed"],
      [layer.metadata, "with other metadata"],
      [movedIn, "moved in"],
      [movedOut, "moved out"],
    ];
    return numbers.filter(([number]) => number > 0).map(([number, what, kind]) => make("span", { class: kind }, `${integer.format(number)} ${what}`));
  };
  const sizeCell = (isFile, bytes) => numberCell(isFile && typeof bytes === "number" ? size(bytes) : "–");
  const body = make("tbody");
  const hueOf = (name) => hues[layers.findIndex((layer) => layer.name === name)] ?? 0;
  const swatch = (name) => make("span", { class: "layer", hue: hueOf(name) }, make("i"), shown(name));
  const row = (change) => {
    const what = fileChange(change);
    return make("tr", {},
      cell(make("span", { class: `change ${what.kind}` }, what.name ?? shown(change.change))),
      rowHead(make("button", { type: "button", class: "link", onclick: () => {
        const file = fileAt(change.path);
        if (file >= 0) select(file, true);
      }, disabled: change.change === "removed" }, make("span", { class: "path", title: shown(change.path) }, shown(change.path)))),
      cell(change.old_layer && [swatch(change.old_layer), "→ "], swatch(change.layer)),
      sizeCell(what.old, change.old_size),
      sizeCell(what.new, change.new_size));
  };
  const more = growing(diff.files, 50, body, row);
  fillSection("changes",
    lede("From ", code(diff.old), " to ", code(diff.new), ": ", make("b", {}, size(diff.pull_bytes)), " to pull and ", make("b", {}, size(diff.unpack_bytes)), " to unpack again."),
    table("Changes of layers", [{ name: "Layer" }, { name: "Change" }, { name: "To pull", number: true }, { name: "To unpack", number: true }, { name: "Files" }],
      () => diff.layers.map((layer) => make("tr", { class: layer.change === "same" && "quiet" },
        rowHead(swatch(layer.name)),
        cell(make("span", { class: `change ${layer.change}` }, LAYER_CHANGES[layer.change] ?? shown(layer.change))),
        numberCell(layer.pull ? size(layer.pull) : "–"),
        numberCell(layer.unpack ? size(layer.unpack) : "–"),
        cell(make("span", { class: "counts" }, changes(layer)))))),
    diff.files.length > 0 && make("h3", {}, "Files"),
    diff.files.length > 0 && make("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": "Changed files" },
      make("table", {}, make("caption", { class: "hidden" }, "Changed files"),
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Change"), make("th", { scope: "col" }, "File"), make("th", { scope: "col" }, "Layer"), make("th", { scope: "col", class: "number" }, "Old size"), make("th", { scope: "col", class: "number" }, "New size"))),
        body)),
    more,
    diff.more_files > 0 && make("p", { class: "quiet" }, `${count(diff.more_files, "more path")} changed.`));
}

function drawContents() {
  byId("contents").append(make("ul", {}, [...document.querySelectorAll("main > section[id]")].filter((section) => !section.hidden).map((section) =>
    make("li", {}, make("a", { href: `#${section.id}` }, section.querySelector("h2").textContent)))));
}

// --- Theme ---------------------------------------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
const THEME = "pylayer-theme";

function theme() {
  return document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
}
function drawTheme() {
  byId("theme").textContent = theme() === "dark" ? "Light theme" : "Dark theme";
}
/** Storage may be forbidden for files. */
function remember(value) {
  try {
    if (value === undefined) localStorage.removeItem(THEME);
    else localStorage.setItem(THEME, value);
  } catch {}
}
try {
  const remembered = localStorage.getItem(THEME);
  if (remembered === "dark" || remembered === "light") document.documentElement.dataset.theme = remembered;
} catch {}
byId("theme").addEventListener("click", () => {
  const other = theme() === "dark" ? "light" : "dark";
  const asSystem = other === (dark.matches ? "dark" : "light");
  if (asSystem) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = other;
  remember(asSystem ? undefined : other);
  drawTheme();
});
dark.addEventListener("change", drawTheme);

// --- Start -----------------------------------------------------------------------------------------------------------

drawTheme();
drawHeader();
drawMetric();
drawLayers();
drawChanges();
drawAdvice();
drawComponents();
drawFiles();
drawDuplicates();
drawLeftOut();
drawContents();
drawMap();
drawCrumbs();
drawInspector();
followHash(true);
new ResizeObserver(() => {
  if (mapSize() !== drawnSize) drawMap();
}).observe(map);
new IntersectionObserver(([{ isIntersecting }]) => {
  byId("bar-name").textContent = isIntersecting ? "pylayer" : shown(data.name);
}).observe(byId("name"));

performance.mark("ready");
document.documentElement.dataset.ready = "true";
// The first search should not wait for this.
(globalThis.requestIdleCallback ?? setTimeout)(searchIndex);
}
