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
  window.report = Object.assign(window.report || {}, { element: element, copy: copy });
})();
