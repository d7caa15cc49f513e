// Models: what each served model says of itself.
import { curves } from "./curves.js";
import { fill, h, milliseconds, number, percent } from "./dom.js";
import { language, t } from "./i18n.js";
import { loadModels, state } from "./state.js";

const MOST_LABELS = 16; // a larger confusion matrix is shown as a list of its worst pairs
const WORST = 12;

export async function show(panel) {
  await loadModels().catch(() => {});
  const served = [...state.models].sort((a, b) => Number(b.default) - Number(a.default));
  const cards = served.flatMap((model) => Object.values(model.variants).map((variant) => card(model, variant)));
  fill(panel, h("h2", {}, t("models.title")), h("p.faint", {}, t("models.about")),
    cards.length ? h("div.cards", {}, cards) : h("p.error", {}, t("models.none")), refused());
}

function refused() {
  const rows = Object.entries(state.refused).flatMap(([name, versions]) =>
    Object.entries(versions).map(([version, reason]) => h("li", {}, `${name}:${version}: ${reason}`)));
  return rows.length ? h("section", {}, h("h3", {}, t("models.refused")), h("ul.error", {}, rows)) : null;
}

function card(model, variant) {
  const { card: about } = variant;
  return h("article.card", {}, h("h3", {}, `${model.name} · ${t(`variant.${variant.variant}`)}`, model.default && variant.variant === "accurate" ? ` · ${t("models.default")}` : ""),
    accuracy(about.metrics), facts(variant), curves(model, variant), about.metrics ? confusion(about) : null, provenance(about));
}

function accuracy(metrics) {
  if (!metrics) return h("p.faint", {}, t("models.unmeasured"));
  const at = (share) => `${share * 100}%`;
  const values = { low: percent(metrics.accuracy_low), high: percent(metrics.accuracy_high), images: number(metrics.images) };
  return h("div", {}, h("div.figure", {}, percent(metrics.accuracy)),
    h("div.interval", { "aria-hidden": "true" },
      h("i", { style: { left: at(metrics.accuracy_low), width: at(metrics.accuracy_high - metrics.accuracy_low) } }),
      h("b", { style: { left: at(metrics.accuracy) } })),
    h("p.faint", {}, t("models.interval", values)));
}

function facts(variant) {
  const { card: about } = variant;
  const { metrics, data, split } = about;
  const rows = {
    version: variant.tag,
    backbone: `${variant.backbone}, ${number(about.parameters / 1e6, 1)} M`,
    input: variant.input_size.join(" × "),
    runtime: `${variant.runtime}, ${variant.precision}`,
    latency: `p50 ${milliseconds(variant.latency_ms.p50)}, p95 ${milliseconds(variant.latency_ms.p95)}`,
    balanced: metrics && percent(metrics.balanced_accuracy),
    f1: metrics && number(metrics.macro_f1, 3),
    loss: metrics && number(metrics.log_loss, 3),
    calibration: metrics && percent(metrics.calibration_error),
    weights: `${about.weights.source}: ${about.weights.detail}`,
    data: data && `${data.name}: ${t("models.images", { count: number(data.images) })}`,
    split: split && `${split.method}, ${number(split.train)} / ${number(split.validation)} / ${number(split.test)}`,
    created: new Date(about.created).toLocaleString(language()),
  };
  return definitions(rows);
}

function definitions(rows) {
  return h("dl", {}, Object.entries(rows).filter(([, value]) => value).map(([name, value]) =>
    [h("dt", {}, t(`models.${name}`)), h("dd", {}, value)]));
}

/** Where data and weights came from, to the hash, and with what it was trained. */
function provenance({ name, weights, data, split, settings, versions }) {
  const pairs = (values) => Object.entries(values).map(([key, value]) => `${key} ${value}`).join(", ");
  const set = Object.entries(settings).filter(([, value]) => value !== null && value !== "");
  const body = definitions({
    "weights-sha": weights.sha256 && h("code", {}, weights.sha256),
    "data-sha": data && h("code", {}, data.sha256),
    classes: data && pairs(data.classes),
    skipped: data && data.skipped > 0 && number(data.skipped),
    seed: split && String(split.seed),
    settings: set.length && set.map(([key, value]) => `${key}=${value}`).join(", "),
    software: pairs(versions),
  });
  return body.children.length ? h("details", { "data-model": name }, h("summary", {}, t("models.provenance")), body) : null;
}

function confusion({ name, labels, metrics }) {
  const table = labels.length > MOST_LABELS ? worstPairs(labels, metrics.confusion) : matrix(labels, metrics.confusion);
  return h("details", { open: labels.length <= MOST_LABELS }, h("summary", {}, t("models.confusion")),
    labels.length > MOST_LABELS ? null : h("p.faint", {}, t("models.matrix")),
    h("div.wide", { tabindex: "0", role: "region", "aria-label": `${t("models.confusion")}: ${name}` }, table));
}

function matrix(labels, counts) {
  const head = h("tr", {}, h("td", {}), labels.map((label) => h("th", { scope: "col" }, label)));
  const rows = counts.map((row, truth) => h("tr", {}, h("th", { scope: "row" }, labels[truth]), row.map((count, guess) =>
    h(truth === guess ? "td.right" : count ? "td.wrong" : "td", {}, number(count)))));
  return h("table.confusion", { "aria-label": t("models.matrix") }, h("thead", {}, head), h("tbody", {}, rows));
}

function worstPairs(labels, counts) {
  const pairs = counts.flatMap((row, truth) => row.map((count, guess) => ({ truth, guess, count })))
    .filter(({ truth, guess, count }) => truth !== guess && count > 0)
    .sort((a, b) => b.count - a.count).slice(0, WORST);
  return h("table", {}, h("caption", {}, t("models.worst")), h("tbody", {}, pairs.map(({ truth, guess, count }) =>
    h("tr", {}, h("th", { scope: "row" }, `${labels[truth]} → ${labels[guess]}`), h("td.number", {}, number(count))))));
}
