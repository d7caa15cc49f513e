// English and Korean: by the browser's wish, by the switch, and remembered where the browser lets us.
import en from "../words/en.js";
import ko from "../words/ko.js";

const WORDS = { en, ko };
const KEY = "catseye-language";
let chosen = remembered() ?? (navigator.language.toLowerCase().startsWith("ko") ? "ko" : "en");

function remembered() {
  try {
    const kept = localStorage.getItem(KEY);
    return kept in WORDS ? kept : null;
  } catch {
    return null; // storage may be closed to the page
  }
}

/** The language in use: "en" or "ko". */
export const language = () => chosen;

/** The text of a key with `{name}` filled in; `fallback`, or else English, where the language lacks it. */
export function t(key, values = {}, fallback = undefined) {
  const text = WORDS[chosen][key] ?? fallback ?? en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Switch to the other language. */
export function switchLanguage() {
  chosen = chosen === "en" ? "ko" : "en";
  try {
    localStorage.setItem(KEY, chosen);
  } catch {
    // not remembered, then
  }
}

/** Put the words into every element of the document that names one with `data-t`. */
export function translateDocument() {
  document.documentElement.lang = chosen;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
}
