// Colours of messages: the seven that cost most handling get one each, told apart by colour-blind eyes too.

const TYPE_LIGHT = ['#2266aa', '#1f8a6d', '#8a7a00', '#7a4fa3', '#4aa3d8', '#945a3c', '#5f8f2f'];
const TYPE_DARK = ['#6aa9ec', '#4cc9a4', '#d6c84a', '#b79ae0', '#9ad4f5', '#d0a184', '#a7cf6e'];
const REST = { light: '#78838f', dark: '#8b97a4' };

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

/** The colours of the style sheet that the canvas needs. */
export function themeColours() {
  const style = getComputedStyle(document.documentElement);
  const colours = {};
  for (const name of ['paper', 'panel', 'ink', 'muted', 'line', 'stripe', 'wait', 'bad', 'path', 'select', 'depth']) {
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
  return colours;
}
