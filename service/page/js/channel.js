// One channel in large: its map beside the photograph, the labels it speaks for, and the places in other pictures
// that it answers to.
import { pictureOf, tilesOf } from "./channels.js";
import { failure, h, quantity } from "./dom.js";
import { t } from "./i18n.js";
import { drawSample, SAMPLES } from "./samples.js";
import { chosenImage, currentVariant, state } from "./state.js";

const STEPS_AROUND = 5; // the cut shows so many steps of the map around the peak
const LEAST_CUT = 40; // pixels of the network's input
const CUT_SIDE = 96;
const MOST_OTHERS = 3;
let turn = 0;

/** Fill the section with a channel of a tap; `shown` is called once it stands. What a newer call has overtaken is dropped. */
export async function showChannel(section, tap, channel, shown = () => {}) {
  const own = ++turn;
  const image = chosenImage();
  const title = h("h3", {}, t("channel.title", { channel, layer: tap.name }));
  section.replaceChildren(title, h("p.faint", {}, t("busy")));
  try {
    const [tile] = await tilesOf(image.file, tap, String(channel));
    if (own !== turn || !section.isConnected) return;
    const places = h("ul.places", { "aria-live": "polite" });
    section.replaceChildren(title, h("p.faint", {}, t("channel.figures", {
      low: quantity(tile.low), high: quantity(tile.high), rows: tap.shape[0], columns: tap.shape[1] })),
    pair(image, tile, tap), votes(tile), h("h4", {}, t("channel.answers")), h("p.faint", {}, t("channel.places")), places);
    shown();
    await otherPlaces(places, { image, tile }, tap, channel, () => own === turn && section.isConnected);
  } catch (error) {
    if (own === turn) section.replaceChildren(title, failure(error));
  }
}

/** The photograph and the map in the same shape, a ring at the strongest place of both. */
function pair(image, tile, tap) {
  const at = { left: `${(100 * (tile.peak[1] + 0.5)) / tap.shape[1]}%`, top: `${(100 * (tile.peak[0] + 0.5)) / tap.shape[0]}%` };
  const ring = () => h("i.ring", { style: at });
  const map = h("img.map", { src: pictureOf(tile), alt: t("channel.map", { channel: tile.channel, name: image.file.name }) });
  const photograph = h("img", { src: image.url, alt: image.file.name, onload: () => {
    map.style.aspectRatio = `${photograph.naturalWidth} / ${photograph.naturalHeight}`; // the network saw it stretched
  } });
  return h("div.pair.close", {}, h("figure", {}, h("div.ringed", {}, photograph, ring()), h("figcaption", {}, t("channel.photograph"))),
    h("figure", {}, h("div.ringed", {}, map, ring()), h("figcaption", {}, t("channel.mapped"))));
}

function votes(tile) {
  if (!tile.labels.length) return h("p.faint", {}, t("channel.between"));
  const most = Math.max(...tile.labels.map(({ lead }) => Math.abs(lead))) || 1;
  return h("table.bars.votes", {}, h("caption", {}, t("channel.votes")), h("tbody", {}, tile.labels.map(({ label, lead }) =>
    h("tr", {}, h("th", { scope: "row" }, label),
      h("td", {}, h("div.track", {}, h(lead < 0 ? "div.fill.against" : "div.fill", { style: { width: `${(100 * Math.abs(lead)) / most}%` } }))),
      h("td.number", {}, `${lead > 0 ? "+" : ""}${quantity(lead)}`)))));
}

/** The strongest place of this picture, of others that were given, and of the drawings; the strongest first. */
async function otherPlaces(list, first, tap, channel, wanted) {
  const found = [];
  const add = async (file, tile) => {
    const cut = await cutOut(file, tile, tap);
    if (!cut || !wanted()) return;
    const strength = Math.max(Math.abs(tile.low), Math.abs(tile.high));
    const item = h("li", {}, h("figure", {}, cut, h("figcaption", {}, h("b", {}, quantity(strength)), ` ${file.name}`)));
    found.push({ strength, item });
    found.sort((a, b) => b.strength - a.strength);
    list.replaceChildren(...found.map((one) => one.item));
  };
  await add(first.image.file, first.tile);
  const others = state.images.filter((image) => image !== first.image && !image.error).slice(0, MOST_OTHERS).map((image) => image.file);
  const names = new Set([first.image.file.name, ...others.map((file) => file.name)]);
  for (const sample of SAMPLES) if (!names.has(`${sample}.png`)) others.push(sample);
  for (const other of others) {
    if (!wanted()) return;
    const file = typeof other === "string" ? await drawSample(other) : other;
    const [tile] = await tilesOf(file, tap, String(channel)).catch(() => []); // a picture that fails is left out
    if (tile) await add(file, tile);
  }
}

async function cutOut(file, tile, tap) {
  const bitmap = await createImageBitmap(file).catch(() => null); // the service reads formats that browsers do not
  if (!bitmap) return null;
  const [height, width] = currentVariant().card.input_size;
  const side = Math.max(LEAST_CUT, STEPS_AROUND * tap.stride);
  const [cutWidth, cutHeight] = [Math.min(1, side / width) * bitmap.width, Math.min(1, side / height) * bitmap.height];
  const start = (place, steps, whole, cut) => Math.max(0, Math.min(whole - cut, ((place + 0.5) / steps) * whole - cut / 2));
  const canvas = h("canvas", { width: CUT_SIDE, height: CUT_SIDE, role: "img", "aria-label": t("channel.cut", { name: file.name }) });
  canvas.getContext("2d").drawImage(bitmap, start(tile.peak[1], tap.shape[1], bitmap.width, cutWidth),
    start(tile.peak[0], tap.shape[0], bitmap.height, cutHeight), cutWidth, cutHeight, 0, 0, CUT_SIDE, CUT_SIDE);
  bitmap.close();
  return canvas;
}
