"use strict";
(() => {
  const order = (row, place) => {
    const cell = row.cells[place];
    const value = cell ? cell.dataset.order ?? cell.textContent.trim() : "";
    const number = Number(value);
    return value !== "" && !Number.isNaN(number) ? number : value;
  };
  const compare = (a, b) => (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1);

  const sort = (button) => {
    const head = button.closest("th");
    const table = head.closest("table");
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => (up ? 1 : -1) * compare(order(a, head.cellIndex), order(b, head.cellIndex)));
    table.tBodies[0].append(...rows);
  };

  const current = () => {
    const runs = [...document.querySelectorAll("article")];
    const at = runs.indexOf(document.activeElement.closest("article"));
    return [runs, at];
  };
  const go = (step) => {
    const [runs, at] = current();
    const next = runs[Math.min(runs.length - 1, Math.max(0, at + step))];
    if (next) { next.focus({ preventScroll: true }); next.scrollIntoView({ block: "start" }); }
  };
  const keys = {
    j: () => go(1),
    k: () => go(-1),
    o: () => {
      const [runs, at] = current();
      const diff = at >= 0 && runs[at].querySelector("details.diff");
      if (diff) diff.open = !diff.open;
    },
    c: () => {
      const diffs = [...document.querySelectorAll("details.diff")];
      const open = !diffs.every((diff) => diff.open);
      for (const diff of diffs) diff.open = open;
    },
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("th button");
    if (button) sort(button);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    if (keys[event.key]) { keys[event.key](); event.preventDefault(); }
  });

  // Served live, the page asks whether there is more, and takes the new content over what is open, sorted and focused.
  const refresh = async () => {
    const answer = await fetch(location.pathname, { cache: "no-store" });
    const made = new DOMParser().parseFromString(await answer.text(), "text/html");
    const open = [...document.querySelectorAll("details[open]")].map((each) => each.id);
    const sorted = [...document.querySelectorAll("table.sortable")].map((table) =>
      [...table.tHead.rows[0].cells].findIndex((head) => head.hasAttribute("aria-sort")));
    const ways = [...document.querySelectorAll("table.sortable")].map((table) =>
      table.querySelector("th[aria-sort=descending]") ? 2 : 1);
    const focused = document.activeElement.id;
    document.querySelector("main").replaceWith(made.querySelector("main"));
    for (const id of open) { const each = id && document.getElementById(id); if (each) each.open = true; }
    [...document.querySelectorAll("table.sortable")].forEach((table, number) => {
      const button = table.tHead.rows[0].cells[sorted[number]]?.querySelector("button");
      for (let times = 0; button && times < ways[number]; times += 1) sort(button);
    });
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  };
  const watch = async () => {
    let seen = null;
    for (;;) {
      try {
        const version = await (await fetch("version", { cache: "no-store" })).text();
        if (seen !== null && version !== seen) await refresh();
        seen = version;
        document.documentElement.dataset.live = "on";
      } catch {
        document.documentElement.dataset.live = "lost";  // the server was stopped: what is shown stays
      }
      await new Promise((done) => setTimeout(done, 1000));
    }
  };
  if ("live" in document.documentElement.dataset) watch();
})();
