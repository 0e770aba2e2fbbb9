// The card beside the pointer: the image behind a point.
(() => {
  const { make, lanes } = report;
  const small = make("span", { className: "thumb" });
  const text = make("span", { className: "text" });
  const card = make("div", { className: "hover", hidden: true }, small, text);
  card.setAttribute("aria-hidden", "true");
  document.body.append(card);

  // Show a row's thumbnail in an element of any size.
  report.thumb = (element, lane, row) => {
    const { atlas } = lanes.get(lane).data;
    const shown = Boolean(atlas && row !== null && atlas.shown[row]);
    element.className = shown ? `thumb atlas-${lane}` : "thumb none";
    if (!shown) { element.style.cssText = ""; return false; }
    const [x, y] = [row % atlas.columns, Math.floor(row / atlas.columns)];
    const at = (place, count) => (count > 1 ? (100 * place) / (count - 1) : 0);
    element.style.backgroundSize = `${100 * atlas.columns}% ${100 * atlas.rows}%`;
    element.style.backgroundPosition = `${at(x, atlas.columns)}% ${at(y, atlas.rows)}%`;
    return true;
  };

  report.hover = (event, lane, row, lines) => {
    small.hidden = !report.thumb(small, lane, row);
    text.replaceChildren(...lines.map((line, i) => make(i ? "span" : "b", { textContent: line })));
    card.hidden = false;
    const [x, y] = [event.clientX ?? 0, event.clientY ?? 0];
    const { offsetWidth: width, offsetHeight: height } = card;
    card.style.left = `${Math.max(8, x + 18 + width > innerWidth ? x - width - 18 : x + 18)}px`;
    card.style.top = `${Math.max(8, Math.min(y - height / 2, innerHeight - height - 8))}px`;
  };
  report.unhover = () => { card.hidden = true; };
  addEventListener("scroll", report.unhover, { passive: true });
})();
