"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // The plot area keeps its height; the legend below gets the rows it needs.
  const themed = ({ plotHeight = 290, ...layout }, data, width) => {
    const axis = { gridcolor: css("--grid"), zerolinecolor: css("--grid"), linecolor: css("--line") };
    const shown = data.filter((trace) => trace.showlegend !== false);
    const longest = Math.max(0, ...shown.map((trace) => trace.name.length));
    const columns = Math.max(1, Math.floor((width - 60) / (longest * 6.2 + 56)));
    const margin = { l: 52, r: 16, t: 30, b: 62 + 20 * Math.ceil(shown.length / columns) };
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

  const draw = (plot) => {
    const choices = JSON.parse(plot.querySelector("script").textContent);
    const select = plot.querySelector("select");
    const figure = choices[select ? Number(select.value) : 0];
    const canvas = plot.querySelector(".canvas");
    const displayModeBar = matchMedia("(hover: none)").matches ? false : "hover";
    const config = { displayModeBar, displaylogo: false, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] };
    Plotly.react(canvas, figure.data, themed(figure.layout, figure.data, canvas.clientWidth), config);
    plot.dataset.width = canvas.clientWidth;
  };

  const plots = [...document.querySelectorAll(".plot")];
  plots.forEach((plot) => {
    plot.querySelector("select")?.addEventListener("change", () => draw(plot));
    draw(plot);
  });
  const watch = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    const plot = target.closest(".plot");
    if (target.clientWidth !== Number(plot.dataset.width)) draw(plot);
  }));
  plots.forEach((plot) => watch.observe(plot.querySelector(".canvas")));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(draw));

  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort === undefined ? cell.textContent.toLowerCase() : Number(cell.dataset.sort);
  };
  const sort = (head) => {
    const table = head.closest("table");
    const body = table.tBodies[0];
    const first = head.classList.contains("num") ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    table.querySelectorAll("th").forEach((th) => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a, head.cellIndex), key(b, head.cellIndex)];
      if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
      return sign * (x < y ? -1 : x > y ? 1 : 0);
    });
    body.append(...rows);
  };
  document.querySelectorAll("table.sortable th").forEach((head) => {
    head.tabIndex = 0;
    head.addEventListener("click", () => sort(head));
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(head); }
    });
  });
})();
