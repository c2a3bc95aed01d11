// Each chart as a file: SVG with the colours that the page has now, or PNG drawn from it. Code to copy with one click.
(() => {
  const element = (tag, attributes, text) => {
    const made = document.createElement(tag)
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
    made.textContent = text
    return made
  }
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()
  const standalone = svg => {
    const copy = svg.cloneNode(true)
    const [, , width, height] = copy.getAttribute('viewBox').split(' ')
    copy.setAttribute('width', width)
    copy.setAttribute('height', height)
    const ground = document.createElementNS('http://www.w3.org/2000/svg', 'rect')
    for (const [name, value] of [['width', width], ['height', height], ['fill', 'var(--paper, #fdfcfa)']]) ground.setAttribute(name, value)
    copy.prepend(ground)
    const text = new XMLSerializer().serializeToString(copy)
    return [text.replace(/var\((--[\w-]+), ([^)]+)\)/g, (_, name, light) => colour(name) || light), Number(width), Number(height)]
  }
  const save = (blob, name) => {
    const link = element('a', { href: URL.createObjectURL(blob), download: name }, '')
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 1000)
  }
  const asSvg = (svg, name) => save(new Blob([standalone(svg)[0]], { type: 'image/svg+xml' }), `${name}.svg`)
  const asPng = (svg, name) => {
    const [text, width, height] = standalone(svg)
    const image = new Image()
    const address = URL.createObjectURL(new Blob([text], { type: 'image/svg+xml' }))
    image.addEventListener('load', () => {
      const canvas = document.createElement('canvas')
      canvas.width = 2 * width
      canvas.height = 2 * height
      canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height)
      URL.revokeObjectURL(address)
      canvas.toBlob(blob => save(blob, `${name}.png`))
    })
    image.src = address
  }
  const seen = figure => [...figure.querySelectorAll('svg')].find(svg => svg.getBoundingClientRect().width > 0)
  for (const figure of document.querySelectorAll('figure[data-name]')) {
    const buttons = element('div', { class: 'save' }, '')
    for (const [title, write] of [['SVG', asSvg], ['PNG', asPng]]) {
      const button = element('button', { type: 'button', 'aria-label': `Save the chart as ${title}` }, title)
      button.addEventListener('click', () => write(seen(figure), figure.dataset.name))
      buttons.append(button)
    }
    figure.append(buttons)
  }
  for (const block of document.querySelectorAll('pre.copied')) {
    const button = element('button', { type: 'button', class: 'copy' }, 'copy')
    button.addEventListener('click', () => navigator.clipboard.writeText(block.querySelector('code').textContent).then(
      () => { button.textContent = 'copied' }, () => { button.textContent = 'select it and copy' }))
    block.after(button)
  }
})()
