// Tabs, language, and whether the server is there. A view is a module with show(panel) and, if it polls, hide().
import { connection, isGone, knock, useKey } from "./api.js";
import { h } from "./dom.js";
import { language, switchLanguage, t, translateDocument } from "./i18n.js";
import { loadModels } from "./state.js";

const NAMES = ["classify", "inside", "lab", "models", "live"];
const KNOCK_MS = { there: 4000, gone: 1500 };
const panel = document.getElementById("panel");
const tabs = Object.fromEntries(NAMES.map((name) => [name, document.getElementById(`tab-${name}`)]));
let shown = { name: "", view: null };

function wanted() {
  const name = location.hash.slice(1);
  return NAMES.includes(name) ? name : "classify";
}

async function open(name) {
  const view = await import(`./${name}.js`);
  if (wanted() !== name) return;
  shown.view?.hide?.();
  for (const [other, tab] of Object.entries(tabs)) {
    tab.setAttribute("aria-selected", String(other === name));
    tab.tabIndex = other === name ? 0 : -1;
  }
  panel.setAttribute("aria-labelledby", `tab-${name}`);
  panel.dataset.view = name;
  shown = { name, view };
  document.title = `${t(`tab.${name}`)} · catseye`;
  // A room of its own: what a view fetches late must not land in the next one.
  const room = h("div");
  const focused = panel.contains(document.activeElement);
  const kept = focused ? document.activeElement.dataset.keep : undefined;
  panel.replaceChildren(room);
  if (focused) panel.focus(); // what had the focus is gone, and the keyboard would start at the top again
  await view.show(room);
  if (kept && document.activeElement === panel) room.querySelector(`[data-keep="${CSS.escape(kept)}"]`)?.focus();
}

function listenToTabs() {
  for (const [name, tab] of Object.entries(tabs)) tab.addEventListener("click", () => { location.hash = name; });
  document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
    const place = NAMES.indexOf(event.target.id.slice(4));
    const next = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: NAMES.length - 1 }[event.key];
    if (next === undefined || place < 0) return;
    event.preventDefault();
    const name = NAMES[(next + NAMES.length) % NAMES.length];
    tabs[name].focus();
    location.hash = name;
  });
  addEventListener("hashchange", () => open(wanted()));
}

function words() {
  translateDocument();
  const button = document.getElementById("language");
  button.textContent = language() === "en" ? "KO" : "EN";
  button.setAttribute("aria-label", language() === "en" ? "KO: 한국어" : "EN: English");
  const notice = document.getElementById("gone");
  notice.hidden = !isGone();
  notice.replaceChildren(isGone() ? h("span", {}, t("gone.long")) : "");
}

async function refresh() {
  await loadModels().catch(() => {}); // the view then says that no model is served, or the notice stands
  await open(wanted());
}

function listenToServer() {
  connection.addEventListener("gone", words);
  connection.addEventListener("back", async () => {
    words();
    await refresh();
  });
  const locked = document.getElementById("locked");
  connection.addEventListener("locked", () => { locked.hidden = false; });
  locked.addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(document.getElementById("key").value);
    locked.hidden = true;
    refresh();
  });
  const watch = async () => {
    if (!document.hidden) await knock();
    setTimeout(watch, isGone() ? KNOCK_MS.gone : KNOCK_MS.there);
  };
  setTimeout(watch, KNOCK_MS.there);
}

document.getElementById("language").addEventListener("click", () => {
  switchLanguage();
  words();
  open(wanted());
});
words();
listenToTabs();
listenToServer();
await refresh();
performance.mark("interactive"); // the first view stands and answers
