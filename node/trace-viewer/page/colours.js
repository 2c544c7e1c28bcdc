// Colours of messages: the seven that cost most handling get one each, told apart by colour-blind eyes too.

const TYPE_LIGHT = ['#2266aa', '#18785e', '#766900', '#7a4fa3', '#4aa3d8', '#945a3c', '#4d7a22'];
const TYPE_DARK = ['#6aa9ec', '#4cc9a4', '#d6c84a', '#b79ae0', '#9ad4f5', '#d0a184', '#a7cf6e'];
const REST = { light: '#667078', dark: '#8b97a4' };

/** Gives each message type a place in the palette by what it cost; -1 for those beyond. */
export function assignColours(model) {
  const cost = new Float64Array(model.types.length);
  for (let row = 0; row < model.rows; row += 1) cost[model.type[row]] += (model.busy[row] || 0) + 1;
  const places = new Int8Array(model.types.length).fill(-1);
  [...cost.keys()].sort((a, b) => cost[b] - cost[a]).slice(0, TYPE_LIGHT.length).forEach((type, at) => { places[type] = at; });
  model.places = places;
}

export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}

export function typeColour(model, type) {
  const place = model.places[type] ?? -1;
  const dark = isDark();
  if (place < 0) return dark ? REST.dark : REST.light;
  return (dark ? TYPE_DARK : TYPE_LIGHT)[place];
}

function luminance(hex) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
    .map((share) => (share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** Contrast of two colours (`#rrggbb`) as WCAG 2.2 defines it, 1 to 21. */
export function contrast(a, b) {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

/** Of the theme's ink and paper the one that is read better on a colour. */
export function textOn(colour, { ink, panel }) {
  return contrast(colour, ink) > contrast(colour, panel) ? ink : panel;
}

/** The colours of the style sheet that the canvas needs. */
export function themeColours() {
  const style = getComputedStyle(document.documentElement);
  const colours = {};
  for (const name of ['paper', 'panel', 'ink', 'muted', 'line', 'stripe', 'wait', 'bad', 'path', 'select', 'depth']) {
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
  return colours;
}
