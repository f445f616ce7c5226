// The explorer: shows what beyond/explore_lambda measured, from the data in the page alone.
(() => {
  const source = document.getElementById("explorer-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const at = (id) => document.getElementById(`x-${id}`);
  const percent = (score) => `${score[0].toFixed(1)} [${score[1].toFixed(1)}, ${score[2].toFixed(1)}]`;
  const count = (n) => n.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });
  const eps = (strength) => `ε = ${+(255 * data.eps * strength).toPrecision(3)}/255`;
  const radii = (strength) => (strength === 1 ? "1 radius" : `${strength} radii`);
  const chosen = () => data.networks.find((n) => n.method === at("method").value && n.name === at("network").value);

  function make(tag, content, attributes = {}, space = "") {
    const node = space ? document.createElementNS(space, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...[content].flat());
    return node;
  }

  function options(select, values) {
    const before = select.value;
    select.replaceChildren(...[...new Set(values)].map((value) => make("option", value)));
    if (values.includes(before)) select.value = before;
  }

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Draws channels first pixels (C, H, W), as value(index) gives them, at the size of an image.
  function canvas(value, label) {
    const size = data.size;
    const node = make("canvas", [], { width: size, height: size, role: "img", "aria-label": label });
    const image = new ImageData(size, size);
    for (let i = 0; i < size * size; i++) {
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = value((c % data.channels) * size * size + i);
      image.data[4 * i + 3] = 255;
    }
    node.getContext("2d").putImageData(image, 0, 0);
    return node;
  }

  function draw(network, lam, strength) {
    const x = (value) => 34 + (372 * value) / data.strengths.at(-1);
    const y = (value) => 222 - 2.1 * value;
    const svg = (tag, attributes, content = []) => make(tag, content, attributes, "http://www.w3.org/2000/svg");
    const parts = [0, 25, 50, 75, 100].flatMap((value) => [
      svg("path", { d: `M34 ${y(value)}H406`, class: "grid" }),
      svg("text", { x: 28, y: y(value) + 4, "text-anchor": "end" }, `${value}`),
    ]);
    for (const value of data.strengths) parts.push(svg("text", { x: x(value), y: 240, "text-anchor": "middle" }, `${value}`));
    const along = (scores, of) => scores.map((score, i) => `${x(data.strengths[i])} ${y(score[of])}`);
    const band = (scores) => `M${along(scores, 1).join("L")}L${along(scores, 2).reverse().join("L")}Z`;
    const lines = network.lams.map((one) => svg("path", { d: `M${along(one.scores, 0).join("L")}`, class: "line" }));
    const mine = network.lams[lam].scores;
    lines[lam].setAttribute("class", "line chosen");
    const point = { cx: x(data.strengths[strength]), cy: y(mine[strength][0]), r: 5, class: "point" };
    parts.push(svg("path", { d: band(mine), class: "band" }), ...lines, lines[lam], svg("circle", point));
    at("chart").replaceChildren(at("chart").firstElementChild, ...parts);
    const told = mine.map((score, i) => `${score[0].toFixed(1)} % at ${radii(data.strengths[i])}`).join(", ");
    at("chart").firstElementChild.textContent = `${network.method} at λ = ${data.lams[lam]}: ${told}`;
  }

  function compare(network, lam, strength) {
    const rows = data.networks.filter((one) => one.name === network.name).map((one) => {
      const scores = one.lams[lam].scores;
      const many = one.cost.networks > 1 ? ` × ${one.cost.networks}` : "";
      const cells = [percent(scores[0]), percent(scores[strength])];
      cells.push(...["macs", "params", "bytes"].map((name) => count(one.cost[name])));
      const labels = ["unchanged, %", "attacked, %", "operations", "parameters", "bytes"];
      const row = make("tr", make("th", one.method + many, { scope: "row" }), one === network ? { "aria-current": "true" } : {});
      row.append(...cells.map((cell, i) => make("td", cell, { class: "num", "data-label": labels[i] })));
      return row;
    });
    at("all").replaceChildren(...rows);
  }

  let latest = 0;
  async function samples(network, lam, strength) {
    const turn = ++latest;
    at("samples").setAttribute("aria-busy", "true");
    const [clean, noise] = await Promise.all([data.samples.pixels, network.lams[lam].noise].map(unpacked));
    if (turn !== latest) return; // another choice was made meanwhile
    const pixels = data.channels * data.size ** 2, many = data.samples.labels.length;
    const reach = 255 * data.eps * data.strengths[strength], zoom = 127 / Math.max(reach, 1);
    const items = data.samples.labels.map((label, i) => {
      const start = (strength * many + i) * pixels;
      const moved = (p) => (noise[start + p] << 24) >> 24; // signed
      const before = (p) => clean[i * pixels + p];
      const name = data.classes[label];
      const [guess, odds] = network.lams[lam].guesses[strength][i];
      const right = guess === label;
      const said = `${right ? "✓" : "✗"} read as ${data.classes[guess]}, ${Math.round(100 * odds)} %`;
      const three = [canvas(before, `the image, ${name}`)];
      three.push(canvas((p) => 128 + zoom * moved(p), `its perturbation, magnified ${zoom.toFixed(0)} times`));
      three.push(canvas((p) => before(p) + moved(p), `the attacked image, ${said}`));
      const words = [make("strong", name), " ", make("span", said, { class: `chip ${right ? "good" : "bad"}` })];
      return make("li", make("figure", [make("div", three, { class: "three" }), make("figcaption", words)]));
    });
    at("samples").replaceChildren(...items);
    at("samples-title").textContent = strength
      ? `What the attack does to images: before, perturbation × ${zoom.toFixed(0)}, after`
      : "Images without an attack: before, no perturbation, after";
    at("samples").setAttribute("aria-busy", "false");
  }

  function show() {
    options(at("network"), data.networks.filter((n) => n.method === at("method").value).map((n) => n.name));
    const network = chosen(), lam = +at("lam").value, strength = +at("strength").value;
    const how = strength ? `${radii(data.strengths[strength])}, ${eps(data.strengths[strength])}` : "no attack";
    at("lam-now").value = data.lams[lam];
    at("strength-now").value = how;
    at("lam").setAttribute("aria-valuetext", `λ = ${data.lams[lam]}`);
    at("strength").setAttribute("aria-valuetext", how);
    const { scores, guesses } = network.lams[lam];
    const wrong = guesses[strength].filter(([guess], i) => guess !== data.samples.labels[i]).length;
    const under = strength ? `under ${data.attack} of ${how}` : "without an attack";
    at("said").textContent = `${network.method} at λ = ${data.lams[lam]} ${under}: ${percent(scores[strength])} % of `
      + `${scores[strength][3].toLocaleString("en")} images are right; ${wrong} of the ${guesses[strength].length} below are misread.`;
    draw(network, lam, strength);
    compare(network, lam, strength);
    return samples(network, lam, strength);
  }

  at("about").textContent = `Networks trained on ${data.dataset} within ${eps(1)}, attacked by ${data.attack} within smaller and larger radii.`;
  options(at("method"), data.networks.map((n) => n.method));
  at("method").value = data.networks.at(-1).method;
  at("lam").max = at("lam").value = data.lams.length - 1;
  at("strength").max = data.strengths.length - 1;
  at("strength").value = data.strengths.indexOf(1);
  for (const id of ["form", "panes", "samples-title"]) at(id).hidden = false;
  at("form").addEventListener("input", show);
  at("form").addEventListener("submit", (event) => event.preventDefault());
  show();
})();
