// The lab's tables: image and kernel as inputs, maps as results, the window marked, the sum spelt out.
import { h, number } from "./dom.js";
import { t } from "./i18n.js";

const short = (value) => number(value, 3).replace("-", "−");
const bracketed = (value) => (value < 0 ? `(${short(value)})` : short(value));
const isPooling = (step) => step && "result" in step;

/** Image planes (with their padding of zeros) and kernels; `edit` gets {plane, row, column} and the new value. */
export function inputGrids(lab, answer, step, edit) {
  const size = isPooling(step) ? null : lab.kernels?.[0][0].length;
  const onImage = isPooling(step) && !lab.kernels ? lab.pool.size : size;
  const edges = answer.padding ?? { top: 0, bottom: 0, left: 0, right: 0 };
  const planes = lab.planes.map((plane, channel) => {
    const covered = onImage && (!isPooling(step) || step.map === channel) ? { ...step, size: onImage } : null;
    return figure(name("lab.image", channel, lab.planes.length), imageTable(plane, channel, edges, covered, edit));
  });
  const kernels = (lab.kernels ?? []).map((kernel, index) => kernel.map((plane, channel) => {
    const title = lab.kernels.length > 1 ? `${t("lab.kernel")} ${index + 1}` : t("lab.kernel");
    const caption = kernel.length > 1 ? `${title}, ${t("lab.channel", { number: channel + 1 })}` : title;
    return figure(caption, kernelTable(plane, `k${index}-${channel}`, size && step?.map === index, edit));
  }));
  const sign = lab.kernels ? h("span.sign", { "aria-hidden": "true" }, "×") : null;
  return [...planes, sign, ...kernels].flat();
}

function name(key, index, count) {
  return count > 1 ? `${t(key)}, ${t("lab.channel", { number: index + 1 })}` : t(key);
}

const figure = (caption, table) => h("figure", {}, h("figcaption", {}, caption), h("div.wide", {}, table));

function input(value, label, cell, onchange) {
  return h("input", { type: "number", step: "any", value: String(value), "aria-label": label, "data-keep": cell,
    onchange: (event) => onchange(Number(event.target.value) || 0) });
}

function imageTable(plane, channel, edges, covered, edit) {
  const rows = [];
  for (let r = -edges.top; r < plane.length + edges.bottom; r++) {
    const cells = [];
    for (let c = -edges.left; c < plane[0].length + edges.right; c++) {
      const on = covered && r >= covered.top && r < covered.top + covered.size && c >= covered.left && c < covered.left + covered.size;
      const inside = plane[r]?.[c] !== undefined;
      cells.push(h(on ? "td.on" : "td", {}, inside
        ? input(plane[r][c], t("lab.cell", { row: r + 1, column: c + 1 }), `i${channel}-${r}-${c}`, (value) => edit({ plane, row: r, column: c }, value))
        : h("span.cell.pad", {}, "0")));
    }
    rows.push(h("tr", {}, cells));
  }
  return h("table.grid", {}, h("tbody", {}, rows));
}

function kernelTable(plane, id, on, edit) {
  return h("table.grid", {}, h("tbody", {}, plane.map((row, r) => h("tr", {}, row.map((value, c) =>
    h(on ? "td.on" : "td", {}, input(value, t("lab.weight", { row: r + 1, column: c + 1 }), `${id}-${r}-${c}`, (changed) => edit({ plane, row: r, column: c }, changed))))))));
}

/** Feature maps and pooled maps, filled in as far as `place`. */
export function outputGrids(answer, step, place) {
  const shown = (steps, offset) => {
    const seen = new Set((steps ?? []).slice(0, Math.max(0, place - offset + 1)).map((one) => `${one.map}-${one.row}-${one.column}`));
    return (map, row, column) => seen.has(`${map}-${row}-${column}`);
  };
  const first = answer.steps?.length ?? 0;
  const maps = (answer.feature_maps ?? []).map((map, index, all) =>
    figure(name("lab.map", index, all.length), resultTable(map, index, "map", shown(answer.steps, 0), marked(step, index))));
  const pooled = (answer.pooled ?? []).map((map, index, all) =>
    figure(name("lab.pooled", index, all.length), resultTable(map, index, "pooled", shown(answer.pool_steps, first), isPooling(step) ? target(step, index) : () => false)));
  return [...maps, ...pooled];
}

/** The maps from before the image was moved, whole. */
export function oldGrids({ kind, maps }) {
  return maps.map((map, index) => figure(name("lab.before", index, maps.length), resultTable(map, index, `before-${kind}`, () => true, () => false)));
}

const target = (step, map) => (row, column) => step?.map === map && step.row === row && step.column === column;

function marked(step, map) {
  if (!isPooling(step)) return target(step, map);
  const [rows, columns] = [step.window.length, step.window[0].length];
  const [top, left] = [Math.max(0, step.top), Math.max(0, step.left)];
  return (row, column) => step.map === map && row >= top && row < top + rows && column >= left && column < left + columns;
}

function resultTable(map, index, kind, isShown, isOn) {
  return h("table.grid", { "data-result": `${kind}-${index}` }, h("tbody", {}, map.map((row, r) => h("tr", {}, row.map((value, c) => {
    const there = isShown(index, r, c);
    return h(`td${isOn(r, c) ? ".on" : ""}${there ? "" : ".ahead"}`, {}, h("span.cell", {}, there ? short(value) : ""));
  })))));
}

/** The step in words: each product and the sum, or the pooled values and the result. */
export function spelled(step, lab) {
  if (!step) return "";
  if (isPooling(step)) {
    const values = step.window.flat().map(short);
    const left = lab.pool.type === "max" ? `max(${values.join(", ")})` : `(${step.window.flat().map(bracketed).join(" + ")}) ÷ ${values.length}`;
    return [`${left} = `, h("b", {}, short(step.result))];
  }
  const kernel = lab.kernels[step.map];
  const products = step.window.flatMap((row, r) => row.flatMap((pixel, c) =>
    [pixel].flat().map((value, channel) => `${bracketed(value)}×${bracketed(kernel[channel][r][c])}`)));
  return [`${products.join(" + ")} = `, h("b", {}, short(step.sum))];
}
