// Filters of the report, and for each claim a bar with our interval beside the paper's number.
(() => {
  const form = document.getElementById("filters");
  const paper = document.getElementById("of-paper"), verdict = document.getElementById("of-verdict");
  const sections = [...document.querySelectorAll("section:has(> h2 > a[id])")];
  const overview = [...document.querySelectorAll("section > .scroll td:first-child > a")].map((link) => link.closest("tr"));
  const claims = [...document.querySelectorAll("tr:has(td:first-child > .chip)")];
  const nameOf = (row) => row.querySelector("a").textContent.split("/")[0];
  const paperOf = (section) => section.querySelector("a").id.split("-")[0];
  const verdictOf = (row) => row.querySelector(".chip").textContent;
  const verdicts = ["reproduced", "partly", "not reproduced", "not judged"];

  function filter() {
    const count = (row) => +row.querySelector(`[data-label="${verdict.value}"]`).textContent;
    for (const row of overview) row.hidden = !((!paper.value || nameOf(row) === paper.value) && (!verdict.value || count(row)));
    for (const row of claims) row.hidden = verdict.value !== "" && verdictOf(row) !== verdict.value;
    for (const section of sections) {
      const mine = claims.filter((row) => section.contains(row));
      const shown = !verdict.value || mine.some((row) => !row.hidden);
      section.hidden = !shown || (paper.value !== "" && paperOf(section) !== paper.value);
    }
    const left = claims.filter((row) => !row.hidden && !row.closest("section").hidden).length;
    const artifacts = `${overview.filter((row) => !row.hidden).length} of ${overview.length} artifacts`;
    document.getElementById("filtered").textContent = claims.length ? `${artifacts}, ${left} of ${claims.length} claims` : artifacts;
  }

  // A link to what a filter hides shows it again.
  function reveal() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target || !target.closest("[hidden]")) return;
    paper.value = verdict.value = "";
    filter();
    target.scrollIntoView();
  }

  // Where both are differences in points, or both are ratios: from 0, or 1, to the paper's and ours.
  function bar(row) {
    const text = (name) => row.querySelector(`[data-label="${name}"]`)?.textContent ?? "";
    const ratio = /^up to ([\d.]+)x$/.exec(text("paper value")), points = /^([+-][\d.]+)$/.exec(text("paper value"));
    const where = ratio ? "our value" : "difference";
    const found = /(-?[\d.]+)x? \[(-?[\d.]+), (-?[\d.]+)\]/.exec(text(where));
    if (!found || !(ratio || points)) return;
    const [value, low, high] = found.slice(1).map(Number), printed = +(ratio ?? points)[1], none = ratio ? 1 : 0;
    const ends = [low, high, printed, none], left = Math.min(...ends), span = Math.max(...ends) - left || 1;
    const x = (number) => 6 + (108 * (number - left)) / span;
    const said = `the paper ${printed}, ours ${value}, from ${low} to ${high}`;
    row.querySelector(`[data-label="${where}"]`).insertAdjacentHTML("beforeend", `
      <svg class="bar" viewBox="0 0 120 16" role="img" aria-label="${said}"><title>${said}</title>
      <path class="grid" d="M${x(none)} 1V15"/><path class="line chosen" d="M${x(low)} 8H${x(high)}"/>
      <circle class="point" cx="${x(value)}" cy="8" r="3"/><path class="printed" d="m${x(printed)} 3 5 5-5 5-5-5z"/></svg>`);
  }

  const papers = new Set([...sections.map(paperOf), ...overview.map(nameOf)]);
  for (const [select, values] of [[paper, papers], [verdict, verdicts]]) select.append(...[...values].map((value) => new Option(value)));
  form.hidden = !overview.length;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", reveal);
  claims.forEach(bar);
  filter();
})();
