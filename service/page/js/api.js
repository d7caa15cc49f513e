// Requests to the service. A failure is an Error whose message is the service's own sentence.
import { t } from "./i18n.js";

/** "gone" when the server does not answer, "back" when it does again, "locked" when it wants an API key. */
export const connection = new EventTarget();
let gone = false;
let key = "";

export const isGone = () => gone;

export function useKey(value) {
  key = value;
}

/** An error reply: `code` and `status` are those of its problem document. */
export class Refusal extends Error {
  constructor(problem, status) {
    super(problem.detail ?? problem.title ?? t("error.status", { status }));
    this.code = problem.code ?? "unknown";
    this.status = status;
  }
}

function mark(now) {
  if (gone === now) return;
  gone = now;
  connection.dispatchEvent(new Event(now ? "gone" : "back"));
}

async function send(path, options = {}) {
  const headers = { ...options.headers, ...(key ? { "x-api-key": key } : {}) };
  let reply;
  try {
    reply = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    mark(true);
    throw new Error(t("gone.short"));
  }
  mark(false);
  if (reply.ok) return reply;
  if (reply.status === 401) connection.dispatchEvent(new Event("locked"));
  throw new Refusal(await reply.json().catch(() => ({})), reply.status);
}

const query = (values) => {
  const pairs = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
};

/** Look whether the server answers, and tell the listeners if that changed. */
export async function knock() {
  try {
    await fetch("/livez", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    mark(false);
  } catch {
    mark(true);
  }
}

export const getJson = async (path) => (await send(path)).json();
export const getText = async (path) => (await send(path)).text();

/** POST an image file as it is; `values` become the query. */
export function postImage(path, file, values = {}) {
  // What is no image by its name is for the service to look at: it says what the bytes are.
  const headers = { "content-type": file.type.startsWith("image/") ? file.type : "application/octet-stream" };
  return send(path + query(values), { method: "POST", body: file, headers });
}

/** POST several images in one request. */
export async function postImages(path, files, values = {}) {
  const form = new FormData();
  for (const file of files) form.append("image", file, file.name);
  return (await send(path + query(values), { method: "POST", body: form })).json();
}

export const postJson = (path, body) =>
  send(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });

/** The path with its query, as the curl line shows it. */
export const pathOf = (path, values) => path + query(values);
