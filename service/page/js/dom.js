// Elements from a short notation, and numbers as people write them. Styles are set through the CSSOM, never as
// an attribute: the page's policy forbids inline style.
import { language, t } from "./i18n.js";

/** An element: `h("p.faint#id", {title: "…", onclick: f}, "text", child, [more])`; null and false are left out. */
export function h(name, attributes = {}, ...children) {
  const [, tag, rest] = name.match(/^([a-z0-9]+)(.*)$/);
  const element = document.createElement(tag);
  for (const [, sign, word] of rest.matchAll(/([.#])([\w-]+)/g)) {
    if (sign === "#") element.id = word;
    else element.classList.add(word);
  }
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") Object.assign(element.style, value);
    else if (key in element && typeof value !== "string") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Put children in the place of the old ones; null and false are left out, and the focus stays where it was. */
export function fill(parent, ...children) {
  const kept = parent.contains(document.activeElement) ? document.activeElement.dataset.keep : undefined;
  parent.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  if (kept) parent.querySelector(`[data-keep="${CSS.escape(kept)}"]`)?.focus();
}

/** A number in the page's language, with so many digits after the point at most. */
export function number(value, digits = 0) {
  return new Intl.NumberFormat(language(), { maximumFractionDigits: digits }).format(value);
}

/** A measured quantity with four figures at most; what is very small as a power of ten, so that it does not look like nothing. */
export function quantity(value) {
  const tiny = value !== 0 && Math.abs(value) < 0.001;
  return new Intl.NumberFormat(language(), { maximumSignificantDigits: 4, notation: tiny ? "scientific" : "standard" }).format(value || 0);
}

/** A share as a percentage. */
export function percent(value, digits = 1) {
  return new Intl.NumberFormat(language(), { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

/** Milliseconds, with three figures or so. */
export function milliseconds(value) {
  return `${number(value, value < 10 ? 2 : value < 100 ? 1 : 0)} ms`;
}

/** A labelled choice. `options` are [value, text] pairs. */
export function choice(label, options, value, onchange) {
  const select = h("select", { "data-keep": label, onchange: (event) => onchange(event.target.value) },
    options.map(([key, text]) => h("option", { value: String(key), selected: String(key) === String(value) }, text)));
  return h("label", {}, label, select);
}

/** A sentence for a failure, in the style of errors; the service's own is English, so Korean says its kind first. */
export function failure(error) {
  const kind = error.code ? t(`error.${error.code}`, {}, "") : "";
  return h("p.error", { role: "status" }, kind ? [kind, " ", h("small", { lang: "en" }, error.message)] : error.message);
}
