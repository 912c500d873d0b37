"use strict";
// Columns that stand packed in the page: unpacked when first asked for, kept for the next time.
(function () {
  const source = document.getElementById("pack-head");
  if (!source || !("DecompressionStream" in window)) return; // the overviews remain
  const head = JSON.parse(source.textContent), loaded = new Map();
  const pause = function () { return new Promise(function (done) { window.setTimeout(done, 0); }); };

  async function bytesOf(name) {
    const holder = document.querySelector('script[data-pack="' + name + '"]'), text = holder.textContent;
    const part = 1 << 19, bytes = new Uint8Array(Math.floor(text.length / 4) * 3);
    let at = 0;
    for (let from = 0; from < text.length; from += part) {
      const raw = window.atob(text.slice(from, from + part));
      for (let i = 0; i < raw.length; i += 1) bytes[at + i] = raw.charCodeAt(i);
      at += raw.length;
      if (from + part < text.length) await pause();
    }
    const stream = new Blob([bytes.subarray(0, at)]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }
  // Long loops in parts, so that the page answers in between.
  async function inParts(n, act) {
    for (let from = 0; from < n; from += 200000) {
      act(from, Math.min(n, from + 200000));
      if (from + 200000 < n) await pause();
    }
  }
  // Whole numbers: bytes by place, the sign in the lowest bit, differences summed. Beyond three bytes in doubles.
  async function numbers(name) {
    const column = head.columns[name], bytes = await bytesOf(name), n = column.n, planes = column.planes, out = new Float64Array(n);
    let sum = column.first || 0;
    await inParts(n, function (from, to) {
      for (let i = from; i < to; i += 1) {
        let value;
        if (planes < 4) {
          let folded = bytes[i];
          if (planes > 1) folded |= bytes[n + i] << 8;
          if (planes > 2) folded |= bytes[2 * n + i] << 16;
          value = (folded >>> 1) ^ -(folded & 1);
        } else {
          let folded = 0;
          for (let p = planes - 1; p >= 0; p -= 1) folded = folded * 256 + bytes[p * n + i];
          value = folded % 2 ? -(folded + 1) / 2 : folded / 2;
        }
        if (column.summed) { sum += value; out[i] = sum; } else { out[i] = value; }
      }
    });
    return out;
  }
  async function valuesOf(column, whole) {
    const step = column.step, scale = column.scale;
    await inParts(whole.length, function (from, to) { for (let i = from; i < to; i += 1) whole[i] = whole[i] * step / scale; });
    return whole;
  }
  async function unpackColumn(name) {
    const column = head.columns[name], whole = await numbers(name);
    if (column.base) {
      const base = await values(column.base), scale = column.scale, step = column.step;
      await inParts(whole.length, function (from, to) { for (let i = from; i < to; i += 1) whole[i] += Math.floor(base[i] * scale / step + 0.5); });
    }
    const out = await valuesOf(column, whole);
    (column.holes || []).forEach(function (hole) { out.fill(NaN, hole[0], hole[0] + hole[1]); });
    return out;
  }
  function once(key, make) {
    if (!loaded.has(key)) loaded.set(key, make());
    return loaded.get(key);
  }
  function values(name) { return once(name, function () { return unpackColumn(name); }); }
  function has(name) { return name in head.columns; }

  function clock(name, about) {
    return once(name + "@", async function () {
      const out = new Float64Array(about.n), rows = about.gaps ? await values(name + "/gap_row") : [], sizes = about.gaps ? await values(name + "/gap_ms") : [];
      let time = about.start, gap = 0;
      await inParts(about.n, function (from, to) {
        for (let i = from; i < to; i += 1) {
          if (i) time += about.step;
          if (gap < rows.length && rows[gap] === i) { time += sizes[gap]; gap += 1; }
          out[i] = time;
        }
      });
      return out;
    });
  }
  // The bars of a contract: open, high and low are told by their distance from each other and from the close.
  function bars(plot) {
    return once(plot, async function () {
      const about = head.plots[plot], found = { time: await clock(plot, about.clock), step: about.clock.step };
      const column = head.columns[plot + "/close"];
      const c = await numbers(plot + "/close"), o = await numbers(plot + "/open"), h = await numbers(plot + "/high"), l = await numbers(plot + "/low");
      await inParts(c.length, function (from, to) {
        for (let i = from; i < to; i += 1) {
          o[i] += i ? c[i - 1] : c[0];
          h[i] += o[i] > c[i] ? o[i] : c[i];
          l[i] = (o[i] < c[i] ? o[i] : c[i]) - l[i];
        }
      });
      found.close = await valuesOf(column, c); found.open = await valuesOf(column, o);
      found.high = await valuesOf(column, h); found.low = await valuesOf(column, l);
      loaded.set(plot + "/close", Promise.resolve(found.close));
      for (const name of ["mark", "index"]) if (has(plot + "/" + name)) found[name] = await values(plot + "/" + name);
      return found;
    });
  }
  // What happened in a contract: one object of columns for each kind of event, codes as words.
  function events(plot, kind) {
    const about = (head.plots[plot] || {}).events || {};
    if (!about[kind]) return Promise.resolve(null);
    return once(plot + "/" + kind, async function () {
      const found = { words: about[kind].words }, start = plot + "/" + kind + "/";
      for (const name of Object.keys(head.columns)) if (name.startsWith(start)) found[name.slice(start.length)] = await values(name);
      return found;
    });
  }
  // The account at every close: what is packed, and the drawdown from it.
  function account(name) {
    const about = head.account;
    if (!about) return Promise.resolve(null);
    return once("account:" + name, async function () {
      const time = await clock("account", about.clock);
      if (name === "drawdown" && !has("account/drawdown")) {
        const equity = await values("account/equity"), below = new Float64Array(equity.length);
        let peak = about.initial;
        await inParts(equity.length, function (from, to) {
          for (let i = from; i < to; i += 1) { if (equity[i] > peak) peak = equity[i]; below[i] = equity[i] / peak - 1; }
        });
        return { time: time, step: about.clock.step, values: below };
      }
      if (!has("account/" + name)) return null;
      const found = await values("account/" + name);
      if (name !== "equity" && name !== "drawdown") for (let i = 0; i < found.length; i += 1) if (found[i] < -1e6) found[i] = NaN;
      return { time: time, step: about.clock.step, values: found };
    });
  }
  window.report = Object.assign(window.report || {}, { data: { head: head, values: values, bars: bars, events: events, account: account } });
})();
