// The live page: asks /status and /history every second and shows them. All text goes in as text, never as markup.

import { Chart, compact } from "/chart.js";

const EVERY_MS = 1000;
const PATIENCE_MS = 4000;
const SAMPLES_MAX = 600;
const PARTITIONS_SHOWN = 100;
// A partition that is a batch behind is well: its bar must not look full because the others have even less.
const LAG_FULL_MIN = 10_000;
const MARKS = { running: ["good", "●"], ok: ["good", "●"], done: ["good", "✓"], starting: ["fair", "◌"], draining: ["fair", "◔"],
  retrying: ["fair", "▲"], degraded: ["bad", "▲"], restarting: ["bad", "▲"], refusing: ["bad", "■"], stopped: ["bad", "■"] };

const at = (id) => document.getElementById(id);
const whole = (number) => (number === null ? "–" : Math.round(number).toLocaleString("en"));
// Large figures are read to the digit up to ten million; nobody counts the digits of more.
const figure = (number) => (number < 1e7 ? whole(number) : compact(number));
let history = { t: [] };
let answeredAt = null;
let startedAt = null;

const rateChart = new Chart(at("rate-chart"), [
  { name: "taken", column: "records_per_s", style: "one" },
  { name: "delivered", column: "delivered_per_s", style: "two" },
]);
const lagChart = new Chart(at("lag-chart"), [{ name: "lag", column: "lag_records", style: "three" }]);

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function bytes(number) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  for (; number >= 1000 && unit < units.length - 1; unit += 1) number /= 1000;
  return `${number.toLocaleString("en", { maximumFractionDigits: number < 100 && unit ? 1 : 0 })} ${units[unit]}`;
}

function duration(seconds) {
  if (seconds === null) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

function mark(element, state) {
  const [kind, sign] = MARKS[state] ?? ["", "?"];
  element.className = `pill ${kind}`;
  say(element, `${sign} ${state}`);
}

function pill(state) {
  const element = document.createElement("span");
  mark(element, state);
  return element;
}

// Rows are kept and changed in place, so that a selection survives the second.
function fill(table, rows, columns) {
  const body = table.tBodies[0];
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  rows.forEach(([key, item], position) => {
    let row = known.get(key);
    known.delete(key);
    if (!row) {
      row = document.createElement("tr");
      row.dataset.key = key;
      for (const [kind] of columns) row.append(Object.assign(document.createElement("td"), { className: kind }));
    }
    columns.forEach(([, show], index) => show(row.cells[index], item));
    if (body.rows[position] !== row) body.insertBefore(row, body.rows[position] ?? null);
  });
  for (const row of known.values()) row.remove();
}

const text = (show) => (cell, item) => say(cell, show(item));

function showState(cell, worker) {
  if (cell.firstChild) mark(cell.firstChild, worker.state);
  else cell.append(pill(worker.state));
}

function showLag(cell, partition) {
  if (!cell.firstChild) {
    const bar = Object.assign(document.createElement("div"), { className: "bar" });
    const rail = document.createElement("i");
    rail.append(document.createElement("b"));
    bar.append(rail, document.createElement("span"));
    cell.append(bar);
  }
  const [rail, number] = cell.firstChild.children;
  rail.firstChild.style.width = `${(100 * (partition.lag_records ?? 0)) / partition.most}%`;
  say(number, whole(partition.lag_records));
}

// An hour is what a person needs to come and do something.
function showLoss(cell, partition) {
  const seconds = partition.time_to_data_loss_s;
  say(cell, seconds === 0 ? "now" : duration(seconds));
  cell.classList.toggle("bad", seconds !== null && seconds < 3600);
}

const WORKER_COLUMNS = [
  ["", text((worker) => `${worker.index}`)],
  ["", showState],
  ["number wide", text((worker) => `${worker.pid ?? "–"}`)],
  ["number", text((worker) => whole(worker.restarts))],
  ["number", text((worker) => `${worker.cpu_percent.toFixed(0)} %`)],
  ["number", text((worker) => bytes(worker.rss_bytes))],
  ["number wide", text((worker) => duration(worker.heartbeat_age_s))],
];
const PARTITION_COLUMNS = [
  ["", text((partition) => `${partition.topic} / ${partition.partition}${partition.paused ? "  ⏸ paused" : ""}`)],
  ["number", text((partition) => `${partition.worker}`)],
  ["number wide", text((partition) => whole(partition.committed))],
  ["number wide", text((partition) => whole(partition.high_watermark))],
  ["bar-column", showLag],
  ["number", text((partition) => duration(partition.lag_seconds))],
  ["number", showLoss],
];

function showEquation(totals) {
  const terms = [["consumed", "="], ["delivered", "+"], ["filtered", "+"], ["dead_lettered", "+"], ["in_flight", ""]];
  const place = at("equation");
  if (!place.firstChild) {
    for (const [name, sign] of terms) {
      const term = Object.assign(document.createElement("span"), { id: `term-${name}` });
      term.append(document.createElement("b"), Object.assign(document.createElement("small"), { textContent: name.replace("_", " ") }));
      place.append(term);
      if (sign) place.append(Object.assign(document.createElement("span"), { className: "sign", textContent: sign }));
    }
  }
  for (const [name] of terms) say(at(`term-${name}`).firstChild, whole(totals[name]));
  const difference = totals.consumed - totals.delivered - totals.filtered - totals.dead_lettered - totals.in_flight;
  at("verdict").className = `pill ${difference ? "bad" : "good"}`;
  say(at("verdict"), difference ? `■ off by ${whole(difference)}` : "✓ adds up");
}

function showCanary(canary) {
  at("canary").hidden = !canary;
  if (!canary) return;
  const latency = canary.latency_s === null ? "none was seen yet" : `${duration(canary.latency_s)} from Kafka to Loki`;
  const place = `${canary.topic} / ${canary.partition}`;
  say(at("canary"), `Canary: ${duration(canary.freshness_s)} old at ${place}, ${latency}${canary.last_error ? `; ${canary.last_error}` : ""}`);
}

function showStatus(status, now) {
  const { totals, rates, loki } = status;
  const lags = status.partitions.map((partition) => partition.lag_records ?? 0);
  const lag = lags.reduce((sum, records) => sum + records, 0);
  const oldest = Math.max(0, ...status.partitions.map((partition) => partition.lag_seconds ?? 0));
  startedAt = Date.parse(status.started_at);
  mark(at("state"), status.state);
  document.title = `${status.state === "running" ? "" : `${status.state} · `}shipper`;
  say(at("version"), status.version);
  say(at("uptime"), duration(Math.max(0, Math.floor((now - startedAt) / 1000))));
  say(at("records-rate"), figure(rates.records_per_s));
  say(at("bytes-rate"), `${bytes(rates.bytes_per_s)}/s from Kafka`);
  say(at("delivered"), figure(totals.delivered));
  say(at("pushes"), `in ${compact(totals.pushes)} pushes, ${bytes(totals.bytes_out)}`);
  say(at("lag"), figure(lag));
  say(at("behind"), lag ? `oldest ${duration(oldest)} behind` : "caught up");
  say(at("in-flight"), figure(totals.in_flight));
  say(at("retries"), `${compact(totals.retries)} ${totals.retries === 1 ? "retry" : "retries"} so far`);
  say(at("dead-letters"), figure(totals.dead_lettered));
  say(at("filtered"), `${compact(totals.filtered)} filtered`);
  showEquation(totals);
  mark(at("loki-state"), loki.state);
  say(at("loki-fact"), loki.state === "ok" ? "" : `Loki is ${loki.state}`);
  say(at("loki-since"), loki.since ? `for ${duration(Math.max(0, Math.floor((now - Date.parse(loki.since)) / 1000)))}` : "");
  say(at("loki-limit"), `up to ${loki.push_limit} ${loki.push_limit === 1 ? "push" : "pushes"} at once`);
  say(at("loki-error"), loki.last_error ? `last error: ${loki.last_error}` : "no error so far");
  showCanary(status.canary);
  fill(at("workers"), status.workers.map((worker) => [`${worker.index}`, worker]), WORKER_COLUMNS);
  const most = Math.max(LAG_FULL_MIN, ...lags);
  const shown = status.partitions.length > PARTITIONS_SHOWN
    ? [...status.partitions].sort((one, other) => (other.lag_records ?? 0) - (one.lag_records ?? 0)).slice(0, PARTITIONS_SHOWN)
    : status.partitions;
  say(at("partitions-note"), shown.length < status.partitions.length
    ? `the ${PARTITIONS_SHOWN} with most lag, of ${whole(status.partitions.length)}` : `${whole(shown.length)}`);
  fill(at("partitions"), shown.map((partition) => [`${partition.topic}/${partition.partition}`, { ...partition, most }]), PARTITION_COLUMNS);
}

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return [await answer.json(), Date.parse(answer.headers.get("date")) || Date.now()];
}

async function turn() {
  try {
    const [[status, now], [more]] = await Promise.all([ask("/status"), ask(`/history?since=${history.t.at(-1) ?? 0}`)]);
    // Another supervisor answers now: its history is another one.
    if (startedAt !== null && startedAt !== Date.parse(status.started_at)) history = { t: [] };
    for (const [column, values] of Object.entries(more)) history[column] = [...(history[column] ?? []), ...values].slice(-SAMPLES_MAX);
    showStatus(status, now);
    rateChart.update(history);
    lagChart.update(history);
    answeredAt = Date.now();
    at("silence").hidden = true;
    document.body.classList.remove("silent");
  } catch (error) {
    const since = answeredAt ? `What you see is from ${new Date(answeredAt).toLocaleTimeString("en-GB")}.` : "Nothing was heard of it so far.";
    say(at("silence"), `shipper does not answer at ${location.host} (${error.message}). ${since} This page goes on asking.`);
    at("silence").hidden = false;
    document.body.classList.add("silent");
    document.title = "no answer · shipper";
  }
  setTimeout(turn, EVERY_MS);
}

turn();
