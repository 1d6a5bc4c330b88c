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
  if (old.nodeType !== Node.ELEMENT_NODE || old.id === "spark") return;
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

// Fetches what changed: at most once a second, and only while somebody looks.
const live = $("live");
let busy = false, again = false;
async function refresh() {
  if (!live || busy) { again = true; return; }
  busy = true; again = false;
  try {
    const filter = $("filter").value;
    const answer = await fetch("/fragment?q=" + encodeURIComponent(filter));
    if (answer.ok) {
      const fresh = document.createElement("div");
      fresh.id = "live";
      fresh.setAttribute("aria-live", "off");
      fresh.innerHTML = await answer.text();
      morph(live, fresh);
      if (last) show(last);
    }
  } catch { /* the event stream says so */ }
  setTimeout(() => { busy = false; if (again) refresh(); }, 250);
}

let last = null;
function show(stats) {
  last = stats;
  for (const node of document.querySelectorAll("[data-stat]")) node.textContent = stats[node.dataset.stat];
  for (const node of document.querySelectorAll("[data-rate]")) node.textContent = stats.rates[node.dataset.rate] || 0;
  const line = document.querySelector("#spark polyline");
  if (line && stats.history.length > 1) {
    const top = Math.max(1, ...stats.history), step = 240 / 59, start = 240 - (stats.history.length - 1) * step;
    line.setAttribute("points", stats.history.map((v, i) => (start + i * step).toFixed(1) + "," + (34 - 32 * v / top).toFixed(1)).join(" "));
  }
}

if (live) {
  const link = $("link");
  const events = new EventSource("/api/events");
  events.addEventListener("view", refresh);
  events.addEventListener("stats", (event) => show(JSON.parse(event.data)));
  events.onopen = () => { link.hidden = true; };
  events.onerror = () => { link.hidden = false; link.textContent = "connection lost, trying again"; };

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
  // Ages grow while nothing changes.
  setInterval(() => { if (!document.hidden) refresh(); }, 10000);
}

// Explanations open beside the list; their address is shared as it stands in the link.
const drawer = $("drawer");
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a.explain");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  const answer = await fetch(link.href);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  $("drawer-body").replaceChildren(page.getElementById("explanation"));
  if (!drawer.open) drawer.showModal();
});
$("close").addEventListener("click", () => drawer.close());
drawer.addEventListener("click", (event) => { if (event.target === drawer) drawer.close(); });

document.addEventListener("keydown", (event) => {
  const filter = $("filter");
  if (event.key === "/" && filter && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    filter.focus();
    filter.select();
  }
});
