"use strict";
(function () {
  const root = document.documentElement;
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const specs = new Map();
  const drawn = new Set();
  const minus = "\u2212";

  // Figures: drawn when they come near the window, redrawn when the theme changes.
  function layoutOf(spec, width) {
    const layout = Object.assign({}, spec.layout, { template: themes[root.dataset.theme], autosize: true });
    if (window.matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
    if (width < 520) {
      layout.legend = Object.assign({}, layout.legend, { font: { size: 11 } });
      for (const key of Object.keys(layout)) {
        if (/^[xy]axis/.test(key) && !layout[key].dtick) layout[key] = Object.assign({}, layout[key], { nticks: key[0] === "x" ? 4 : 5, title: undefined });
      }
    }
    return layout;
  }
  // Colours of values depend on the background: such a trace names its scale, and the place on it of a line.
  function colourAt(scale, at) {
    let k = 1;
    while (k < scale.length - 1 && scale[k][0] < at) k += 1;
    const low = scale[k - 1], high = scale[k], share = (at - low[0]) / (high[0] - low[0]);
    const part = function (text, i) { return parseInt(text.slice(1 + 2 * i, 3 + 2 * i), 16); };
    return "rgb(" + [0, 1, 2].map(function (i) {
      return Math.round(part(low[1], i) + share * (part(high[1], i) - part(low[1], i)));
    }).join(",") + ")";
  }
  function dataOf(spec) {
    const scales = themes[root.dataset.theme].layout.colorscale;
    return spec.data.map(function (trace) {
      if (!trace.meta || !trace.meta.scale) return trace;
      const scale = scales[trace.meta.scale];
      if (trace.meta.at === undefined) return Object.assign({}, trace, { colorscale: scale });
      return Object.assign({}, trace, { line: Object.assign({}, trace.line, { color: colourAt(scale, trace.meta.at) }) });
    });
  }
  function specOf(figure) {
    if (!specs.has(figure)) specs.set(figure, JSON.parse(figure.querySelector("script").textContent));
    return specs.get(figure);
  }
  function draw(figure) {
    if (drawn.has(figure) || figure.hidden) return;
    const spec = specOf(figure), canvas = figure.querySelector(".canvas");
    drawn.add(figure);
    Plotly.newPlot(canvas, dataOf(spec), layoutOf(spec, figure.clientWidth), {
      responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtonsToRemove: ["lasso2d", "select2d"],
      displayModeBar: "bare" in figure.dataset ? false : "hover",
    });
    figure.dispatchEvent(new CustomEvent("drawn"));
  }
  function redraw(figure) {
    const spec = specOf(figure);
    Plotly.react(figure.querySelector(".canvas"), dataOf(spec), layoutOf(spec, figure.clientWidth));
  }
  // Where a figure is laid out anew (``afresh``), what was drawn must go: the library keeps parts of the old layout.
  function replace(figure, spec, afresh) {
    specs.set(figure, spec);
    figure.style.setProperty("--plot-height", spec.layout.height + "px");
    if (!drawn.has(figure)) return;
    if (!afresh) { redraw(figure); return; }
    Plotly.purge(figure.querySelector(".canvas"));
    drawn.delete(figure);
    draw(figure);
  }
  function drawAll() {
    document.querySelectorAll(".plot:not([hidden])").forEach(draw);
  }
  const figures = document.querySelectorAll(".plot");
  if ("IntersectionObserver" in window) {
    const near = new IntersectionObserver(function (entries) {
      for (const entry of entries) {
        if (entry.isIntersecting) { draw(entry.target); near.unobserve(entry.target); }
      }
    }, { rootMargin: "500px 0px" });
    figures.forEach(function (figure) { near.observe(figure); });
  } else {
    drawAll();
  }
  window.addEventListener("beforeprint", drawAll);

  // Paper has nothing to click: what is folded up opens for it and closes again.
  let opened = [];
  window.addEventListener("beforeprint", function () {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (details) { details.open = true; });
  });
  window.addEventListener("afterprint", function () {
    opened.forEach(function (details) { details.open = false; });
  });

  document.getElementById("theme-switch").addEventListener("click", function () {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("backtester-theme", root.dataset.theme); } catch (error) { /* private windows keep nothing */ }
    drawn.forEach(redraw);
  });

  document.querySelectorAll("[data-chooser]").forEach(function (select) {
    function choose() {
      document.querySelectorAll('.plot[data-group="' + select.dataset.chooser + '"]').forEach(function (figure) {
        figure.hidden = figure.dataset.plot !== select.value;
        draw(figure);
        if (!figure.hidden) Plotly.Plots.resize(figure.querySelector(".canvas"));
      });
    }
    select.addEventListener("change", choose);
    if (select.selectedIndex > 0) choose();
  });

  // Tables: sorted and paged from the data beside them, one page of rows in the document at a time.
  function compare(a, b, direction) {
    if (a === b) return 0;
    if (a === null) return 1;
    if (b === null) return -1;
    return (a < b ? -1 : 1) * direction;
  }
  function element(name, properties, parent) {
    const made = Object.assign(document.createElement(name), properties);
    if (parent) parent.appendChild(made);
    return made;
  }
  function makeTable(box) {
    const data = JSON.parse(box.querySelector("script").textContent);
    const size = window.innerWidth <= 760 ? Math.min(15, data.size) : data.size, body = box.querySelector("tbody"), heads = Array.from(box.querySelectorAll("th"));
    let order = data.rows.map(function (_, i) { return i; }), column = -1, direction = 1, page = 0;
    const sorter = element("span", { className: "sorter" }, box.querySelector(".table-tools"));
    const pages = box.querySelector(".table-pages");
    const status = element("span", { role: "status" });
    const back = element("button", { type: "button", className: "button", textContent: "Previous" });
    const next = element("button", { type: "button", className: "button", textContent: "Next" });
    if (data.rows.length > size) pages.append(status, back, next);

    function write() {
      const last = Math.min((page + 1) * size, order.length);
      const rows = order.slice(page * size, last).map(function (index) {
        const row = document.createElement("tr");
        data.columns.forEach(function (spec, c) {
          const text = data.rows[index][c], pair = Array.isArray(text), first = pair ? text[0] : text;
          const tone = spec.signed ? (first[0] === minus ? " loss" : first[0] === "+" ? " gain" : "") : "";
          const long = first.length > 22 ? " long" : "";
          const cell = element("td", { className: (spec.number ? "number" : "text") + tone + long, textContent: first }, row);
          cell.dataset.label = spec.label;
          if (pair && text[1]) element("small", { textContent: text[1] }, cell);
        });
        return row;
      });
      body.replaceChildren.apply(body, rows);
      status.textContent = (page * size + 1).toLocaleString("en") + "\u2013" + last.toLocaleString("en") + " of " + order.length.toLocaleString("en");
      back.disabled = page === 0;
      next.disabled = last === order.length;
    }
    function sortBy(chosen, wanted) {
      direction = wanted || (column === chosen ? -direction : data.columns[chosen].number ? -1 : 1);
      column = chosen;
      page = 0;
      order = data.rows.map(function (_, i) { return i; });
      order.sort(function (a, b) { return compare(data.keys[a][column], data.keys[b][column], direction) || a - b; });
      heads.forEach(function (head, i) {
        if (i === column) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
        else head.removeAttribute("aria-sort");
      });
      choice.value = String(column);
      write();
    }
    heads.forEach(function (head, i) {
      const button = element("button", { type: "button", textContent: head.textContent });
      head.replaceChildren(button);
      button.addEventListener("click", function () { sortBy(i); });
    });
    if (data.rows.length < 6) sorter.hidden = true;
    const choice = element("select", {}, element("label", { textContent: "Sort by " }, sorter));
    element("option", { value: "-1", textContent: "as listed", disabled: true }, choice);
    data.columns.forEach(function (spec, i) { element("option", { value: String(i), textContent: spec.label }, choice); });
    choice.value = "-1";
    choice.addEventListener("change", function () { sortBy(Number(choice.value)); });
    const flip = element("button", { type: "button", className: "button", textContent: "Reverse" }, sorter);
    flip.addEventListener("click", function () { sortBy(Math.max(column, 0), -direction); });
    back.addEventListener("click", function () { page -= 1; write(); });
    next.addEventListener("click", function () { page += 1; write(); });
    write();
  }
  document.querySelectorAll("[data-table]").forEach(makeTable);

  // The section being read is marked in the contents.
  const links = new Map();
  document.querySelectorAll(".contents a").forEach(function (link) { links.set(link.hash.slice(1), link); });
  let waiting = false;
  function markReading() {
    waiting = false;
    let current = "top";
    links.forEach(function (_, id) {
      const target = document.getElementById(id);
      if (target && target.getBoundingClientRect().top < window.innerHeight * 0.3) current = id;
    });
    links.forEach(function (link, id) {
      if (id === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
  }
  window.addEventListener("scroll", function () {
    if (!waiting) { waiting = true; window.requestAnimationFrame(markReading); }
  }, { passive: true });
  markReading();

  function copy(source, button) {
    const done = function () { button.textContent = "Copied"; };
    const select = function () { window.getSelection().selectAllChildren(source); button.textContent = "Selected"; };
    if (navigator.clipboard) navigator.clipboard.writeText(source.textContent).then(done, select);
    else select();
  }
  document.querySelectorAll("[data-copy]").forEach(function (button) {
    button.addEventListener("click", function () { copy(document.getElementById(button.dataset.copy), button); });
  });
  window.report = { specOf: specOf, replace: replace, element: element, copy: copy };
})();
