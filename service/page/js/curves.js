// Learning curves of a stored model, from the history that was kept with it.
import { chart } from "./charts.js";
import { getJson } from "./api.js";
import { failure, fill, h, number, percent } from "./dom.js";
import { t } from "./i18n.js";

/** A section with the curves of a variant; it fills itself. */
export function curves(model, variant) {
  const body = h("div", {}, h("p.faint", {}, t("busy")));
  load(body, model, variant);
  return h("section", {}, h("h4", {}, t("curves.title")), body);
}

async function load(body, model, variant) {
  const query = new URLSearchParams({ variant: variant.variant, version: variant.version });
  try {
    const { phases } = await getJson(`/v1/models/${encodeURIComponent(model.name)}/history?${query}`);
    const trained = phases.filter((phase) => phase.history.length);
    if (!trained.length) fill(body, h("p.faint", {}, t("curves.none")));
    else draw(body, trained);
  } catch (error) {
    fill(body, failure(error));
  }
}

function draw(body, phases) {
  const rows = inOrder(phases);
  fill(body, h("p.faint", {}, phases.map((phase) => t("curves.phase", {
    name: t(`phase.${phase.phase}`, {}, phase.phase), epochs: number(phase.history.length), best: number(phase.best_epoch) })).join(" ")),
  h("div.pair", {}, figure(rows, "loss", (value) => number(value, 2)), figure(rows, "accuracy", (value) => percent(value, 0))),
  table(rows));
}

/** Every epoch, counted through; between two phases an empty row, so that the lines stop there. */
function inOrder(phases) {
  const rows = [];
  let epoch = 0;
  for (const phase of phases) {
    if (epoch) rows.push({ epoch: epoch + 0.5, gap: true });
    for (const [index, figures] of phase.history.entries()) {
      epoch += 1;
      rows.push({ ...figures, epoch, phase: phase.phase, kept: index + 1 === phase.best_epoch });
    }
  }
  return rows;
}

const column = (rows, key) => rows.map((row) => row[key] ?? null);
const whole = (epochs) => {
  const most = Math.ceil(epochs.at(-1));
  const step = Math.max(1, Math.ceil(most / 8));
  return Array.from({ length: Math.floor(most / step) }, (_, index) => (index + 1) * step);
};

function figure(rows, key, y) {
  const validated = rows.some((row) => typeof row[`val_${key}`] === "number");
  const kept = rows.map((row) => (row.kept ? row[validated ? `val_${key}` : key] ?? null : null));
  const series = [{ name: t("curves.training"), colour: "series-a" }, { name: t("curves.validation"), colour: "series-b", dash: [6, 4] },
    { name: t("curves.kept"), colour: "ink", kind: "points" }];
  const drawn = chart({
    label: t(`curves.${key}`), series, y, x: (epoch) => (Number.isInteger(epoch) ? number(epoch) : ""), splits: whole,
    xRange: (_, low, high) => [Math.min(low, 1) - 0.25, Math.max(high, 2) + 0.25],
    yRange: key === "accuracy" ? (_, low) => [Math.max(0, (low ?? 0) - 0.05), 1] : undefined,
    data: [column(rows, "epoch"), column(rows, key), column(rows, `val_${key}`), kept],
  });
  return h("figure", {}, h("figcaption", {}, t(`curves.${key}`)), drawn.element);
}

function table(rows) {
  const keys = ["loss", "val_loss", "accuracy", "val_accuracy"];
  const text = (row, key) => (typeof row[key] !== "number" ? "–" : key.endsWith("accuracy") ? percent(row[key]) : number(row[key], 3));
  return h("details", {}, h("summary", {}, t("curves.figures")), h("div.wide", { tabindex: "0", role: "region", "aria-label": t("curves.figures") },
    h("table.figures", {}, h("thead", {}, h("tr", {}, ["epoch", ...keys].map((key) => h("th.number", { scope: "col" }, t(`curves.${key}`))))),
      h("tbody", {}, rows.filter((row) => !row.gap).map((row) => h("tr", {}, h("th.number", { scope: "row" }, number(row.epoch), row.kept ? " ●" : ""),
        keys.map((key) => h("td.number", {}, text(row, key)))))))));
}
