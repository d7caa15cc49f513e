// The choice of model and variant, with the latency that the service measured; used by two views.
import { choice, h, milliseconds } from "./dom.js";
import { t } from "./i18n.js";
import { currentModel, state } from "./state.js";

/** Two selects, or a sentence where nothing is served; `changed` is called after a choice. */
export function modelChoice(changed) {
  if (!state.models.length) return h("p.error", {}, t("models.none"));
  const variants = Object.entries(currentModel().variants).map(([name, variant]) => [
    name,
    `${t(`variant.${name}`)} · ${variant.precision} · p95 ${milliseconds(variant.latency_ms.p95)}`,
  ]);
  const chooseModel = (name) => {
    state.model = name;
    if (!currentModel().variants[state.variant]) state.variant = "accurate";
    changed();
  };
  const chooseVariant = (name) => {
    state.variant = name;
    changed();
  };
  return h("div.row", {},
    choice(t("choose.model"), state.models.map((model) => [model.name, model.name]), state.model, chooseModel),
    choice(t("choose.variant"), variants, state.variant, chooseVariant));
}
