// Look inside: the network as a strip of taps, a layer's channels as a picture, and where a label comes from.
import { postImage } from "./api.js";
import { modelChoice } from "./choose.js";
import { choice, failure, fill, h, number, percent } from "./dom.js";
import { t } from "./i18n.js";
import { mountOverlay } from "./overlay.js";
import { drawSample } from "./samples.js";
import { asked, chosenImage, currentModel, currentVariant, state } from "./state.js";

const TILES = "strongest:24";
let root = null;
let open = { tap: null, channels: TILES };
let pictureUrl = "";

export async function show(panel) {
  root = panel;
  if (!chosenImage()) {
    const file = await drawSample("cat");
    state.images.push({ file, url: URL.createObjectURL(file) });
    state.chosen = 0;
  }
  render();
}

export function hide() {
  root = null;
  URL.revokeObjectURL(pictureUrl);
}

function render() {
  if (!root) return;
  const layer = h("section.card.layer", { "aria-live": "polite", "aria-label": t("inside.layer") });
  const overlay = h("section.card", { "aria-label": t("inside.overlay") });
  fill(root,
    h("h2", {}, t("inside.title")),
    h("p.faint", {}, t("inside.about")),
    modelChoice(render),
    imageChoice(),
    currentModel() ? strip(layer) : null,
    h("div.halves", {}, overlay, layer),
  );
  if (!currentModel()) return;
  mountOverlay(overlay, chosenImage());
  const taps = currentVariant().card.taps;
  if (taps.length) showLayer(layer, taps.find((tap) => tap.name === open.tap?.name) ?? taps[Math.floor(taps.length / 3)]);
}

function imageChoice() {
  const options = state.images.map((image, index) => [index, image.file.name]);
  const chosen = (index) => {
    state.chosen = Number(index);
    render();
  };
  return h("div.row", {}, choice(t("inside.image"), options, state.chosen, chosen),
    h("a", { href: "#classify" }, t("inside.another")));
}

function strip(layer) {
  const { input_size: [height, width], taps, labels } = currentVariant().card;
  const buttons = taps.map((tap) => h("li", {}, h("button", {
    type: "button", "data-tap": tap.name, "data-keep": tap.name, "aria-pressed": "false",
    onclick: () => { open.channels = TILES; showLayer(layer, tap); },
  }, tap.name, h("small", {}, `${tap.shape.join(" × ")}`), h("small", {}, t("inside.stride", { stride: tap.stride })))));
  return h("ol.strip", { tabindex: "0", "aria-label": t("inside.strip") },
    h("li", {}, h("span.end", {}, t("inside.pixels"), h("small", {}, `${height} × ${width} × 3`))),
    buttons,
    h("li", {}, h("span.end", {}, t("inside.classes"), h("small", {}, number(labels.length)))));
}

async function showLayer(layer, tap) {
  open.tap = tap;
  for (const button of root.querySelectorAll("[data-tap]")) {
    button.setAttribute("aria-pressed", String(button.dataset.tap === tap.name));
  }
  layer.replaceChildren(h("h3", {}, tap.name), h("p.faint", {}, t("busy")));
  try {
    const values = { ...asked(), layer: tap.name, format: "png", channels: open.channels };
    const reply = await postImage("/v1/feature-maps", chosenImage().file, values);
    const blob = await reply.blob();
    if (open.tap !== tap || !layer.isConnected) return;
    URL.revokeObjectURL(pictureUrl);
    pictureUrl = URL.createObjectURL(blob);
    layer.replaceChildren(h("h3", {}, tap.name), channelChoice(layer, tap),
      h("a", { href: pictureUrl, target: "_blank", rel: "noopener" },
        h("img", { src: pictureUrl, alt: t("inside.grid", { layer: tap.name, channels: channelsInWords() }) })),
      h("p.faint", {}, t("inside.reading")));
  } catch (error) {
    layer.replaceChildren(h("h3", {}, tap.name), failure(error));
  }
}

const channelsInWords = () => (open.channels === TILES ? t("inside.strongest") : open.channels);

function channelChoice(layer, tap) {
  const last = tap.shape[2] - 1;
  const input = h("input.narrow", { type: "number", min: "0", max: String(last), id: "channel",
    value: open.channels === TILES ? "" : open.channels });
  const submit = (event) => {
    event.preventDefault();
    open.channels = input.value === "" ? TILES : input.value;
    showLayer(layer, tap);
  };
  const all = () => {
    open.channels = TILES;
    showLayer(layer, tap);
  };
  return h("form.row", { onsubmit: submit }, h("label", {}, t("inside.channel", { last: number(last) }), input),
    h("button", {}, t("inside.enlarge")),
    open.channels === TILES ? null : h("button", { type: "button", onclick: all }, t("inside.back")),
    h("span.faint", {}, t("inside.of", { count: number(tap.shape[2]), share: percent(Math.min(1, 24 / tap.shape[2]), 0) })));
}
