// Problems of the page as it is shown now, one a line.
(() => {
  const problems = [];
  const say = (text) => { if (problems.length < 40) problems.push(text); };
  const root = document.documentElement;
  if (!root.lang) say("no language");
  if (!document.title) say("no title");
  if (document.querySelectorAll("h1").length !== 1) say("not exactly one h1");
  if (!document.querySelector("main")) say("no main landmark");
  if (document.querySelector("script, iframe, object, embed, link[rel=stylesheet]")) say("something from elsewhere, or a script");
  for (const element of document.querySelectorAll("*")) {
    for (const attribute of element.attributes) {
      if (/^on/i.test(attribute.name)) say(`handler ${attribute.name} on ${element.tagName}`);
    }
  }
  if (root.scrollWidth > window.innerWidth) {
    const wide = [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > window.innerWidth + 1 && !e.closest(".scroll, pre"));
    say(`the page is ${root.scrollWidth} wide in ${window.innerWidth}: ${wide.slice(0, 3).map((e) => e.tagName + "." + e.getAttribute("class")).join(", ")}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) say(`id ${id} twice`);
  for (const element of document.querySelectorAll("[aria-labelledby]")) {
    for (const id of element.getAttribute("aria-labelledby").split(" ")) {
      const label = document.getElementById(id);
      if (!label || !label.textContent.trim()) say(`no text for ${id}`);
    }
  }
  for (const figure of document.querySelectorAll("figure")) {
    if (!figure.querySelector("h3")) say(`figure ${figure.id} has no heading`);
    if (figure.classList.contains("empty")) {
      if (figure.textContent.trim().length < 30) say(`figure ${figure.id} does not say why it is empty`);
      continue;
    }
    if (!figure.querySelector("svg[role=img]")) say(`figure ${figure.id} has no picture`);
    if (!figure.querySelector("details table tbody tr")) say(`figure ${figure.id} has no numbers`);
  }
  for (const scroll of document.querySelectorAll(".scroll, pre")) {
    if (scroll.tabIndex !== 0 || !scroll.getAttribute("aria-label")) say("what scrolls cannot be reached by the keyboard");
  }
  const shown = (element) => element.getClientRects().length > 0 && getComputedStyle(element).visibility !== "hidden";
  const parse = (text) => { const m = text.match(/[\d.]+/g); return m ? m.map(Number) : [0, 0, 0]; };
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor, rgb = parse(color);
      if (color !== "transparent" && !(rgb.length === 4 && rgb[3] === 0)) return rgb;
    }
    return [255, 255, 255];
  };
  const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !shown(element) || element.closest("title, desc, .hidden")) continue;
    const style = getComputedStyle(element), inside = element instanceof SVGElement;
    let behind = ground(element);
    if (inside && element.classList.contains("frame")) behind = parse(getComputedStyle(document.querySelector("rect.frame")).fill);
    if (inside && element.classList.contains("sign")) behind = parse(getComputedStyle(document.querySelector("rect.sign")).fill);
    const ratio = contrast(parse(inside ? style.fill : style.color), behind);
    if (ratio < 4.5) say(`contrast ${ratio.toFixed(2)}: ${node.textContent.trim().slice(0, 40)}`);
  }
  for (const line of document.querySelectorAll("path.line, line.rule, .whisker")) {
    const ratio = contrast(parse(getComputedStyle(line).stroke), ground(line));
    if (ratio < 3) say(`line contrast ${ratio.toFixed(2)}: ${line.getAttribute("class")}`);
  }
  for (const svg of document.querySelectorAll("svg[role=img]")) {
    if (!shown(svg)) continue;
    const frame = svg.getBoundingClientRect(), name = svg.closest("figure").id;
    const texts = [...svg.querySelectorAll("text")].map((text) => ({ text: text.textContent, box: text.getBoundingClientRect() }));
    const scale = frame.width / svg.viewBox.baseVal.width;
    if (texts.length && 12 * scale < 9.5) say(`${name}: text of ${(12 * scale).toFixed(1)} px`);
    for (const { text, box } of texts) {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1) say(`${name}: "${text}" is cut off`);
    }
    for (let i = 0; i < texts.length; i++) {
      for (let j = i + 1; j < texts.length; j++) {
        const a = texts[i].box, b = texts[j].box;
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left), high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 1 && high > 4) say(`${name}: "${texts[i].text}" lies on "${texts[j].text}"`);
      }
    }
  }
  return problems;
})()
