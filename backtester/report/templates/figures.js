"use strict";
// Figures: drawn when they come near the window, redrawn when the theme changes.
(function () {
  const root = document.documentElement;
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const specs = new Map();
  const drawn = new Set();
  const shown = new Map();
  const starters = [];

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
  // The library stands in the page, or beside it in a file that may have been left behind.
  function missing(figure) {
    if (typeof Plotly !== "undefined") return false;
    const canvas = figure.querySelector(".canvas");
    if (!canvas.firstChild) canvas.appendChild(window.report.element("p", { className: "empty", textContent: "This figure cannot be drawn: the library it needs is missing." }));
    return true;
  }
  function draw(figure) {
    if (drawn.has(figure) || figure.hidden || missing(figure)) return;
    const spec = specOf(figure), canvas = figure.querySelector(".canvas");
    drawn.add(figure);
    Plotly.newPlot(canvas, dataOf(spec), layoutOf(spec, figure.clientWidth), {
      responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtonsToRemove: ["lasso2d", "select2d"],
      displayModeBar: "bare" in figure.dataset ? false : "hover",
    });
    starters.forEach(function (start) { start(figure); });
    figure.dispatchEvent(new CustomEvent("drawn"));
  }
  // Another view of a figure, a shorter span of it; none: the figure as it came.
  function show(figure, view) {
    if (view) shown.set(figure, view);
    else shown.delete(figure);
    if (drawn.has(figure)) redraw(figure);
  }
  function redraw(figure) {
    const spec = shown.get(figure) || specOf(figure);
    Plotly.react(figure.querySelector(".canvas"), dataOf(spec), layoutOf(spec, figure.clientWidth));
  }
  // Where a figure is laid out anew (``afresh``), what was drawn must go: the library keeps parts of the old layout.
  function replace(figure, spec, afresh) {
    specs.set(figure, spec);
    shown.delete(figure);
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
    window.setTimeout(drawAll, 0); // after the other scripts
  }
  // Paper is white and as wide as it is: every figure is drawn for it, and afterwards as before.
  const PAPER = 700;
  let before = null;
  function sized(width) {
    drawn.forEach(function (figure) {
      Plotly.relayout(figure.querySelector(".canvas"), width ? { autosize: false, width: width } : { autosize: true, width: null });
    });
  }
  window.addEventListener("beforeprint", function () {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    drawAll();
    drawn.forEach(redraw);
    sized(PAPER);
  });
  window.addEventListener("afterprint", function () {
    if (before !== null) root.dataset.theme = before;
    before = null;
    drawn.forEach(redraw);
    sized(0);
  });

  // The theme is the system's until one is chosen here.
  const dark = window.matchMedia("(prefers-color-scheme: dark)"), key = "backtester-theme";
  function chosen() {
    try { return localStorage.getItem(key); } catch (error) { return picked; /* private windows keep nothing */ }
  }
  let picked = null;
  function colour(name) {
    root.dataset.theme = name;
    drawn.forEach(redraw);
  }
  document.getElementById("theme-switch").addEventListener("click", function () {
    picked = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem(key, picked); } catch (error) { /* kept for this visit */ }
    colour(picked);
  });
  dark.addEventListener("change", function () { if (!chosen()) colour(dark.matches ? "dark" : "light"); });

  document.querySelectorAll("[data-chooser]").forEach(function (select) {
    function choose() {
      document.querySelectorAll('.plot[data-group="' + select.dataset.chooser + '"]').forEach(function (figure) {
        figure.hidden = figure.dataset.plot !== select.value;
        draw(figure);
        if (!figure.hidden && drawn.has(figure)) Plotly.Plots.resize(figure.querySelector(".canvas"));
      });
    }
    select.addEventListener("change", choose);
    if (select.selectedIndex > 0) choose();
  });
  // To a span of time in a figure: scroll there, choose it in its selector, draw it, zoom its time axis.
  function focus(name, from, to) {
    const figure = document.querySelector('.plot[data-plot="' + CSS.escape(name) + '"]');
    if (!figure || !Number.isFinite(from)) return false;
    const select = document.querySelector('[data-chooser="' + CSS.escape(figure.dataset.group) + '"]');
    if (select && figure.hidden) {
      select.value = name;
      select.dispatchEvent(new Event("change"));
    }
    draw(figure);
    const end = Number.isFinite(to) && to > from ? to : from;
    zoom(figure, from, end);
    if (!figure.hasAttribute("tabindex")) figure.tabIndex = -1;
    figure.focus({ preventScroll: true });
    const aim = { block: figure.offsetHeight > window.innerHeight ? "start" : "center" };
    figure.scrollIntoView(aim);
    if (window.report.settle) window.report.settle(figure, aim);
    return true;
  }
  function zoom(figure, from, to) {
    const margin = Math.max((to - from) * 0.25, 20 * stepOf(figure)), start = from - margin, end = to + margin, axes = {};
    if (typeof Plotly === "undefined" || (window.report.zoom && window.report.zoom(figure, start, end))) return;
    Object.keys(specOf(figure).layout).forEach(function (key) {
      if (/^xaxis/.test(key)) axes[key + ".range"] = [start, end];
    });
    Plotly.relayout(figure.querySelector(".canvas"), axes);
  }
  function stepOf(figure) {
    const head = window.report.data ? window.report.data.head : { plots: {} }, about = head.plots[figure.dataset.plot] || head.account;
    return about ? about.clock.step : 3600000;
  }
  // Anything that names a figure and a span goes there: data-focus="price-0:1704067200000:1704153600000".
  function follow(event) {
    const source = event.target instanceof Element ? event.target.closest("[data-focus]") : null;
    if (!source || (event.type === "keydown" && event.key !== "Enter")) return;
    if (source.tagName === "TR" && String(window.getSelection())) return; // a click that selects text of a row
    const control = event.target.closest("a, button, input, select");
    if (control && control !== source && source.contains(control)) return; // a control inside a row has its own use
    const parts = source.dataset.focus.split(":"), to = Number(parts.pop()), from = Number(parts.pop());
    if (window.report.focus(parts.join(":"), from, to)) event.preventDefault();
  }
  document.addEventListener("click", follow);
  document.addEventListener("keydown", follow);

  window.report = Object.assign(window.report || {}, { specOf: specOf, replace: replace, draw: draw, focus: focus, show: show, onDraw: function (start) { starters.push(start); } });
})();
