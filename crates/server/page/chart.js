// The few shapes that charts are made of, in the pixels of the place they are shown in.

const SVG = 'http://www.w3.org/2000/svg';

/** An element of a chart. */
export function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Sizes `svg` to its place, `height` pixels high, and says how wide that is. */
export function resize(svg, height) {
  const width = Math.max(200, Math.round(svg.clientWidth));
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.setAttribute('height', height);
  return width;
}

/** Maps a value between `from` and `to` to a pixel between `start` and `end`. */
export function linear(from, to, start, end) {
  return (value) => start + ((value - from) / (to - from)) * (end - start);
}

/** The same by the logarithm. */
export function logarithmic(from, to, start, end) {
  const map = linear(Math.log10(from), Math.log10(to), start, end);
  return (value) => map(Math.log10(value));
}

/** The path through points. */
export function path(points) {
  return points.map(([x, y], i) => `${i ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`).join('');
}

/** Moves places apart until each is `gap` from the next; keeps their order, stays above `end`. */
export function spread(places, gap, end) {
  const order = places.map((place, i) => [place, i]).sort((a, b) => a[0] - b[0]);
  for (let i = 1; i < order.length; i += 1) {
    order[i][0] = Math.max(order[i][0], order[i - 1][0] + gap);
  }
  for (let i = order.length - 1; i >= 0; i -= 1) {
    const limit = i === order.length - 1 ? end : order[i + 1][0] - gap;
    order[i][0] = Math.min(order[i][0], limit);
  }
  const moved = [];
  for (const [place, i] of order) moved[i] = place;
  return moved;
}
