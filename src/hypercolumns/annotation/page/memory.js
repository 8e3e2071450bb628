// What the browser remembers of the user's choices. It may refuse to, and then each visit begins with the defaults.

/** What was remembered under a name, or null. Other pages and older versions may have written it, so check it. */
export function recall(name) {
  try {
    return JSON.parse(localStorage.getItem(`annotate.${name}`));
  } catch {
    return null;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`annotate.${name}`, JSON.stringify(value));
  } catch {
    // a browser that keeps nothing, or is full
  }
}
