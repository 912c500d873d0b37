"use strict";
// Tables: searched, filtered, sorted and paged from the data beside them, one page of rows in the document at a time.
(function () {
  const minus = "\u2212", element = window.report.element, few = 12;
  const places = { percent: "%", duration: "hours", time: "UTC" };
  const scales = { percent: 0.01, duration: 3600 };  // from what a reader types to what is stored

  function compare(a, b, direction) {
    if (a === b) return 0;
    if (a === null) return 1;
    if (b === null) return -1;
    return (a < b ? -1 : 1) * direction;
  }
  function count(number) { return number.toLocaleString("en"); }

  // Files: raw numbers, times in UTC by ISO 8601; text that a spreadsheet would take for a formula is quoted.
  function csvCell(value, kind) {
    if (value === null) return "";
    if (kind === "time") return new Date(value).toISOString();
    if (typeof value === "number") return String(value);
    const text = /^[=+\-@\t\r]/.test(value) ? "'" + value : value;
    return /[",\r\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  }
  function csvOf(data, order) {
    const heads = data.fields.map(function (field) { return csvCell(field.key + (field.kind === "duration" ? "_seconds" : ""), "text"); });
    const lines = order.map(function (index) {
      return data.fields.map(function (field, f) { return csvCell(data.keys[index][f], field.kind); }).join(",");
    });
    return [heads.join(",")].concat(lines).join("\r\n") + "\r\n";
  }
  function download(name, text) {
    const run = document.querySelector("[data-run]"), about = run ? run.textContent : document.title;
    const file = (about + "-" + name).replace(/[^\w.-]+/g, "-").slice(-120) + ".csv";
    const address = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    element("a", { href: address, download: file }).click();
    window.setTimeout(function () { URL.revokeObjectURL(address); }, 10000);
  }

  // Filters: each field has a test or null; a row stays when every test holds.
  function textFilter(box, field, column, changed) {
    const values = Array.from(new Set(column)).filter(function (v) { return v !== null; }).sort();
    if (values.length > 1 && values.length <= few) {
      const select = element("select", { ariaLabel: field.label }, box);
      element("option", { value: "", textContent: "any" }, select);
      values.forEach(function (v) { element("option", { value: v, textContent: v.replace(/_/g, " ").slice(0, 60) }, select); });
      select.addEventListener("change", function () {
        const wanted = select.value;
        changed(wanted === "" ? null : function (v) { return v === wanted; });
      });
      return function () { select.value = ""; };
    }
    const input = element("input", { type: "text", placeholder: "contains", ariaLabel: field.label + " contains" }, box);
    input.addEventListener("input", function () {
      const wanted = input.value.trim().toLowerCase();
      changed(wanted === "" ? null : function (v) { return v !== null && String(v).toLowerCase().includes(wanted); });
    });
    return function () { input.value = ""; };
  }
  function rangeFilter(box, field, changed) {
    const isTime = field.kind === "time", unit = places[field.kind] ? " (" + places[field.kind] + ")" : "";
    const ends = ["from", "to"].map(function (end) {
      return element("input", Object.assign({ placeholder: end, ariaLabel: field.label + " " + end + unit }, isTime ? { type: "date" } : { type: "number", step: "any" }), box);
    });
    function bound(input, isLast) {
      if (input.value === "") return isLast ? Infinity : -Infinity;
      return isTime ? Date.parse(input.value + "T00:00:00Z") + (isLast ? 86399999 : 0) : Number(input.value) * (scales[field.kind] || 1);
    }
    function read() {
      const low = bound(ends[0], false), high = bound(ends[1], true), slack = 1e-12 * Math.max(Math.abs(isFinite(low) ? low : 0), Math.abs(isFinite(high) ? high : 0));
      changed(low === -Infinity && high === Infinity ? null : function (v) { return v !== null && v >= low - slack && v <= high + slack; });
    }
    ends.forEach(function (input) { input.addEventListener("input", read); });
    return function () { ends.forEach(function (input) { input.value = ""; }); };
  }

  function makeTable(box) {
    const data = JSON.parse(box.querySelector("script").textContent), name = box.dataset.table;
    const size = window.innerWidth <= 760 ? Math.min(15, data.size) : data.size, body = box.querySelector("tbody"), heads = Array.from(box.querySelectorAll("th"));
    const caption = box.querySelector("caption").textContent, all = data.rows.map(function (_, i) { return i; });
    const tests = data.fields.map(function () { return null; });
    let order = all, column = -1, direction = 1, page = 0, words = [], texts = null;
    const tools = box.querySelector(".table-tools"), pages = box.querySelector(".table-pages");
    const isLong = data.rows.length > few, clearing = [];
    let matches = null, clear = null;
    if (isLong) addSearch();
    const sorter = element("span", { className: "sorter" }, tools);
    if (isLong) addFilters();
    if (data.rows.length) {
      const save = element("button", { type: "button", className: "button", textContent: "CSV", title: "Save the rows shown as a CSV file" }, tools);
      save.setAttribute("aria-label", "Save as CSV: " + caption);
      save.addEventListener("click", function () { download(name, csvOf(data, order)); });
    }
    const status = element("span", {});
    status.setAttribute("role", "status");
    const back = element("button", { type: "button", className: "button", textContent: "Previous" });
    const next = element("button", { type: "button", className: "button", textContent: "Next" });
    if (data.rows.length > size) pages.append(status, back, next);
    else if (isLong) pages.append(status);

    function addSearch() {
      const label = element("label", { className: "search" }, tools);
      element("span", { textContent: "Search" }, label);
      const input = element("input", { type: "search", ariaLabel: "Search: " + caption }, label);
      input.addEventListener("input", function () {
        words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
        choose();
      });
      clearing.push(function () { input.value = ""; words = []; });
    }
    function addFilters() {
      const toggle = element("button", { type: "button", className: "button filter", textContent: "Filter" }, tools);
      const panel = element("div", { className: "filters", hidden: true, id: "filters-" + name });
      toggle.setAttribute("aria-expanded", "false");
      toggle.setAttribute("aria-controls", panel.id);
      toggle.addEventListener("click", function () {
        if (!panel.childElementCount) fill();
        panel.hidden = !panel.hidden;
        toggle.setAttribute("aria-expanded", String(!panel.hidden));
      });
      panel.addEventListener("keydown", function (event) {
        if (event.key === "Escape") { panel.hidden = true; toggle.setAttribute("aria-expanded", "false"); toggle.focus(); }
      });
      function fill() {
        data.fields.forEach(function (field, f) {
          const group = element("fieldset", { className: field.kind === "time" ? "wide" : "" }, panel), unit = places[field.kind];
          element("legend", { textContent: field.label + (unit ? " (" + unit + ")" : "") }, group);
          const inputs = element("div", {}, group), changed = function (test) { tests[f] = test; toggle.classList.toggle("active", tests.some(Boolean)); choose(); };
          const column = data.keys.map(function (row) { return row[f]; });
          clearing.push(field.kind === "text" ? textFilter(inputs, field, column.map(function (v) { return v === null ? null : String(v); }), changed) : rangeFilter(inputs, field, changed));
        });
      }
      clear = element("button", { type: "button", className: "button", textContent: "Show all", hidden: true }, tools);
      clear.addEventListener("click", function () {
        clearing.forEach(function (reset) { reset(); });
        tests.fill(null);
        toggle.classList.remove("active");
        choose();
      });
      matches = element("span", { className: "matches" }, tools);
      window.setTimeout(function () { tools.append(panel); }, 0);
    }
    function choose() {
      if (words.length && !texts) texts = data.rows.map(function (row) { return row.flat().join(" ").replace(/\u00a0/g, " ").toLowerCase(); });
      order = all.filter(function (i) {
        return tests.every(function (test, f) { return !test || test(data.keys[i][f]); }) && words.every(function (word) { return texts[i].includes(word); });
      });
      page = 0;
      arrange();
      write();
    }
    function arrange() {
      if (column >= 0) order = order.slice().sort(function (a, b) { return compare(data.keys[a][column], data.keys[b][column], direction) || a - b; });
    }
    function rowOf(index) {
      const row = document.createElement("tr"), place = data.focus && window.report.focus ? data.focus[index] : null;
      data.columns.forEach(function (spec, c) {
        const text = data.rows[index][c], pair = Array.isArray(text), first = pair ? text[0] : text;
        const tone = spec.signed ? (first[0] === minus ? " loss" : first[0] === "+" ? " gain" : "") : "";
        const long = first.length > 22 ? " long" : "";
        const cell = element("td", { className: (spec.number ? "number" : "text") + tone + long, textContent: first }, row);
        cell.dataset.label = spec.label;
        if (place && c === 0) {
          const button = element("button", { type: "button", className: "focus", textContent: "Chart", title: "Show on chart" }, cell);
          button.setAttribute("aria-label", "Show on chart: " + first);
          button.dataset.focus = place;
          row.dataset.focus = place;
        }
        if (pair && text[1]) element("small", { textContent: text[1] }, cell);
      });
      return row;
    }
    function write() {
      const last = Math.min((page + 1) * size, order.length), isAll = order.length === all.length;
      body.replaceChildren.apply(body, order.slice(page * size, last).map(rowOf));
      if (!order.length && all.length) {
        const cell = element("td", { className: "nothing", textContent: "No row matches." }, element("tr", {}, body));
        cell.colSpan = data.columns.length;
      }
      const shown = order.length ? count(page * size + 1) + "\u2013" + count(last) + " of " + count(order.length) : "0 rows";
      status.textContent = isAll ? shown : shown + (order.length ? " that match" : " match") + ", " + count(all.length) + " in all";
      if (matches) matches.textContent = isAll ? count(all.length) + " rows" : count(order.length) + " of " + count(all.length) + " match";
      if (clear) clear.hidden = isAll && !words.length && !tests.some(Boolean);
      back.disabled = page === 0;
      next.disabled = last >= order.length;
    }
    function sortBy(chosen, wanted) {
      direction = wanted || (column === chosen ? -direction : data.columns[chosen].number ? -1 : 1);
      column = chosen;
      page = 0;
      order = order.slice().sort(function (a, b) { return a - b; });
      arrange();
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
  function start() { document.querySelectorAll("[data-table]").forEach(makeTable); }
  // Scripts behind this one may bring what shows a row on a figure.
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
