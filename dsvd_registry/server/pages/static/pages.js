// What the pages gain with script: a switch of light and dark, search as one types, buttons that copy.
"use strict";

const root = document.documentElement;
const isDark = () =>
  (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

// Runs before the body is shown, so that the chosen theme does not flash.
try {
  const kept = localStorage.getItem("theme");
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
} catch { /* a browser may forbid storage */ }

function themeSwitch() {
  const button = document.querySelector("[data-theme-switch]");
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  name();
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* as above */ }
    name();
  });
}

function searchAsOneTypes() {
  const form = document.querySelector("[data-search]");
  if (!form) return;
  let timer, asked = 0;
  const search = async () => {
    const given = [...new FormData(form)].filter(([, value]) => value !== "");
    const address = "/" + (given.length ? "?" + new URLSearchParams(given) : "");
    const number = ++asked;
    const response = await fetch(address, { headers: { Accept: "text/html" } });
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (number !== asked) return; // a later search has begun
    document.getElementById("results").replaceChildren(...page.getElementById("results").childNodes);
    history.replaceState(null, "", address);
  };
  const soon = (wait) => { clearTimeout(timer); timer = setTimeout(() => search().catch(() => {}), wait); };
  form.addEventListener("input", (event) => soon(event.target.type === "search" ? 180 : 0));
  form.addEventListener("submit", (event) => { event.preventDefault(); soon(0); });
}

function copyButtons() {
  if (!navigator.clipboard) return;
  for (const place of document.querySelectorAll(".copied")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(place.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    place.append(button);
  }
}

document.addEventListener("DOMContentLoaded", () => { themeSwitch(); searchAsOneTypes(); copyButtons(); });
