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
  return query ? `${location.pathname}?${query}` : location.pathname;
}

async function load(url) {
  const answer = await fetch(url, { credentials: "same-origin" });
  const page = parser.parseFromString(await answer.text(), "text/html");
  if (!answer.ok || !page.getElementById("rows")) throw new Error("this is another page");
  return page;
}

async function show(url) {
  const mine = ++last;
  let page;
  try {
    page = await load(url);
  } catch {
    page = null;
  }
  if (mine !== last) return;
  document.body.classList.toggle("offline", page === null);
  if (page === null) return;
  for (const part of ["live", "rows", "asof"]) {
    const old = document.getElementById(part);
    if (old && !old.contains(document.activeElement)) old.replaceWith(document.adoptNode(page.getElementById(part)));
  }
  const count = document.getElementById("count");
  const fresh = page.getElementById("count")?.textContent;
  if (count && count.textContent !== fresh) count.textContent = fresh; // else it would be read out again
  document.title = page.title;
}

function filter() {
  const url = address(1);
  history.replaceState(null, "", url);
  show(url);
}

form?.addEventListener("input", (event) => {
  clearTimeout(timer);
  timer = setTimeout(filter, event.target.type === "search" ? TYPING : 0);
});
form?.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(timer);
  filter();
});
setInterval(() => {
  const isReading = !getSelection().isCollapsed;
  if (!document.hidden && !isReading) show(location.pathname + location.search);
}, REFRESH);
