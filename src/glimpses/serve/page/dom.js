// Helpers for elements and requests.

export const $ = (id) => document.getElementById(id);

export const create = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};

export const percent = (value) => `${Math.round(100 * value)} %`;

export async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not respond. Is it still running?");
  }
  if (!response.ok) throw new Error(await errorMessage(response));
  return response;
}

async function errorMessage(response) {
  try {
    const { detail } = await response.json();
    return typeof detail === "string" ? detail : "The server rejected the request.";
  } catch {
    return `The server returned error ${response.status}.`;
  }
}

// Save data as a file of the user.
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  create("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
