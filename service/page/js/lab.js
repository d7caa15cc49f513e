// The lab: the lecture's convolution, padding, stride and pooling on numbers that can be changed, step by step.
import { getJson, postJson } from "./api.js";
import { choice, failure, fill, h } from "./dom.js";
import { t } from "./i18n.js";
import { fromRequest, resized, toRequest } from "./lab_state.js";
import { inputGrids, oldGrids, outputGrids, spelled } from "./lab_grids.js";
import { photoSection } from "./lab_photo.js";

const PLAY_MS = 700;
let root = null;
let presets = [];
let lab = null; // the numbers, see lab_state.js
let answer = null;
let shown = null; // the numbers that the answer is of; those of `lab` may have changed since
let place = 0;
let timer = 0;
let asking = 0;
let preset = "feature-map";
let before = null; // the result before the image was moved

export async function show(panel) {
  root = panel;
  try {
    presets = await getJson("/v1/convolve/presets");
    if (!lab) choosePreset(preset);
    else await compute();
  } catch (error) {
    panel.replaceChildren(h("h2", {}, t("lab.title")), failure(error));
  }
}

export function hide() {
  root = null;
  clearInterval(timer);
}

function choosePreset(name) {
  preset = name;
  before = null;
  lab = fromRequest(presets.find((one) => one.name === name).request);
  place = 0;
  return compute();
}

const allSteps = () => [...(answer?.steps ?? []), ...(answer?.pool_steps ?? [])];

async function compute() {
  clearInterval(timer);
  const turn = ++asking;
  const asked = lab;
  let failed = null;
  try {
    const reply = await (await postJson("/v1/convolve", toRequest(lab))).json();
    if (turn !== asking) return;
    answer = reply;
    shown = asked;
  } catch (error) {
    if (turn !== asking) return;
    answer = null;
    failed = error;
  }
  place = Math.min(place, Math.max(0, allSteps().length - 1));
  render(failed);
}

/** Move the image one pixel to the right, the last column coming round, and keep the old result to compare. */
function moveRight() {
  const [kind, maps] = answer?.pooled ? ["pooled", answer.pooled] : ["map", answer?.feature_maps];
  before = maps ? { kind, maps } : null;
  lab = { ...lab, planes: lab.planes.map((plane) => plane.map((row) => [row.at(-1), ...row.slice(0, -1)])) };
  place = Number.MAX_SAFE_INTEGER; // to the end, where the two results can be compared
  return compute();
}

function change(values) {
  before = null;
  lab = { ...lab, ...values };
  return compute();
}

function render(failed) {
  if (!root) return;
  const about = presets.find((one) => one.name === preset);
  fill(root,
    h("h2", {}, t("lab.title")),
    h("div.row", {}, choice(t("lab.preset"), presets.map((one) => [one.name, t(`preset.${one.name}`, {}, one.title)]), preset, choosePreset)),
    h("p.faint", {}, t(`preset.${preset}.about`, {}, about.about)),
    controls(),
    failed ? failure(failed) : null,
    board(),
    photoSection(lab, (kernel) => change({ kernels: [[kernel]], planes: lab.planes.slice(0, 1) })),
  );
}

function controls() {
  const numbers = (least, most) => Array.from({ length: most - least + 1 }, (_, index) => [least + index, String(least + index)]);
  const side = lab.kernels ? lab.kernels[0][0].length : 0;
  const kernelSizes = [[0, t("lab.none")], ...numbers(1, 5).map(([value, text]) => [value, `${text}×${text}`])];
  const poolKinds = ["none", "max", "average"].map((kind) => [kind, t(`lab.${kind}`)]);
  const { pool } = lab;
  return h("div.row.controls", {},
    choice(t("lab.image-size"), numbers(2, 10), lab.planes[0].length, (value) => change({ planes: resized(lab.planes, Number(value)) })),
    choice(t("lab.kernel-size"), kernelSizes, side, (value) => change({ kernels: newKernels(Number(value)) })),
    lab.kernels ? choice(t("lab.stride"), numbers(1, 4), lab.stride, (value) => change({ stride: Number(value) })) : null,
    lab.kernels ? choice(t("lab.padding"), ["valid", "same"].map((name) => [name, t(`lab.${name}`)]), lab.padding, (padding) => change({ padding })) : null,
    choice(t("lab.pooling"), poolKinds, pool?.type ?? "none", (type) =>
      change({ pool: type === "none" ? null : { size: 2, stride: 2, ...pool, type } })),
    pool ? choice(t("lab.window"), numbers(1, 5), pool.size, (size) => change({ pool: { ...pool, size: Number(size) } })) : null,
    pool ? choice(t("lab.pool-stride"), numbers(1, 5), pool.stride, (stride) => change({ pool: { ...pool, stride: Number(stride) } })) : null,
    h("button", { type: "button", "data-keep": "move", onclick: moveRight }, t("lab.move")));
}

function newKernels(side) {
  if (side === 0) return null;
  const old = lab.kernels ?? [lab.planes.map(() => [[1]])];
  return old.map((kernel) => resized(kernel, side));
}

function board() {
  const element = h("div#board");
  drawBoard(element);
  return element;
}

function drawBoard(board) {
  if (!board || !answer) return;
  const steps = allSteps();
  const step = steps[place];
  const edit = (where, value) => {
    where.plane[where.row][where.column] = value;
    compute();
  };
  fill(board, stepper(steps.length),
    h("p.sum", { role: "status" }, spelled(step, shown)),
    h("div.board", {}, inputGrids(shown, answer, step, edit), h("span.sign", { "aria-hidden": "true" }, "→"),
      outputGrids(answer, step, place), before ? oldGrids(before) : null));
}

function go(next) {
  place = Math.max(0, Math.min(allSteps().length - 1, next));
  drawBoard(root?.querySelector("#board"));
}

function play() {
  if (timer) {
    clearInterval(timer);
    timer = 0;
    return;
  }
  if (place >= allSteps().length - 1) place = -1;
  timer = setInterval(() => {
    if (place >= allSteps().length - 1) {
      clearInterval(timer);
      timer = 0;
    } else go(place + 1);
  }, PLAY_MS);
}

function stepper(count) {
  const button = (name, sign, onclick) => h("button", { type: "button", "data-keep": name, "aria-label": t(`lab.${name}`), title: t(`lab.${name}`), onclick }, sign);
  const slider = h("input", { type: "range", min: "0", max: String(Math.max(0, count - 1)), value: String(place), "data-keep": "slider",
    "aria-label": t("lab.step"), oninput: (event) => go(Number(event.target.value)) });
  return h("div.row", {}, button("first", "|◀", () => go(0)), button("previous", "◀", () => go(place - 1)),
    button("next", "▶", () => go(place + 1)), button("last", "▶|", () => go(count - 1)),
    button("play", t("lab.play"), play), slider, h("span.faint", {}, t("lab.count", { place: place + 1, count })));
}
