// Filters while you type and keeps the page fresh. Without it the form and the links do the same.
"use strict";

const REFRESH = 15000; // milliseconds
const TYPING = 200;
const form = document.getElementById("filter");
const parser = new DOMParser();
let last = 0; // the number of the newest request: what an older one brings is out of date
let timer;

function address(page) {
  const asked = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (value) asked.append(name, value);
  }
  if (page > 1) asked.append("page", page);
  const query = asked.toString();
  return query ? `/?${query}` : "/";
}

async function show(url) {
  const mine = ++last;
  let text;
  try {
    const answer = await fetch(url, { credentials: "same-origin" });
    if (!answer.ok) throw new Error(answer.statusText);
    text = await answer.text();
  } catch {
    if (mine === last) document.body.classList.add("offline");
    return;
  }
  if (mine !== last) return;
  const page = parser.parseFromString(text, "text/html");
  for (const part of ["live", "rows", "asof"]) {
    const fresh = page.getElementById(part);
    const old = document.getElementById(part);
    if (fresh && !old.contains(document.activeElement)) old.replaceWith(document.adoptNode(fresh));
  }
  const count = page.getElementById("count").textContent;
  const shown = document.getElementById("count");
  if (shown.textContent !== count) shown.textContent = count; // else it would be read out again
  document.title = page.title;
  document.body.classList.remove("offline");
}

function filter() {
  const url = address(1);
  history.replaceState(null, "", url);
  show(url);
}

form.addEventListener("input", (event) => {
  clearTimeout(timer);
  timer = setTimeout(filter, event.target.type === "search" ? TYPING : 0);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(timer);
  filter();
});
setInterval(() => {
  const isReading = !getSelection().isCollapsed;
  if (!document.hidden && !isReading) show(location.pathname + location.search);
}, REFRESH);
