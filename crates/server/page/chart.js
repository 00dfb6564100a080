// The basic shapes of the charts. Coordinates are pixels of the element that shows the chart.

const SVG = 'http://www.w3.org/2000/svg';

/** Creates an SVG element. */
export function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Sizes `svg` to the width at which it is shown and to `height` pixels; returns the width. */
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

/** Does the same on a logarithmic scale. */
export function logarithmic(from, to, start, end) {
  const map = linear(Math.log10(from), Math.log10(to), start, end);
  return (value) => map(Math.log10(value));
}

/** Returns the path through the points. */
export function path(points) {
  return points.map(([x, y], i) => `${i ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`).join('');
}

/** Moves positions apart until neighbours differ by `gap`; keeps their order and none exceeds `end`. */
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
