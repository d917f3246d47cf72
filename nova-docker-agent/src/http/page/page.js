// Asks for status.json again and again and shows it. What comes is put in place as text, never as HTML: names of servers and
// messages are not ours.
"use strict";

const PERIOD = 2000;
const place = (id) => document.getElementById(id);

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function ago(time, now) {
  if (!time) return "never";
  const seconds = Math.max(0, Math.round((Date.parse(now) - Date.parse(time)) / 1000));
  if (seconds < 100) return `${seconds} s ago`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min ago`;
  return `${Math.round(seconds / 3600)} h ago`;
}

function milliseconds(value) {
  if (value >= 10000) return `${(value / 1000).toFixed(1)} s`;
  return value >= 10 ? `${Math.round(value)} ms` : `${value.toFixed(1)} ms`;
}

function size(megabytes) {
  return megabytes >= 10240 ? `${(megabytes / 1024).toFixed(1)} GiB` : `${megabytes} MiB`;
}

// Fills a table; each cell is [text, class]. Narrow screens show the heads beside the cells.
function fill(id, rows) {
  const body = place(id);
  const heads = [...body.parentElement.querySelectorAll("th")].map((head) => head.textContent);
  const lines = rows.map((cells) => {
    const line = element("tr");
    cells.forEach(([text, kind], column) => {
      const cell = element("td", text === null || text === "" ? "–" : text, kind);
      cell.dataset.label = heads[column];
      line.append(cell);
    });
    return line;
  });
  if (lines.length === 0) {
    const cell = element("td", "none", "empty");
    cell.colSpan = heads.length;
    const line = element("tr");
    line.append(cell);
    lines.push(line);
  }
  body.replaceChildren(...lines);
  const count = place(`n-${id}`);
  if (count) count.textContent = rows.length;
}

function connection(peer, now) {
  const card = element("div", null, "card");
  const head = element("b", peer.peer);
  const [word, kind] = peer.up === null ? ["not needed yet", "quiet"] : peer.up ? ["up", "good"] : ["down", "bad"];
  head.append(element("span", word, kind));
  card.append(head);
  if (peer.answered) card.append(element("small", `answered ${ago(peer.answered, now)}`));
  if (peer.problem) {
    const when = peer.failed ? `${ago(peer.failed, now)}: ` : "";
    card.append(element("small", when + peer.problem, peer.up ? "" : "bad"));
  }
  return card;
}

const RESOURCES = {
  VCPU: ["Processors", (amount) => amount],
  MEMORY_MB: ["Memory", size],
  DISK_GB: ["Disk", (amount) => `${amount} GiB`],
};

function resource(amount) {
  const [name, text] = RESOURCES[amount.resource];
  const limit = amount.capacity * amount.allocation_ratio;
  const card = element("div", null, "card");
  const head = element("b", name);
  head.append(element("span", `${text(amount.used)} of ${text(amount.capacity)}`));
  const bar = element("progress");
  bar.max = Math.max(limit, 1);
  bar.value = amount.used;
  bar.setAttribute("aria-label", name);
  if (amount.used > 0.9 * limit) bar.className = "full";
  card.append(head, bar);
  if (amount.allocation_ratio !== 1) card.append(element("small", `given out up to ${amount.allocation_ratio} times`));
  return card;
}

function instance(row) {
  const kind = row.vm_state === "error" ? "bad" : row.vm_state === "active" ? "good" : "";
  return [
    [row.name, "wide"], [row.vm_state, kind], [row.task_state], [row.power_state],
    [`${row.flavor} (${row.vcpus} vCPU, ${size(row.memory_mb)}, ${row.disk_gb} GiB)`],
    [row.addresses.join(", "), "id"], [row.container, "id"], [row.uuid, "id"],
  ];
}

function method(row) {
  return [
    [row.method], [row.per_minute, "n"], [row.count, "n"], [row.refused, row.refused ? "n warn" : "n"],
    [row.errors, row.errors ? "n bad" : "n"],
    ...[row.p50_ms, row.p90_ms, row.p99_ms].map((value) => [milliseconds(value), "n"]),
  ];
}

function failure(row) {
  const when = new Date(row.time).toLocaleString();
  return [[when], [row.what], [row.message, row.refused ? "wide warn" : "wide bad"], [row.instance_uuid, "id"], [row.request_id, "id"]];
}

function show(status) {
  const host = status.host;
  place("health").textContent = status.health === "ok" ? "well" : "not well";
  place("health").className = status.health === "ok" ? "pill good" : "pill bad";
  place("connections").replaceChildren(...status.connections.map((peer) => connection(peer, status.now)));
  fill("methods", status.methods.map(method));
  fill("failures", status.failures.map(failure));
  const memory = `${(status.resident_memory / 1048576).toFixed(1)} MiB`;
  if (!host) {
    place("about").textContent = `${status.version}, ${memory}, coming up`;
    return;
  }
  document.title = `${host.name} – nova-docker-agent`;
  place("host").textContent = host.name;
  place("disabled").hidden = !host.disabled;
  place("about").textContent = `nova-docker-agent ${status.version}, started ${ago(host.started, status.now)}, ${memory}`
    + (host.consoles ? `, ${host.consoles} open console${host.consoles === 1 ? "" : "s"}` : "");
  place("resources").replaceChildren(...host.resources.map(resource));
  fill("instances", host.instances.map(instance));
}

let shown = null;

async function refresh() {
  try {
    const answer = await fetch("status.json", { cache: "no-store" });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    show(await answer.json());
    shown = Date.now();
    place("age").textContent = "live";
    place("age").className = "quiet";
  } catch (error) {
    const since = shown ? `, shown as of ${new Date(shown).toLocaleTimeString()}` : "";
    place("age").textContent = `the agent does not answer (${error.message})${since}`;
    place("age").className = "bad";
  }
  setTimeout(refresh, PERIOD);
}

refresh();
