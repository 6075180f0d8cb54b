// Draws the charts and makes long tables searchable and sortable. Without it the page is complete, but for the charts.
(() => {
  "use strict";

  const BARS_A_PAGE = 20;
  const FIRST_ROWS = 100;
  const FEW_ROWS = 8; // seen at a glance
  const GATES = ["PLAN", "IMPLEMENT", "REVIEW", "COMMIT", "INVESTIGATE", "LINT", "DRAFT", "CLASSIFY", "WAVE_PLAN"];
  const UNITS = {
    usd: (value, step) => {
      const digits = step && step < 0.01 ? 4 : step && step >= 1 ? 0 : step ? 2 : 4;
      return `${value < 0 ? "−" : ""}$${Math.abs(value).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
    },
    percent: (value) => `${Number(value.toFixed(1))} %`,
    calls: (value) => (Number.isInteger(value) ? value.toLocaleString("en") : ""),
  };

  const root = document.documentElement;
  const probe = document.createElement("span");
  const printing = matchMedia("print");
  const charts = [];

  // Colours

  const colors = new Map(); // as they are now: asking for one lays the page out anew
  const fills = new Map();

  function color(name) {
    if (!colors.has(name)) {
      probe.style.color = `var(--${name})`;
      colors.set(name, getComputedStyle(probe).color);
    }
    return colors.get(name);
  }

  // What tells the series apart without colour. Each draws on a square of `size`; the first is plain.
  const PATTERNS = [
    () => {},
    (pen, size) => diagonal(pen, size, true),
    (pen, size) => dot(pen, size),
    (pen, size) => line(pen, 0, size / 2, size, size / 2),
    (pen, size) => diagonal(pen, size, false),
    (pen, size) => line(pen, size / 2, 0, size / 2, size),
    (pen, size) => (diagonal(pen, size, true), diagonal(pen, size, false)),
    (pen, size) => (line(pen, size / 2, 0, size / 2, size), line(pen, 0, size / 2, size, size / 2)),
    (pen, size) => (line(pen, 0, size / 4, size, size / 4), line(pen, 0, (3 * size) / 4, size, (3 * size) / 4)),
  ];

  function line(pen, x, y, toX, toY) {
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(toX, toY);
    pen.stroke();
  }

  function diagonal(pen, size, rises) {
    for (const shift of [-size, 0, size]) {
      if (rises) line(pen, shift, size, shift + size, 0);
      else line(pen, shift, 0, shift + size, size);
    }
  }

  function dot(pen, size) {
    pen.beginPath();
    pen.arc(size / 2, size / 2, size / 6, 0, 2 * Math.PI);
    pen.fill();
  }

  function fill(name, kind) {
    const key = `${name} ${kind}`;
    if (!fills.has(key)) fills.set(key, patternOf(name, kind));
    return fills.get(key);
  }

  // A pattern is made of device pixels: it is drawn as large as they are small.
  function patternOf(name, kind) {
    const ratio = window.devicePixelRatio || 1;
    const tile = document.createElement("canvas");
    tile.width = tile.height = Math.round(8 * ratio);
    const pen = tile.getContext("2d");
    pen.fillStyle = color(name);
    pen.fillRect(0, 0, tile.width, tile.height);
    pen.strokeStyle = pen.fillStyle = color("surface");
    pen.globalAlpha = 0.55;
    pen.lineWidth = 1.2 * ratio;
    PATTERNS[kind % PATTERNS.length](pen, tile.width);
    const pattern = pen.createPattern(tile, "repeat");
    pattern.setTransform(new DOMMatrix().scale(1 / ratio));
    return pattern;
  }

  // The place of a series among colours and patterns: a gate has the same one in every chart.
  function look(spec, index) {
    const name = spec.series[index].name;
    if (name === "parent") return { color: "series-parent", pattern: 4 };
    const place = spec.colors === "gates" ? GATES.indexOf(name) : index;
    const kind = place < 0 ? GATES.length - 1 : place;
    return { color: `series-${kind % GATES.length}`, pattern: kind };
  }

  // Charts

  // Writes the numbers at the end of the bars, and the lines that go across them.
  const labels = {
    id: "labels",
    afterDatasetsDraw(chart) {
      const { ctx: pen, chartArea: area, scales } = chart;
      const { spec, from } = chart.config.options.plugins.labels;
      pen.save();
      pen.font = Chart.helpers.toFont(Chart.defaults.font).string;
      pen.textBaseline = "middle";
      for (const [at, words] of spec.lines) {
        const x = scales.x.getPixelForValue(at);
        pen.strokeStyle = pen.fillStyle = color("bad");
        pen.setLineDash([4, 3]);
        line(pen, x, area.top, x, area.bottom);
        pen.setLineDash([]);
        pen.textAlign = "center";
        pen.fillText(words, x, area.top - 8);
      }
      pen.textAlign = "left";
      for (const [bar, words] of ends(chart, spec, from)) {
        pen.fillStyle = color("page");
        pen.fillRect(bar.x + 4, bar.y - 7, pen.measureText(words).width + 4, 14);
        pen.fillStyle = color("text");
        pen.fillText(words, bar.x + 6, bar.y);
      }
      pen.restore();
    },
  };

  function* ends(chart, spec, from) {
    const shown = chart.data.labels.length;
    for (const [index, series] of spec.series.entries()) {
      const bars = chart.getDatasetMeta(index).data;
      for (let row = 0; row < shown; row += 1) {
        if (series.ends.length) yield [bars[row], series.ends[from + row]];
      }
    }
    for (let row = 0; spec.ends.length && row < shown; row += 1) {
      const bars = spec.series.map((_, index) => chart.getDatasetMeta(index).data[row]);
      yield [{ x: Math.max(...bars.map((bar) => bar.x)), y: bars[0].y }, spec.ends[from + row]];
    }
  }

  // Room at the right for the longest text at the end of a bar.
  function roomForEnds(spec) {
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = Chart.helpers.toFont(Chart.defaults.font).string;
    const texts = [...spec.ends, ...spec.series.flatMap((series) => series.ends)];
    return 14 + Math.max(0, ...texts.map((words) => pen.measureText(words).width));
  }

  function dataOf(spec, from) {
    const part = (values) => values.slice(from, from + BARS_A_PAGE);
    return {
      labels: part(spec.labels),
      datasets: spec.series.map((series, index) => ({
        label: series.name,
        data: part(series.values),
        backgroundColor: fillsOf(spec, index, part(spec.labels)),
        borderColor: color("surface"),
        borderWidth: { right: spec.stacked ? 1 : 0 },
        borderSkipped: false,
        maxBarThickness: 18,
        categoryPercentage: 0.8,
        barPercentage: spec.stacked ? 0.85 : 0.95,
      })),
    };
  }

  // One series over gates: each bar in the colour of its gate.
  function fillsOf(spec, index, names) {
    if (spec.colors !== "gates" || spec.series.length > 1) return made(look(spec, index));
    return names.map((name) => made(look({ colors: "gates", series: [{ name }] }, 0)));
  }

  function made({ color: name, pattern }) {
    return fill(name, pattern);
  }

  function optionsOf(spec, from) {
    const shape = UNITS[spec.unit];
    const quiet = color("quiet");
    return {
      indexAxis: "y",
      animation: false,
      maintainAspectRatio: false,
      resizeDelay: 50,
      layout: { padding: { right: roomForEnds(spec), top: spec.lines.length ? 18 : 0 } },
      interaction: { mode: "index", axis: "y", intersect: false },
      scales: {
        x: {
          stacked: spec.stacked,
          beginAtZero: true,
          suggestedMax: Math.max(spec.unit === "percent" ? 100 : 0, ...spec.lines.map(([at]) => at)),
          border: { display: false },
          grid: { color: color("line"), drawTicks: false },
          ticks: { color: quiet, padding: 6, maxTicksLimit: 6, maxRotation: 0, callback: (value, _, ticks) => shape(value, tickStep(ticks)) },
        },
        y: {
          stacked: spec.stacked,
          border: { color: color("strong-line") },
          grid: { display: false },
          ticks: { color: color("text"), autoSkip: false, crossAlign: "far" },
        },
      },
      plugins: {
        legend: { display: false },
        labels: { spec, from },
        tooltip: {
          backgroundColor: color("text"),
          titleColor: color("page"),
          bodyColor: color("page"),
          filter: (item) => item.raw !== 0,
          callbacks: { label: (item) => ` ${item.dataset.label}: ${shape(item.raw)}` },
        },
      },
    };
  }

  function tickStep(ticks) {
    return ticks.length > 1 ? ticks[1].value - ticks[0].value : 0;
  }

  function heightOf(spec, shown) {
    const bars = spec.stacked ? 1 : spec.series.length;
    return 34 + (spec.lines.length ? 18 : 0) + shown * (bars > 1 ? 17 * bars + 8 : 27);
  }

  function draw(entry) {
    const { spec, canvas, from } = entry;
    const data = dataOf(spec, from);
    canvas.parentElement.style.height = `${heightOf(spec, data.labels.length)}px`;
    if (entry.chart) entry.chart.destroy();
    entry.chart = new Chart(canvas, { type: "bar", data, options: optionsOf(spec, from), plugins: [labels] });
    drawLegend(entry);
    drawPages(entry);
  }

  function drawLegend({ spec, figure }) {
    const legend = figure.querySelector(".legend");
    const items = spec.series.length > 1 ? spec.series : [];
    legend.replaceChildren(...items.map((series, index) => legendItem(series.name, look(spec, index))));
  }

  function legendItem(name, { color: hue, pattern }) {
    const item = document.createElement("li");
    const swatch = document.createElement("canvas");
    const ratio = window.devicePixelRatio || 1;
    swatch.width = Math.round(22 * ratio);
    swatch.height = Math.round(12 * ratio);
    swatch.style.width = "22px";
    swatch.style.height = "12px";
    swatch.setAttribute("aria-hidden", "true");
    const pen = swatch.getContext("2d");
    pen.scale(ratio, ratio);
    pen.fillStyle = fill(hue, pattern);
    pen.fillRect(0, 0, 22, 12);
    item.append(swatch, name);
    return item;
  }

  function drawPages({ spec, figure, from }) {
    const all = spec.labels.length;
    const pages = figure.querySelector(".pages");
    pages.hidden = all <= BARS_A_PAGE;
    const [previous, next] = pages.querySelectorAll("button");
    previous.disabled = from === 0;
    next.disabled = from + BARS_A_PAGE >= all;
    const last = Math.min(from + BARS_A_PAGE, all);
    pages.querySelector("output").value = `${from + 1}–${last} of ${all.toLocaleString("en")}`;
  }

  function addChart(figure, specs) {
    const spec = specs[figure.dataset.chart];
    const entry = { spec, figure, canvas: figure.querySelector(".canvas canvas"), from: 0, chart: null };
    figure.hidden = false;
    figure.querySelector(".pages").addEventListener("click", (event) => {
      const step = Number(event.target.dataset.step || 0);
      entry.from = Math.max(0, entry.from + step * BARS_A_PAGE);
      draw(entry);
    });
    charts.push(entry);
    draw(entry);
  }

  // Tables

  // Only what scrolls is a stop for the Tab key.
  const scrollers = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const scrolls = target.scrollWidth > target.clientWidth || target.scrollHeight > target.clientHeight;
      target.tabIndex = scrolls ? 0 : -1;
    }
  });

  // A long table is laid out as far as it is shown: the first rows, until all are wanted.
  function makeLong(table) {
    const id = table.id;
    const state = { table, rows: [...table.tBodies[0].rows], wanted: "", most: FIRST_ROWS };
    state.texts = new Map(state.rows.map((row) => [row, row.textContent.toLowerCase()]));
    for (const [index, head] of [...table.tHead.rows[0].cells].entries()) addSorter(state, index, head);
    const field = document.querySelector(`[data-filter="${id}"]`);
    field.parentElement.hidden = state.rows.length <= FEW_ROWS;
    field.addEventListener("input", () => {
      state.wanted = field.value.trim().toLowerCase();
      show(state);
    });
    const more = document.querySelector(`[data-more="${id}"]`);
    more?.addEventListener("click", () => {
      state.most = Infinity;
      show(state);
      table.parentElement.focus();
    });
    show(state);
  }

  function show({ table, rows, texts, wanted, most }) {
    const found = rows.filter((row) => texts.get(row).includes(wanted));
    const shown = new Set(found.slice(0, most));
    const all = new Set(found);
    for (const row of rows) {
      row.hidden = !all.has(row);
      row.classList.toggle("later", !shown.has(row));
    }
    const count = (number) => number.toLocaleString("en");
    const output = document.querySelector(`[data-found="${table.id}"]`);
    const part = shown.size < found.length ? `the first ${count(shown.size)} of ` : "";
    output.value = found.length < rows.length ? `${part}${count(found.length)} found in ${count(rows.length)} rows` : `${part}${count(rows.length)} rows`;
    const more = document.querySelector(`[data-more="${table.id}"]`);
    if (more) more.parentElement.hidden = shown.size === found.length;
  }

  function addSorter(state, index, head) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(state, index, head));
    head.replaceChildren(button);
  }

  function sort(state, index, head) {
    const isNumber = head.classList.contains("number");
    const order = orderAfter(head.getAttribute("aria-sort"), isNumber);
    const sign = order === "ascending" ? 1 : -1;
    const compare = isNumber ? (a, b) => a - b : new Intl.Collator("en", { numeric: true }).compare;
    const keyed = state.rows.map((row) => [keyOf(row.cells[index], isNumber), row]);
    keyed.sort((a, b) => sign * compare(a[0], b[0]));
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    state.rows = keyed.map(([, row]) => row);
    show(state);
    state.table.tBodies[0].append(...state.rows);
  }

  // The other way round; first the dearest, or from A on.
  function orderAfter(was, isNumber) {
    if (!was) return isNumber ? "descending" : "ascending";
    return was === "ascending" ? "descending" : "ascending";
  }

  function keyOf(cell, isNumber) {
    if (!isNumber) return cell.textContent;
    return cell.dataset.value === undefined ? Number.MIN_SAFE_INTEGER : Number(cell.dataset.value);
  }

  // Start

  function drawAll() {
    colors.clear();
    fills.clear();
    for (const entry of charts) draw(entry);
  }

  function start() {
    document.body.append(probe);
    probe.hidden = true;
    const specs = JSON.parse(document.getElementById("data").textContent);
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    Chart.defaults.font.size = 12.5;
    for (const figure of document.querySelectorAll("figure[data-chart]")) addChart(figure, specs);
    for (const table of document.querySelectorAll("table.sortable")) makeLong(table);
    for (const scroller of document.querySelectorAll(".scroll")) scrollers.observe(scroller);
    const theme = document.getElementById("theme");
    theme.hidden = false;
    theme.addEventListener("change", (event) => {
      root.style.colorScheme = event.target.value;
      drawAll();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
    printing.addEventListener("change", drawAll);
    root.dataset.drawn = "yes";
  }

  start();
})();
