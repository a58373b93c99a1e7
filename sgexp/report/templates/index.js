// The leaderboard: sort, search, filter, group over seeds. What is asked for stands in the address, so that it can be kept.
const controls = document.getElementById("controls");
if (controls) {
  const search = document.getElementById("q"), group = document.getElementById("group");
  const selects = [...controls.querySelectorAll("select")], count = document.getElementById("count");
  const boards = [...document.querySelectorAll("table.board")].map((table) => ({
    table,
    empty: table.closest("section").querySelector(".empty"),
    bodies: [table.querySelector("tbody.runs"), table.querySelector("tbody.experiments")].map((body) => ({
      body,
      rows: [...body.rows].map((row) => ({
        row,
        facets: JSON.parse(row.dataset.f),
        values: JSON.parse(row.dataset.v),
        text: row.dataset.t.toLowerCase(),
      })),
    })),
  }));
  let order = { key: "validation.macro_f1", down: true };

  const compare = (a, b) => {
    const left = a.values[order.key], right = b.values[order.key];
    if (left == null || right == null) return (left == null) - (right == null); // what is not known comes last
    const sign = typeof left === "number" ? left - right : String(left).localeCompare(String(right), undefined, { numeric: true });
    return order.down ? -sign : sign;
  };

  const sort = () => {
    for (const { table, bodies } of boards) {
      for (const header of table.querySelectorAll("th[data-sort]")) {
        if (header.dataset.sort === order.key) header.setAttribute("aria-sort", order.down ? "descending" : "ascending");
        else header.removeAttribute("aria-sort");
      }
      for (const { body, rows } of bodies) body.append(...[...rows].sort(compare).map((item) => item.row));
    }
  };

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = selects.filter((select) => select.value !== "").map((select) => [select.dataset.key, select.value]);
    let shown = 0, all = 0;
    for (const { empty, bodies } of boards) {
      bodies.forEach(({ body, rows }, index) => {
        const active = (index === 1) === group.checked;
        body.hidden = !active;
        let own = 0;
        for (const { row, facets, text } of rows) {
          const kept = words.every((word) => text.includes(word)) && wanted.every(([key, value]) => (facets[key] || []).includes(value));
          row.hidden = !kept;
          own += kept;
        }
        if (active) { shown += own; all += rows.length; empty.hidden = own > 0; }
      });
    }
    const noun = group.checked ? "experiments" : "runs";
    count.textContent = shown === all ? `${all} ${noun}` : `${shown} of ${all} ${noun}`;
  };

  const keep = () => {
    const state = new URLSearchParams();
    if (search.value) state.set("q", search.value);
    for (const select of selects) if (select.value) state.set(`f.${select.dataset.key}`, select.value);
    if (group.checked) state.set("group", "1");
    if (order.key !== "validation.macro_f1" || !order.down) state.set("sort", `${order.key}:${order.down ? "down" : "up"}`);
    try { history.replaceState(null, "", state.size ? `#${state}` : location.pathname + location.search); } catch { /* not where files are sandboxed */ }
  };

  const restore = () => {
    const state = new URLSearchParams(location.hash.slice(1));
    search.value = state.get("q") || "";
    group.checked = state.get("group") === "1";
    for (const select of selects) {
      const value = state.get(`f.${select.dataset.key}`) || "";
      select.value = [...select.options].some((option) => option.value === value) ? value : "";
      if (select.value) select.closest("details")?.setAttribute("open", "");
    }
    const [key, way] = (state.get("sort") || "validation.macro_f1:down").split(":");
    order = { key, down: way !== "up" };
  };

  const update = () => { filter(); keep(); };
  search.addEventListener("input", update);
  group.addEventListener("change", update);
  for (const select of selects) select.addEventListener("change", update);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("reset", () => setTimeout(() => { order = { key: "validation.macro_f1", down: true }; sort(); update(); }));
  for (const { table } of boards) {
    table.querySelector("thead").addEventListener("click", (event) => {
      const header = event.target.closest("button")?.closest("th[data-sort]");
      if (!header) return;
      const key = header.dataset.sort, number = "number" in header.dataset;
      order = { key, down: order.key === key ? !order.down : number && key !== "seconds" };
      sort();
      keep();
    });
  }
  if (/[=]/.test(location.hash)) restore();
  controls.hidden = false;
  sort();
  filter();
}
