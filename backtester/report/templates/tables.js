"use strict";
// Tables: sorted and paged from the data beside them, one page of rows in the document at a time.
(function () {
  const minus = "\u2212", element = window.report.element;

  function compare(a, b, direction) {
    if (a === b) return 0;
    if (a === null) return 1;
    if (b === null) return -1;
    return (a < b ? -1 : 1) * direction;
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
})();
