// The lab's kernel on a photograph: the one last classified, or a drawing.
import { postJson } from "./api.js";
import { failure, h } from "./dom.js";
import { t } from "./i18n.js";
import { drawSample } from "./samples.js";
import { chosenImage } from "./state.js";

const NINTH = 0.111;
const KERNELS = {
  edges: [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
  vertical: [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
  blur: [[NINTH, NINTH, NINTH], [NINTH, NINTH, NINTH], [NINTH, NINTH, NINTH]],
  sharpen: [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
};

/** A section that runs the first kernel of `lab` over the photograph; `use` takes a named kernel into the lab. */
export function photoSection(lab, use) {
  const result = h("div", { "aria-live": "polite" });
  const run = () => filter(result, lab);
  return h("section.card", {}, h("h3", {}, t("photo.title")), h("p.faint", {}, t("photo.about")),
    h("div.row", {}, Object.entries(KERNELS).map(([name, kernel]) =>
      h("button", { type: "button", onclick: () => use(structuredClone(kernel)) }, t(`photo.${name}`))),
    h("button.primary", { type: "button", disabled: !lab.kernels, onclick: run }, t("photo.run"))), result);
}

async function filter(result, { kernels, stride, padding }) {
  result.replaceChildren(h("p.faint", {}, t("busy")));
  try {
    const file = chosenImage()?.file ?? (await drawSample("cat"));
    const body = { image: await dataUrl(file), kernel: kernels[0][0], stride, padding, max_side: 256 };
    const blob = await (await postJson("/v1/convolve?format=png", body)).blob();
    const url = URL.createObjectURL(blob);
    result.replaceChildren(h("img", { src: url, alt: t("photo.alt", { name: file.name }), onload: () => URL.revokeObjectURL(url) }));
  } catch (error) {
    result.replaceChildren(failure(error));
  }
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
