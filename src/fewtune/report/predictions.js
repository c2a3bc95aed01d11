// The table of predictions: filters, search, order, pages, word changes and files, of the rows that the page holds as
// JSON. Everything is written as text, never as markup; without this script the first rows stand in the page.
(() => {
  const holder = document.getElementById('prediction-data')
  if (!holder) return
  const data = JSON.parse(holder.textContent)
  const PER_PAGE = 10
  const LONG = 360
  const MOST_WORDS = 500
  const [SOURCE, PROMPT, EXPECTED, REFERENCES, ANSWERS] = [0, 1, 2, 3, 4]
  const [SAMPLES, VALUES, TOKENS, SECONDS, SEED, STOP, INVALID] = [0, 1, 2, 3, 4, 5, 6]

  const place = Object.fromEntries(data.systems.map((system, index) => [system.name, index]))
  const RIGHT = data.metrics.findIndex(metric => metric.name === 'exact_match')
  const field = name => document.querySelector(`#predictions [name=${name}]`)
  const state = { page: 0 }

  // Text from a data file or a model, with what could mislead a reader made visible.
  const UNPRINTABLE = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g
  const printable = text => text.replaceAll('\r\n', '\n').replace(UNPRINTABLE, '\ufffd')

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag)
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
    made.append(...children)
    return made
  }
  const grouped = number => String(number).replace(/\B(?=(\d{3})+$)/g, '\u202f')
  const written = (value, metric) =>
    value === null ? '–' : (metric.share ? `${+(100 * value).toFixed(1)}\u202f%` : String(+value.toPrecision(3))).replace('-', '−')

  // --- which rows

  const answer = (row, system) => row[ANSWERS][place[system]]
  const value = (row, system, metric) => answer(row, system)?.[VALUES][metric] ?? null
  const text = (row, system) => answer(row, system)?.[SAMPLES][0] ?? null
  const sign = (row, first, second) => {
    const [one, other] = [value(row, first, 0), value(row, second, 0)]
    if (one === null || other === null) return 0
    return Math.sign(one - other) * (data.metrics[0].lower ? -1 : 1)
  }
  const KINDS = {
    all: () => true,
    better: (row, one, other) => sign(row, one, other) > 0,
    worse: (row, one, other) => sign(row, one, other) < 0,
    different: (row, one, other) => text(row, one)?.trim() !== text(row, other)?.trim(),
    right: (row, one) => value(row, one, RIGHT) === 1,
    wrong: (row, one) => value(row, one, RIGHT) !== null && value(row, one, RIGHT) !== 1,
    invalid: (row, one) => Boolean(answer(row, one)?.[INVALID]),
  }
  const searched = data.rows.map(() => null)
  const haystack = index => {
    const row = data.rows[index]
    const answers = row[ANSWERS].flatMap(one => one?.[SAMPLES] ?? [])
    return searched[index] ??= [row[SOURCE], row[PROMPT], row[EXPECTED], ...row[REFERENCES], ...answers].join('\n').toLowerCase()
  }
  const pair = () => [field('subject')?.value ?? data.subject, field('rival')?.value ?? data.rival]
  const found = () => {
    const query = field('search').value.trim().toLowerCase()
    const keep = KINDS[field('kind').value]
    const [one, other] = pair()
    const rows = data.rows.filter((row, index) => keep(row, one, other) && (!query || haystack(index).includes(query)))
    return ordered(rows)
  }
  const ordered = rows => {
    const metric = Number(field('order')?.value ?? -1)
    if (metric < 0) return rows
    const system = field('ordered').value
    const direction = field('direction').value === 'up' ? 1 : -1
    const key = row => value(row, system, metric)
    return rows.toSorted((a, b) => (key(a) === null) - (key(b) === null) || direction * (key(a) - key(b)))
  }

  // --- what changed, word by word

  const split = text => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? []
  const common = (before, after) => {
    const table = Array.from({ length: before.length + 1 }, () => new Uint16Array(after.length + 1))
    for (let i = before.length - 1; i >= 0; i--)
      for (let j = after.length - 1; j >= 0; j--)
        table[i][j] = before[i] === after[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1])
    return table
  }
  const changes = (expected, given) => {
    const [before, after] = [split(expected), split(given)]
    const [rest, tail] = [before.splice(MOST_WORDS), after.splice(MOST_WORDS)]
    const table = common(before, after)
    const parts = []
    const add = (kind, word) => parts.at(-1)?.kind === kind ? parts.at(-1).text += word : parts.push({ kind, text: word })
    let [i, j] = [0, 0]
    while (i < before.length || j < after.length) {
      if (i < before.length && j < after.length && before[i] === after[j]) { add('same', before[i++]); j++ }
      else if (j === after.length || (i < before.length && table[i + 1][j] >= table[i][j + 1])) add('del', before[i++])
      else add('ins', after[j++])
    }
    if (tail.length || rest.length) add('same', tail.join('') || ' …')
    return parts
  }

  // --- how a row looks

  const folded = text => {
    const shown = printable(text.trim())
    if (!shown) return [element('span', { class: 'dim' }, '(empty)')]
    if (shown.length <= 1.25 * LONG) return [shown]
    const gap = Math.max(shown.lastIndexOf(' ', LONG), shown.lastIndexOf('\n', LONG))
    const cut = gap > LONG / 2 ? gap : LONG
    return [element('details', { class: 'long' }, element('summary', {}, shown.slice(0, cut)), shown.slice(cut).trimStart())]
  }
  const compared = (expected, given) =>
    changes(printable(expected.trim()), printable(given.trim())).map(part => part.kind === 'same' ? part.text : element(part.kind, {}, part.text))
  const shownText = (row, given) =>
    field('changes').checked && given.trim() ? compared(row[EXPECTED], given) : folded(given)
  const samples = (row, one) => {
    if (one[SAMPLES].length < 2) return shownText(row, one[SAMPLES][0] ?? '')
    return [element('ol', { class: 'samples' }, ...one[SAMPLES].map(text => element('li', {}, ...shownText(row, text))))]
  }
  const facts = one => {
    const pairs = data.metrics.map((metric, index) => [metric.label, one[VALUES][index] === null ? null : written(one[VALUES][index], metric)])
    const known = [['tokens', one[TOKENS]], ['seconds', one[SECONDS]], ['seed', one[SEED]], ['ended by', one[STOP]]]
    return [...pairs, ...known].filter(([, value]) => value !== null).flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, printable(String(value)))])
  }
  const details = one => element('details', { class: 'raw' },
    element('summary', {}, 'details'),
    element('dl', {}, ...facts(one)),
    ...one[SAMPLES].map(text => element('pre', {}, printable(JSON.stringify(text)))))
  const answerCell = (row, system) => {
    const one = answer(row, system.name)
    const cell = element('td', { 'data-label': system.title, class: system.name })
    if (!one) { cell.append(element('span', { class: 'dim' }, 'not answered')); return cell }
    const right = data.single && RIGHT >= 0 ? value(row, system.name, RIGHT) : null
    const mark = right === null ? '' : right === 1 ? 'right' : 'wrong'
    cell.append(element('div', { dir: 'auto', class: mark }, ...samples(row, one)))
    if (one[INVALID]) cell.append(element('small', { class: 'invalid' }, printable(one[INVALID])))
    cell.append(details(one))
    return cell
  }
  const rowElement = (row, systems) => {
    const prompt = element('td', { 'data-label': 'Prompt' }, element('div', { dir: 'auto' }, ...folded(row[PROMPT])), element('span', { class: 'source' }, printable(row[SOURCE])))
    const expected = element('td', { 'data-label': 'Expected' }, element('div', { dir: 'auto' }, ...folded(row[EXPECTED])))
    for (const other of row[REFERENCES]) expected.append(element('div', { dir: 'auto', class: 'or' }, ...folded(other)))
    return element('tr', {}, prompt, expected, ...systems.map(system => answerCell(row, system)))
  }

  // --- the table and its controls

  const chosen = () => data.systems.filter(system => field(`column-${place[system.name]}`)?.checked ?? true)
  const body = document.querySelector('#prediction-table tbody')
  const head = document.querySelector('#prediction-table thead tr')
  const draw = () => {
    const rows = found()
    const pages = Math.max(1, Math.ceil(rows.length / PER_PAGE))
    state.page = Math.min(state.page, pages - 1)
    const shown = rows.slice(state.page * PER_PAGE, (state.page + 1) * PER_PAGE)
    const systems = chosen()
    head.replaceChildren(...['Prompt', 'Expected', ...systems.map(system => system.title)].map(name => element('th', { scope: 'col' }, name)))
    body.replaceChildren(...shown.map(row => rowElement(row, systems)))
    document.getElementById('prediction-count').textContent = told(rows.length, shown.length)
    document.getElementById('prediction-page').textContent = `page ${grouped(state.page + 1)} of ${grouped(pages)}`
    document.getElementById('prediction-pager').hidden = pages === 1
    field('back').disabled = state.page === 0
    field('on').disabled = state.page === pages - 1
  }
  const told = (found, shown) => {
    const first = state.page * PER_PAGE + 1
    if (!found) return 'No row is like that.'
    const rows = data.rows.length === 1 ? 'row' : 'rows'
    const all = found === data.rows.length ? `${grouped(found)} ${rows}` : `${grouped(found)} of ${grouped(data.rows.length)} ${rows}`
    return shown === found ? all : `${all}, ${grouped(first)} to ${grouped(first + shown - 1)} shown`
  }
  const count = () => {
    const [one, other] = pair()
    for (const option of field('kind').options) {
      const number = data.rows.reduce((sum, row) => sum + KINDS[option.value](row, one, other), 0)
      option.textContent = `${option.dataset.label} (${grouped(number)})`
    }
  }
  const restart = () => { state.page = 0; draw() }
  const turn = by => {
    state.page += by
    draw()
    // A button that is now disabled would drop the keyboard's place on the page.
    if (field('on').disabled) field('back').focus()
    else if (field('back').disabled) field('on').focus()
    document.getElementById('prediction-tools').scrollIntoView()
  }

  // --- files: the same bytes as `fewtune report RUN --predictions FILE` writes

  const FORMULA = /^[=+\-@\t\r\n＝＋－＠]/
  const FACTS = [['tokens', TOKENS], ['seconds', SECONDS], ['seed', SEED], ['stop_reason', STOP], ['invalid', INVALID]]
  const csvCell = value => {
    if (value === null || value === undefined) return ''
    const safe = typeof value === 'string' ? value.replace(FORMULA, "'$&") : String(value)
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
  }
  const csvColumns = () => [
    ['source', row => row[SOURCE]], ['prompt', row => row[PROMPT]], ['expected', row => row[EXPECTED]],
    ['references', row => row[REFERENCES].length ? JSON.stringify(row[REFERENCES]) : ''],
    ...data.systems.flatMap(({ name }) => [
      [name, row => text(row, name)],
      [`${name}.more_samples`, row => answer(row, name)?.[SAMPLES].length > 1 ? JSON.stringify(answer(row, name)[SAMPLES].slice(1)) : ''],
      ...data.metrics.map((metric, index) => [`${name}.${metric.name}`, row => value(row, name, index)]),
      ...FACTS.map(([fact, at]) => [`${name}.${fact}`, row => answer(row, name)?.[at]]),
    ]),
  ]
  const csv = rows => {
    const columns = csvColumns().filter(([, read]) => rows.some(row => ![null, undefined, ''].includes(read(row))))
    const lines = [columns.map(([name]) => csvCell(name)), ...rows.map(row => columns.map(([, read]) => csvCell(read(row))))]
    // The mark tells a spreadsheet that the file is UTF-8.
    return '\ufeff' + lines.map(cells => `${cells.join(',')}\r\n`).join('')
  }
  const packed = one => ({
    samples: one[SAMPLES],
    metrics: Object.fromEntries(data.metrics.map((metric, index) => [metric.name, one[VALUES][index]]).filter(([, value]) => value !== null)),
    tokens: one[TOKENS], seconds: one[SECONDS], seed: one[SEED], stop_reason: one[STOP], invalid: one[INVALID],
  })
  const object = row => ({
    source: row[SOURCE], prompt: row[PROMPT], expected: row[EXPECTED], references: row[REFERENCES],
    answers: Object.fromEntries(data.systems.filter(({ name }) => answer(row, name)).map(({ name }) => [name, packed(answer(row, name))])),
  })
  const save = (content, type, name) => {
    const link = element('a', { href: URL.createObjectURL(new Blob([content.toWellFormed()], { type })), download: name })
    link.click()
    URL.revokeObjectURL(link.href)
  }

  let waiting = 0
  const later = () => { clearTimeout(waiting); waiting = setTimeout(restart, 120) }
  document.getElementById('prediction-tools').hidden = false
  document.getElementById('prediction-rest')?.remove()
  for (const name of ['subject', 'rival']) field(name)?.addEventListener('change', count)
  for (const control of document.querySelectorAll('#prediction-tools select, #prediction-tools input:not([type=search])')) control.addEventListener('change', restart)
  field('search').addEventListener('input', later)
  field('back').addEventListener('click', () => turn(-1))
  field('on').addEventListener('click', () => turn(1))
  field('csv').addEventListener('click', () => save(csv(found()), 'text/csv', 'predictions.csv'))
  field('jsonl').addEventListener('click', () => save(found().map(row => `${JSON.stringify(object(row))}\n`).join(''), 'application/jsonl', 'predictions.jsonl'))
  count()
  draw()
})()
