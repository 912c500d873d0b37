"use strict";
// Figures: drawn when they come near the window, redrawn when the theme changes.
(function () {
  const root = document.documentElement;
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const specs = new Map();
  const drawn = new Set();

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
  window.report = Object.assign(window.report || {}, { specOf: specOf, replace: replace, draw: draw });
})();
