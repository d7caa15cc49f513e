// A layer's channels as buttons, the strongest first.
import { postImage } from "./api.js";
import { choice, h, number, quantity } from "./dom.js";
import { t } from "./i18n.js";
import { asked } from "./state.js";

const COUNTS = [24, 64, 256];

/** Tiles of channels (as `/v1/feature-maps?format=tiles` takes them) of a tap, for an image file. */
export async function tilesOf(file, tap, channels) {
  const values = { ...asked(), layer: tap.name, format: "tiles", channels };
  const answer = await (await postImage("/v1/feature-maps", file, values)).json();
  return answer.layers[0].tiles;
}

export const pictureOf = (tile) => `data:image/png;base64,${tile.png}`;

/** How many channels to show, where the layer has more than the fewest. */
export function countChoice(tap, count, changed) {
  const all = tap.shape[2];
  const counts = [...COUNTS.filter((one) => one < all), ...(all <= COUNTS.at(-1) ? [all] : [])];
  const options = counts.map((one) => [one, one === all ? t("channels.all", { count: number(one) }) : t("channels.strongest", { count: number(one) })]);
  const best = counts.includes(count) ? count : Math.min(count, counts.at(-1));
  return choice(t("channels.show"), options, best, (text) => changed(Number(text)));
}

/** The grid; `open` is called with the tile of the button that was pressed, and whether by hand. */
export function channelGrid(tiles, open) {
  const strongest = tiles[0]?.strength || 1;
  const buttons = tiles.map((tile) => {
    const button = h("button.tile", {
      type: "button", "aria-pressed": "false", "data-channel": String(tile.channel),
      "aria-label": t("channels.one", { channel: tile.channel, strength: quantity(tile.strength) }),
      title: t("channels.one", { channel: tile.channel, strength: quantity(tile.strength) }),
      onclick: () => press(button, tile, true),
    }, h("img", { src: pictureOf(tile), alt: "" }), h("span", {}, String(tile.channel)),
    h("span.track", {}, h("span.fill", { style: { width: `${(100 * tile.strength) / strongest}%` } })));
    return button;
  });
  const press = (button, tile, byHand) => {
    for (const one of buttons) one.setAttribute("aria-pressed", String(one === button));
    open(tile, byHand);
  };
  const grid = h("div.tiles-grid", { role: "group", "aria-label": t("channels.grid") }, buttons);
  return { grid, press: (index) => buttons[index] && press(buttons[index], tiles[index], false) };
}
