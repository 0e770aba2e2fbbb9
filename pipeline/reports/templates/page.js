"use strict";
// Shared by all parts of a page: colours of the theme, plots drawn when they come near, tables that sort.
const report = (() => {
  const root = document.documentElement;
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // Narrow screens show the names of rows above their points. As tick labels inside the plot they would hide the other
  // axis's labels.
  const named = (layout) => ({
    ...layout,
    yaxis: { ...layout.yaxis, showticklabels: false },
    annotations: [...(layout.annotations ?? []), ...layout.yaxis.categoryarray.map((text) => ({
      text, x: 0, xref: "paper", xanchor: "left", y: text, yanchor: "bottom", showarrow: false, font: { size: 10 },
    }))],
  });

  // The plot area keeps its height; the legend below gets the rows it needs.
  const themed = ({ plotHeight = 290, ...given }, data, width) => {
    const layout = given.yaxis?.categoryarray && width < 560 ? named(given) : given;
    const axis = { gridcolor: css("--grid"), zerolinecolor: css("--grid"), linecolor: css("--line") };
    const shown = data.filter((trace) => trace.showlegend !== false);
    const longest = Math.max(0, ...shown.map((trace) => trace.name.length));
    const columns = Math.max(1, Math.floor((width - 60) / (longest * 6.2 + 56)));
    const margin = { l: 52, r: 16, t: 30, b: 62 + 20 * Math.ceil(shown.length / columns), ...layout.margin };
    return {
      ...layout,
      width,
      height: plotHeight + margin.t + margin.b,
      margin,
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: css("--text") },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      xaxis: { ...axis, ...layout.xaxis, title: { standoff: 8, ...layout.xaxis.title } },
      yaxis: { ...axis, automargin: true, ...layout.yaxis },
      hoverlabel: { namelength: -1 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--line"), activecolor: css("--soft") },
      legend: {
        orientation: "h", x: 0, y: -56 / plotHeight, yanchor: "top", font: { size: 11 }, bgcolor: "rgba(0,0,0,0)",
        entrywidthmode: "pixels", entrywidth: longest * 6.2 + 16,
      },
    };
  };

  const drawn = new Map(); // canvas → { figure, ready, near, width }
  const draw = (canvas) => {
    const one = drawn.get(canvas);
    const first = !one.near;
    one.near = true;
    one.width = canvas.clientWidth;
    const figure = one.figure();
    const displayModeBar = matchMedia("(hover: none)").matches ? false : "hover";
    const config = { displayModeBar, displaylogo: false, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] };
    Plotly.react(canvas, figure.data, themed(figure.layout, figure.data, one.width), config);
    canvas.style.minHeight = "";
    if (first) one.ready(canvas);
  };
  const redraw = () => drawn.forEach((one, canvas) => one.near && draw(canvas));
  const widths = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    const one = drawn.get(target);
    if (one.near && target.clientWidth && target.clientWidth !== one.width) draw(target);
  }));
  const near = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
    if (isIntersecting && !drawn.get(target).near) draw(target);
  }), { rootMargin: "800px 0px" });

  // ``figure`` gives data and layout whenever it is drawn; ``ready`` is called once, after the first time.
  const plot = (canvas, figure, ready = () => {}) => {
    drawn.set(canvas, { figure, ready, near: false, width: 0 });
    const { data, layout } = figure();
    canvas.style.minHeight = `${themed(layout, data, canvas.clientWidth || 600).height}px`;
    widths.observe(canvas);
    near.observe(canvas);
  };

  const listeners = []; // [plot's id, called once after its first drawing]
  document.querySelectorAll(".plot[id]").forEach((box) => {
    const choices = JSON.parse(box.querySelector("script").textContent);
    const select = box.querySelector("select");
    const canvas = box.querySelector(".canvas");
    const ready = () => listeners.filter(([id]) => id === box.id).forEach(([, call]) => call(canvas));
    plot(canvas, () => choices[select ? Number(select.value) : 0], ready);
    select?.addEventListener("change", () => draw(canvas));
  });
  addEventListener("beforeprint", () => drawn.forEach((one, canvas) => one.near || draw(canvas)));

  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const mode = () => { button.setAttribute("aria-pressed", String(dark())); redraw(); };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("proxyano-theme", root.dataset.theme); } catch { /* a page that may keep nothing */ }
    mode();
  });
  system.addEventListener("change", mode);
  button.setAttribute("aria-pressed", String(dark()));

  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort === undefined ? cell.textContent.toLowerCase() : Number(cell.dataset.sort);
  };
  // The order a column's header asks for next, written into the header row.
  const turned = (head) => {
    const first = head.classList.contains("num") ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    head.closest("tr").querySelectorAll("th").forEach((th) => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    return order === "ascending" ? 1 : -1;
  };
  const before = (x, y, sign) => {
    if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
    return sign * (x < y ? -1 : x > y ? 1 : 0);
  };
  document.querySelectorAll("table.sortable th button").forEach((head) => head.addEventListener("click", () => {
    const th = head.closest("th");
    const body = th.closest("table").tBodies[0];
    const sign = turned(th);
    body.append(...[...body.rows].sort((a, b) => before(key(a, th.cellIndex), key(b, th.cellIndex), sign)));
  }));

  const make = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  return { css, plot, draw, drawn, turned, before, make, after: (id, call) => listeners.push([id, call]), lanes: new Map() };
})();
