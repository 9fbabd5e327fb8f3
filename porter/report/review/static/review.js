"use strict";
(() => {
  const one = (id) => document.getElementById(id);
  const form = document.querySelector(".controls");
  const hunks = [...document.querySelectorAll(".hunk")];
  const rule = one("rule"), site = one("site"), text = one("text");
  const words = new Map(hunks.map((hunk) => [hunk, wordsOf(hunk)]));
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());

  // What is searched: the code of a hunk, its head, and the reasons beside it.
  function wordsOf(hunk) {
    const reasons = hunk.closest(".block").querySelector(".reasons");
    const lines = [...hunk.querySelectorAll(".gone code, .come code, .same.new code, h4")];
    return [...lines, reasons].map((part) => part.textContent).join("\n").toLowerCase();
  }

  function visible() {
    return hunks.filter((hunk) => !hunk.hidden);
  }

  function filter() {
    const wanted = text.value.trim().toLowerCase();
    for (const hunk of hunks) {
      const byRule = !rule.value || hunk.dataset.rules.split(" ").includes(rule.value);
      const bySite = !site.value || hunk.dataset.sites.split(" ").includes(site.value);
      hunk.hidden = !(byRule && bySite && words.get(hunk).includes(wanted));
    }
    for (const block of document.querySelectorAll(".block")) {
      block.hidden = !block.querySelector(".hunk:not([hidden])");
    }
    const around = one("around");
    if (around) {
      around.hidden = !document.querySelector('.hunk[data-rules="-"]:not([hidden])');
    }
    const shown = visible().length;
    one("shown").textContent = `${shown} of ${hunks.length} hunks`;
    one("nothing").hidden = shown > 0;
  }

  function showAll() {
    rule.value = site.value = text.value = "";
    filter();
  }

  let here = -1;
  function go(step) {
    const list = visible();
    if (!list.length) return;
    const now = list.indexOf(hunks[here]);
    const top = list.findIndex((hunk) => hunk.getBoundingClientRect().bottom > 80);
    const next = now >= 0 ? now + step : step > 0 ? Math.max(top, 0) : Math.max(top - 1, 0);
    const hunk = list[Math.min(Math.max(next, 0), list.length - 1)];
    hunks.forEach((other) => other.classList.toggle("here", other === hunk));
    here = hunks.indexOf(hunk);
    hunk.focus({ preventScroll: true });
    const block = hunk.closest(".block");  // with its head and its reasons, where it is the first one shown there
    const first = block.querySelector(".hunk:not([hidden])") === hunk;
    (first ? block : hunk).scrollIntoView({ block: "start" });
  }

  const root = document.documentElement;
  const button = one("theme");
  function isDark() {
    const chosen = root.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  function choose(theme) {
    root.dataset.theme = theme;
    button.setAttribute("aria-pressed", String(theme === "dark"));
    try { localStorage.setItem("porter-review-theme", theme); } catch { /* a page from a file may keep nothing */ }
  }
  try {
    const kept = localStorage.getItem("porter-review-theme");
    if (kept === "dark" || kept === "light") choose(kept);
  } catch { /* as above */ }
  button.setAttribute("aria-pressed", String(isDark()));
  button.addEventListener("click", () => choose(isDark() ? "light" : "dark"));

  function toggleKeys() {
    const help = one("help");
    help.hidden = !help.hidden;
    one("keys").setAttribute("aria-expanded", String(!help.hidden));
  }
  one("keys").addEventListener("click", toggleKeys);
  one("next").addEventListener("click", () => go(1));
  one("previous").addEventListener("click", () => go(-1));
  for (const field of [rule, site, text]) field.addEventListener("input", filter);

  // A link leads to its hunk also where a filter hides it.
  function follow() {
    const target = one(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.hidden || target.closest("[hidden]")) showAll();
    if (target.classList.contains("hunk")) here = hunks.indexOf(target);
    target.scrollIntoView({ block: "start" });
  }
  addEventListener("hashchange", follow);

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") { showAll(); document.activeElement.blur(); return; }
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === "j") go(1);
    else if (event.key === "k") go(-1);
    else if (event.key === "t") button.click();
    else if (event.key === "?") toggleKeys();
    else if (event.key === "/") { event.preventDefault(); text.focus(); text.select(); }
  });

  filter();
  if (location.hash) follow();
})();
