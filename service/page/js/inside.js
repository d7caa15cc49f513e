// Look inside: the network as a strip of taps, a layer's channels, one channel in large, and where a label comes from.
import { channelGrid, countChoice, tilesOf } from "./channels.js";
import { showChannel } from "./channel.js";
import { modelChoice } from "./choose.js";
import { choice, failure, fill, h, number } from "./dom.js";
import { t } from "./i18n.js";
import { mountOverlay } from "./overlay.js";
import { drawSample } from "./samples.js";
import { chosenImage, currentModel, currentVariant, state } from "./state.js";

let root = null;
let open = { tap: null, count: 24 };

export async function show(panel) {
  root = panel;
  if (!chosenImage() || chosenImage().error) state.chosen = state.images.findIndex((image) => !image.error);
  if (!chosenImage()) {
    const file = await drawSample("cat");
    state.images.push({ file, url: URL.createObjectURL(file) });
    state.chosen = state.images.length - 1;
  }
  render();
}

export function hide() {
  root = null;
}

function render() {
  if (!root) return;
  const layer = h("section.card.layer", { "aria-label": t("inside.layer") });
  const channel = h("section.card.channel", { "aria-label": t("inside.channel") });
  const overlay = h("section.card", { "aria-label": t("inside.overlay") });
  const taps = currentModel() ? currentVariant().card.taps : [];
  const showLayer = (tap) => openLayer(layer, channel, tap);
  fill(root,
    h("h2", {}, t("inside.title")),
    h("p.faint", {}, t("inside.about")),
    modelChoice(render),
    imageChoice(),
    currentModel() ? strip(taps, showLayer) : null,
    currentModel() ? h("div.halves", {}, layer, channel) : null,
    currentModel() ? overlay : null,
  );
  if (!currentModel()) return;
  mountOverlay(overlay, chosenImage());
  if (taps.length) showLayer(taps.find((tap) => tap.name === open.tap?.name) ?? taps[Math.floor(taps.length / 3)]);
  else layer.replaceChildren(h("p.faint", {}, t("inside.no-layers")));
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

function strip(taps, showLayer) {
  const { input_size: [height, width], labels } = currentVariant().card;
  const buttons = taps.map((tap) => h("li", {}, h("button", {
    type: "button", "data-tap": tap.name, "data-keep": tap.name, "aria-pressed": "false", onclick: () => showLayer(tap),
  }, tap.name, h("small", {}, `${tap.shape.join(" × ")}`), h("small", {}, t("inside.stride", { stride: tap.stride })))));
  return h("ol.strip", { tabindex: "0", "aria-label": t("inside.strip") },
    h("li", {}, h("span.end", {}, t("inside.pixels"), h("small", {}, `${height} × ${width} × 3`))),
    buttons,
    h("li", {}, h("span.end", {}, t("inside.classes"), h("small", {}, number(labels.length)))));
}

async function openLayer(layer, channel, tap, quiet = false) {
  open.tap = tap;
  for (const button of root.querySelectorAll("[data-tap]")) {
    button.setAttribute("aria-pressed", String(button.dataset.tap === tap.name));
  }
  const title = h("h3", {}, tap.name);
  if (!quiet) {
    layer.replaceChildren(title, h("p.faint", { role: "status" }, t("busy")));
    channel.replaceChildren(h("p.faint", {}, t("busy")));
  }
  try {
    const count = Math.min(open.count, tap.shape[2]);
    const tiles = await tilesOf(chosenImage().file, tap, `strongest:${count}`);
    if (open.tap !== tap || !layer.isConnected) return;
    const { grid, press } = channelGrid(tiles, async (tile, byHand) => {
      await showChannel(channel, tap, tile.channel, () => byHand && channel.scrollIntoView({ block: "nearest" }));
    });
    const another = (wanted) => {
      open.count = wanted;
      openLayer(layer, channel, tap, true);
    };
    fill(layer, title, h("div.row", {}, countChoice(tap, count, another),
      h("span.faint", {}, t("inside.of", { count: number(tap.shape[2]) }))),
    h("p.faint", {}, t("inside.reading")), grid);
    press(0);
  } catch (error) {
    channel.replaceChildren();
    layer.replaceChildren(title, failure(error));
  }
}
