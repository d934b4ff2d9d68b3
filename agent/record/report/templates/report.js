"use strict";
/* The page's script: lists with filters and pages, and the player. Texts are set as text content only. */
(() => {
  const index = JSON.parse(document.getElementById("index").textContent);
  const find = (id) => document.getElementById(id);
  const PAGE = 25;

  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (value !== null) element.setAttribute(key, value);
    }
    element.append(...children.filter((child) => child !== null && child !== ""));
    return element;
  }

  // what is embedded ------------------------------------------------------------------------------------------------
  const known = new Map();
  function episode(number) {
    if (!known.has(number)) {
      const row = index.episodes[number];
      if (!row) return null;
      const entry = { number };
      index.columns.forEach((name, i) => { entry[name] = i < index.texts ? index.words[row[i]] : row[i]; });
      known.set(number, entry);
    }
    return known.get(number);
  }

  const blocks = new Map();
  async function steps(number) {
    const block = episode(number).block;
    if (!blocks.has(block)) {
      const bytes = Uint8Array.from(atob(find(`block-${block}`).textContent), (c) => c.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      blocks.set(block, new Response(stream).json());
    }
    return (await blocks.get(block))[number];
  }

  const images = new Map();
  function image(number) {
    if (!images.has(number)) {
      const element = find(`frames-${number}`);
      images.set(number, element ? load(`data:image/webp;base64,${element.textContent}`) : Promise.resolve(null));
      if (images.size > 200) images.delete(images.keys().next().value);
    }
    return images.get(number);
  }
  async function load(source) {
    const picture = new Image();
    picture.src = source;
    await picture.decode();
    return picture;
  }

  /* Draws the tile of a step. Resolves to whether there is one. */
  async function draw(canvas, number, step, height) {
    const picture = await image(number);
    if (!picture || (canvas.dataset.wanted !== undefined && canvas.dataset.wanted !== `${number}:${step}`)) return Boolean(picture);
    const [w, h, columns, stride] = index.frames[number];
    const tile = Math.floor(step / stride);
    const scale = Math.max(1, Math.round(height / h));
    if (canvas.width !== w * scale || canvas.height !== h * scale) { canvas.width = w * scale; canvas.height = h * scale; }
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, (tile % columns) * w, Math.floor(tile / columns) * h, w, h, 0, 0, w * scale, h * scale);
    canvas.dataset.step = step;
    return true;
  }

  const outcome = (e) => e.ending === "broken" ? "broken" : e.success ? "won" : "lost";
  const told = (e) => make("span", { class: outcome(e) }, `${outcome(e)} in ${e.steps} steps`);
  const wrong = (e) => Boolean(e) && e.verdict !== null && e.ending !== "broken" && (e.verdict >= 0.5) !== e.success;
  const shown = (number, digits = 2) => number === null || number === undefined ? "-" : number.toFixed(digits);
  const plural = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;

  function thumb(number, step, label) {
    if (number === null || !index.frames[number]) return null;
    const canvas = make("canvas", { class: "thumb", role: "img", "aria-label": label, width: 44, height: 44 });
    draw(canvas, number, step, 44);
    return canvas;
  }

  // rows of SFT -----------------------------------------------------------------------------------------------------
  const rows = [];
  const rowsOf = new Map();
  for (const [round, number, stepsOf, first] of index.trained) {
    stepsOf.forEach((step, i) => {
      rows[first + i] = { row: first + i, round, number, step };
      if (!rowsOf.has(number)) rowsOf.set(number, new Map());
      rowsOf.get(number).set(step, first + i);
    });
  }

  // lists -----------------------------------------------------------------------------------------------------------
  /* A table of `items` in pages. cells: item -> its cells, the first a row header. */
  function list(name, items, cells) {
    if (!find(`${name}-list`)) return null;  // a page without this part
    const body = find(`${name}-list`).tBodies[0], pager = find(`${name}-pager`);
    let page = 0, current = items;
    const at = make("span", { role: "status" });
    const before = make("button", { type: "button", onclick: () => show(page - 1), "aria-label": `Previous page of ${name}` }, "Previous");
    const after = make("button", { type: "button", onclick: () => show(page + 1), "aria-label": `Next page of ${name}` }, "Next");
    pager.append(before, at, after);
    function show(number) {
      const pages = Math.max(1, Math.ceil(current.length / PAGE));
      page = Math.min(Math.max(0, number), pages - 1);
      body.replaceChildren(...current.slice(page * PAGE, (page + 1) * PAGE).map((item) => make("tr", {}, ...cells(item))));
      at.textContent = `page ${page + 1} of ${pages.toLocaleString("en")}`;
      before.disabled = page === 0;
      after.disabled = page === pages - 1;
      pager.hidden = pages === 1;
      find(`${name}-list`).hidden = !current.length;
    }
    show(0);
    return { set(some) { current = some; show(0); } };
  }
  const cell = (label, ...children) => make("td", { "data-label": label }, ...children);
  const head = (...children) => make("th", { scope: "row" }, ...children);
  const to = (hash, words) => make("a", { href: `#${hash}` }, words);

  // episodes, with their filters --------------------------------------------------------------------------------------
  const both = index.both.map(([where, task, seed, before, after], i) => {
    const sides = [before, after].slice(0, index.names.length).map((number) => number === null ? null : episode(number));
    const [b, a] = sides, whole = b && a && b.ending !== "broken" && a.ending !== "broken";
    const change = !whole ? "" : b.success === a.success ? (a.success ? "both won" : "both lost") : a.success ? "gained" : "regressed";
    return { i, where, task, seed, sides, change, last: a || b };
  });
  const NAMES = index.names;  // of the sides of a start
  const CHANGES = { "": "any", won: "won", lost: "lost", ...index.changes };
  const filters = {
    where: [() => ["", ...new Set(both.map((row) => row.where))], (row, value) => row.where === value],
    task: [() => ["", ...new Set(both.map((row) => row.task))], (row, value) => row.task === value],
    outcome: [() => Object.keys(CHANGES), (row, value) => value === outcome(row.last) || value === row.change],
    ending: [() => ["", ...new Set(both.map((row) => row.last.ending))], (row, value) => row.last.ending === value],
    critic: [() => ["", "wrong", "right"], (row, value) => (row.sides.some((e) => e && e.verdict !== null)) && row.sides.some(wrong) === (value === "wrong")],
  };
  const episodes = list("episodes", both, (row) => [
    head(to(`start=${row.i}`, `${row.task}, seed ${row.seed}`)),
    cell("where", row.where),
    ...NAMES.map((name, side) => row.sides[side]
      ? cell(name, make("span", { class: "nowrap" }, thumb(row.sides[side].number, row.sides[side].steps, `last frame, ${name}`), told(row.sides[side])))
      : cell(name, "-")),
    ...(NAMES.length > 1 ? [cell("change", row.change || "-")] : []),
    cell("critic", row.sides.some(wrong) ? "wrong" : row.sides.some((e) => e && e.verdict !== null) ? "right" : "not asked"),
  ]);
  function filter() {
    const chosen = Object.keys(filters).map((name) => [name, find(`f-${name}`).value]).filter(([, value]) => value);
    const some = both.filter((row) => row.last && chosen.every(([name, value]) => filters[name][1](row, value)));
    history.replaceState({ chosen }, "");  // a page that loads itself again keeps them
    episodes.set(some);
    find("episodes-count").textContent = `${some.length.toLocaleString("en")} of ${plural(both.length, "start")}`;
  }
  for (const [name, [values]] of Object.entries(filters)) {
    const select = find(`f-${name}`);
    for (const value of values()) {
      select.append(make("option", { value }, name === "outcome" ? CHANGES[value] : value || "any"));
    }
    select.addEventListener("change", filter);
  }
  for (const [name, value] of history.state?.chosen || []) find(`f-${name}`).value = value;
  find("f-clear").addEventListener("click", () => { for (const name of Object.keys(filters)) find(`f-${name}`).value = ""; filter(); });
  filter();

  // pairs -----------------------------------------------------------------------------------------------------------
  const counts = (side) => `success in ${side.wins} of ${side.n}`;
  if (find("pairs-count")) find("pairs-count").textContent = index.pairs.length ? plural(index.pairs.length, "pair") : "No pairs.";
  list("pairs", index.pairs.map((pair, i) => ({ ...pair, i })), (pair) => [
    head(thumb(pair.chosen.episode, pair.chosen.step, "the restored state"), to(`pair=${pair.i}`, `${pair.task}, seed ${pair.seed}, step ${pair.chosen.step}`)),
    cell("chosen", pair.chosen.answer, make("br"), make("span", { class: "won" }, counts(pair.chosen))),
    cell("rejected", pair.rejected.answer, make("br"), make("span", { class: "lost" }, counts(pair.rejected))),
    make("td", { class: "n", "data-label": "margin" }, `success ${shown(pair.margin[0])}, saved ${shown(pair.margin[1])}`),
  ]);

  // lineage ---------------------------------------------------------------------------------------------------------
  if (find("rows-count")) find("rows-count").textContent = rows.length ? `${plural(rows.length, "row")} of ${plural(index.trained.length, "episode")}` : "No rows.";
  list("rows", rows, (row) => {
    const e = episode(row.number), answer = make("span", {}, "…");
    steps(row.number).then((t) => { const s = t.steps[row.step]; answer.textContent = s.relabelled || [s.thought, s.action].filter(Boolean).join("; "); });
    return [
      head(thumb(row.number, row.step, "the frame"), to(`row=${row.row}`, `row ${row.row}`)),
      cell("answer", answer),
      cell("episode", `${e.task}, seed ${e.seed}, attempt ${e.attempt}, step ${row.step}`),
      cell("imitated in round", (index.imitated_in[row.round] || []).join(", ")),
    ];
  });

  // player ----------------------------------------------------------------------------------------------------------
  const player = find("player"), slider = find("player-step"), play = find("player-play");
  let open = null, timer = null, opened = 0;

  /* sides: [{ title, number }], one or two. note: of what is shown. */
  async function show(title, note, sides, step) {
    const mine = ++opened;
    stop();
    const stepsOf = await Promise.all(sides.map((side) => steps(side.number)));
    if (mine !== opened) return;
    open = sides.map((side, i) => build(find(`side-${i}`), side, stepsOf[i]));
    find("side-1").hidden = sides.length < 2;
    find("side-1").replaceChildren(...(sides.length < 2 ? [] : find("side-1").childNodes));
    player.querySelector(".sides").classList.toggle("one", sides.length < 2);
    find("player-title").textContent = title;
    find("player-note").replaceChildren(...note);
    slider.max = Math.max(...open.map((side) => side.e.steps));
    slider.value = step;
    if (!player.open) player.showModal();
    update();
    slider.focus();
  }

  function build(place, side, stepsOf) {
    const e = episode(side.number), canvas = make("canvas", { role: "img", width: 64, height: 64 });
    const missing = make("p", { class: "fine", hidden: "" }, `The frames of this episode are in the run folder (${e.store}): report with a larger --frames-budget.`);
    const list = make("dl"), about = make("dl");
    const facts = [
      ["episode", `${e.store}, seed ${e.seed}, attempt ${e.attempt}`], ["policy", e.policy], ["ending", e.error ? `${e.ending}: ${e.error}` : e.ending], ["return", shown(e.reward, 2)],
      ["critic", e.verdict === null ? "not asked about the ending" : `${shown(e.verdict)} that it succeeded${e.reason ? ` (${e.reason})` : ""}: ${wrong(e) ? "wrong" : "right"}`],
      ["certificate", e.certificate], ["final state", e.state || "-"],
    ];
    if (e.branched_at) facts.splice(1, 0, ["branched", `at step ${e.branched_at}; the steps before are shared`]);
    for (const [name, value] of facts) about.append(make("dt", {}, name), make("dd", {}, value));
    const more = make("details", {}, make("summary", {}, "Where it comes from"), about);
    more.open = Boolean(side.lineage);
    place.replaceChildren(make("h3", {}, `${side.title}: `, told(e)), canvas, missing, list, more);
    return { e, steps: stepsOf, canvas, missing, list, side };
  }

  async function update() {
    const at = Number(slider.value);
    find("player-at").textContent = `step ${at} of ${slider.max}`;
    slider.setAttribute("aria-valuetext", `step ${at} of ${slider.max}`);
    for (const { e, steps: t, canvas, missing, list, side } of open) {
      const step = Math.min(at, e.steps), s = t.steps[step];
      canvas.dataset.wanted = `${e.number}:${step}`;
      canvas.setAttribute("aria-label", `${side.title}: the frame at step ${step}`);
      list.dataset.step = step;
      draw(canvas, e.number, step, 300).then((there) => { canvas.hidden = !there; missing.hidden = there; });
      const said = [["instruction", t.instruction]];
      if (s) {
        said.push(["thought", s.thought || "-", "said"], ["action", s.action || "-", "said"], ["reward", shown(s.reward ?? 0, 3)]);
        if (s.own) said.push(["robot", s.own]);
        if (s.verdict !== undefined) said.push(["verdict", shown(s.verdict)]);
        if (s.critique) said.push(["critique", s.critique, "said"]);
        if (s.proposals) said.push(["proposals", proposals(s)]);
        if (s.state) said.push(["state", s.state.slice(0, 16)]);
        const row = rowsOf.get(e.number)?.get(step);
        if (row !== undefined) said.push(["trained", to(`row=${row}`, `row ${row} of SFT, in round ${(index.imitated_in[rows[row].round] || []).join(", ")}`)]);
        if (s.relabelled) said.push(["its answer", s.relabelled, "said"]);
        const near = index.nearest[e.number]?.[step];
        if (near) said.push(["nearest", to(`row=${near[0]}`, `row ${near[0]} of SFT, ${near[1]} grey levels away`)]);
      } else {
        said.push(["end", e.ending === "broken" ? "the episode broke" : e.success ? "success" : `failure (${e.ending})`]);
        if (t.final) said.push(["robot", t.final]);
      }
      list.replaceChildren(...said.flatMap(([name, value, kind]) => [make("dt", {}, name), make("dd", kind ? { class: kind } : {}, value)]));
    }
  }

  function proposals(s) {
    const body = s.proposals.map(([thought, action, verdict]) => make("tr", {}, make("td", {}, [thought, action].filter(Boolean).join("; ")), make("td", { class: "n" }, shown(verdict))));
    return make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "answer"), make("th", { scope: "col", class: "n" }, "verdict"))), make("tbody", {}, ...body));
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  }
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (slider.value === slider.max) slider.value = 0;
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      if (slider.value === slider.max) return stop();
      slider.value = Number(slider.value) + 1;
      update();
    }, 250);
  });
  slider.addEventListener("input", () => { stop(); update(); });
  find("player-close").addEventListener("click", () => player.close());
  let from = null;
  player.addEventListener("close", () => {
    stop();
    opened++;
    if (/^#(start|pair|row|episode)=/.test(location.hash)) history.pushState(history.state, "", location.pathname + location.search);
    if (from && from.isConnected) from.focus();
  });

  /* What the address names after `#`: start=, pair=, row= or episode=, with the number of each. */
  function route() {
    const [, kind, number] = location.hash.match(/^#(start|pair|row|episode)=(\d+)$/) || [];
    if (!kind) { if (player.open) player.close(); return; }
    if (!player.open) from = document.activeElement;
    const n = Number(number);
    if (kind === "start" && both[n]) {
      const row = both[n], names = index.sides[row.where] || NAMES;
      const sides = row.sides.map((e, i) => e && { title: names[i], number: e.number }).filter(Boolean);
      show(`${row.task}, seed ${row.seed}`, [`${row.where}${row.change ? `: ${row.change}` : ""}`], sides, 0);
    } else if (kind === "pair" && index.pairs[n]) {
      const pair = index.pairs[n];
      const note = `Round ${pair.round}. State ${pair.state} at step ${pair.chosen.step}; margin: success ${shown(pair.margin[0])}, saved ${shown(pair.margin[1])}; chosen ${counts(pair.chosen)}, rejected ${counts(pair.rejected)}, Fisher's exact p ${shown(pair.p_value)}.`;
      show(`${pair.task}, seed ${pair.seed}: what followed each answer`, [note], [{ title: "chosen", number: pair.chosen.episode }, { title: "rejected", number: pair.rejected.episode }], pair.chosen.step);
    } else if (kind === "row" && rows[n]) {
      const row = rows[n], e = episode(row.number);
      const others = [...rowsOf.get(row.number)].map(([step, other]) => other === n ? make("strong", {}, ` ${step}`) : make("span", {}, " ", to(`row=${other}`, String(step))));
      show(`Row ${n} of SFT: ${e.task}, seed ${e.seed}, step ${row.step}`, ["Rows of this episode, by step:", ...others], [{ title: "imitated", number: row.number, lineage: true }], row.step);
    } else if (kind === "episode" && episode(n)) {
      const e = episode(n);
      show(`${e.task}, seed ${e.seed}`, [e.store], [{ title: "episode", number: n }], e.steps);
    }
  }
  addEventListener("hashchange", route);
  addEventListener("popstate", route);
  route();

  // a live page loads itself again, but not under the hands of who watches an episode
  if (index.live_s) setInterval(() => { if (!player.open) location.reload(); }, 1000 * index.live_s);
})();
