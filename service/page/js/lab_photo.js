// The lab's kernel on a photograph: one that was classified, one chosen here, or a drawing.
import { postJson } from "./api.js";
import { choice, failure, h } from "./dom.js";
import { t } from "./i18n.js";
import { drawSample } from "./samples.js";
import { state } from "./state.js";

const SIDE = 256; // longest side of the photograph that the kernel runs over
const NINTH = 1 / 9;
const KERNELS = {
  edges: [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
  vertical: [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
  horizontal: [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
  blur: [[NINTH, NINTH, NINTH], [NINTH, NINTH, NINTH], [NINTH, NINTH, NINTH]],
  sharpen: [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
};
let running = false; // once run, it follows the kernel

/** A section that runs the first kernel of `lab` over the photograph; `use` takes a named kernel into the lab. */
export function photoSection(lab, use) {
  const result = h("div.pair.filtered", { "aria-live": "polite" });
  const controls = h("div.row");
  const run = () => {
    running = true;
    filter(result, lab);
  };
  const choices = () => {
    const options = state.images.map((image, index) => [index, image.file.name]);
    const chosen = (index) => {
      state.chosen = Number(index);
      run();
    };
    const input = h("input#lab-file", { type: "file", hidden: true, accept: "image/*", "aria-label": t("photo.choose"), onchange: () => take([...input.files]) });
    const take = ([file]) => {
      if (!file) return;
      state.images.unshift({ file, url: URL.createObjectURL(file) });
      state.chosen = 0;
      choices();
      run();
    };
    controls.replaceChildren(...(options.length ? [choice(t("inside.image"), options, state.chosen, chosen)] : []),
      h("button", { type: "button", onclick: () => input.click() }, t("photo.choose")), input,
      h("button.primary", { type: "button", "data-keep": "photo-run", disabled: !lab.kernels, onclick: run }, t("photo.run")));
  };
  const named = ([name, kernel]) => h("button", { type: "button", "data-keep": `photo-${name}`, onclick: () => {
    running = true;
    use(structuredClone(kernel));
  } }, t(`photo.${name}`));
  choices();
  if (running && lab.kernels) filter(result, lab);
  return h("section.card", {}, h("h3", {}, t("photo.title")), h("p.faint", {}, t("photo.about")), controls,
    h("div.row", {}, Object.entries(KERNELS).map(named)), result);
}

async function filter(result, { kernels, stride, padding }) {
  if (!result.children.length) result.replaceChildren(h("p.faint", {}, t("busy")));
  try {
    const file = state.images[state.chosen]?.file ?? (await drawSample("cat"));
    const [kernel] = kernels[0];
    const body = { image: await dataUrl(file), kernel, stride, padding, max_side: SIDE };
    const answer = await (await postJson("/v1/convolve", body)).json();
    const balance = kernel.flat().reduce((total, weight) => total + weight, 0);
    const kept = Math.abs(balance) > 1e-6; // then the picture keeps its brightness; else only differences are left
    const url = URL.createObjectURL(file);
    const photograph = h("img", { src: url, alt: file.name, onload: () => URL.revokeObjectURL(url) });
    const drawing = h("canvas", { role: "img", "aria-label": t("photo.alt", { name: file.name }) });
    paint(drawing, answer.feature_maps[0], kept ? (value) => value / balance : Math.abs, kept ? 255 : null);
    result.replaceChildren(h("figure", {}, photograph, h("figcaption", {}, file.name)),
      h("figure", {}, drawing, h("figcaption", {}, t(kept ? "photo.kept" : "photo.differences", { rows: drawing.height, columns: drawing.width }))));
  } catch (error) {
    result.replaceChildren(failure(error));
  }
}

/** Draw a map in grey; `white` is the value that is white, or null for the largest but a few. */
function paint(canvas, map, shade, white) {
  canvas.width = map[0].length;
  canvas.height = map.length;
  const values = map.flat().map(shade);
  const sorted = white ? [] : Float64Array.from(values).sort();
  const limit = white ?? (sorted[Math.floor(0.995 * (sorted.length - 1))] || sorted.at(-1) || 1);
  const pixels = new ImageData(canvas.width, canvas.height); // clamps to 0 to 255 by itself
  values.forEach((value, index) => {
    const grey = (255 * value) / limit;
    pixels.data.set([grey, grey, grey, 255], index * 4);
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
