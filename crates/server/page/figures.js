// Formats figures as text. An unknown figure is a dash, never a zero. No amount is computed here: the
// server sends money as decimals, and this file only rounds them for display.

export const UNKNOWN = '–';

const isKnown = (value) => typeof value === 'number' && Number.isFinite(value);

const threeDigits = new Intl.NumberFormat('en', {
  minimumSignificantDigits: 3,
  maximumSignificantDigits: 3,
});
const asTold = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 6 });
const twoDigits = new Intl.NumberFormat('en', {
  minimumSignificantDigits: 2,
  maximumSignificantDigits: 2,
});
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const oneDecimal = new Intl.NumberFormat('en', {
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});

/** `$0.143`: three significant digits; two if the amount is less than a tenth of a cent. */
export function usd(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value === 0) return '$0';
  return `$${(value < 1e-3 ? twoDigits : threeDigits).format(value)}`;
}

/** Formats a column with the same number of decimals: the largest value has three significant digits. */
export function usdColumn(values) {
  const largest = Math.max(0, ...values.filter(isKnown));
  const digits = largest > 0 ? Math.min(12, Math.max(2, 2 - Math.floor(Math.log10(largest)))) : 2;
  const smallest = 10 ** -digits;
  return (value) => {
    if (!isKnown(value)) return UNKNOWN;
    if (value > 0 && value < smallest / 2) return `<$${smallest.toFixed(digits)}`;
    return `$${value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
  };
}

/** `$2.50`: a price with the digits that it was given with. */
export function price(value) {
  return isKnown(value) ? `$${asTold.format(value)}` : UNKNOWN;
}

/** `12,345`, or `1.23 M` for a million and more. */
export function count(value) {
  if (!isKnown(value)) return UNKNOWN;
  for (const [size, unit] of [[1e12, 'T'], [1e9, 'B'], [1e6, 'M']]) {
    if (value >= size) return `${threeDigits.format(value / size)} ${unit}`;
  }
  return whole.format(value);
}

/** `23.4 %` for the share 0.234. */
export function percent(share) {
  if (!isKnown(share)) return UNKNOWN;
  const value = 100 * share;
  return `${value >= 1000 ? whole.format(value) : oneDecimal.format(value)} %`;
}

/** `352 ms`, in a unit that suits the size. */
export function seconds(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value === 0) return '0 s';
  for (const [size, unit] of [[1, 's'], [1e-3, 'ms'], [1e-6, 'µs'], [1e-9, 'ns']]) {
    if (value >= size && value < 120) return `${threeDigits.format(value / size)} ${unit}`;
  }
  if (value < 1e-9) return `${twoDigits.format(value / 1e-12)} ps`;
  if (value < 7200) return `${oneDecimal.format(value / 60)} min`;
  return `${oneDecimal.format(value / 3600)} h`;
}

/** `270 MiB`. */
export function bytes(value) {
  if (!isKnown(value)) return UNKNOWN;
  for (const [size, unit] of [[2 ** 30, 'GiB'], [2 ** 20, 'MiB'], [2 ** 10, 'KiB']]) {
    if (value >= size) return `${threeDigits.format(value / size)} ${unit}`;
  }
  return `${whole.format(value)} B`;
}

/** `212 tokens/s`. */
export function rate(value) {
  if (!isKnown(value)) return UNKNOWN;
  return `${value < 100 ? oneDecimal.format(value) : whole.format(value)} tokens/s`;
}

/** `0.9987`, for a figure near one. */
export function fraction(value, digits = 3) {
  return isKnown(value) ? value.toFixed(digits) : UNKNOWN;
}

/** `2.1e-16`, for a figure that should be zero. */
export function residual(value) {
  if (!isKnown(value)) return UNKNOWN;
  return value === 0 ? '0' : value.toExponential(1);
}
