"use strict";
// What every page has: contents, paper, copying.
(function () {
  function element(name, properties, parent) {
    const made = Object.assign(document.createElement(name), properties);
    if (parent) parent.appendChild(made);
    return made;
  }

  // Paper has nothing to click: what is folded up opens for it and closes again.
  let opened = [];
  window.addEventListener("beforeprint", function () {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (details) { details.open = true; });
  });
  window.addEventListener("afterprint", function () {
    opened.forEach(function (details) { details.open = false; });
  });

  // Where the library stands in a file of its own, that may have been left behind: say so where the reader begins.
  const lost = document.getElementById("library-missing");
  if (lost && typeof Plotly === "undefined") {
    lost.hidden = false;
    document.getElementById("main").prepend(lost);
  }

  // What is wider than its place is scrolled by keyboard too.
  function reachable() {
    document.querySelectorAll(".table").forEach(function (box) {
      if (box.scrollWidth > box.clientWidth) {
        box.tabIndex = 0;
        box.setAttribute("role", "group");
        const caption = box.querySelector("caption");
        if (caption) box.setAttribute("aria-label", caption.textContent);
      } else {
        box.removeAttribute("tabindex");
      }
    });
  }
  if ("ResizeObserver" in window) {
    const watch = new ResizeObserver(reachable);
    document.querySelectorAll(".table").forEach(function (box) { watch.observe(box); });
  }
  reachable();

  // Figures that are drawn on the way push down what lies below: once the scrolling has ended the aim is taken again,
  // unless the reader scrolls on.
  function settle(target, options) {
    let left = 3, over = false;
    const end = function () { over = true; };
    ["wheel", "touchstart", "keydown", "mousedown"].forEach(function (name) { window.addEventListener(name, end, { once: true, passive: true }); });
    function again() {
      if (over || left === 0) return;
      left -= 1;
      target.scrollIntoView(Object.assign({}, options, { behavior: "instant" }));
      window.setTimeout(again, 300);
    }
    window.setTimeout(end, 4000);
    if ("onscrollend" in window) window.addEventListener("scrollend", again, { once: true });
    else window.setTimeout(again, 900);
  }

  // On a narrow screen the contents are a menu.
  const menu = document.getElementById("contents-switch");
  if (menu) {
    const list = menu.closest(".contents");
    const open = function (wanted) {
      menu.setAttribute("aria-expanded", String(wanted));
      list.classList.toggle("open", wanted);
    };
    menu.addEventListener("click", function () { open(menu.getAttribute("aria-expanded") !== "true"); });
    list.addEventListener("click", function (event) { if (event.target.closest("a")) open(false); });
    list.addEventListener("keydown", function (event) {
      if (event.key === "Escape" && list.classList.contains("open")) { open(false); menu.focus(); }
    });
  }

  // Alt with an arrow goes from section to section.
  const stops = Array.from(document.querySelectorAll("#top, section.panel"));
  document.addEventListener("keydown", function (event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("input, select, textarea, [contenteditable]")) return;
    event.preventDefault();
    let now = 0;
    stops.forEach(function (stop, i) { if (stop.getBoundingClientRect().top < window.innerHeight * 0.3) now = i; });
    const next = stops[Math.min(stops.length - 1, Math.max(0, now + step))], title = next.querySelector("h1, h2");
    title.tabIndex = -1;
    title.focus({ preventScroll: true });
    next.scrollIntoView();
    settle(next);
  });
  document.querySelectorAll(".contents a").forEach(function (link) {
    link.addEventListener("click", function () {
      const target = document.getElementById(link.hash.slice(1));
      if (target) settle(target);
    });
  });

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
  window.report = Object.assign(window.report || {}, { element: element, copy: copy, settle: settle });
})();
