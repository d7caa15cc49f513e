// Live: what the service is doing now, from its own metrics.
import { getJson, getText } from "./api.js";
import { chart } from "./charts.js";
import { failure, fill, h, milliseconds, number } from "./dom.js";
import { t } from "./i18n.js";
import { between, buckets, parse, sum } from "./prometheus.js";

const EVERY_MS = 2000;
const REMEMBERED = 60; // readings: two minutes
const WINDOW = 5; // readings that a rate is taken over
const STAGES = ["receive", "decode", "queue", "batch_wait", "inference", "respond"];
const GRAFANA_PORT = 3001; // docker-compose.yml
const WORK = "catseye_request_duration_seconds";
const STAGE = "catseye_stage_duration_seconds";
let readings = [];
let past = [];
let parts = null; // what is filled anew at each reading
let timer = 0;
let turn = 0; // of showing; a reading that comes after it was hidden is dropped

export async function show(panel) {
  parts = build();
  readings = [];
  fill(panel, h("h2", {}, t("live.title")), h("p.faint", {}, t("live.about")), parts.trouble, parts.tiles,
    h("div.halves", {}, card("live.rate", parts.rate.element), card("live.latency", parts.latency.element),
      card("live.waiting", parts.waiting.element), card("live.batches", parts.batches)),
    card("live.stages", parts.stages), parts.links);
  grafana(parts.links);
  await poll(++turn);
}

export function hide() {
  turn += 1;
  clearTimeout(timer);
}

function build() {
  const line = (label, series, y) => chart({ label, series, y, x: (seconds) => (seconds ? t("live.ago", { seconds: number(-seconds) }) : t("live.now")), data: history(series.length), splits: () => [-120, -90, -60, -30, 0], xRange: () => [-120, 0] });
  return {
    trouble: h("div"), tiles: h("div.tiles"), stages: h("div"), batches: h("div"), links: h("p.after"), bars: null,
    rate: line(t("live.rate"), [{ name: t("live.rate"), colour: "series-a" }], (value) => number(value, 2)),
    latency: line(t("live.latency"), [{ name: t("live.median"), colour: "series-a" }, { name: t("live.p95s"), colour: "series-b", dash: [6, 4] }], (value) => milliseconds(value)),
    waiting: line(t("live.waiting"), [{ name: t("live.queue"), colour: "series-a" }, { name: t("live.flight"), colour: "series-b", dash: [6, 4] }], (value) => number(value, 2)),
  };
}

const card = (key, body) => h("section.card", {}, h("h3", {}, t(key)), body);

async function grafana(place) {
  const links = await getJson("/page/links.json").catch(() => ({}));
  const address = links.grafana ?? `http://${location.hostname}:${GRAFANA_PORT}/`;
  place.append(h("a", { href: address }, "Grafana"), t(links.grafana ? "live.grafana" : "live.grafana-compose"));
}

async function poll(own) {
  try {
    const samples = parse(await getText("/metrics"));
    if (own !== turn) return;
    readings = [...readings, { at: performance.now(), samples }].slice(-WINDOW - 1);
    parts.trouble.replaceChildren();
    render();
  } catch (error) {
    if (own !== turn) return;
    readings = [];
    fill(parts.trouble, failure(error));
  }
  timer = setTimeout(() => poll(own), EVERY_MS);
}

const images = ({ route }) => (route ?? "").startsWith("/v");
const ms = (seconds) => (seconds === null ? null : seconds * 1000);

function render() {
  const [first, last] = [readings[0], readings.at(-1)];
  const seconds = (last.at - first.at) / 1000;
  const recent = seconds > 0 ? between(first.samples, last.samples, WORK, images) : { count: 0, p50: null, p95: null };
  const rate = seconds > 0 ? recent.count / seconds : 0;
  const shown = recent.count ? recent : between([], last.samples, WORK, images);
  const flight = Math.max(0, sum(last.samples, "catseye_requests_in_flight") - 1); // without this very reading
  const queue = sum(last.samples, "catseye_queue_depth");
  const batch = between([], last.samples, "catseye_batch_size", () => true);
  past = [...past.filter(({ at }) => last.at - at < EVERY_MS * REMEMBERED), { at: last.at, rate, p50: ms(recent.p50), p95: ms(recent.p95), queue, flight }];
  fill(parts.tiles,
    tile("live.rate", number(rate, 1)),
    tile("live.p95", shown.p95 === null ? "–" : milliseconds(ms(shown.p95))),
    tile("live.flight", number(flight)),
    tile("live.queue", number(queue)),
    tile("live.batch", batch.count ? number(batch.mean, 1) : "1"),
    tile("live.refused", number(sum(last.samples, "catseye_refused_total"))));
  parts.rate.update(history(1, "rate"));
  parts.latency.update(history(2, "p50", "p95"));
  parts.waiting.update(history(2, "queue", "flight"));
  stages(first.samples, last.samples);
  batches(last.samples);
}

/** The last two minutes as uPlot takes them: seconds before now, then a column for each key. */
function history(columns, ...keys) {
  const now = past.at(-1)?.at ?? 0;
  if (!past.length || !keys.length) return [[-120, 0], ...Array.from({ length: columns }, () => [null, null])];
  return [past.map(({ at }) => (at - now) / 1000), ...keys.map((key) => past.map((reading) => reading[key]))];
}

const tile = (key, value) => h("div.card", {}, h("div.figure", {}, value), h("div.faint", {}, t(key)));

/** How many runs of a network had how many images, since the start. */
function batches(samples) {
  const sizes = buckets(samples, "catseye_batch_size").filter(({ count, edge }) => count > 0 && Number.isFinite(edge));
  if (!sizes.length) {
    parts.bars = null;
    fill(parts.batches, h("p.faint", {}, t("live.unbatched")));
    return;
  }
  const most = Math.max(...sizes.map(({ edge }) => edge));
  const edges = Array.from({ length: most }, (_, index) => index + 1);
  const data = [edges, edges.map((edge) => sizes.find((size) => size.edge === edge)?.count ?? null)];
  if (parts.bars) {
    parts.bars.update(data);
    return;
  }
  parts.bars = chart({ label: t("live.batches"), series: [{ name: t("live.runs"), colour: "series-a", kind: "bars" }], data,
    x: (size) => number(size), y: (count) => number(count), splits: (all) => all, xRange: (_, __, high) => [0.4, Math.max(2, high) + 0.6] });
  fill(parts.batches, parts.bars.element, h("p.faint", {}, t("live.batches-about")));
}

function stages(before, now) {
  const rows = STAGES.map((stage) => {
    const want = (labels) => labels.stage === stage;
    const recent = between(before, now, STAGE, want);
    return { stage, ...(recent.count ? recent : between([], now, STAGE, want)) };
  }).filter(({ count }) => count);
  const longest = Math.max(...rows.map(({ mean }) => mean));
  fill(parts.stages, rows.length ? h("table.bars", {},
    h("thead", {}, h("tr", {}, ["stage", "share", "mean", "p95s"].map((key, index) =>
      h(index > 1 ? "th.number" : "th", { scope: "col" }, t(`live.${key}`))))),
    h("tbody", {}, rows.map(({ stage, mean, p95 }) => h("tr", {}, h("th", { scope: "row" }, t(`stage.${stage}`)),
      h("td", {}, h("div.track", {}, h("div.fill", { style: { width: `${(mean / longest) * 100}%` } }))),
      h("td.number", {}, milliseconds(mean * 1000)), h("td.number", {}, milliseconds(p95 * 1000)))))) : h("p.faint", {}, t("live.idle")));
}
