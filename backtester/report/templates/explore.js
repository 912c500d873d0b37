"use strict";
// Zooming: an overview is exchanged for what the page holds of the span in sight. Times are ms since 1970, UTC.
(function () {
  const report = window.report, data = report.data;
  if (!data) return;
  const DENSE = 2000, COLUMNS = 600, AROUND = 0.25, MARKS = 150, SHADED = 400, LEVELS = 300, LEAST_BARS = 4;
  const STOPS = ["stop_loss", "trailing_stop", "drawdown_stop"], TARGETS = ["take_profit"], UNMARKED = ["liquidation", "flip", "open"];
  const minus = "\u2212", states = new Map(), element = report.element;

  // How figures read: as the rest of the page writes them.
  function decimal(value, digits, plus) {
    const body = Math.abs(value).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    if (!/[1-9]/.test(body)) return body;
    return (value < 0 ? minus : plus ? "+" : "") + body;
  }
  function price(value) {
    const size = Math.abs(value);
    return decimal(value, size >= 100 ? 2 : size === 0 ? 8 : Math.min(12, Math.max(2, 4 - Math.floor(Math.log10(size)))));
  }
  function quantity(value) {
    const size = Math.abs(value), digits = size >= 1e6 || size === 0 ? 0 : Math.min(12, Math.max(0, 5 - Math.floor(Math.log10(size))));
    return size.toLocaleString("en-US", { maximumFractionDigits: digits });
  }
  function moment(ms) { return new Date(ms).toISOString().slice(0, 16).replace("T", " "); }
  function count(value) { return value.toLocaleString("en-US"); }
  function words(text) { return text.replace(/_/g, " "); }
  function lengthOf(ms) {
    for (const unit of [[86400000, "d"], [3600000, "h"], [60000, "m"], [1000, "s"]]) if (ms % unit[0] === 0) return ms / unit[0] + unit[1];
    return ms + "ms";
  }
  function timeOf(value) {
    if (typeof value === "number") return value;
    const found = /^(-?\d+)-(\d\d)-(\d\d)(?:[ T](\d\d)(?::(\d\d)(?::(\d\d(?:\.\d+)?))?)?)?/.exec(String(value));
    if (!found) return NaN;
    return Date.UTC(+found[1], found[2] - 1, +found[3], +(found[4] || 0), +(found[5] || 0)) + 1000 * (found[6] || 0);
  }

  // Rows: the first at or after a time; of many, the least and greatest of each of so many equal parts.
  function firstFrom(time, at) {
    let low = 0, high = time.length;
    while (low < high) { const mid = (low + high) >> 1; if (time[mid] < at) low = mid + 1; else high = mid; }
    return low;
  }
  function extremes(values, start, stop, columns) {
    const n = stop - start;
    if (n <= 2 * columns) { const all = []; for (let i = start; i < stop; i += 1) all.push(i); return all; }
    const rows = [start];
    for (let c = 0; c < columns; c += 1) {
      const from = start + Math.floor(c * n / columns), to = start + Math.floor((c + 1) * n / columns);
      let low = -1, high = -1;
      for (let i = from; i < to; i += 1) {
        const value = values[i];
        if (value !== value) continue;
        if (low < 0 || value < values[low]) low = i;
        if (high < 0 || value > values[high]) high = i;
      }
      if (low < 0) { rows.push(from); continue; } // a hole stays one
      rows.push(Math.min(low, high));
      if (low !== high) rows.push(Math.max(low, high));
    }
    rows.push(stop - 1);
    return rows.filter(function (row, k) { return !k || row !== rows[k - 1]; });
  }
  function at(series, rows) {
    return rows.map(function (row) { const value = series[row]; return value === value ? value : null; });
  }
  function rangeOf(series, start, stop, into) {
    for (let i = start; i < stop; i += 1) { const v = series[i]; if (v < into[0]) into[0] = v; if (v > into[1]) into[1] = v; }
  }
  // The rows in sight, and those around them that panning brings in.
  function sight(time, state) {
    const n = time.length;
    if (state.from === null) return { start: 0, stop: n, first: 0, last: n, around: 1 };
    const half = (state.to - state.from) * AROUND;
    const first = firstFrom(time, state.from), last = Math.max(firstFrom(time, state.to + 1), first);
    return {
      first: Math.max(0, first - 1), last: Math.min(n, last + 1), shown: last - first,
      start: Math.max(0, firstFrom(time, state.from - half) - 1), stop: Math.min(n, firstFrom(time, state.to + half) + 1), around: 1 + 2 * AROUND,
    };
  }

  // The account: each line that names its series.
  async function account(spec, state) {
    const view = { data: spec.data.slice(), ranges: {}, text: "" };
    for (let k = 0; k < spec.data.length; k += 1) {
      const trace = spec.data[k], name = trace.meta && trace.meta.source, series = name ? await data.account(name) : null;
      if (!series) continue;
      const rows = sight(series.time, state), dense = rows.last - rows.first > DENSE, axis = "yaxis" + (trace.yaxis || "y").slice(1);
      const log = state.log && axis === spec.layout.meta.log;
      const kept = extremes(series.values, rows.start, rows.stop, Math.round((dense ? COLUMNS : DENSE) * rows.around));
      const y = at(series.values, kept).map(function (v) { return log && !(v > 0) ? null : v; });
      view.data[k] = Object.assign({}, trace, { x: at(series.time, kept), y: y });
      const range = view.ranges[axis] = view.ranges[axis] || [Infinity, -Infinity];
      if (log) {
        for (let i = rows.first; i < rows.last; i += 1) { const v = series.values[i]; if (v > 0) { if (v < range[0]) range[0] = v; if (v > range[1]) range[1] = v; } }
        range[0] = Math.max(range[0], range[1] * 1e-4); // of an account that is gone, its last coins would fill the axis
      } else {
        rangeOf(series.values, rows.first, rows.last, range);
      }
      if (!view.text) view.text = counted(dense, state, rows, series.time.length, "closes", series.step);
    }
    return view;
  }
  function counted(dense, state, rows, total, what, step) {
    const shown = state.from === null ? total : rows.shown, length = lengthOf(step);
    return dense ? count(shown) + " " + what + " of " + length + " in sight, their extremes drawn" : "every one of " + count(shown) + " " + what + " of " + length + " in sight";
  }

  // A contract: candles where there are few bars, else a band from lowest to highest and a line through the closes.
  async function prices(figure, spec, state) {
    const plot = figure.dataset.plot, bars = await data.bars(plot);
    const rows = sight(bars.time, state), shown = rows.last - rows.first, dense = shown > DENSE;
    const slots = {}, width = figure.clientWidth || 900, few = shown <= Math.max(60, Math.min(240, width / 5));
    const range = [Infinity, -Infinity];
    rangeOf(bars.low, rows.first, rows.last, range); rangeOf(bars.high, rows.first, rows.last, range);
    const empty = { x: [], y: [] }, columns = Math.round(COLUMNS * rows.around);
    const all = dense ? [] : extremes(bars.close, rows.start, rows.stop, rows.stop - rows.start);
    if (few) {
      slots.candles = { x: at(bars.time, all), open: at(bars.open, all), high: at(bars.high, all), low: at(bars.low, all), close: at(bars.close, all), showlegend: true };
      slots.low = slots.high = slots.close = empty;
    } else {
      slots.candles = { x: [], open: [], high: [], low: [], close: [], showlegend: false };
      const n = rows.stop - rows.start, parts = dense ? columns : n, x = [], low = [], high = [];
      for (let c = 0; c < parts; c += 1) {
        const from = rows.start + Math.floor(c * n / parts), to = rows.start + Math.floor((c + 1) * n / parts), part = [Infinity, -Infinity];
        if (to === from) continue;
        rangeOf(bars.low, from, to, part); rangeOf(bars.high, from, to, part);
        x.push(bars.time[from]); low.push(part[0]); high.push(part[1]);
      }
      slots.low = { x: x, y: low }; slots.high = { x: x, y: high };
      const kept = dense ? extremes(bars.close, rows.start, rows.stop, columns) : all;
      slots.close = { x: at(bars.time, kept), y: at(bars.close, kept) };
    }
    for (const name of ["mark", "index"]) {
      if (!bars[name]) continue;
      const kept = dense ? extremes(bars[name], rows.start, rows.stop, Math.round(columns / 2)) : all;
      slots[name] = { x: at(bars.time, kept), y: at(bars[name], kept) };
      rangeOf(bars[name], rows.first, rows.last, range);
    }
    const span = { from: bars.time[rows.start], to: bars.time[rows.stop - 1] + bars.step };
    const said = [counted(dense, state, rows, bars.time.length, "bars", bars.step)];
    const trades = await data.events(plot, "trades");
    if (trades) said.push(marked(trades, bars, span, slots), held(trades, span, slots));
    const levels = await data.events(plot, "levels");
    if (levels) said.push(resting(levels, span, slots));
    const lost = await data.events(plot, "liquidations");
    if (lost) liquidated(lost, bars, span, slots);
    const view = { data: spec.data.map(function (trace) {
      const slot = trace.meta && slots[trace.meta.slot];
      if (!slot) return trace;
      const marker = slot.soft === undefined || !trace.marker ? {} : { marker: soften(trace, slot.soft) };
      return Object.assign({}, trace, slot, marker);
    }), ranges: { yaxis2: range }, text: said.filter(Boolean).join("; ") };
    return view;
  }
  const sizes = { "entry-long": 9, "entry-short": 9, liquidation: 12 };
  function soften(trace, soft) {
    const size = sizes[trace.meta.slot] || 8, open = /open$/.test(trace.marker.symbol);
    return Object.assign({}, trace.marker, { size: soft ? 0.65 * size : size, opacity: soft ? 0.6 : 1, line: Object.assign({}, trace.marker.line, { width: open ? (soft ? 1 : 2) : soft ? 0 : 1 }) });
  }
  // What happens on a bar's path carries its last millisecond: it stands at the bar that holds it.
  function atOpen(bars, time) { return bars.time[Math.max(0, firstFrom(bars.time, time + 1) - 1)]; }

  function held(trades, span, slots) {
    const rows = [], sides = [{ x: [], y: [] }, { x: [], y: [] }];
    for (let i = 0; i < trades.entry.length; i += 1) {
      if (trades.entry[i] <= span.to && (trades.exit[i] || span.to) >= span.from) rows.push(i);
    }
    slots["held-long"] = sides[0]; slots["held-short"] = sides[1];
    if (rows.length > SHADED) return "holdings are shaded when zoomed in further";
    rows.forEach(function (i) {
      const side = sides[trades.side[i]], from = Math.max(trades.entry[i], span.from), to = Math.min(trades.exit[i] || span.to, span.to);
      if (side) { side.x.push(from, from, to, to, null); side.y.push(0, 1, 1, 0, null); }
    });
    return "";
  }
  function marked(trades, bars, span, slots) {
    let rows = [];
    for (let i = 0; i < trades.entry.length; i += 1) {
      if (trades.entry[i] <= span.to && (trades.exit[i] || span.to) >= span.from) rows.push(i);
    }
    const found = rows.length;
    if (found > MARKS) {
      rows.sort(function (a, b) { return Math.abs(trades.net[b]) - Math.abs(trades.net[a]); });
      rows = rows.slice(0, MARKS).sort(function (a, b) { return a - b; });
    }
    const soft = rows.length > 75;
    ["entry-long", "entry-short", "exit", "exit-stop", "exit-target"].forEach(function (name) { slots[name] = { x: [], y: [], text: [], soft: soft }; });
    rows.forEach(function (i) {
      const side = trades.words.side[trades.side[i]], entry = trades.entry[i], exit = trades.exit[i];
      if (side && entry >= span.from && entry <= span.to) {
        const slot = slots["entry-" + side];
        slot.x.push(atOpen(bars, entry)); slot.y.push(trades.entry_price[i]);
        slot.text.push(moment(entry) + " UTC<br>entered " + side + " " + quantity(trades.quantity[i]) + " at " + price(trades.entry_price[i]));
      }
      const reason = trades.words.reason[trades.reason[i]] || "";
      if (!exit || exit < span.from || exit > span.to || UNMARKED.includes(reason)) return;
      const slot = slots[STOPS.includes(reason) ? "exit-stop" : TARGETS.includes(reason) ? "exit-target" : "exit"];
      slot.x.push(atOpen(bars, exit)); slot.y.push(trades.exit_price[i]);
      slot.text.push(moment(exit) + " UTC<br>left at " + price(trades.exit_price[i]) + " (" + plain(words(reason)) + ")<br>net " + decimal(trades.net[i], data.head.money_digits, true));
    });
    return found > MARKS ? "the " + count(MARKS) + " largest of " + count(found) + " round trips marked" : count(found) + (found === 1 ? " round trip" : " round trips") + " marked";
  }
  function plain(text) { return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"); }
  function resting(levels, span, slots) {
    const rows = [];
    for (let i = 0; i < levels.start.length; i += 1) if (levels.start[i] <= span.to && (levels.end[i] || span.to) >= span.from) rows.push(i);
    slots["level-0"] = { x: [], y: [] }; slots["level-1"] = { x: [], y: [] };
    if (rows.length > LEVELS) return "stop and target levels show when zoomed in further";
    rows.forEach(function (i) {
      const slot = slots["level-" + levels.kind[i]];
      slot.x.push(Math.max(levels.start[i], span.from), Math.min(levels.end[i] || span.to, span.to), null);
      slot.y.push(levels.price[i], levels.price[i], null);
    });
    return "";
  }
  function liquidated(lost, bars, span, slots) {
    const slot = slots.liquidation = { x: [], y: [], text: [] };
    for (let i = 0; i < lost.time.length && slot.x.length < MARKS; i += 1) {
      if (lost.time[i] < span.from || lost.time[i] > span.to) continue;
      slot.x.push(atOpen(bars, lost.time[i])); slot.y.push(lost.price[i]);
      slot.text.push(moment(lost.time[i]) + " UTC<br>liquidated " + (lost.words.side[lost.side[i]] || "") + " " + quantity(lost.quantity[i]) + "<br>mark " + price(lost.price[i]));
    }
  }

  // From what is in sight to a figure: ranges of the values fit what is in sight, unless they were chosen.
  function layoutOf(spec, state, view) {
    const layout = Object.assign({}, spec.layout);
    Object.keys(layout).forEach(function (key) {
      if (/^xaxis\d*$/.test(key) && state.from !== null) layout[key] = Object.assign({}, layout[key], { range: [state.from, state.to], autorange: false });
    });
    Object.keys(view.ranges).forEach(function (key) {
      const axis = layout[key] = Object.assign({}, layout[key]), log = state.log && key === spec.layout.meta.log;
      let low = view.ranges[key][0], high = view.ranges[key][1];
      if (log) axis.type = "log";
      if (state.y[key]) { axis.range = state.y[key]; axis.autorange = false; return; }
      if (!(high >= low) || (state.from === null && !log)) return;
      if (axis.rangemode === "tozero") { low = Math.min(low, 0); high = Math.max(high, 0); }
      if (log) {
        low = Math.log10(low); high = Math.log10(high);
        axis.tickformat = "~s";
        axis.dtick = high - low > 2 ? 1 : high - low > 0.6 ? "D2" : "L" + niceStep((Math.pow(10, high) - Math.pow(10, low)) / 4);
      }
      const room = (high - low || Math.abs(high) * 0.01 || 0.01) * 0.06;
      axis.range = [low - (axis.rangemode === "tozero" && low === 0 ? 0 : room), high + (axis.rangemode === "tozero" && high === 0 ? 0 : room)];
      axis.autorange = false;
    });
    return layout;
  }
  function niceStep(rough) {
    const size = Math.pow(10, Math.floor(Math.log10(rough || 1))), part = rough / size;
    return size * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
  }
  async function refresh(figure) {
    const state = states.get(figure), spec = report.specOf(figure), turn = state.turn += 1;
    state.all.disabled = state.from === null;
    if (state.from === null && !state.log && !spec.layout.meta.lean) {
      state.status.textContent = overview(figure);
      report.show(figure, null);
      settled(figure);
      return;
    }
    if (!state.read) state.status.textContent = "Unpacking\u2026";
    let view;
    try {
      view = spec.layout.meta.explore === "price" ? await prices(figure, spec, state) : await account(spec, state);
    } catch (error) {
      state.status.textContent = "What the page holds of this span cannot be read.";
      throw error;
    }
    state.read = true;
    if (turn !== state.turn) return; // a later zoom has overtaken this one
    state.status.textContent = state.from === null && !state.log ? overview(figure) : view.text;
    report.show(figure, { data: view.data, layout: layoutOf(spec, state, view) });
    settled(figure);
  }
  function overview(figure) {
    const about = (data.head.plots[figure.dataset.plot] || data.head.account).clock, what = figure.dataset.plot in data.head.plots ? " bars of " : " closes of ";
    const way = window.matchMedia("(pointer: coarse)").matches ? "zoom in" : "drag over a span or zoom in";
    return about.n > DENSE ? count(about.n) + what + lengthOf(about.step) + ", their extremes drawn: " + way + " to see each" : "";
  }
  function settled(figure) { figure.dispatchEvent(new CustomEvent("explored")); }

  function whole(figure) {
    const about = figure.dataset.plot in data.head.plots ? data.head.plots[figure.dataset.plot].clock : data.head.account && data.head.account.clock;
    if (!about) return null;
    return { from: about.start, to: about.end + about.step, step: about.step };
  }
  function zoom(figure, from, to) {
    const state = states.get(figure), span = whole(figure);
    if (!state || !span || !(to > from)) return false;
    const least = LEAST_BARS * span.step;
    if (to - from < least) { const middle = (from + to) / 2; from = middle - least / 2; to = middle + least / 2; }
    if (from <= span.from && to >= span.to) { state.from = state.to = null; } else { state.from = from; state.to = to; }
    state.y = {};
    refresh(figure);
    return true;
  }
  function scale(figure, factor, shift) {
    const state = states.get(figure), span = whole(figure);
    if (!span) return;
    const from = state.from === null ? span.from : state.from, to = state.from === null ? span.to : state.to, length = to - from, middle = (from + to) / 2 + (shift || 0) * length;
    let start = middle - length * factor / 2, stop = middle + length * factor / 2;
    if (length * factor >= span.to - span.from) { reset(figure); return; }
    if (start < span.from) { stop += span.from - start; start = span.from; }
    if (stop > span.to) { start -= stop - span.to; stop = span.to; }
    zoom(figure, start, stop);
  }
  function reset(figure) {
    const state = states.get(figure);
    state.from = state.to = null; state.y = {};
    refresh(figure);
  }
  function moved(figure, event) {
    const state = states.get(figure), canvas = figure.querySelector(".canvas"), keys = Object.keys(event);
    let changed = false;
    keys.forEach(function (key) {
      const part = /^(x|y)axis(\d*)\.(range|autorange)/.exec(key);
      if (!part) return;
      const axis = part[1] + "axis" + part[2];
      changed = true;
      if (part[1] === "x") {
        if (part[3] === "autorange") { if (event[key]) { state.from = state.to = null; } return; }
        const range = canvas.layout[axis].range.map(timeOf), span = whole(figure);
        state.from = Math.min(range[0], range[1]); state.to = Math.max(range[0], range[1]);
        if (state.from <= span.from && state.to >= span.to) state.from = state.to = null;
        else if (state.to - state.from < LEAST_BARS * span.step) { const middle = (state.from + state.to) / 2; state.from = middle - LEAST_BARS / 2 * span.step; state.to = middle + LEAST_BARS / 2 * span.step; }
      } else if (part[3] === "autorange") {
        delete state.y[axis];
      } else {
        state.y[axis] = canvas.layout[axis].range.slice();
      }
    });
    if (changed) refresh(figure);
  }

  function begin(figure) {
    const spec = report.specOf(figure), meta = spec.layout.meta;
    if (!meta || !meta.explore || states.has(figure)) return;
    const price = meta.explore === "price";
    if (price ? !data.head.plots[figure.dataset.plot] : !data.head.account) return;
    const tools = element("div", { className: "plot-tools" });
    figure.insertBefore(tools, figure.firstChild);
    const state = { from: null, to: null, y: {}, log: false, turn: 0, read: false };
    states.set(figure, state);
    function button(text, label, act) {
      const made = element("button", { type: "button", className: "button", textContent: text }, tools);
      made.setAttribute("aria-label", label); made.title = label;
      made.addEventListener("click", act);
      return made;
    }
    button("+", "Zoom in", function () { scale(figure, 0.5); });
    button(minus, "Zoom out", function () { scale(figure, 2); });
    button("\u2190", "Earlier", function () { scale(figure, 1, -0.5); });
    button("\u2192", "Later", function () { scale(figure, 1, 0.5); });
    state.all = button("Whole run", "Show the whole run", function () { reset(figure); });
    state.all.disabled = true;
    if (meta.log) {
      const toggle = button("Log", "Logarithmic scale", function () {
        state.log = !state.log;
        state.y = {};
        toggle.setAttribute("aria-pressed", String(state.log));
        refresh(figure);
      });
      toggle.setAttribute("aria-pressed", "false");
    }
    state.status = element("span", { className: "plot-status" }, tools);
    state.status.setAttribute("role", "status");
    state.status.textContent = overview(figure);
    figure.tabIndex = 0;
    figure.addEventListener("keydown", function (event) {
      if (event.target !== figure || event.ctrlKey || event.metaKey || event.altKey) return;
      const act = { "+": [0.5], "=": [0.5], "-": [2], ArrowLeft: [1, -0.5], ArrowRight: [1, 0.5] }[event.key];
      if (act) scale(figure, act[0], act[1]);
      else if (event.key === "0" || event.key === "Home") reset(figure);
      else return;
      event.preventDefault();
    });
    if (meta.lean) refresh(figure);
    figure.querySelector(".canvas").on("plotly_relayout", function (event) { moved(figure, event); });
    // What zooming needs is unpacked while nothing else happens.
    const idle = window.requestIdleCallback || function (act) { return window.setTimeout(act, 400); };
    idle(function () {
      if (price) data.bars(figure.dataset.plot);
      else data.account("equity");
    }, { timeout: 3000 });
  }
  report.onDraw(begin);
  window.report = Object.assign(report, { zoom: zoom, explore: { states: states, reset: reset, scale: scale } });
})();
