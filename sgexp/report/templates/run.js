// One run's page: its figures drawn by plotly in the colours of the theme, and the confusion that one can look into.
const data = JSON.parse(document.getElementById("data").textContent);

const colour = (token) => {
  const [name, alpha] = token.slice(1).split("/");
  const value = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  if (!alpha) return value;
  return `${value}${Math.round(255 * Number(alpha)).toString(16).padStart(2, "0")}`;
};
const coloured = (value, key) => {
  if (typeof value === "string" && value.startsWith("@") && /colou?r$/.test(key)) return colour(value);
  if (Array.isArray(value)) return value.map((item) => (item !== null && typeof item === "object" ? coloured(item, key) : item));
  if (value !== null && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, coloured(item, name)]));
  return value;
};
const axis = () => ({ gridcolor: colour("@line"), zerolinecolor: colour("@line"), linecolor: colour("@line"), tickcolor: colour("@line"), automargin: true });
const draw = () => {
  if (typeof Plotly === "undefined") return;
  for (const chart of data.charts) {
    const place = document.getElementById(`plot-${chart.key}`);
    const layout = {
      height: 360, margin: { l: 56, r: 12, t: 8, b: 44 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: colour("@ink") },
      hoverlabel: { bgcolor: colour("@raised"), bordercolor: colour("@line"), font: { color: colour("@ink") } },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, bgcolor: "rgba(0,0,0,0)" }, hovermode: "closest",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("@muted"), activecolor: colour("@accent") }, ...chart.layout,
    };
    layout.xaxis = { ...axis(), ...chart.layout.xaxis };
    layout.yaxis = { ...axis(), ...chart.layout.yaxis };
    place.style.minHeight = `${layout.height}px`; // nothing below moves when the chart is there
    Plotly.react(place, coloured(chart.data, "data"), layout, {
      responsive: true, displaylogo: false, displayModeBar: matchMedia("(hover: none)").matches ? false : "hover", modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
      toImageButtonOptions: { format: "svg", filename: `${data.name}-${chart.key}` },
    });
  }
};
document.addEventListener("theme", draw);
draw();

// Confusion. A place in the tree is a list of classes: [] all, [crystal system], [.., Laue class], [.., point group].
const drill = document.getElementById("drill");
if (drill && data.confusion) {
  const { levels, classes, groups, parts } = data.confusion; // groups[number] = [system, Laue class, point group, number]
  const titles = ["crystal system", "Laue class", "point group", "space group"];
  const outside = ["another crystal system", "another Laue class of this system", "another point group of this Laue class"];
  let part = Object.keys(parts)[0], path = [];

  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const nameOf = (level, index) => classes[level][index];
  const inside = (group) => path.every((index, level) => groups[group][level] === index);
  const interval = ([recall, low, high]) => `${recall.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]`;
  const childrenOf = (place) => {
    const level = place.length, found = new Set();
    for (const [truth] of parts[part].pairs) if (place.every((index, at) => groups[truth][at] === index)) found.add(groups[truth][level]);
    return [...found].sort((a, b) => a - b);
  };
  // A class with one class in it (triclinic holds one Laue class) is passed through.
  const enter = (place) => {
    let next = place;
    while (next.length < 3 && childrenOf(next).length === 1) next = [...next, childrenOf(next)[0]];
    return next;
  };

  const go = (place, focus) => { path = place; show(); if (focus) drill.querySelector(focus)?.focus(); };

  const crumbs = () => {
    const list = make("ol", { className: "crumbs" });
    for (let depth = 0; depth <= path.length; depth++) {
      const name = depth === 0 ? "all" : nameOf(depth - 1, path[depth - 1]);
      const item = make("li");
      if (depth === path.length) { item.append(make("strong", { textContent: name })); item.setAttribute("aria-current", "location"); }
      else { const button = make("button", { type: "button", textContent: name }); const to = path.slice(0, depth); button.addEventListener("click", () => go(to, ".crumbs button, .confusion button")); item.append(button); }
      list.append(item);
    }
    const nav = make("nav", {}, list);
    nav.setAttribute("aria-label", "Where in the confusion");
    return nav;
  };

  const show = () => {
    const level = path.length, pairs = parts[part].pairs;
    const rows = childrenOf(path), counts = new Map(), inner = new Set(rows), outer = Array(level).fill(false);
    for (const [truth, answer, number] of pairs) {
      if (!inside(truth)) continue;
      const away = path.findIndex((index, at) => groups[answer][at] !== index);
      const column = away < 0 ? `c${groups[answer][level]}` : `o${away}`;
      if (away < 0) inner.add(groups[answer][level]); else outer[away] = true;
      const key = `${groups[truth][level]}|${column}`;
      counts.set(key, (counts.get(key) || 0) + number);
    }
    const columns = [...inner].sort((a, b) => a - b).map((index) => ({ key: `c${index}`, title: nameOf(level, index) }));
    for (let at = level - 1; at >= 0; at--) if (outer[at]) columns.push({ key: `o${at}`, title: outside[at] });

    const table = make("table", { className: "confusion" });
    table.append(make("caption", { className: "hide", textContent: `Confusion by ${titles[level]} on ${part}` }));
    const header = make("tr", {}, make("th", { textContent: `true ${titles[level]}`, scope: "col" }));
    for (const column of columns) header.append(make("th", { textContent: column.title, scope: "col" }));
    table.append(make("thead", {}, header));
    const body = make("tbody");
    for (const index of rows) {
      const told = parts[part].recall[level][index];
      const first = make("th", { scope: "row" });
      if (level < 3) {
        const button = make("button", { type: "button", textContent: nameOf(level, index) });
        button.addEventListener("click", () => go(enter([...path, index]), ".crumbs button"));
        first.append(button);
      } else first.append(nameOf(level, index));
      first.append(make("small", { textContent: `recall ${interval(told)}, ${told[3]} samples, ${told[4]} families` }));
      const line = make("tr", {}, first);
      for (const column of columns) {
        const number = counts.get(`${index}|${column.key}`) || 0;
        const cell = make("td", { textContent: number || "·" });
        cell.style.setProperty("--s", (number / told[3]).toFixed(3));
        if (!number) cell.classList.add("zero");
        if (column.key === `c${index}`) cell.classList.add("right");
        cell.title = `${nameOf(level, index)} answered as ${column.title}: ${number} of ${told[3]}`;
        line.append(cell);
      }
      body.append(line);
    }
    table.append(body);
    const region = make("div", { className: "scroll", tabIndex: 0 }, table);
    region.setAttribute("role", "region");
    region.setAttribute("aria-label", `Confusion by ${titles[level]}`);
    const box = document.getElementById("drill-table");
    box.replaceChildren(crumbs(), region);
  };

  const choice = make("fieldset", { className: "choice" }, make("legend", { textContent: "Samples of" }));
  for (const name of Object.keys(parts)) {
    const radio = make("input", { type: "radio", name: "part", value: name, checked: name === part });
    radio.addEventListener("change", () => { part = name; while (path.length && !childrenOf(path).length) path = path.slice(0, -1); show(); });
    choice.append(make("label", {}, radio, ` ${name}`));
  }
  drill.removeAttribute("aria-live");
  drill.append(choice, make("div", { id: "drill-table" }));
  document.getElementById("drill-table").setAttribute("aria-live", "polite");
  show();
}
