// Scores of one data set: dots, the threshold, what it gets wrong, the point on the ROC.
(() => {
  const { css, make } = report;
  const share = (wrong, count) => (count ? `${((100 * wrong) / count).toFixed(1)} %` : "–");
  const digits = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2));
  const GOLDEN = 0.6180339887; // spreads dots of neighbouring rows evenly

  class Explorer {
    constructor(box) {
      this.box = box;
      this.id = box.dataset.lane;
      this.data = JSON.parse(box.querySelector("script.explored").textContent);
      this.one = (selector) => box.querySelector(selector);
      this.chosen = 0;
      this.threshold = this.score.threshold;
      this.listeners = [];
      report.lanes.set(this.id, this);
      this.rows = this.data.groups.map((_, group) => this.data.group.flatMap((of, row) => (of === group ? [row] : [])));
      this.opens = new Map(this.data.gallery.map((one, place) => [one.row, place]));
      this.listen();
      this.canvas = this.one(".dots");
      report.plot(this.canvas, () => this.figure(), () => this.react());
      report.after(`${this.id}-roc`, (canvas) => this.roc(canvas));
      this.fit();
      this.update();
    }

    get score() { return this.data.scores[this.chosen]; }

    says(row) {
      const group = this.data.groups[this.data.group[row]];
      if (!group) return "";
      const above = this.score.values[row] > this.threshold;
      return above ? (group.normal ? "false alarm" : "found") : group.normal ? "passed" : "missed";
    }

    listen() {
      const [range, exact, which] = [this.one(".range"), this.one(".exact"), this.one(".which")];
      range.addEventListener("input", () => this.set(Number(range.value)));
      exact.addEventListener("input", () => { if (exact.value !== "" && exact.checkValidity()) this.set(Number(exact.value), exact); });
      this.one(".back").addEventListener("click", () => this.set(this.score.threshold));
      which.addEventListener("change", () => {
        this.chosen = Number(which.value);
        this.fit();
        this.set(this.score.threshold);
        if (report.drawn.get(this.canvas).near) report.draw(this.canvas);
      });
    }

    fit() { // the slider and its mark to the chosen score
      const { low, high, threshold } = this.score;
      const range = this.one(".range");
      [range.min, range.max] = [low, high];
      range.value = threshold;
      this.one(".mark").style.setProperty("--at", (threshold - low) / (high - low));
      this.one(".back .value").textContent = digits(threshold);
    }

    set(threshold, from = null) {
      report.unhover();
      this.threshold = threshold;
      this.one(".range").value = threshold;
      if (from !== this.one(".exact")) this.one(".exact").value = Number(threshold.toPrecision(6));
      this.update();
      this.mark();
      clearTimeout(this.later);
      this.later = setTimeout(() => { this.one("p[role=status]").textContent = this.sentence(); }, 500);
    }

    wrong(error) {
      const { values } = this.score;
      const rows = error.groups.flatMap((group) => this.rows[group]);
      return rows.filter((row) => values[row] > this.threshold === error.normal).length;
    }

    update() {
      this.counts = this.data.errors.map((error) => this.wrong(error));
      this.data.errors.forEach((error, i) => {
        const row = this.one(`tr[data-row="${i}"]`);
        row.querySelector(".wrong").textContent = this.counts[i];
        row.querySelector(".rate").textContent = share(this.counts[i], error.count);
        row.querySelector(".bar-of span").style.width = `${(100 * this.counts[i]) / error.count}%`;
      });
      this.one(".range").setAttribute("aria-valuetext", digits(this.threshold));
      this.one("caption .value").textContent = digits(this.threshold);
      this.one(".back").disabled = this.threshold === this.score.threshold;
      this.listeners.forEach((call) => call());
    }

    sentence() {
      const said = this.data.errors.map((error, i) => `${error.title}: ${this.counts[i]} of ${error.count} ${error.what}`);
      return `Threshold ${digits(this.threshold)}. ${said.join(", ")}.`;
    }

    // Rows of dots, and behind them the side of the threshold that is wrong.
    shapes() {
      const normals = this.data.groups.filter((group) => group.normal).length;
      const rows = this.data.groups.length;
      const area = { type: "rect", layer: "below", line: { width: 0 }, fillcolor: css("--wrong"), yref: "y" };
      const at = Math.min(Math.max(this.threshold, this.score.low), this.score.high);
      const [left, right] = this.span();
      return [
        { ...area, x0: at, x1: right, y0: rows - normals - 0.5, y1: rows - 0.5 },
        { ...area, x0: left, x1: at, y0: -0.5, y1: rows - normals - 0.5 },
        { type: "line", x0: at, x1: at, yref: "paper", y0: 0, y1: 1, line: { width: 2, color: css("--text") } },
      ];
    }

    span() {
      const { low, high } = this.score;
      return [low - 0.03 * (high - low), high + 0.03 * (high - low)];
    }

    figure() {
      const { groups } = this.data;
      const { values, high } = this.score;
      const level = (group) => groups.length - 1 - group;
      const data = groups.map((group, number) => {
        const rows = this.rows[number].filter((row) => values[row] !== null);
        return {
          type: "scatter", mode: "markers", name: group.title, showlegend: false, hoverinfo: "none", customdata: rows,
          x: rows.map((row) => Math.min(values[row], high)),
          y: rows.map((_, i) => level(number) - 0.38 + 0.52 * ((i * GOLDEN) % 1)),
          marker: {
            color: group.colour, opacity: rows.length > 300 ? 0.55 : 0.75,
            size: rows.map((row) => (this.opens.has(row) ? 10 : 6)),
            symbol: rows.map((row) => (values[row] > high ? "triangle-right" : "circle")),
            line: { color: css("--text"), width: rows.map((row) => (this.opens.has(row) ? 1.5 : 0)) },
          },
        };
      });
      const annotations = groups.map((group, number) => ({
        x: 0, xref: "paper", xanchor: "left", y: level(number) + 0.46, yanchor: "top", showarrow: false,
        text: `${group.title} (${this.rows[number].length})`, font: { size: 11, color: css("--soft") },
      }));
      const layout = {
        plotHeight: 16 + 66 * groups.length, margin: { l: 14, r: 14, t: 26, b: 48 }, annotations, shapes: this.shapes(),
        xaxis: { title: { text: "score; ringed dots have all pictures" }, range: this.span(), zeroline: false },
        yaxis: { range: [-0.5, groups.length - 0.5], showticklabels: false, showgrid: false, zeroline: false, automargin: false, fixedrange: true },
      };
      return { data, layout };
    }

    react() {
      this.canvas.on("plotly_hover", ({ event, points: [point] }) => {
        const row = point.customdata;
        const lines = [this.data.groups[this.data.group[row]].title, `score ${digits(this.score.values[row])}, ${this.says(row)}`, this.data.names[row]];
        lines.push("click: open");
        report.hover(event, this.id, row, lines);
      });
      this.canvas.on("plotly_unhover", report.unhover);
      this.canvas.on("plotly_click", ({ points: [point] }) => this.open(point.customdata));
    }

    open(row) {
      report.unhover();
      if (this.opens.has(row)) report.open(this.id, this.opens.get(row));
      else report.open(this.id, 0, row);
    }

    // The ROC's curves tell the image at each point; its last trace follows the threshold.
    roc(canvas) {
      this.curve = canvas;
      canvas.on("plotly_hover", ({ event, points: [point] }) => {
        if (!point.customdata) { report.unhover(); return; }
        const [score, row] = point.customdata;
        const rates = `false alarms ${(100 * point.x).toFixed(1)} %, sensitivity ${(100 * point.y).toFixed(1)} %`;
        report.hover(event, this.id, row, [point.data.name, `threshold ${digits(score)}`, rates, `at this threshold: ${this.data.groups[this.data.group[row]].title}`]);
      });
      canvas.on("plotly_unhover", report.unhover);
      this.mark();
    }

    mark() {
      if (report.drawn.get(this.canvas).near) Plotly.relayout(this.canvas, { shapes: this.shapes() });
      if (!this.curve) return;
      const rate = (wanted) => {
        const errors = this.data.errors.map((error, i) => [error, this.counts[i]]).filter(([error]) => error.groups.length === 1 && this.data.groups[error.groups[0]].test && error.normal === wanted);
        const [wrong, count] = errors.reduce(([a, b], [error, n]) => [a + n, b + error.count], [0, 0]);
        return count ? wrong / count : null;
      };
      const [alarms, misses] = [rate(true), rate(false)];
      if (alarms === null || misses === null) return;
      Plotly.restyle(this.curve, { x: [[alarms]], y: [[1 - misses]], "marker.line.color": css("--text") }, [this.curve.data.length - 1]);
    }
  }

  report.digits = digits;
  document.querySelectorAll(".explorer").forEach((box) => new Explorer(box));
})();
