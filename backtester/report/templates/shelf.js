"use strict";
// The list of runs: searched, filtered, sorted; ticked runs become a command.
(function () {
  const root = document.documentElement;
  document.getElementById("theme-switch").addEventListener("click", function () {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("backtester-theme", root.dataset.theme); } catch (error) { /* private windows keep nothing */ }
  });

  const form = document.getElementById("filters");
  if (!form) return;
  const element = window.report.element;
  const search = document.getElementById("search"), strategy = document.getElementById("strategy");
  const tag = document.getElementById("tag"), sort = document.getElementById("sort");
  const clear = document.getElementById("clear"), found = document.getElementById("found");
  const rows = Array.from(document.querySelectorAll("[data-row]"));
  const tables = Array.from(document.querySelectorAll("[data-shelf]"));

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wantedTag = tag ? tag.value : "";
    let shown = 0;
    rows.forEach(function (row) {
      const passes = words.every(function (word) { return row.dataset.words.includes(word); })
        && (!strategy.value || row.dataset.strategy === strategy.value)
        && (!wantedTag || row.dataset.tags.split(" ").includes(wantedTag));
      row.hidden = !passes;
      shown += passes;
    });
    const narrowed = Boolean(words.length || strategy.value || wantedTag);
    found.textContent = narrowed ? shown.toLocaleString("en") + " of " + rows.length.toLocaleString("en") : "";
    clear.hidden = !narrowed;
    tables.forEach(function (table) {
      const none = !table.querySelector("[data-row]:not([hidden])");
      table.hidden = none;
      const note = document.querySelector('[data-none="' + table.dataset.shelf + '"]');
      if (note) note.hidden = !none;
    });
  }
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  search.addEventListener("input", filter);
  strategy.addEventListener("change", filter);
  if (tag) tag.addEventListener("change", filter);
  clear.addEventListener("click", function () {
    search.value = "";
    strategy.value = "";
    if (tag) tag.value = "";
    filter();
    search.focus();
  });
  document.querySelectorAll("[data-tag]").forEach(function (chip) {
    chip.addEventListener("click", function () { tag.value = chip.dataset.tag; filter(); tag.focus(); });
  });

  // What is not defined stands last, whichever way the rest is sorted.
  function keyOf(row, name) {
    const cell = row.querySelector('[data-sorted="' + name + '"], [data-metric="' + name + '"]');
    if (!cell || cell.dataset.key === "") return null;
    return cell.dataset.metric ? Number(cell.dataset.key) : cell.dataset.key;
  }
  const state = { name: "created", direction: -1 };
  function arrange() {
    tables.forEach(function (table) {
      const body = table.tBodies[0], keyed = Array.from(body.rows).map(function (row) { return [keyOf(row, state.name), row]; });
      keyed.sort(function (a, b) {
        if (a[0] === b[0]) return 0;
        if (a[0] === null) return 1;
        if (b[0] === null) return -1;
        return (a[0] < b[0] ? -1 : 1) * state.direction;
      });
      body.append.apply(body, keyed.map(function (pair) { return pair[1]; }));
      table.querySelectorAll("th[data-sort]").forEach(function (head) {
        if (head.dataset.sort === state.name) head.setAttribute("aria-sort", state.direction > 0 ? "ascending" : "descending");
        else head.removeAttribute("aria-sort");
      });
    });
    sort.value = state.name;
  }
  function sortBy(name, direction) {
    state.name = name;
    state.direction = direction;
    arrange();
  }
  document.querySelectorAll("th[data-sort]").forEach(function (head) {
    const first = head.dataset.first === "down" ? -1 : 1, button = element("button", { type: "button", textContent: head.textContent });
    head.replaceChildren(button);
    if (head.dataset.sort === "created") head.setAttribute("aria-sort", "descending");
    button.addEventListener("click", function () {
      sortBy(head.dataset.sort, state.name === head.dataset.sort ? -state.direction : first);
    });
  });
  sort.addEventListener("change", function () { sortBy(sort.value, sort.value === "strategy" ? 1 : -1); });
  document.getElementById("direction").addEventListener("click", function () { sortBy(state.name, -state.direction); });

  // A name as a shell takes it: plain ones as they are, others in quotes.
  function quoted(name) {
    return /^[\w@%+=:,./-]+$/.test(name) && name[0] !== "-" ? name : "'" + name.replaceAll("'", "'\"'\"'") + "'";
  }
  const box = document.getElementById("compare"), command = document.getElementById("compare-command");
  const count = document.getElementById("compare-count"), ticks = Array.from(document.querySelectorAll(".tick input"));
  const copy = box.querySelector("[data-copy]");
  function tell() {
    const ticked = ticks.filter(function (tick) { return tick.checked; });
    box.hidden = ticked.length === 0;
    count.textContent = ticked.length === 1 ? "1 run; tick another one" : ticked.length.toLocaleString("en") + " runs";
    command.hidden = copy.hidden = ticked.length < 2;
    const names = ticked.map(function (tick) { return " " + quoted(tick.value); }).join("");
    command.textContent = command.dataset.template.replace("{}", function () { return names; });
    copy.textContent = "Copy";
  }
  ticks.forEach(function (tick) { tick.addEventListener("change", tell); });
  document.getElementById("compare-clear").addEventListener("click", function () {
    ticks.forEach(function (tick) { tick.checked = false; });
    tell();
  });
  tell();
  filter();
})();
