"use strict";
// Figures of a sweep: the page opens with those that stand in it; here they get other numbers when a choice changes.
(function () {
  const sweep = window.sweep;
  if (!sweep) return;
  const report = window.report, plain = sweep.plain;
  const narrow = window.matchMedia("(max-width: 640px)");
  function figureOf(name) { return document.querySelector('.plot[data-plot="' + name + '"]'); }
  function copied(figure) { return structuredClone(report.specOf(figure)); }

  function quantile(sorted, share) {
    const at = share * (sorted.length - 1), low = Math.floor(at), high = Math.ceil(at);
    return sorted[low] + (sorted[high] - sorted[low]) * (at - low);
  }
  function finite(values) { return Float64Array.from(values).filter(Number.isFinite).sort(); }
  function colourRange(values, centred) {
    const found = finite(values);
    if (!found.length) return centred ? [-1, 1] : [0, 1];
    if (centred) {
      const sizes = found.map(Math.abs).sort(), reach = quantile(sizes, 0.98) || sizes[sizes.length - 1] || 1;
      return [-reach, reach];
    }
    const low = quantile(found, 0.01), high = quantile(found, 0.99);
    return high > low ? [low, high] : [low - 0.5, low + 0.5];
  }

  // The map: one figure for the sets of a cell, and the best set of each for whoever chooses it.
  function cells(x, y, metric, collapse) {
    const values = metric.values(), cx = x.cellOfSets(), cy = y.cellOfSets(), columns = x.cellLabels.length, rows = y.cellLabels.length;
    const groups = new Array(rows * columns).fill(null);
    for (let i = 0; i < sweep.count; i += 1) {
      if (!Number.isFinite(values[i])) continue;
      const cell = cy[i] * columns + cx[i];
      (groups[cell] || (groups[cell] = [])).push(i);
    }
    const matrix = [], best = [];
    for (let row = 0; row < rows; row += 1) {
      matrix.push(new Array(columns).fill(null));
      best.push(new Array(columns).fill(-1));
      for (let column = 0; column < columns; column += 1) {
        const group = groups[row * columns + column];
        if (!group) continue;
        group.sort(function (a, b) { return (values[b] - values[a]) * metric.better || a - b; });
        best[row][column] = group[0];
        matrix[row][column] = collapse === "best" ? values[group[0]] : collapse === "worst" ? values[group[group.length - 1]]
          : (values[group[(group.length - 1) >> 1]] + values[group[group.length >> 1]]) / 2;
      }
    }
    return { matrix: matrix, best: best };
  }
  function smoothed(matrix, alongX, alongY) {
    return matrix.map(function (row, r) {
      return row.map(function (value, c) {
        if (value === null) return null;
        const found = [];
        for (let dy = alongY ? -1 : 0; dy <= (alongY ? 1 : 0); dy += 1) {
          for (let dx = alongX ? -1 : 0; dx <= (alongX ? 1 : 0); dx += 1) {
            const near = matrix[r + dy] && matrix[r + dy][c + dx];
            if (near !== null && near !== undefined) found.push(near);
          }
        }
        return quantile(found.sort(function (a, b) { return a - b; }), 0.5);
      });
    });
  }
  const map = figureOf("map");
  const role = function (name) { return document.querySelector('[data-role="' + name + '"]'); };
  const mapAxes = sweep.axes.filter(function (axis) { return axis.labels.length > 1; })
    .sort(function (a, b) { return (a.ordered ? 0 : 1) - (b.ordered ? 0 : 1); });
  let chosen = { x: mapAxes[0], y: mapAxes[1] }, current = null;
  function drawMap(afresh) {
    if (!map) return;
    const metric = sweep.state.metric, collapse = role("collapse").value, smooth = role("smooth").checked;
    const x = chosen.x, y = chosen.y, found = cells(x, y, metric, collapse);
    const matrix = smooth ? smoothed(found.matrix, x.ordered, y.ordered) : found.matrix;
    const range = colourRange([].concat.apply([], matrix).map(function (v) { return v === null ? NaN : v; }), metric.centred);
    const spec = copied(map), xs = x.cellLabels.map(plain), ys = y.cellLabels.map(plain), heat = spec.data[0];
    let top = null;
    matrix.forEach(function (row, r) {
      row.forEach(function (value, c) {
        if (value !== null && (!top || (value - top.value) * metric.better > 0)) top = { value: value, r: r, c: c };
      });
    });
    current = { best: found.best, xs: xs, ys: ys };
    Object.assign(heat, {
      x: xs, y: ys, z: matrix, zmin: range[0], zmax: range[1], meta: { scale: metric.scale }, xgap: xs.length <= 60 ? 1 : 0, ygap: ys.length <= 60 ? 1 : 0,
      hovertemplate: plain(x.title) + " %{x}<br>" + plain(y.title) + " %{y}<br><b>" + (smooth ? "around: " : "") + plain(metric.label) +
        " %{z:" + metric.format + "}" + metric.unit + "</b><extra></extra>",
    });
    heat.colorbar.tickformat = metric.format;
    layColourBar(spec);
    Object.assign(spec.data[1], { x: top ? [xs[top.c]] : [], y: top ? [ys[top.r]] : [] });
    spec.layout.xaxis = Object.assign({}, spec.layout.xaxis, { categoryarray: xs, title: { text: plain(x.title) } });
    spec.layout.yaxis = Object.assign({}, spec.layout.yaxis, { categoryarray: ys, title: { text: plain(y.title) } });
    delete spec.layout.xaxis.range; delete spec.layout.yaxis.range;
    spec.layout.height = Math.min(620, Math.max(240, 110 + 26 * ys.length)) + (narrow.matches ? 40 : 0);
    report.replace(map, spec, afresh === true);
    map.setAttribute("aria-label", "Heatmap of " + metric.label + " over " + x.title + " and " + y.title + ".");
    writeMapNote(metric, collapse, smooth, top, found.best);
  }
  function layColourBar(spec) {
    const bar = spec.data[0].colorbar;
    if (narrow.matches) Object.assign(bar, { orientation: "h", y: 1.02, yanchor: "bottom", x: 0.5, thickness: 10, nticks: 5 });
    else ["orientation", "y", "yanchor", "x"].forEach(function (key) { delete bar[key]; });
    if (spec.layout.margin) spec.layout.margin.t = narrow.matches ? 40 : 10;
  }
  function writeMapNote(metric, collapse, smooth, top, best) {
    const note = document.getElementById("map-note");
    if (!top) { note.textContent = "No set has a value of this metric."; return; }
    const gathers = chosen.x.cells || chosen.y.cells || mapAxes.length > 2;
    const parts = ["Best cell: " + chosen.x.title + " " + chosen.x.cellLabels[top.c] + ", " + chosen.y.title + " " + chosen.y.cellLabels[top.r] +
      " with " + metric.text(top.value) + "."];
    if (gathers) parts.push("A cell shows the " + collapse + " of its sets.");
    if (smooth) parts.push("Each cell is the median of itself and its neighbours.");
    if (chosen.x.cells || chosen.y.cells) parts.push("The sets lie on no grid: cells are stretches of values.");
    if (best.some(function (row) { return row.includes(-1); })) parts.push("Where a cell is empty, no set was done.");
    parts.push("Colours end at the outermost hundredths of the cells; hovering shows the values.");
    note.textContent = parts.join(" ");
    pick(best[top.r][top.c]);
  }
  function pick(index) {
    const box = document.getElementById("map-picked");
    if (!box || index < 0) return;
    const metric = sweep.state.metric;
    const line = report.element("p", {});
    const gathers = chosen.x.cells || chosen.y.cells || mapAxes.length > 2;
    if (gathers) line.append("Best of the cell: ");
    report.element("strong", { textContent: sweep.describe(index) }, line);
    line.append(" \u00b7 " + metric.label + " " + metric.text(metric.values()[index]));
    const row = report.element("div", { className: "command" });
    const code = report.element("code", { textContent: sweep.command(index), tabIndex: 0 }, row);
    const button = report.element("button", { type: "button", className: "button", textContent: "Copy" }, row);
    button.addEventListener("click", function () { report.copy(code, button); });
    box.replaceChildren(line, row);
    box.hidden = false;
  }
  if (map) {
    if (narrow.matches) map.dataset.bare = "";
    ["x", "y"].forEach(function (name) {
      role(name).addEventListener("change", function () {
        const other = name === "x" ? "y" : "x", wanted = mapAxes[Number(role(name).value)];
        if (chosen[other] === wanted) { chosen[other] = chosen[name]; role(other).value = String(mapAxes.indexOf(chosen[name])); }
        chosen[name] = wanted;
        drawMap();
      });
    });
    role("collapse").addEventListener("change", drawMap);
    role("smooth").addEventListener("change", drawMap);
    map.addEventListener("drawn", function () {
      map.querySelector(".canvas").on("plotly_click", function (event) {
        const point = event.points.find(function (p) { return p.data.type === "heatmap"; });
        if (point && current) pick(current.best[current.ys.indexOf(String(point.y))][current.xs.indexOf(String(point.x))]);
      });
    });
  }

  // Lines: the best sets and every so-manieth of the rest, in classes of colour.
  const lines = figureOf("parallel");
  const KEYS = ["sharpe", "total_return", "max_drawdown", "worst_margin_ratio", "trades", "liquidations"];
  function ends(metric) {
    const found = metric.values();
    let low = Infinity, high = -Infinity;
    for (const value of found) if (Number.isFinite(value)) { low = Math.min(low, value); high = Math.max(high, value); }
    return [low, high];
  }
  function shownMetrics(metric) {
    const keys = [metric.key].concat(KEYS.filter(function (key) { return key !== metric.key; }));
    return keys.map(function (key) { return sweep.byKey.get(key); }).filter(function (one) {
      if (!one) return false;
      const range = ends(one);
      return one === metric || range[1] > range[0];
    }).slice(0, Math.max(2, sweep.limits.dimensions - sweep.dimensions.length));
  }
  function lineOrder(metric) {
    let order = sweep.bestFirst(metric);
    if (sweep.state.kept) order = order.filter(function (index) { return sweep.state.kept[index]; });
    const total = order.length, rest = order.slice(sweep.limits.best), room = sweep.limits.lines - sweep.limits.best;
    const sampled = rest.length <= room ? rest : Array.from({ length: room }, function (_, i) { return rest[Math.floor(i * rest.length / room)]; });
    return { order: order.slice(0, sweep.limits.best).concat(sampled), total: total };
  }
  function drawLines(afresh) {
    if (!lines) return;
    const metric = sweep.state.metric, values = metric.values(), found = lineOrder(metric), spec = copied(lines);
    const ladders = sweep.dimensions.map(function (axis) {
      const codes = axis.codes(), last = Math.max(axis.labels.length - 1, 1);
      return { title: axis.title, ends: [axis.labels[0], axis.labels[axis.labels.length - 1]], at: function (i) { return codes[i] / last; } };
    }).concat(shownMetrics(metric).map(function (one) {
      const range = ends(one), own = one.values(), span = range[1] - range[0] || 1;
      return { title: one.label, ends: range.map(one.text), at: function (i) { return (own[i] - range[0]) / span; } };
    }));
    const range = colourRange(values, metric.centred), shades = spec.data.length - 1;
    const classes = Array.from({ length: shades }, function () { return []; });
    found.order.forEach(function (index) {
      const share = (values[index] - range[0]) / (range[1] - range[0]);
      classes[Math.min(shades - 1, Math.max(0, Math.floor(share * shades)))].push(index);
    });
    const upright = narrow.matches, places = ladders.map(function (_, i) { return i; });
    function points(trace, indices) {
      const along = [], height = [];
      indices.forEach(function (index) {
        ladders.forEach(function (ladder, place) {
          const at = ladder.at(index);
          along.push(place); height.push(Number.isFinite(at) ? at : null);
        });
        along.push(null); height.push(null);
      });
      trace.x = upright ? height : along;
      trace.y = upright ? along : height;
    }
    classes.forEach(function (indices, shade) {
      points(spec.data[shade], indices.reverse());
      spec.data[shade].line = { width: found.order.length > 200 ? 1 : 1.6 };
      spec.data[shade].meta = { scale: metric.scale, at: shadeAt(metric.scale, (shade + 0.5) / shades) };
    });
    points(spec.data[shades], found.order.slice(0, 1));
    const scaleAxis = { visible: false, range: upright ? [-0.02, 1.02] : [-0.09, 1.09], fixedrange: true };
    const placeAxis = {
      tickvals: places, ticktext: ladders.map(function (ladder) { return plain(ladder.title); }), showgrid: true, zeroline: false, fixedrange: true, dtick: 1,
      tickmode: "array", range: upright ? [ladders.length - 0.6, -0.6] : [-0.3, ladders.length - 0.7],
    };
    if (upright) {
      // On a phone the axes lie across, one below the other, their names above them.
      spec.layout.xaxis = scaleAxis;
      spec.layout.yaxis = Object.assign(placeAxis, { showticklabels: false });
      spec.layout.margin = { l: 8, r: 8, t: 8, b: 8 };
      spec.layout.height = 60 + 62 * ladders.length;
    } else {
      spec.layout.xaxis = Object.assign(placeAxis, { side: "top", automargin: true, ticklabelstandoff: 16 });
      spec.layout.yaxis = scaleAxis;
      spec.layout.margin = { l: 34, r: 34, t: 30, b: 30 };
      spec.layout.height = 430;
    }
    const panel = getComputedStyle(document.documentElement).getPropertyValue("--panel").trim();
    spec.layout.annotations = [];
    ladders.forEach(function (ladder, place) {
      ladder.ends.forEach(function (text, end) {
        spec.layout.annotations.push(upright
          ? { x: end, y: place, yshift: 10, xanchor: end ? "right" : "left", text: plain(text), showarrow: false, bgcolor: panel, font: { size: 11 } }
          : { x: place, y: end, yshift: end ? 11 : -11, text: plain(text), showarrow: false, font: { size: 11 } });
      });
      if (upright) spec.layout.annotations.push({ x: 0.5, y: place, yshift: 10, text: "<b>" + plain(ladder.title) + "</b>", showarrow: false, bgcolor: panel, font: { size: 11.5 } });
    });
    report.replace(lines, spec, afresh === true);
    writeLineNote(found);
  }
  // Where a scale is like the background, no line would be seen.
  function shadeAt(scale, at) {
    if (scale !== "diverging") return 0.3 + 0.7 * at;
    return at < 0.5 ? 0.72 * at : 1 - 0.72 * (1 - at);
  }
  function writeLineNote(found) {
    const note = document.getElementById("parallel-note");
    if (!note) return;
    const count = sweep.decimal(found.total, 0), filtered = sweep.state.kept ? " that pass the filters" : "";
    note.textContent = found.order.length < found.total
      ? "Drawn are the best " + sweep.limits.best + " and an even sample of the rest, " + sweep.decimal(found.order.length, 0) + " of " + count + " sets" + filtered + "."
      : "Drawn are all " + count + " sets" + filtered + ". Filters of the table below hold for the lines too.";
  }

  // Spread: how many sets have which value, and the quartiles for each value of a parameter.
  const distribution = figureOf("distribution");
  function drawDistribution() {
    if (!distribution) return;
    const metric = sweep.state.metric, found = finite(metric.values()), spec = copied(distribution), bins = spec.data[0].width.length;
    let low = found[0], high = found[found.length - 1];
    const median = quantile(found, 0.5), best = metric.better > 0 ? high : low;
    if (high <= low) { low -= 0.5; high += 0.5; }
    const counts = new Array(bins).fill(0), step = (high - low) / bins;
    for (const value of found) counts[Math.min(bins - 1, Math.floor((value - low) / (high - low) * bins))] += 1;
    const colours = spec.layout.meta || (spec.layout.meta = tones(spec));
    const middles = counts.map(function (_, i) { return low + (i + 0.5) * step; });
    Object.assign(spec.data[0], {
      x: middles, y: counts, width: new Array(bins).fill(step),
      marker: { color: middles.map(function (m) { return metric.centred && m < 0 ? colours.loss : colours.gain; }) },
      hovertemplate: "around %{x:" + metric.format + "}" + metric.unit + ": %{y:,} sets<extra></extra>",
    });
    [median, best].forEach(function (at, i) {
      Object.assign(spec.layout.shapes[i], { x0: at, x1: at });
      spec.layout.annotations[i].x = at;
    });
    spec.layout.xaxis = Object.assign({}, spec.layout.xaxis, { tickformat: metric.format, title: { text: plain(metric.label) } });
    delete spec.layout.xaxis.range;
    report.replace(distribution, spec);
  }
  function tones(spec) { return { gain: spec.layout.metaGain || "#2f7fc1", loss: spec.layout.metaLoss || "#cf5f14" }; }
  function drawAgainst(axis, place) {
    const figure = figureOf("against-" + place);
    if (!figure) return;
    const metric = sweep.state.metric, values = metric.values(), of = axis.cellOfSets(), spec = copied(figure);
    const groups = axis.cellLabels.map(function () { return []; });
    for (let i = 0; i < sweep.count; i += 1) if (Number.isFinite(values[i])) groups[of[i]].push(values[i]);
    groups.forEach(function (group) { group.sort(function (a, b) { return a - b; }); });
    [["lowerfence", 0], ["q1", 0.25], ["median", 0.5], ["q3", 0.75], ["upperfence", 1]].forEach(function (pair) {
      spec.data[0][pair[0]] = groups.map(function (group) { return group.length ? quantile(group, pair[1]) : null; });
    });
    spec.layout.yaxis = Object.assign({}, spec.layout.yaxis, { tickformat: metric.format, hoverformat: metric.format, zeroline: metric.centred });
    delete spec.layout.yaxis.range;
    report.replace(figure, spec);
  }
  function drawSpread() {
    drawDistribution();
    mapAxes.forEach(drawAgainst);
  }

  function drawAll() { drawMap(); drawLines(); drawSpread(); }
  sweep.onMetric(drawAll);
  sweep.onFilter = drawLines;
  narrow.addEventListener("change", function () { drawMap(true); drawLines(true); });
  document.getElementById("theme-switch").addEventListener("click", function () { if (narrow.matches) drawLines(); });
  drawMap();
  if (narrow.matches) drawLines();
  else if (lines) writeLineNote(lineOrder(sweep.state.metric));
})();
