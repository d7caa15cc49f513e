// Live: what the service is doing now, from its own metrics.
import { getText } from "./api.js";
import { failure, h, milliseconds, number } from "./dom.js";
import { t } from "./i18n.js";
import { between, parse, sum } from "./prometheus.js";

const EVERY_MS = 2000;
const REMEMBERED = 60; // readings: two minutes
const WINDOW = 5; // readings that a rate is taken over
const STAGES = ["receive", "decode", "queue", "batch_wait", "inference", "respond"];
const GRAFANA_PORT = 3001; // docker-compose.yml
const WORK = "catseye_request_duration_seconds";
let readings = [];
let rates = [];
let root = null;
let timer = 0;
let turn = 0; // of showing; a reading that comes after it was hidden is dropped

export async function show(panel) {
  root = panel;
  readings = [];
  await poll(++turn);
}

export function hide() {
  root = null;
  clearTimeout(timer);
}

async function poll(own) {
  try {
    const samples = parse(await getText("/metrics"));
    if (!root || own !== turn) return;
    readings = [...readings, { at: performance.now(), samples }].slice(-WINDOW - 1);
    render();
  } catch (error) {
    if (!root || own !== turn) return;
    readings = [];
    root.replaceChildren(h("h2", {}, t("live.title")), failure(error));
  }
  timer = setTimeout(() => poll(own), EVERY_MS);
}

const images = ({ route }) => (route ?? "").startsWith("/v");

function render() {
  const [first, last] = [readings[0], readings.at(-1)];
  const seconds = (last.at - first.at) / 1000;
  const recent = seconds > 0 ? between(first.samples, last.samples, WORK, images) : { count: 0 };
  const rate = seconds > 0 ? recent.count / seconds : 0;
  if (seconds > 0) rates = [...rates, rate].slice(-REMEMBERED);
  const ever = (name, want) => between([], last.samples, name, want ?? (() => true));
  const shown = recent.count ? recent : ever(WORK, images);
  const batch = ever("catseye_batch_size");
  root.replaceChildren(h("h2", {}, t("live.title")), h("p.faint", {}, t("live.about")),
    h("div.tiles", {},
      tile("live.rate", number(rate, 1)),
      tile("live.p95", shown.p95 === null ? "–" : milliseconds(shown.p95 * 1000)),
      tile("live.flight", number(sum(last.samples, "catseye_requests_in_flight"))),
      tile("live.queue", number(sum(last.samples, "catseye_queue_depth"))),
      tile("live.batch", batch.count ? number(batch.mean, 1) : "–"),
      tile("live.refused", number(sum(last.samples, "catseye_refused_total")))),
    h("div.halves", {}, chart(), stages(first.samples, last.samples)),
    h("p", {}, h("a", { href: `http://${location.hostname}:${GRAFANA_PORT}/` }, "Grafana"), ` ${t("live.grafana")}`));
}

const tile = (key, value) => h("div.card", {}, h("div.figure", {}, value), h("div.faint", {}, t(key)));

function chart() {
  const top = Math.max(1, ...rates);
  const points = rates.map((rate, index) => `${(index / (REMEMBERED - 1)) * 100} ${38 - (rate / top) * 36}`);
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "M0 38L0 38");
  svg.append(path);
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 100 40");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", t("live.chart", { top: number(top, 1) }));
  return h("section.card", {}, h("h3", {}, t("live.rate")), svg, h("p.faint", {}, t("live.chart", { top: number(top, 1) })));
}

function stages(before, now) {
  const rows = STAGES.map((stage) => {
    const want = (labels) => labels.stage === stage;
    const recent = between(before, now, "catseye_stage_duration_seconds", want);
    const found = recent.count ? recent : between([], now, "catseye_stage_duration_seconds", want);
    return { stage, ...found };
  }).filter(({ count }) => count);
  const longest = Math.max(...rows.map(({ mean }) => mean));
  return h("section.card", {}, h("h3", {}, t("live.stages")), rows.length ? h("table.bars", {},
    h("thead", {}, h("tr", {}, ["stage", "share", "mean", "p95s"].map((key, index) =>
      h(index > 1 ? "th.number" : "th", { scope: "col" }, t(`live.${key}`))))),
    h("tbody", {}, rows.map(({ stage, mean, p95 }) => h("tr", {}, h("th", { scope: "row" }, t(`stage.${stage}`)),
      h("td", {}, h("div.track", {}, h("div.fill", { style: { width: `${(mean / longest) * 100}%` } }))),
      h("td.number", {}, milliseconds(mean * 1000)), h("td.number", {}, milliseconds(p95 * 1000)))))) : h("p.faint", {}, t("live.idle")));
}
