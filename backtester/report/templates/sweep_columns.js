"use strict";
// The sets: columns unpacked when they are needed, texts of their values, the command that replays one.
(function () {
  const raw = JSON.parse(document.getElementById("sweep-data").textContent);
  if (!raw) return;
  const MINUS = "\u2212", NONE = "\u2013", TIMES = "\u00d7", SPACE = "\u00a0";

  function unpack(column) {
    const out = new Float64Array(raw.count);
    if (column.t === "c") return out.fill(column.d === null ? NaN : column.d);
    const text = atob(column.d), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
    const view = new DataView(bytes.buffer), size = Number(column.t[1]);
    const read = column.t === "f8" ? "getFloat64" : { 1: "getInt8", 2: "getInt16", 4: "getInt32" }[size];
    const none = -Math.pow(2, 8 * size - 1), divisor = Math.pow(10, column.k || 0), whole = column.t !== "f8";
    for (let i = 0; i < raw.count; i += 1) {
      const value = view[read](i * size, true);
      out[i] = !whole ? value : value === none ? NaN : value / divisor;
    }
    return out;
  }
  function lazily(column) {
    let found = null;
    return function () { return found || (found = unpack(column)); };
  }

  function grouped(size, digits) {
    const parts = size.toFixed(digits).split(".");
    parts[0] = parts[0].replace(/\B(?=(\d{3})+(?!\d))/g, ",");
    return parts.join(".");
  }
  function withSign(value, body, plus) {
    if (!/[1-9]/.test(body)) return body;
    return value < 0 ? MINUS + body : plus ? "+" + body : body;
  }
  function decimal(value, digits, plus, unit) {
    if (!Number.isFinite(value)) return NONE;
    const size = Math.abs(value), body = size >= 1e12 ? size.toPrecision(3) : grouped(size, digits);
    return withSign(value, body, plus) + (unit || "");
  }
  function quantity(value) {
    if (!Number.isFinite(value)) return NONE;
    const size = Math.abs(value);
    if (size >= 1e6) return decimal(value, 0);
    const digits = size === 0 ? 0 : Math.min(12, Math.max(0, 6 - Math.floor(Math.log10(size)) - 1));
    const body = grouped(size, digits);
    return withSign(value, body.includes(".") ? body.replace(/0+$/, "").replace(/\.$/, "") : body, false);
  }
  function valueText(metric, value) {
    switch (metric.kind) {
      case "percent": return Number.isFinite(value) ? decimal(value * 100, 2, true, SPACE + "%") : NONE;
      case "share": return Number.isFinite(value) ? decimal(value * 100, 2, false, SPACE + "%") : NONE;
      case "money": return decimal(value, raw.moneyDigits, true);
      case "amount": return decimal(value, raw.moneyDigits, false);
      case "count": return decimal(value, 0);
      case "hours": return decimal(value, 1, false, SPACE + "h");
      case "days": return decimal(value, 1, false, SPACE + "d");
      case "times": return decimal(value, 2, false, TIMES);
      case "number": return quantity(value);
      default: return decimal(value, 2);
    }
  }

  const axes = raw.axes.map(function (axis) {
    const codes = lazily(axis.codes);
    let cells = null;
    return Object.assign({}, axis, {
      codes: codes,
      ordered: axis.kind === "number",
      cellLabels: axis.cells || axis.labels,
      cellOfSets: function () {
        if (!axis.cellOf) return codes();
        if (!cells) cells = codes().map(function (code) { return axis.cellOf[code]; });
        return cells;
      },
    });
  });
  const metrics = raw.metrics.map(function (metric) {
    return Object.assign({}, metric, { values: lazily(metric), text: function (value) { return valueText(metric, value); } });
  });
  const byKey = new Map(metrics.map(function (metric) { return [metric.key, metric]; }));
  const numbers = lazily(raw.set);

  function bestFirst(metric) {
    const values = metric.values(), order = [];
    for (let i = 0; i < raw.count; i += 1) if (Number.isFinite(values[i])) order.push(i);
    return order.sort(function (a, b) { return (values[b] - values[a]) * metric.better || a - b; });
  }
  function bestSet(metric) {
    const values = metric.values();
    let best = -1;
    for (let i = 0; i < raw.count; i += 1) {
      if (Number.isFinite(values[i]) && (best < 0 || (values[i] - values[best]) * metric.better > 0)) best = i;
    }
    return best;
  }

  // As a shell takes one word, whatever is in it.
  function quoted(word) {
    return word !== "" && /^[\w@%+=:,./-]+$/.test(word) ? word : "'" + word.replace(/'/g, "'\"'\"'") + "'";
  }
  function command(index) {
    const words = [raw.command];
    axes.forEach(function (axis) {
      const argument = axis.arguments[axis.codes()[index]];
      if (argument !== null) words.push(axis.option, quoted(axis.written + "=" + argument));
    });
    return words.join(" ");
  }
  function describe(index) {
    return "Set " + decimal(numbers()[index], 0) + ": " + axes.map(function (axis) {
      return axis.title + " " + axis.labels[axis.codes()[index]];
    }).join(", ");
  }

  const listeners = [];
  const state = { metric: byKey.get(raw.main), kept: null };
  window.sweep = {
    count: raw.count, id: raw.id, axes: axes, metrics: metrics, byKey: byKey, numbers: numbers, limits: raw.limits, columns: raw.columns,
    dimensions: axes.filter(function (axis) { return raw.dimensions.includes(axis.name); }),
    state: state, decimal: decimal, command: command, describe: describe, bestFirst: bestFirst, bestSet: bestSet,
    onMetric: function (listener) { listeners.push(listener); },
    // The plotly text of a text: shown as it is, tags and all.
    plain: function (text) { return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"); },
  };

  const choices = document.querySelectorAll('[data-role="metric"]');
  choices.forEach(function (select) {
    select.addEventListener("change", function () {
      state.metric = byKey.get(select.value);
      choices.forEach(function (other) { other.value = select.value; });
      listeners.forEach(function (listener) { listener(); });
    });
  });
})();
