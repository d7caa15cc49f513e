// What the views share: the images, the served models, and which model and variant answers.
import { getJson } from "./api.js";

/** images: {file, url, answer?, error?}; chosen: index of the image that is looked into. */
export const state = { images: [], chosen: 0, models: [], refused: {}, model: "", variant: "accurate" };

/** Read the served models again; keeps the choice where it is still served. */
export async function loadModels() {
  const reply = await getJson("/v1/models");
  state.models = reply.models;
  state.refused = reply.refused;
  const known = state.models.some((model) => model.name === state.model);
  if (!known) state.model = (state.models.find((model) => model.default) ?? state.models[0])?.name ?? "";
  if (!currentModel()?.variants[state.variant]) state.variant = "accurate";
}

export const currentModel = () => state.models.find((model) => model.name === state.model);
export const currentVariant = () => currentModel()?.variants[state.variant];
export const chosenImage = () => state.images[state.chosen];

/** The query that asks the chosen model and variant. */
export const asked = () => ({ model: state.model, variant: state.variant });
