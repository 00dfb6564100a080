// Shows the cost of a million tokens in three figures.

import { UNKNOWN, count, percent, rate, usd } from './figures.js';
import { facts, fill } from './table.js';

const KINDS = [
  ['input', 'input', 'prompt tokens that were computed'],
  ['cached', 'cached', 'prompt tokens found in the prefix cache'],
  ['output', 'output', 'generated tokens'],
];
const FIGURES = ['busy', 'loaded', 'at_capacity'];
const choice = document.getElementById('span');

/** Returns the span to show: the chosen one, else the last minutes, or all time if those have no tokens. */
function span(costs) {
  const chosen = choice.dataset.chosen;
  if (chosen) return chosen;
  return tokens(costs.now) > 0 ? 'now' : 'since_start';
}

const tokens = ({ tokens: { input, cached, output } }) => input + cached + output;

export function showCosts(costs) {
  const name = span(costs);
  choice.querySelector(`[value=${name}]`).checked = true;
  const shown = costs[name];
  const byKind = shown.usd_per_million_tokens;
  const cells = (figures) => FIGURES.map((figure) => cell(costs, shown, figures, figure));
  fill(document.getElementById('unit-costs'), [
    ...KINDS.map(([kind, text, title]) => [{ text, title }, ...cells(byKind?.[kind])]),
    [
      { text: 'all', title: 'all kinds of tokens, as they were mixed' },
      ...cells(shown.usd_per_million_mixed_tokens),
    ],
  ]);
  document.getElementById('costs-note').textContent = note(costs, shown, name);
  facts(document.getElementById('facts'), [
    ['of the time busy', percent(shown.busy_share)],
    ['of the time idle', percent(shown.idle_share)],
    ['tokens', count(tokens(shown)), `${count(shown.tokens.output)} of them generated`],
    ['throughput', rate(shown.window_seconds > 0 ? tokens(shown) / shown.window_seconds : null)],
    ['cost of this window', usd(shown.window_usd)],
  ]);
}

function cell(costs, shown, figures, figure) {
  const value = figures?.[figure];
  return { text: usd(value), title: value === undefined ? why(costs, shown, figure) : '' };
}

/** Explains why a figure is missing. */
function why(costs, shown, figure) {
  if (costs.price_per_hour_usd === undefined) return 'The price of this machine is not known.';
  if (figure === 'at_capacity' && costs.slo_tokens_per_second === undefined) {
    return 'What this machine carries within its service level is not known.';
  }
  return tokens(shown) ? 'There were no such tokens.' : 'There were no tokens.';
}

function note(costs, shown, name) {
  const parts = [];
  if (costs.price_per_hour_usd === undefined) {
    parts.push('No dollars: start the server with --price-per-hour to say what this machine costs.');
  } else if (costs.price_is_example) {
    parts.push('The price of this machine is an example: say yours with --price-per-hour.');
  }
  if (!tokens(shown)) {
    parts.push(name === 'now' ? 'No tokens in the last 5 minutes.' : 'No tokens yet.');
  }
  if (costs.slo_tokens_per_second === undefined) {
    parts.push(`At capacity is ${UNKNOWN} until --slo-tokens-per-second says what the machine carries.`);
  }
  return parts.join(' ');
}

/** Calls `again` when the user chooses another span. */
export function watchSpan(again) {
  choice.addEventListener('change', (event) => {
    choice.dataset.chosen = event.target.value;
    again();
  });
}
