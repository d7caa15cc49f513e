// Class activation over the photograph. What is drawn is the label's lead: its map less the average of the other
// labels' maps, biases included, since only differences between logits decide.
import { postImage } from "./api.js";
import { choice, failure, h, number, percent } from "./dom.js";
import { t } from "./i18n.js";
import { asked, currentVariant } from "./state.js";

const MOST_OTHERS = 5; // each costs a run of the network; the most probable ones are the rivals that matter
const WARM = [255, 140, 0];
const COLD = [0, 150, 255];
const SIDE = 384;
let opacity = 0.75;

/** Fill the section: the image under its map, a label switch and the slider. */
export async function mountOverlay(section, image) {
  const labels = currentVariant().card.labels;
  const canvas = h("canvas", { width: SIDE, height: SIDE, role: "img", "aria-label": t("overlay.canvas") });
  canvas.style.opacity = opacity;
  const facts = h("p.faint.facts", { role: "status" }, t("busy"));
  const slider = h("input#opacity", { type: "range", min: "0", max: "100", value: String(opacity * 100),
    oninput: (event) => {
      opacity = event.target.value / 100;
      canvas.style.opacity = opacity;
    } });
  const maps = new Map();
  const switchTo = (label) => draw(section, image, maps, label, { canvas, facts });
  const select = choice(t("overlay.label"), labels.map((label) => [label, label]), labels[0], switchTo);
  section.replaceChildren(h("h3", {}, t("overlay.title")), h("div.beside", {},
    h("div.stack", {}, h("img", { src: image.url, alt: image.file.name }), canvas),
    h("div", {}, h("div.row", {}, select, h("label", {}, t("overlay.opacity"), slider)), facts, h("p.faint", {}, t("overlay.about")))));
  const best = await draw(section, image, maps, null, { canvas, facts });
  if (best) select.querySelector("select").value = best;
}

async function draw(section, image, maps, label, { canvas, facts }) {
  try {
    const own = await mapOf(image, maps, label);
    const lead = await leadOver(image, maps, own);
    if (!section.isConnected) return null;
    paint(canvas, lead);
    const mean = lead.flat().reduce((sum, value) => sum + value, 0) / lead.flat().length;
    facts.textContent = t("overlay.facts", { label: own.label, probability: percent(own.probability),
      logit: number(own.logit, 2), lead: number(mean, 2) });
    canvas.dataset.label = own.label;
    return own.label;
  } catch (error) {
    facts.replaceChildren(failure(error));
    return null;
  }
}

async function mapOf(image, maps, label) {
  if (label !== null && maps.has(label)) return maps.get(label);
  const values = { ...asked(), format: "json", ...(label === null ? {} : { label }) };
  const answer = await (await postImage("/v1/explain", image.file, values)).json();
  maps.set(answer.label, answer);
  return answer;
}

async function leadOver(image, maps, own) {
  const labels = currentVariant().card.labels.filter((label) => label !== own.label);
  const order = (image.answer?.predictions ?? []).map((prediction) => prediction.label).filter((l) => labels.includes(l));
  const rivals = [...new Set([...order, ...labels])].slice(0, MOST_OTHERS);
  const others = [];
  for (const label of rivals) others.push(await mapOf(image, maps, label));
  const shared = own.bias - others.reduce((sum, other) => sum + other.bias, 0) / others.length;
  return own.map.map((row, r) => row.map((value, c) =>
    value - others.reduce((sum, other) => sum + other.map[r][c], 0) / others.length + shared));
}

function paint(canvas, map) {
  const limit = Math.max(...map.flat().map(Math.abs)) || 1;
  const small = new OffscreenCanvas(map[0].length, map.length);
  const pixels = new ImageData(small.width, small.height);
  map.flat().forEach((value, index) => {
    pixels.data.set([...(value >= 0 ? WARM : COLD), Math.round((255 * Math.abs(value)) / limit)], index * 4);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}
