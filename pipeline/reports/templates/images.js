// The list of all images: the same as the dots, for keyboards and screen readers.
(() => {
  const { make } = report;
  const PAGE = 50;

  class Images {
    constructor(lane) {
      this.lane = lane;
      this.box = lane.box.querySelector("details.images");
      this.one = (selector) => this.box.querySelector(selector);
      [this.by, this.sign, this.length] = ["score", -1, PAGE];
      this.box.addEventListener("toggle", () => this.show());
      this.one(".filter").addEventListener("change", () => { this.length = PAGE; this.show(); });
      this.one(".find").addEventListener("input", () => { this.length = PAGE; this.show(); });
      this.one(".save").addEventListener("click", () => this.save());
      this.one(".more").addEventListener("click", () => this.more());
      this.box.querySelectorAll("th button").forEach((head) => head.addEventListener("click", () => {
        [this.sign, this.by, this.length] = [report.turned(head.closest("th")), head.dataset.by, PAGE];
        this.show();
      }));
      lane.listeners.push(() => {
        clearTimeout(this.later);
        if (this.box.open) this.later = setTimeout(() => this.show(), 150);
      });
    }

    more() {
      const from = this.length;
      this.length += PAGE;
      this.show();
      this.one(".list").tBodies[0].rows[from]?.querySelector("button")?.focus();
    }

    get rows() {
      const { lane } = this;
      const wanted = this.one(".filter").value;
      const keys = {
        name: (row) => lane.data.names[row],
        group: (row) => lane.data.groups[lane.data.group[row]].title,
        score: (row) => lane.score.values[row] ?? -Infinity,
        says: (row) => lane.says(row),
      };
      const fits = {
        all: () => true,
        alarm: (row) => lane.says(row) === "false alarm",
        miss: (row) => lane.says(row) === "missed",
      }[wanted] ?? ((row) => lane.data.group[row] === Number(wanted));
      const of = keys[this.by];
      const words = this.one(".find").value.toLowerCase().split(/\s+/);
      const named = (row) => {
        const text = `${lane.data.names[row]} ${lane.data.ids[row]}`.toLowerCase();
        return words.every((word) => text.includes(word));
      };
      const rows = lane.data.ids.map((_, row) => row).filter((row) => lane.data.group[row] >= 0 && fits(row) && named(row));
      return rows.sort((a, b) => report.before(of(a), of(b), this.sign) || report.before(keys.score(a), keys.score(b), -1));
    }

    show() {
      if (!this.box.open) return;
      const { rows } = this;
      const focused = this.box.contains(document.activeElement) ? document.activeElement.dataset.row : undefined;
      this.one(".list").tBodies[0].replaceChildren(...rows.slice(0, this.length).map((row) => this.line(row)));
      this.one(".found").textContent = `${rows.length} images, ${Math.min(rows.length, this.length)} shown`;
      this.one(".more").hidden = rows.length <= this.length;
      if (focused !== undefined) this.box.querySelector(`button[data-row="${focused}"]`)?.focus();
    }

    // The images that the list shows, all pages of it, as a CSV file; a leading apostrophe keeps formulas from running.
    save() {
      const { lane } = this;
      const cell = (value) => {
        const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value ?? "");
        return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
      };
      const groups = (row) => lane.data.groups[lane.data.group[row]].title;
      const lines = this.rows.map((row) => [
        lane.data.names[row], lane.data.ids[row], groups(row), lane.score.title, lane.score.values[row], lane.threshold, lane.says(row),
      ]);
      const text = [["file", "image_id", "class", "score_name", "score", "threshold", "result"], ...lines];
      const file = new Blob([text.map((line) => `${line.map(cell).join(",")}\r\n`).join("")], { type: "text/csv" });
      const link = make("a", { href: URL.createObjectURL(file), download: `${lane.id}_${this.one(".filter").selectedOptions[0].textContent.replaceAll(" ", "_")}.csv` });
      link.click();
      URL.revokeObjectURL(link.href);
    }

    line(row) {
      const { lane } = this;
      const small = make("span");
      small.setAttribute("aria-hidden", "true");
      report.thumb(small, lane.id, row);
      const name = make("button", { type: "button", className: "link", textContent: lane.data.names[row], title: "Open" });
      name.dataset.row = row;
      name.setAttribute("aria-haspopup", "dialog");
      name.addEventListener("click", () => lane.open(row));
      const value = lane.score.values[row];
      const says = lane.says(row);
      return make("tr", {},
        make("td", {}, small),
        make("td", { className: "wrap" }, name),
        make("td", { textContent: lane.data.groups[lane.data.group[row]].title }),
        make("td", { className: "num", textContent: value === null ? "–" : report.digits(value) }),
        make("td", {}, make("span", { className: `says ${says.replace(" ", "-")}`, textContent: says })),
      );
    }
  }
  report.lanes.forEach((lane) => new Images(lane));
})();
