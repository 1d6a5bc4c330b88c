// Keeps the page fresh. Without it the page reads the same, and is as old as its last load.
"use strict";
const $ = (id) => document.getElementById(id);

// Light and dark: the system's choice, unless the button was used.
const root = document.documentElement;
const stored = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
if (stored()) root.dataset.theme = stored();
const theme = $("theme");
theme.hidden = false;
theme.addEventListener("click", () => {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const next = (root.dataset.theme || system) === "dark" ? "light" : "dark";
  root.dataset.theme = next;
  try { localStorage.setItem("theme", next); } catch { /* private mode: until the next load */ }
});

// Makes `old` look like `fresh`, touching only what differs: focus, selection and scroll stay where they are.
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || (old.id || "") !== (fresh.id || "")) {
    old.replaceWith(fresh.cloneNode(true));
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) return;
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  const want = [...fresh.childNodes];
  want.forEach((child, place) => {
    let mine = old.childNodes[place];
    if (child.id && mine && mine.id !== child.id) {
      const known = [...old.childNodes].find((node) => node.id === child.id);
      if (known) { old.insertBefore(known, mine); mine = known; }
      else { old.insertBefore(child.cloneNode(true), mine); return; }
    }
    if (mine) morph(mine, child); else old.append(child.cloneNode(true));
  });
  while (old.childNodes.length > want.length) old.lastChild.remove();
}

// What is wrong between the page and Herder; the worse comes first.
const link = $("link"), wrong = { events: "", page: "" };
function say(where, what) {
  wrong[where] = what;
  const text = wrong.events || wrong.page;
  link.hidden = !text;
  if (link.textContent !== text) link.textContent = text;
}

// A part of the page; none where it cannot be had, which is said.
async function part(path) {
  try {
    const answer = await fetch(path, { signal: AbortSignal.timeout(15000) });
    const text = await answer.text();
    say("page", answer.ok ? "" : `the page is not fresh: answered with ${answer.status}`);
    return answer.ok ? text : null;
  } catch {
    say("page", "the page is not fresh: no answer");
    return null;
  }
}

// Fetches what changed: at most once a second, and only while somebody looks.
const live = $("live");
let busy = false, again = false;
async function refresh() {
  if (busy || document.hidden) { again = true; return; }
  busy = true; again = false;
  const text = await part("/fragment?q=" + encodeURIComponent($("filter").value));
  if (text !== null) {
    const fresh = document.createElement("div");
    fresh.id = "live";
    fresh.setAttribute("aria-live", "off");
    fresh.innerHTML = text;
    morph(live, fresh);
  }
  setTimeout(() => { busy = false; if (again) refresh(); }, 250);
}

// What may change with every request, between two pages. Where it is passed over, the next second's news ask again.
let nowBusy = false, shown = { failures: null, acting: 0 };
async function refreshNow(failures, acting) {
  if (nowBusy || busy || document.hidden) return;
  nowBusy = true;
  const text = await part("/fragment/now");
  if (text !== null) {
    const page = new DOMParser().parseFromString(text, "text/html");
    for (const id of ["acting", "failures"]) {
      const fresh = page.getElementById(id), old = $(id);
      if (fresh && old) morph(old, fresh);
    }
    shown = { failures, acting };
  }
  nowBusy = false;
}

// As the server writes it: src/admin/chart.rs.
const EDGE = 3, RISE = 94;
function time(us) {
  if (us === null) return "–";
  const tenths = (value) => (Math.floor(value) / 10).toFixed(1);
  if (us < 10000) return tenths(us / 100) + " ms";
  return us < 1000000 ? Math.floor(us / 1000) + " ms" : tenths(us / 100000) + " s";
}

// The values of a chart: those it was drawn from, or, where the server drew it anew, those that its points tell.
const drawn = new WeakMap();
function valuesOf(chart, lines, width) {
  const known = drawn.get(chart);
  const points = lines.map((line) => line.getAttribute("points"));
  if (known && known.points[0] === points[0] && known.points[1] === points[1]) return known.values;
  const top = Number(chart.dataset.top);
  return points.map((text) => {
    const values = new Array(width).fill(null);
    for (const point of text.split(" ").filter(Boolean)) {
      const [x, y] = point.split(",").map(Number);
      values[x] = (100 - EDGE - y) * top / RISE;
    }
    return values;
  });
}

function draw(chart, sample) {
  if (!sample) return;
  const lines = [...chart.children], width = Number(chart.dataset.width), isLoad = chart.dataset.kind === "load";
  const fresh = isLoad ? sample.slice(0, 2) : sample.slice(2, 4);
  const values = valuesOf(chart, lines, width);
  // A chart that shows nothing goes on showing nothing.
  if (!fresh.some(Boolean) && !values.some((line) => line.some(Boolean))) return;
  values.forEach((line, which) => { line.push(fresh[which]); line.shift(); });
  const top = Math.max(isLoad ? 1 : 1000, ...values[0], ...values[1]);
  const points = values.map((line) => line
    .map((value, x) => value === null ? "" : x + "," + (100 - EDGE - Math.floor(value * RISE / top)))
    .filter(Boolean).join(" "));
  // A red line along the bottom would alarm about nothing.
  if (isLoad && !values[1].some(Boolean)) points[1] = "";
  chart.dataset.top = top;
  lines.forEach((line, which) => line.setAttribute("points", points[which]));
  drawn.set(chart, { values, points });
}

const NOTHING = [0, 0, null, null];
let acting = 0;
function show(stats) {
  // Where only the busiest are told, nothing is known of the others: what the page says of them stays.
  const of = (key) => key === "total" ? stats.total : stats.series[key] || (stats.cut ? null : NOTHING);
  const write = (name, known, text) => {
    for (const node of document.querySelectorAll(`[data-${name}]`)) {
      const value = known(node.dataset[name]);
      if (value === null) continue;
      const fresh = String(text(value));
      if (node.textContent !== fresh) node.textContent = fresh;
    }
  };
  write("stat", (name) => stats[name], (value) => value);
  write("rate", of, (sample) => sample[0]);
  write("errors", of, (sample) => sample[1]);
  for (const tile of document.querySelectorAll("[data-alarm]")) tile.classList.toggle("bad", stats.total[1] > 0);
  write("p50", of, (sample) => time(sample[2]));
  write("p99", of, (sample) => time(sample[3]));
  if (!document.hidden) for (const chart of document.querySelectorAll("[data-chart]")) draw(chart, of(chart.dataset.chart));
  if (stats.acting > 0 || shown.acting > 0 || stats.failures !== shown.failures) refreshNow(stats.failures, stats.acting);
  if (stats.acting !== acting) $("news").textContent = stats.acting > 0 ? `Breakers or limits act in ${stats.acting} ${stats.acting === 1 ? "place" : "places"}` : "No breaker and no limit acts";
  acting = stats.acting;
}

// News come each second. Where none do, be it that nobody answers, that the answer is no stream, or that the line is dead, a new stream
// is asked for: a browser tries again by itself in the first case only.
let events, heard = Date.now(), asked;
function listen() {
  if (events) events.close();
  asked = Date.now();
  events = new EventSource("/api/events");
  events.addEventListener("view", refresh);
  events.addEventListener("stats", (event) => { heard = Date.now(); say("events", ""); show(JSON.parse(event.data)); });
  events.onerror = () => { if (!wrong.events) say("events", "connection lost, trying again"); };
}
function watch() {
  const now = Date.now();
  if (now - heard > 5000) say("events", `no news since ${new Date(heard).toLocaleTimeString()}, trying again`);
  if (now - Math.max(heard, asked) > 10000) listen();
}

if (live) {
  listen();
  setInterval(watch, 1000);
  const filter = $("filter");
  let typing;
  filter.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      history.replaceState(null, "", filter.value ? "/?q=" + encodeURIComponent(filter.value) : "/");
      refresh();
    }, 150);
  });
  filter.form.addEventListener("submit", (event) => { event.preventDefault(); refresh(); });
  // Ages grow while nothing changes, and nothing is drawn while nobody looks.
  setInterval(refresh, 10000);
  document.addEventListener("visibilitychange", refresh);
}

// Explanations open beside the list; their address is shared as it stands in the link.
const drawer = $("drawer");
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a.explain");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  const text = await fetch(link.href, { signal: AbortSignal.timeout(15000) }).then((answer) => answer.text()).catch(() => "");
  const told = new DOMParser().parseFromString(text, "text/html").getElementById("explanation");
  // What came instead, or why nothing did, the browser shows.
  if (!told) { location.href = link.href; return; }
  $("drawer-body").replaceChildren(told);
  if (!drawer.open) drawer.showModal();
});
$("close").addEventListener("click", () => drawer.close());
drawer.addEventListener("click", (event) => { if (event.target === drawer) drawer.close(); });

document.addEventListener("keydown", (event) => {
  const filter = $("filter");
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (!filter || drawer.open || /^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
  event.preventDefault();
  filter.focus();
  filter.select();
});
