// Updates the rows of tables in place, so that selected text and the reading position are kept.
//
// A cell is a text, or an object with `text` and any of `title`, `href`, `tag`, `warning`, `bar` (a
// share) and `kind` (a class). Strings are inserted as text, never as HTML: clients choose some names.

/** Makes `body` show `rows`. Each row is a list of cells, and its first cell is the row's header. */
export function fill(body, rows) {
  const labels = [...(body.parentElement.tHead?.rows[0].cells ?? [])].map((it) => it.textContent);
  rows.forEach((cells, i) => {
    const row = body.rows[i] ?? body.insertRow();
    row.setAttribute('role', 'row');
    cells.forEach((cell, j) => fillCell(row.cells[j] ?? addCell(row, j, labels[j]), cell));
    while (row.cells.length > cells.length) row.deleteCell(-1);
  });
  while (body.rows.length > rows.length) body.deleteRow(-1);
}

function addCell(row, index, label) {
  const cell = document.createElement(index === 0 ? 'th' : 'td');
  if (index === 0) cell.scope = 'row';
  cell.setAttribute('role', index === 0 ? 'rowheader' : 'cell');
  if (label) cell.dataset.label = label;
  row.append(cell);
  return cell;
}

function fillCell(cell, content) {
  const wanted = typeof content === 'object' ? content : { text: content };
  const key = JSON.stringify(wanted);
  if (cell.dataset.shown === key) return;
  cell.dataset.shown = key;
  cell.className = wanted.kind ?? '';
  cell.title = wanted.title ?? '';
  if (wanted.bar !== undefined) {
    cell.replaceChildren(bar(wanted.bar, wanted.part));
    return;
  }
  const parts = [wanted.href ? link(wanted.href, wanted.text) : span('', wanted.text)];
  if (wanted.tag) parts.push(span('tag', wanted.tag));
  if (wanted.warning) parts.push(span('warning', wanted.warning));
  cell.replaceChildren(...parts);
}

function span(kind, text) {
  const element = document.createElement('span');
  if (kind) element.className = kind;
  element.textContent = text;
  return element;
}

/** Makes a link if `href` is an http or https URL, else plain text. */
function link(href, text) {
  if (!/^https?:\/\//.test(href)) return span('', text);
  const element = document.createElement('a');
  element.href = href;
  element.rel = 'noopener noreferrer';
  element.textContent = text;
  return element;
}

/** Makes a bar that takes a share of the width; `part` is the filled share of the bar. */
function bar(share, part = 1) {
  const outer = document.createElement('div');
  outer.className = 'bar';
  const inner = document.createElement('div');
  outer.append(inner);
  outer.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  inner.style.width = `${100 * Math.min(1, Math.max(0, part))}%`;
  return outer;
}

/** Makes `element` show pairs of a name and a figure; the figure is large. */
export function facts(element, pairs) {
  pairs.forEach(([name, figure, title], i) => {
    const fact = element.children[i] ?? element.appendChild(newFact());
    const [value, label] = fact.children;
    if (value.textContent !== figure) value.textContent = figure;
    if (label.textContent !== name) label.textContent = name;
    fact.title = title ?? '';
  });
  while (element.children.length > pairs.length) element.lastElementChild.remove();
}

function newFact() {
  const fact = document.createElement('p');
  fact.append(document.createElement('strong'), document.createElement('span'));
  return fact;
}
