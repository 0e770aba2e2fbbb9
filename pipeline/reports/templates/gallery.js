// The gallery: cards on the page, and a dialog where the layers of an image lie over each other. Other images open with
// their thumbnail alone.
(() => {
  const { make, lanes } = report;
  const dialog = document.getElementById("viewer");
  const one = (selector) => dialog.querySelector(selector);
  const NAMES = { input: "input", proxy: "predicted proxy", reconstruction: "reconstruction", heat: "heat map" };
  const STOPS = Object.keys(NAMES);
  const [blend, heated, outlined, canvas] = [one("#viewer-blend"), one(".heated"), one(".outlined"), one(".canvases select")];
  let [lane, place, other] = [null, 0, null]; // other: row of an image outside the gallery

  const score = (shown) => lane.score.values[shown.row];
  const said = (shown) => `${lane.data.groups[lane.data.group[shown.row]]?.title ?? shown.klass}`;

  // Opacities of the layers at the slider's place, each over the one before.
  const mix = () => {
    const at = Number(blend.value);
    const shown = lane.data.gallery[place];
    const { layers } = shown.canvases[Number(canvas.value)];
    STOPS.forEach((name, i) => { one(`.stage .${name}`).style.opacity = i ? Math.min(Math.max(at - i + 1, 0), 1) : 1; });
    one(".stage .glow").hidden = !heated.checked;
    const truth = one(".stage .truth");
    if (truth) truth.hidden = !outlined.checked;
    const [below, part] = [Math.floor(at), at - Math.floor(at)];
    const names = STOPS.map((name) => NAMES[name]);
    const seen = part ? `${Math.round(100 - 100 * part)} % ${names[below]}, ${Math.round(100 * part)} % ${names[below + 1]}` : names[below];
    blend.setAttribute("aria-valuetext", seen);
    const extra = [heated.checked ? "heat map over it" : "", outlined.checked && layers.truth ? "true lesions outlined" : ""].filter(Boolean);
    one(".stage").setAttribute("aria-label", [`${said(shown)}: ${seen}`, ...extra].join(", "));
    dialog.querySelectorAll("[data-stop]").forEach((stop) => stop.setAttribute("aria-pressed", String(Number(stop.dataset.stop) === at)));
  };

  const small = () => {
    const thumb = make("span");
    thumb.setAttribute("role", "presentation");
    one(".stage").style.setProperty("--ratio", 1);
    one(".stage").replaceChildren(thumb);
    if (report.thumb(thumb, lane.id, other)) thumb.classList.add("whole");
    one(".stage").setAttribute("aria-label", `${lane.data.groups[lane.data.group[other]].title}: thumbnail`);
  };

  const draw = () => {
    const shown = lane.data.gallery[place];
    const { layers, ratio } = shown.canvases[Number(canvas.value)];
    const layer = (name, className) => make("img", { src: layers[name], alt: "", className, draggable: false });
    const stage = one(".stage");
    stage.style.setProperty("--ratio", ratio);
    stage.replaceChildren(...STOPS.map((name) => layer(name, name)), layer("heat", "glow"));
    if (layers.truth) stage.append(layer("truth", "truth"));
    one(".truthful").hidden = !layers.truth;
    mix();
  };

  const show = () => {
    const shown = other === null ? lane.data.gallery[place] : { row: other, kind: "Only a thumbnail is kept of this image. Score its file for a heat map.", canvases: [] };
    dialog.classList.toggle("small", other !== null);
    one("h2").textContent = `${said(shown)}, score ${report.digits(score(shown))}`;
    one(".place").textContent = other === null ? `${place + 1} of ${lane.data.gallery.length}` : "";
    one(".kind").textContent = shown.kind;
    const kept = canvas.selectedOptions[0]?.textContent;
    canvas.replaceChildren(...shown.canvases.map(({ name }, i) => make("option", { value: i, textContent: name, selected: name === kept })));
    one(".canvases").hidden = shown.canvases.length < 2;
    const facts = [
      ["file", lane.data.names[shown.row]],
      ["image id", lane.data.ids[shown.row]],
      [lane.score.title, report.digits(score(shown))],
      [`at the threshold ${report.digits(lane.threshold)}`, lane.says(shown.row)],
    ];
    one("dl").replaceChildren(...facts.flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value })]));
    (other === null ? draw : small)();
  };

  const turn = (by) => {
    const { length } = lane.data.gallery;
    if (other !== null || !length) return;
    place = (place + by + length) % length;
    show();
  };

  // An image of the gallery, or with ``row`` any other.
  report.open = (id, number, row = null) => {
    [lane, place, other] = [lanes.get(id), number, row];
    show();
    dialog.showModal();
    one("h2").focus();
  };

  blend.addEventListener("input", mix);
  heated.addEventListener("change", mix);
  outlined.addEventListener("change", mix);
  canvas.addEventListener("change", draw);
  dialog.querySelectorAll("[data-stop]").forEach((stop) => stop.addEventListener("click", () => { blend.value = stop.dataset.stop; mix(); }));
  one(".close").addEventListener("click", () => dialog.close());
  one(".previous").addEventListener("click", () => turn(-1));
  one(".next").addEventListener("click", () => turn(1));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    if (event.target.matches("input[type=range], select")) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) { event.preventDefault(); turn(by); }
  });

  document.querySelectorAll(".gallery").forEach((box) => {
    const of = lanes.get(box.dataset.lane);
    box.querySelectorAll(".card-of").forEach((card) => {
      const shown = of.data.gallery[Number(card.dataset.open)];
      const { layers, ratio } = shown.canvases[0];
      layers.input = card.querySelector(".base").src;
      card.querySelector(".picture").style.setProperty("--ratio", ratio);
      card.querySelector(".picture").append(make("img", { src: layers.heat, alt: "", className: "glow", loading: "lazy" }));
      card.addEventListener("click", () => report.open(of.id, Number(card.dataset.open)));
    });
    const scores = () => box.querySelectorAll(".card-of").forEach((card) => {
      const { row } = of.data.gallery[Number(card.dataset.open)];
      card.querySelector(".score").textContent = report.digits(of.score.values[row]);
    });
    of.listeners.push(scores);
    scores();
    box.querySelector(".warm").addEventListener("change", (event) => box.classList.toggle("cold", !event.target.checked));
  });
})();
