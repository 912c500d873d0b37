"use strict";
// The table of all sets: sorted, filtered and paged from the columns, one page of rows in the document at a time.
(function () {
  const sweep = window.sweep, report = window.report;
  if (!sweep || !document.getElementById("sets-table")) return;
  const element = report.element, minus = "\u2212";
  const byId = function (id) { return document.getElementById(id); };
  const size = window.innerWidth <= 760 ? 20 : 200;
  const best = sweep.bestSet(sweep.state.metric);

  const columns = [{ id: "set", label: "Set", name: "set", kind: "count", isNumber: true, value: function (i) { return sweep.numbers()[i]; }, text: function (i) { return sweep.decimal(sweep.numbers()[i], 0); } }]
    .concat(sweep.axes.map(function (axis, place) {
      return {
        id: "p" + place, label: axis.title, name: axis.name, isParam: true, kind: axis.kind, isNumber: axis.kind === "number",
        value: function (i) { const v = axis.values[axis.codes()[i]]; return axis.kind === "number" ? (v === null ? NaN : v) : v === null ? "" : String(v); },
        key: function (i) { return axis.codes()[i]; },
        text: function (i) { return axis.labels[axis.codes()[i]]; },
      };
    }))
    .concat(sweep.metrics.map(function (metric) {
      return {
        id: "m:" + metric.key, label: metric.label, name: metric.key, kind: metric.kind, isNumber: true, better: metric.better, signed: metric.kind === "percent" || metric.kind === "money",
        value: function (i) { return metric.values()[i]; },
        text: function (i) { return metric.text(metric.values()[i]); },
      };
    }));
  const byColumn = new Map(columns.map(function (column) { return [column.id, column]; }));
  const shown = new Set(columns.filter(function (c) { return c.id === "set" || c.isParam; }).slice(0, 9).map(function (c) { return c.id; }));
  sweep.columns.forEach(function (key) { if (byColumn.has("m:" + key)) shown.add("m:" + key); });
  function visible() { return columns.filter(function (column) { return shown.has(column.id); }); }

  let order = [], page = 0, sorted = "m:" + sweep.state.metric.key, direction = sweep.state.metric.better > 0 ? -1 : 1, open = -1, search = "";
  const filters = [];

  function sort() {
    const column = byColumn.get(sorted), keys = new Float64Array(sweep.count), key = column.key || column.value;
    for (let i = 0; i < sweep.count; i += 1) keys[i] = key(i);
    order.sort(function (a, b) {
      const x = keys[a], y = keys[b];
      if (Number.isNaN(x) || Number.isNaN(y)) return (Number.isNaN(x) ? 1 : 0) - (Number.isNaN(y) ? 1 : 0) || a - b;
      return (x - y) * direction || a - b;
    });
  }
  function matches(index) {
    for (const filter of filters) if (!filter.test(index)) return false;
    if (search === "") return true;
    if (String(sweep.numbers()[index]) === search) return true;
    return sweep.axes.some(function (axis) { return axis.matching[axis.codes()[index]]; });
  }
  function apply() {
    sweep.axes.forEach(function (axis) {
      axis.matching = axis.values.map(function (value, i) {
        return axis.kind === "number" ? axis.labels[i].replace(/,/g, "") === search : String(value).toLowerCase().includes(search);
      });
    });
    const isFiltered = filters.length > 0 || search !== "", kept = new Uint8Array(sweep.count);
    order = [];
    for (let i = 0; i < sweep.count; i += 1) if (matches(i)) { kept[i] = 1; order.push(i); }
    sweep.state.kept = isFiltered ? kept : null;
    sort();
    page = 0; open = -1;
    byId("filter-note").textContent = isFiltered
      ? sweep.decimal(order.length, 0) + " of " + sweep.decimal(sweep.count, 0) + " sets pass." + (order.length ? "" : " Remove a filter to see sets again.") : "";
    writeHead(); writeRows();
    if (sweep.onFilter) sweep.onFilter();
  }

  const head = document.querySelector("#sets-table thead tr"), body = document.querySelector("#sets-table tbody"), pages = byId("sets-pages");
  function sortBy(id, wanted) {
    const column = byColumn.get(id);
    direction = wanted || (sorted === id ? -direction : column.better === undefined || column.better < 0 ? 1 : -1);
    sorted = id;
    sort();
    page = 0; open = -1;
    writeHead(); writeRows();
  }
  const sorter = element("span", { className: "sorter" }, document.querySelector("#all-sets .table-tools"));
  const choice = element("select", {}, element("label", { textContent: "Sort by " }, sorter));
  choice.addEventListener("change", function () { sortBy(choice.value); });
  element("button", { type: "button", className: "button", textContent: "Reverse" }, sorter).addEventListener("click", function () { sortBy(sorted, -direction); });
  function writeHead() {
    const focused = document.activeElement && head.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    const cells = visible().map(function (column) {
      const cell = element("th", { scope: "col", className: column.isNumber ? "number" : "" });
      const button = element("button", { type: "button", textContent: column.label }, cell);
      button.dataset.id = column.id;
      button.addEventListener("click", function () { sortBy(column.id); });
      if (column.id === sorted) cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      return cell;
    });
    cells.push(element("th", { scope: "col", textContent: "Replay" }));
    head.replaceChildren.apply(head, cells);
    if (focused) { const again = head.querySelector('[data-id="' + CSS.escape(focused) + '"]'); if (again) again.focus(); }
    choice.replaceChildren.apply(choice, visible().map(function (column) { return element("option", { value: column.id, textContent: column.label }); }));
    choice.value = sorted;
  }
  function detailOf(index, span) {
    const row = element("tr", { className: "detail" }), cell = element("td", { colSpan: span }, row);
    const box = element("div", { className: "command" }, cell);
    const code = element("code", { textContent: sweep.command(index), tabIndex: 0 }, box);
    const button = element("button", { type: "button", className: "button", textContent: "Copy" }, box);
    button.addEventListener("click", function () { report.copy(code, button); });
    return row;
  }
  function writeRows() {
    const last = Math.min((page + 1) * size, order.length), list = visible(), rows = [];
    order.slice(page * size, last).forEach(function (index) {
      const row = element("tr", { className: index === best ? "best" : "" });
      list.forEach(function (column) {
        const text = column.text(index), tone = column.signed ? (text[0] === minus ? " loss" : text[0] === "+" ? " gain" : "") : "";
        const cell = element("td", { className: (column.isNumber ? "number" : "text") + tone, textContent: text }, row);
        cell.dataset.label = column.label;
        if (column.kind === "text") cell.title = String(column.value(index)).slice(0, 2000);
      });
      const cell = element("td", { className: "replay" }, row);
      cell.dataset.label = "Replay";
      const button = element("button", { type: "button", className: "row-button", textContent: open === index ? "Hide" : "Command" }, cell);
      button.setAttribute("aria-expanded", String(open === index));
      button.setAttribute("aria-label", "Command of set " + sweep.decimal(sweep.numbers()[index], 0));
      button.dataset.set = String(index);
      button.addEventListener("click", function () {
        open = open === index ? -1 : index;
        writeRows();
        body.querySelector('[data-set="' + index + '"]').focus();
      });
      rows.push(row);
      if (open === index) rows.push(detailOf(index, list.length + 1));
    });
    if (!rows.length) {
      const row = element("tr", { className: "detail" });
      element("td", { colSpan: list.length + 1, textContent: "No set passes the filters." }, row);
      rows.push(row);
    }
    body.replaceChildren.apply(body, rows);
    status.textContent = order.length ? sweep.decimal(page * size + 1, 0) + "\u2013" + sweep.decimal(last, 0) + " of " + sweep.decimal(order.length, 0) : "";
    back.disabled = page === 0;
    next.disabled = last >= order.length;
    back.hidden = next.hidden = order.length <= size;
  }
  const status = element("span", { role: "status" }, pages);
  status.setAttribute("role", "status");
  const back = element("button", { type: "button", className: "button", textContent: "Previous" }, pages);
  const next = element("button", { type: "button", className: "button", textContent: "Next" }, pages);
  back.addEventListener("click", function () { page -= 1; writeRows(); });
  next.addEventListener("click", function () { page += 1; writeRows(); });

  // Filters: one column, one test, one value; all hold together.
  const filterColumn = byId("filter-column"), test = byId("filter-test"), entered = byId("filter-value");
  columns.forEach(function (column) { element("option", { value: column.id, textContent: column.label + unitOf(column) }, filterColumn); });
  filterColumn.value = "m:" + sweep.state.metric.key;
  function unitOf(column) { return column.kind === "percent" || column.kind === "share" ? " (%)" : column.kind === "hours" ? " (h)" : column.kind === "days" ? " (d)" : ""; }
  function writeTests() {
    const column = byColumn.get(filterColumn.value);
    const tests = column.isNumber ? [["min", "at least"], ["max", "at most"], ["is", "equals"]] : [["is", "equals"], ["has", "contains"]];
    test.replaceChildren.apply(test, tests.map(function (pair) { return element("option", { value: pair[0], textContent: pair[1] }); }));
    entered.inputMode = column.isNumber ? "decimal" : "text";
  }
  filterColumn.addEventListener("change", writeTests);
  writeTests();
  byId("sets-filter").addEventListener("submit", function (event) {
    event.preventDefault();
    const column = byColumn.get(filterColumn.value), text = entered.value.trim(), kind = test.value, word = test.selectedOptions[0].textContent;
    const number = Number(text.replace(",", ".").replace("%", "").replace(minus, "-")) / (column.kind === "percent" || column.kind === "share" ? 100 : 1);
    if (text === "" || (column.isNumber && !Number.isFinite(number))) {
      entered.setCustomValidity(column.isNumber ? "Enter a number." : "Enter a text.");
      entered.reportValidity();
      return;
    }
    const close = Math.abs(number) * 1e-9 + 1e-12;
    filters.push({
      label: column.label + " " + word + " " + text + (unitOf(column) ? unitOf(column).replace(" (", "\u00a0").replace(")", "") : ""),
      test: function (index) {
        const value = column.value(index);
        if (!column.isNumber) return kind === "is" ? value === text : value.toLowerCase().includes(text.toLowerCase());
        return kind === "min" ? value >= number - close : kind === "max" ? value <= number + close : Math.abs(value - number) <= close;
      },
    });
    entered.value = "";
    writeChips(); apply();
  });
  entered.addEventListener("input", function () { entered.setCustomValidity(""); });
  function writeChips() {
    const chips = byId("sets-chips");
    chips.replaceChildren.apply(chips, filters.map(function (filter, place) {
      const item = element("li", {});
      const button = element("button", { type: "button", className: "button", textContent: filter.label + " \u00d7" }, item);
      button.setAttribute("aria-label", "Remove filter " + filter.label);
      button.addEventListener("click", function () { filters.splice(place, 1); writeChips(); apply(); });
      return item;
    }));
  }
  let waiting = 0;
  byId("sets-search").addEventListener("input", function (event) {
    window.clearTimeout(waiting);
    waiting = window.setTimeout(function () { search = event.target.value.trim().toLowerCase(); apply(); }, 150);
  });

  const fields = byId("sets-columns");
  columns.forEach(function (column) {
    const label = element("label", {}, fields), box = element("input", { type: "checkbox", checked: shown.has(column.id) }, label);
    label.append(column.label);
    box.addEventListener("change", function () {
      if (box.checked) shown.add(column.id); else shown.delete(column.id);
      writeHead(); writeRows();
    });
  });
  document.addEventListener("keydown", function (event) {
    const folded = document.querySelector(".columns[open]");
    if (event.key === "Escape" && folded) { folded.open = false; folded.querySelector("summary").focus(); }
  });

  // The rows that pass, in the order and with the columns that are shown: names and plain numbers.
  function csvCell(value) {
    const text = typeof value === "number" ? (Number.isNaN(value) ? "" : String(value)) : value;
    return /[",\r\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  }
  byId("sets-csv").addEventListener("click", function () {
    const list = visible(), rows = [list.map(function (column) { return csvCell(column.name); }).join(",")];
    order.forEach(function (index) { rows.push(list.map(function (column) { return csvCell(column.value(index)); }).join(",")); });
    const link = element("a", { href: URL.createObjectURL(new Blob([rows.join("\r\n") + "\r\n"], { type: "text/csv" })), download: sweep.id.slice(0, 80) + ".csv" });
    link.click();
    window.setTimeout(function () { URL.revokeObjectURL(link.href); }, 10000);
  });

  sweep.onMetric(function () {
    const id = "m:" + sweep.state.metric.key;
    shown.add(id);
    columns.forEach(function (column, place) { if (column.id === id) fields.querySelectorAll("input")[place].checked = true; });
    sortBy(id, sweep.state.metric.better > 0 ? -1 : 1);
  });
  sort();
  apply();
})();
