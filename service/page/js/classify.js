// Classify: drop, paste, choose or take images; a row for each, with probabilities, timings and the curl line.
import { asked, state } from "./state.js";
import { pathOf, postImage, postImages, Refusal } from "./api.js";
import { modelChoice } from "./choose.js";
import { failure, fill, h, milliseconds, percent } from "./dom.js";
import { t } from "./i18n.js";
import { drawSample, SAMPLES } from "./samples.js";

const AT_ONCE = 8;
const STAGES = ["receive", "decode", "queue", "inference", "total"];
let root = null;

export function show(panel) {
  root = panel;
  document.addEventListener("paste", paste);
  render();
}

export function hide() {
  document.removeEventListener("paste", paste);
  root = null;
}

function paste(event) {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) add(files);
}

function render() {
  if (!root) return;
  fill(root,
    h("h2", {}, t("classify.title")),
    h("p.faint", {}, t("classify.about")),
    dropZone(),
    modelChoice(() => classify(state.images)),
    h("p.hush", { role: "status" }, spoken()),
    h("ul.results", {}, state.images.map(row)),
    // Not before: an answer that comes draws the page anew, and what was selected in it is lost.
    state.images.length && state.images.every((image) => image.answer || image.error) ? curl() : null,
  );
}

function dropZone() {
  const zone = h("div.drop", {
    ondragover: (event) => { event.preventDefault(); zone.classList.add("over"); },
    ondragleave: () => zone.classList.remove("over"),
    ondrop: (event) => { event.preventDefault(); zone.classList.remove("over"); add([...event.dataTransfer.files]); },
  }, h("p", {}, t("classify.drop")), h("div.row", {}, picker(false), picker(true), samples()));
  return zone;
}

function picker(camera) {
  const input = h("input", {
    type: "file", hidden: true, accept: "image/*", multiple: !camera, id: camera ? "camera" : "file",
    "aria-label": t(camera ? "classify.camera" : "classify.choose"),
    capture: camera ? "environment" : null,
    onchange: (event) => add([...event.target.files]),
  });
  const kind = camera ? "button.touch" : "button.primary";
  return [h(kind, { type: "button", "data-keep": input.id, onclick: () => input.click() }, t(camera ? "classify.camera" : "classify.choose")), input];
}

function samples() {
  return h("div.row.samples", {}, h("span.faint", {}, t("classify.samples")), SAMPLES.map((name) =>
    h("button", { type: "button", "data-keep": name, "aria-label": t("classify.sample", { name: t(`sample.${name}`) }),
      onclick: async () => add([await drawSample(name)]) },
    h("img", { src: `/page/samples/${name}.svg`, alt: "", width: 56, height: 56 }))));
}

function add(files) {
  if (!files.length) return;
  const images = files.map((file) => ({ file, url: URL.createObjectURL(file) }));
  state.images = [...images, ...state.images];
  state.chosen = 0;
  classify(images);
}

async function classify(images) {
  for (const image of images) {
    image.answer = null;
    image.error = null;
  }
  render();
  for (let start = 0; start < images.length; start += AT_ONCE) {
    await ask(images.slice(start, start + AT_ONCE));
    render();
  }
}

async function ask(images) {
  try {
    if (images.length === 1) {
      images[0].answer = await (await postImage("/v1/classify", images[0].file, asked())).json();
      return;
    }
    const reply = await postImages("/v1/classify", images.map((image) => image.file), asked());
    reply.results.forEach((result, index) => {
      if (result.error) images[index].error = new Refusal(result.error, result.error.status);
      else images[index].answer = result;
    });
  } catch (error) {
    for (const image of images) image.error = error;
  }
}

function spoken() {
  const [first] = state.images;
  if (!first?.answer) return "";
  const [best] = first.answer.predictions;
  return `${first.file.name}: ${best.label} ${percent(best.probability)}`;
}

function row(image, index) {
  const picture = h("img", { src: image.url, alt: image.file.name,
    onerror: () => picture.replaceWith(h("span.nopicture", {}, t("classify.nopicture"))) });
  return h("li.card.result", { "data-name": image.file.name }, picture, h("h3", {}, image.file.name), body(image, index));
}

function body(image, index) {
  if (image.error) return h("div", {}, failure(image.error));
  if (!image.answer) return h("p.faint", {}, t("busy"));
  const { predictions, timing_ms: timing, model, variant, version } = image.answer;
  const times = STAGES.filter((stage) => stage in timing).map((stage) =>
    h("li", {}, `${t(`stage.${stage}`)} `, h("b", {}, milliseconds(timing[stage]))));
  const look = () => {
    state.chosen = index;
    location.hash = "inside";
  };
  return h("div", {}, bars(predictions),
    h("ul.stages", { "aria-label": t("classify.timings") }, times),
    h("p.faint", {}, `${model} · ${t(`variant.${variant}`)} · ${version}`),
    h("button", { type: "button", onclick: look }, t("classify.look")));
}

function bars(predictions) {
  return h("table.bars", {}, h("caption.hush", {}, t("classify.probabilities")),
    h("tbody", {}, predictions.map(({ label, probability }) => h("tr", {}, h("th", { scope: "row" }, label),
      h("td", {}, h("div.track", {}, h("div.fill", { style: { width: `${probability * 100}%` } }))),
      h("td.number", {}, percent(probability))))));
}

function curl() {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const name = (state.images.find((image) => image.answer) ?? state.images[0]).file.name;
  const line = `curl --data-binary ${quoted(`@${name}`)} ${quoted(location.origin + pathOf("/v1/classify", asked()))}`;
  const copied = h("span.faint", { role: "status" });
  const shown = h("pre.curl", {}, line);
  const copy = async () => {
    const there = await toClipboard(line);
    if (!there) getSelection().selectAllChildren(shown);
    copied.textContent = t(there ? "classify.copied" : "classify.selected");
  };
  return h("section", {}, h("h3", {}, t("classify.curl")), h("div.row", {}, shown,
    h("button", { type: "button", onclick: copy }, t("classify.copy")), copied));
}

/** Whether the text could be put there: browsers let pages from other machines without https do nothing of the kind. */
async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
