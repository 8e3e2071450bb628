// Requests to the server. Addresses are relative to the page, so that they begin with the token of the session.

/** No answer, or a server that cannot serve at present: worth another try. */
export class ConnectionError extends Error {}

/** The server has answered that it cannot do it at present, because its disk is full for example. */
export class TroubleError extends ConnectionError {}

/** The server understood the request and refuses it: repeating it will not help. */
export class RefusedError extends Error {}

/** The address belongs to a server that has ended. What was painted stays in the page until it is sent. */
export class SessionEndedError extends ConnectionError {}

async function message(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `the server answered ${response.status} ${response.statusText}`;
  }
}

async function request(path, read, options = {}) {
  let response;
  try {
    response = await fetch(new URL(`api/${path}`, document.baseURI), { cache: "no-store", ...options });
    if (response.ok) return await read(response);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ConnectionError("the server does not answer");
  }
  const why = await message(response);
  if (response.status >= 500) throw new TroubleError(why);
  if ([401, 403, 404].includes(response.status)) throw new SessionEndedError(why);
  throw new RefusedError(why);
}

const json = (response) => (response.status === 204 ? null : response.json()); // 204: nothing new to tell
const post = (path, body) =>
  request(path, json, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body ?? {}),
  });
const numbers = (response, header) => (response.headers.get(header) ?? "").split(",").map(Number);

async function readLabels(response) {
  const [height, width] = numbers(response, "X-Size");
  const values = new Uint8Array(await response.arrayBuffer());
  return { height, width, values, undo: numbers(response, "X-Undo")[0], redo: numbers(response, "X-Redo")[0] };
}

async function readPrediction(response) {
  if (response.status === 204) return null;
  const bytes = new Uint8Array(await response.arrayBuffer());
  const [height, width] = numbers(response, "X-Size");
  const [top, rowStep] = numbers(response, "X-Rows");
  const [left, columnStep] = numbers(response, "X-Columns");
  return {
    version: numbers(response, "X-Version")[0],
    height, width, top, rowStep, left, columnStep,
    labels: bytes.subarray(0, height * width),
    margins: bytes.subarray(height * width),
  };
}

export const session = () => request("session", json);
export const pixels = (image, signal) => request(`images/${image}/pixels`, (r) => r.blob(), { signal });
export const labels = (image, signal) => request(`images/${image}/labels`, readLabels, { signal });
export const sendEdits = (image, edits) => post(`images/${image}/edits`, { edits });
export const undo = (image, id) => post(`images/${image}/undo`, { id });
export const redo = (image, id) => post(`images/${image}/redo`, { id });
/** Label the pixels of a region that have no label. */
export const fill = (image, id, value, runs) => post(`images/${image}/fill`, { id, value, runs });
/** The predicted class of a pixel and the region of this class around it, {value, runs}, or null after 20 s. */
export const region = (image, row, column, signal) =>
  request(`images/${image}/region?row=${row}&column=${column}`, json, { signal });
export const suggestion = () => request("suggestion", json);
export const save = () => post("save");
/** What has changed since a version, or null after 20 s. */
export const state = (after, signal) => request(`state?after=${after}`, json, { signal });

/** The prediction of a box [top, left, bottom, right) on a grid of at most height x width, or null after 20 s. */
export function prediction(image, [top, left, bottom, right], height, width, after, signal) {
  const query = new URLSearchParams({ top, left, bottom, right, height, width, after });
  return request(`images/${image}/prediction?${query}`, readPrediction, { signal });
}
