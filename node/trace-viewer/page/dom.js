// Elements are made by hand: text from a trace is only ever text.

/** An element with properties, attributes (those with a dash or `role`), listeners (`onclick`) and children. */
export function el(name, props = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (key.includes('-') || key === 'role' || key === 'for' || key === 'scope' || key === 'colspan') node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function byId(id) {
  return document.getElementById(id);
}

/** A square in a colour; set by script, since the page's policy forbids style attributes. */
export function swatch(colour) {
  const node = el('span', { className: 'swatch', 'aria-hidden': 'true' });
  node.style.background = colour;
  return node;
}
