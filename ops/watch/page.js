// Shows what the watch sends: records by key, as they come, change and go. Nothing is drawn anew
// that has not changed, so that 500 instances cost no more than what happens to them.

const records = new Map();
const nodes = new Map();
const samples = [];
const $ = (id) => document.getElementById(id);
const reduced = matchMedia("(prefers-reduced-motion: reduce)");
const number = new Intl.NumberFormat("en");
const TARGET_ROWS = 40;
const ANNOUNCE_MS = 5000;
// Of samples: five minutes of the rehearsal's seconds, half an hour of CloudWatch's minutes.
const SAMPLES = 300;
const LEAVE_MS = 500;
let meta = {};
let offset = 0;
let connected = false;
let selected = "";

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// What is the same is not written, so that nothing is laid out, and no reader told, for nothing.
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function mark(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

function all(kind) {
  const found = [];
  for (const [key, one] of records) if (key.startsWith(kind + ":")) found.push(one);
  return found;
}

const short = (id) => id.slice(0, 8);
const clock = (seconds) => new Date(seconds * 1000).toTimeString().slice(0, 8);
const label = (service) => records.get("service:" + service)?.label ?? service;

// Puts a node among its siblings by its key; most of the time it is where it belongs.
function place(parent, node, key) {
  node.sortKey = key;
  let after = parent.lastElementChild;
  while (after && (after === node || after.sortKey > key)) after = after.previousElementSibling;
  const next = after ? after.nextElementSibling : parent.firstElementChild;
  if (next === node || (node.parentElement === parent && node.nextElementSibling === next)) return;
  parent.insertBefore(node, next);
}

function enter(node) {
  node.classList.add("entering");
  node.addEventListener("animationend", () => node.classList.remove("entering"), { once: true });
}

function leave(node) {
  if (node.contains(document.activeElement)) $("cluster").focus();
  if (reduced.matches || !node.isConnected) return node.remove();
  node.classList.add("leaving");
  node.inert = true;
  setTimeout(() => node.remove(), LEAVE_MS);
}

// Zones.

function zoneNode(name) {
  const key = "zone:" + name;
  let node = nodes.get(key);
  if (node) return node;
  const root = element("section", "zone");
  const heading = element("h3");
  heading.id = "zone-" + name;
  root.setAttribute("aria-labelledby", heading.id);
  const counts = element("span");
  heading.append(name || "no zone", " ", counts);
  const list = element("ul", "instances");
  root.append(heading, list);
  root.dataset.zone = name;
  node = { root, counts, list };
  nodes.set(key, node);
  place($("zones"), root, name);
  return node;
}

function countZones() {
  for (const [key, node] of nodes) {
    if (!key.startsWith("zone:")) continue;
    const cards = node.list.querySelectorAll(":scope > .instance:not(.leaving)").length;
    const tasks = node.list.querySelectorAll(".task:not(.leaving)").length;
    if (!records.has(key) && cards === 0 && node.list.childElementCount === 0) {
      node.root.remove();
      nodes.delete(key);
      continue;
    }
    write(node.counts, `${plural(cards, "instance")}, ${plural(tasks, "task")}`);
    node.root.classList.toggle("empty", cards === 0);
  }
}

const plural = (count, what) => `${number.format(count)} ${what}${count === 1 ? "" : "s"}`;

// Instances.

function stateOf(one) {
  if (one.status === "DRAINING") return ["draining", "Draining"];
  if (one.lifecycle.startsWith("Terminating") || one.lifecycle === "Terminated") return ["ending", "Ending"];
  if (!one.status || one.status === "REGISTERING") return ["booting", "Booting"];
  if (!one.agent_connected) return ["unreachable", "Agent away"];
  if (one.status === "ACTIVE") return ["active", "Active"];
  return ["booting", one.status];
}

function bar(name) {
  const root = element("div", "bar");
  const title = element("span", "", name);
  const rail = element("div", "rail");
  rail.setAttribute("role", "meter");
  rail.setAttribute("aria-valuemin", "0");
  const fill = element("div", "fill");
  rail.append(fill);
  const amount = element("div", "amount");
  root.append(title, rail, amount);
  return { root, rail, fill, amount };
}

function fillBar(node, name, unit, whole, left, of) {
  const used = whole - left;
  node.fill.style.setProperty("--part", whole ? used / whole : 0);
  mark(node.rail, "aria-label", `${name} reserved on ${of}`);
  mark(node.rail, "aria-valuemax", String(whole || 1));
  mark(node.rail, "aria-valuenow", String(used));
  const words = `${number.format(used)} of ${number.format(whole)}${unit} reserved, ${number.format(left)} free`;
  mark(node.rail, "aria-valuetext", words);
  write(node.amount, whole ? words : "not registered");
}

function showInstance(key, one) {
  let node = nodes.get(key);
  if (!node) {
    const root = element("li", "instance");
    const top = element("div", "top");
    const name = element("button", "name cell");
    name.type = "button";
    name.tabIndex = -1;
    name.dataset.key = key;
    name.append(element("span", "long", one.id), element("span", "short", one.id.slice(-4)));
    const kind = element("span", "kind");
    const badge = element("span", "badge");
    top.append(name, kind, badge);
    const cpu = bar("CPU");
    const memory = bar("Memory");
    const bars = element("div", "bars");
    bars.append(cpu.root, memory.root);
    const tasks = element("ul", "tasks");
    tasks.setAttribute("aria-label", `Tasks on ${one.id}`);
    root.append(top, bars, tasks);
    root.dataset.instance = one.id;
    node = { root, name, kind, badge, cpu, memory, tasks };
    nodes.set(key, node);
    enter(root);
  }
  const [state, word] = stateOf(one);
  node.root.dataset.state = state;
  node.root.dataset.status = one.status;
  write(node.kind, one.kind);
  write(node.badge, word);
  mark(node.name, "aria-label", `${one.id}, ${one.kind}, ${word}`);
  fillBar(node.cpu, "CPU", "", one.cpu, one.cpu_left, one.id);
  fillBar(node.memory, "Memory", " MiB", one.memory, one.memory_left, one.id);
  place(zoneNode(one.zone).list, node.root, one.id);
}

// Tasks.

function signOf(one) {
  if (one.health === "UNHEALTHY" || one.target === "unhealthy") return ["!", "unhealthy"];
  if (one.target === "healthy") return ["●", "gets requests"];
  if (one.target === "initial") return ["◔", "target is being checked"];
  if (one.target === "draining") return ["◌", "target drains"];
  return ["", one.health === "HEALTHY" ? "healthy" : ""];
}

function showTask(key, one) {
  let node = nodes.get(key);
  if (!node) {
    const root = element("li", "task");
    const chip = element("button");
    chip.type = "button";
    chip.tabIndex = -1;
    chip.dataset.key = key;
    const letter = element("b");
    const words = element("span", "words");
    const service = element("span", "service");
    const status = element("span", "status");
    words.append(service, " ", status);
    const sign = element("i");
    sign.setAttribute("aria-hidden", "true");
    chip.append(letter, " ", words, sign);
    root.append(chip);
    root.dataset.task = one.id;
    node = { root, chip, letter, service, status, sign };
    nodes.set(key, node);
    enter(root);
  }
  const [sign, meaning] = signOf(one);
  const sick = sign === "!" ? " sick" : "";
  const className = `chip cell c${one.colour}${sick}`;
  if (node.chip.className !== className) node.chip.className = className;
  node.chip.dataset.phase = one.phase;
  Object.assign(node.root.dataset, {
    status: one.status, desired: one.desired, health: one.health, target: one.target,
    service: one.service, revision: one.revision, deployment: one.deployment, letter: one.letter,
  });
  const status = one.status === "RUNNING" && one.phase === "draining" ? "draining" : one.status.toLowerCase();
  write(node.letter, one.letter);
  write(node.service, label(one.service));
  write(node.status, status);
  write(node.sign, sign);
  const words = [`${one.letter} ${label(one.service)} ${status}`, meaning, `task ${short(one.id)}`];
  mark(node.chip, "aria-label", words.filter(Boolean).join(", "));
  const home = nodes.get("instance:" + one.instance);
  const parent = home ? home.tasks : $("loose").querySelector("ul");
  if (node.root.parentElement && node.root.parentElement !== parent) enter(node.root);
  place(parent, node.root, `${one.service} ${one.letter} ${String(one.created_at).padStart(20, "0")} ${one.id}`);
}

// Services and their deployments.

const ROLLOUTS = { IN_PROGRESS: "in progress", COMPLETED: "completed", FAILED: "failed" };

function showService(key, one) {
  let node = nodes.get(key);
  if (!node) {
    const root = element("li");
    const counts = element("div", "counts");
    const name = element("strong");
    const words = element("span");
    counts.append(name, words);
    const deployments = element("ul", "deployments");
    root.append(counts, deployments);
    root.dataset.service = one.name;
    node = { root, name, words, deployments };
    nodes.set(key, node);
  }
  write(node.name, one.label);
  mark(node.name, "title", one.name);
  mark(node.deployments, "aria-label", `Deployments of ${one.label}`);
  write(node.words, `${one.running} running, ${one.desired} desired, ${one.pending} pending`);
  place($("services"), node.root, one.label + one.name);
}

function showDeployment(key, one) {
  const service = nodes.get("service:" + one.service);
  if (!service) return;
  let node = nodes.get(key);
  if (!node) {
    const root = element("li", "deployment");
    const chip = element("span", `chip sample c${one.colour}`);
    chip.dataset.phase = "running";
    chip.append(element("b", "", one.letter));
    const what = element("span");
    const rollout = element("span", "rollout");
    const progress = element("progress");
    const why = element("span", "why");
    root.append(chip, what, rollout, progress, why);
    root.dataset.deployment = one.id;
    node = { root, what, rollout, progress, why };
    nodes.set(key, node);
    enter(root);
  }
  const isOld = one.status !== "PRIMARY";
  node.root.dataset.rollout = one.rollout;
  node.root.dataset.status = one.status;
  const tasks = isOld ? plural(one.running, "task") : `${one.running} of ${one.desired}`;
  write(node.what, `revision ${one.revision.split(":").pop()}, ${tasks}`);
  mark(node.what, "title", one.revision);
  write(node.rollout, isOld ? "is replaced" : ROLLOUTS[one.rollout] ?? one.status.toLowerCase());
  // An old one goes down from all of the service's tasks.
  const whole = Math.max(1, records.get("service:" + one.service).desired, one.desired);
  node.progress.max = whole;
  node.progress.value = Math.min(one.running, whole);
  mark(node.progress, "aria-label", `Deployment ${one.letter}: ${one.running} of ${whole} tasks run`);
  const failed = one.failed ? `${plural(one.failed, "task")} failed. ` : "";
  write(node.why, failed + (one.rollout === "FAILED" ? one.reason : ""));
  const newestFirst = String(1e12 - Math.round(one.created_at)).padStart(14, "0");
  place(service.deployments, node.root, newestFirst + one.id);
}

// Targets, events, what has stopped.

const STATES = ["unhealthy", "draining", "initial", "unavailable", "unused", "healthy"];

function showTargets() {
  const targets = all("target");
  const rank = (one) => (STATES.indexOf(one.state) + 1 || STATES.length) * 1;
  targets.sort((a, b) => rank(a) - rank(b) || (a.instance + a.port < b.instance + b.port ? -1 : 1));
  const counts = {};
  for (const one of targets) counts[one.state] = (counts[one.state] ?? 0) + 1;
  const words = Object.entries(counts).map(([state, count]) => `${number.format(count)} ${state}`);
  const hidden = targets.length - TARGET_ROWS;
  if (hidden > 0) words.push(`the first ${TARGET_ROWS} are listed, what is not healthy first`);
  write($("targets-words"), words.length ? words.join(", ") : "None registered.");
  $("targets").hidden = targets.length === 0;
  const rows = targets.slice(0, TARGET_ROWS).map((one) => {
    const row = element("tr");
    row.dataset.target = `${one.instance}:${one.port}`;
    const where = element("td");
    where.append(element("span", "id", `${one.instance}:${one.port}`));
    const task = records.get("task:" + one.task);
    const whose = element("td");
    if (task) whose.append(`${task.letter} ${label(task.service)} `, element("span", "id", short(one.task)));
    else whose.textContent = "not known";
    const state = element("td", "state", `${TARGET_SIGNS[one.state] ?? ""} ${one.state}`);
    state.dataset.state = one.state;
    const why = one.description || one.reason;
    if (why) state.title = why;
    row.append(where, whose, state);
    return row;
  });
  $("targets").tBodies[0].replaceChildren(...rows);
}

const TARGET_SIGNS = { healthy: "●", initial: "◔", draining: "◌", unhealthy: "!" };

function plain(event) {
  let text = event.message.replaceAll(`(service ${event.service})`, label(event.service));
  text = text.replace(/arn:\S+?:targetgroup\/([^/\s]+)\/\w+/g, "$1");
  text = text.replace(/arn:\S+\/(\w+)/g, "$1");
  text = text.replace(/\b([0-9a-f]{8})[0-9a-f]{24}\b/g, "$1");
  return text.replace(/ For more information, see .*$/, "");
}

function showEvent(key, one) {
  if (nodes.has(key)) return;
  const root = element("li");
  root.append(element("time", "", clock(one.at)), " ", plain(one));
  root.dataset.event = one.id;
  nodes.set(key, { root });
  place($("events"), root, -one.at);
}

function showStopped(key, one) {
  if (nodes.has(key)) return;
  const root = element("li");
  const exit = one.exit ? ` Exit code ${one.exit}.` : "";
  const chip = element("span", `chip sample c${one.colour}`);
  chip.dataset.phase = "stopping";
  chip.append(element("b", "", one.letter));
  root.append(element("time", "", clock(one.at)), " ", chip, ` ${label(one.service)} `,
    element("span", "id", short(one.id)), ` ${one.reason || one.code}.${exit}`);
  root.dataset.stopped = one.id;
  nodes.set(key, { root });
  place($("stopped"), root, -one.at);
}

// Figures, traffic, freshness.

function showFigures() {
  const instances = all("instance");
  const active = instances.filter((one) => stateOf(one)[0] === "active").length;
  write($("figure-instances"), active === instances.length ? `${active}` : `${active} of ${instances.length}`);
  const services = all("service");
  const sum = (name) => services.reduce((total, one) => total + one[name], 0);
  write($("figure-tasks"), `${number.format(sum("running"))} of ${number.format(sum("desired"))}`);
}

const rate = (value) => (value > 0 && value < 10 ? value.toFixed(1) : number.format(Math.round(value)));

function showTraffic() {
  const latest = samples.at(-1);
  if (!latest) {
    write($("figure-requests"), "–");
    write($("figure-failures"), "–");
    write($("traffic-words"), meta.rates_error || `No sample yet${meta.rates && `, from ${meta.rates}`}.`);
    return;
  }
  write($("figure-requests"), rate(latest.requests));
  write($("figure-failures"), rate(latest.failures));
  $("failures").classList.toggle("some", latest.failures > 0);
  const first = samples[0].at;
  const width = Math.max(latest.at - first, latest.span);
  const highest = Math.max(...samples.map((one) => Math.max(one.requests, one.failures)));
  const x = (one) => (300 * (one.at - first) / width).toFixed(1);
  const y = (value) => (60 - 56 * value / Math.max(1, highest)).toFixed(1);
  // Where nobody looked for a while there is no line.
  const since = (one, index) => (index ? one.at - samples[index - 1].at : 0);
  const follows = (one, index) => index && since(one, index) < 3 * one.span;
  const step = (one, index) => (follows(one, index) ? "L" : "M");
  const line = samples.map((one, index) => `${step(one, index)}${x(one)} ${y(one.requests)}`).join("");
  $("traffic-line").setAttribute("d", line);
  const areas = line.split("M").filter(Boolean).map((part) => {
    const ends = part.split("L").map((point) => point.split(" ")[0]);
    return `M${ends[0]} 64L${part}L${ends.at(-1)} 64Z`;
  });
  $("traffic-area").setAttribute("d", areas.join(""));
  const failing = samples.some((one) => one.failures > 0);
  const failures = samples.map((one, index) => `${step(one, index)}${x(one)} ${y(one.failures)}`).join("");
  $("traffic-failures").setAttribute("d", failing ? failures : "");
  const long = (seconds) => (seconds > 90 ? `${Math.round(seconds / 60)} minutes` : `${Math.round(seconds)} s`);
  const unseen = samples.reduce((total, one, index) => total + (follows(one, index) ? 0 : since(one, index)), 0);
  const over = unseen ? `the ${long(width - unseen)} of ${long(width)} that were watched` : long(width);
  const words = `${rate(latest.requests)} requests and ${rate(latest.failures)} failures a second as of `
    + `${clock(latest.at)}; at most ${rate(highest)} in ${over}. From ${meta.rates}.`;
  write($("traffic-words"), meta.rates_error ? `${words} ${meta.rates_error}` : words);
  mark($("traffic"), "aria-label", words);
}

function showFreshness() {
  const now = Date.now() / 1000 + offset;
  const age = meta.read_at ? Math.max(0, now - meta.read_at) : Infinity;
  const late = Math.max(3, 3 * (meta.every || 1));
  const stale = !connected || age > late || Boolean(meta.error);
  document.body.classList.toggle("stale", stale);
  const old = age === Infinity ? "not read yet" : age < 10 ? `${age.toFixed(1)} s old` : `${Math.round(age)} s old`;
  write($("age"), stale ? `Stale: ${old}` : `Live: ${old}`);
  const problem = connected ? meta.error : "The watch does not answer. Begin it again in its terminal: "
    + `python -m ops watch ${meta.environment ?? "ENVIRONMENT"}`;
  if (problem) {
    write($("problem"), problem);
    $("problem").hidden = false;
  } else $("problem").hidden = true;
}

function showMeta() {
  write($("environment"), meta.environment);
  write($("place"), meta.place ? `${meta.rehearsal ? "Played: " : ""}${meta.place}` : "connecting");
  document.title = `${meta.environment} (${meta.rehearsal ? "rehearsal" : "AWS"}), Drydock`;
  showFaults();
}

function density() {
  const count = all("instance").length;
  const wanted = count <= 12 ? "roomy" : count <= 60 ? "close" : "dense";
  if ($("zones").dataset.density !== wanted) $("zones").dataset.density = wanted;
  $("loose").dataset.density = wanted === "dense" ? "close" : wanted;
}

// What there is none of is said, once it is known that there is none.
const NONE = {
  instance: "There are no instances: none is wanted, or none has booted yet.",
  service: "There are no services yet.",
  event: "None yet.",
  stopped: "None in the last hour.",
};

function showNone() {
  if (!meta.read_at) return;
  for (const [kind, words] of Object.entries(NONE)) {
    write($(`${kind}-none`), words);
    $(`${kind}-none`).hidden = all(kind).length > 0;
  }
  showFigures();
}

// Details of one task or instance.

const DETAILS = {
  instance: (one) => ({
    Instance: one.id, Type: one.kind, Zone: one.zone, Status: one.status || "not registered",
    "Auto Scaling": one.lifecycle || "not in a group", Agent: one.agent_connected ? "connected" : "away",
    CPU: `${number.format(one.cpu - one.cpu_left)} of ${number.format(one.cpu)} units reserved, ${number.format(one.cpu_left)} free`,
    Memory: `${number.format(one.memory - one.memory_left)} of ${number.format(one.memory)} MiB reserved, ${number.format(one.memory_left)} free`,
    Tasks: String(all("task").filter((task) => task.instance === one.id).length),
  }),
  task: (one) => ({
    Task: one.id, Service: label(one.service), Version: `${one.letter}: ${one.revision}`, Deployment: one.deployment,
    Status: `${one.status}, desired ${one.desired}`, Health: one.health,
    Target: one.target ? one.target + (one.target_reason ? `: ${one.target_reason}` : "") : "not registered",
    Instance: one.instance || "none yet", Zone: one.zone, Image: one.image,
    Reserved: `${one.cpu} CPU units, ${one.memory} MiB`,
    Started: one.started_at ? clock(one.started_at) : "not yet",
  }),
};

function showDetail() {
  const one = records.get(selected);
  if (!selected) {
    $("detail").hidden = true;
    return;
  }
  const kind = selected.split(":")[0];
  write($("detail-heading"), kind === "task" ? "This task" : "This instance");
  if (!one) return write($("detail-heading"), kind === "task" ? "This task has stopped" : "This instance is gone");
  const rows = Object.entries(DETAILS[kind](one));
  const list = $("detail-list");
  if (list.childElementCount !== 2 * rows.length) {
    list.replaceChildren(...rows.flatMap(([name]) => [element("dt", "", name), element("dd")]));
  }
  rows.forEach(([name, value], index) => {
    write(list.children[2 * index], name);
    write(list.children[2 * index + 1], value);
  });
  $("detail").hidden = false;
}

function select(key) {
  nodes.get(selected) && cellOf(selected)?.removeAttribute("aria-current");
  selected = key;
  if (key) cellOf(key)?.setAttribute("aria-current", "true");
  showDetail();
  if (!key) return;
  const [kind, id] = [key.split(":")[0], key.slice(key.indexOf(":") + 1)];
  for (const choice of document.querySelectorAll(`#faults select[data-on="${kind}"]`)) {
    const value = kind === "instance" && choice.dataset.by === "arn" ? records.get(key).arn : id;
    if ([...choice.options].some((one) => one.value === value)) {
      choice.value = value;
      showCommand(choice.form);
    }
  }
  say(`Details are shown of ${cellOf(key)?.getAttribute("aria-label") ?? id}`);
}

const cellOf = (key) => nodes.get(key)?.chip ?? nodes.get(key)?.name;

$("detail-close").addEventListener("click", () => {
  const cell = cellOf(selected);
  select("");
  cell?.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && selected) $("detail-close").click();
});

// One stop of the Tab key for the whole cluster; arrow keys go on from there.

let current = null;

function makeCurrent(cell) {
  if (current) current.tabIndex = -1;
  current = cell;
  if (cell) cell.tabIndex = 0;
}

function keepOneStop() {
  if (!current?.isConnected || current.closest("[inert]")) makeCurrent($("cluster").querySelector(".cell"));
}

$("cluster").addEventListener("click", (event) => {
  const cell = event.target.closest(".cell");
  if (!cell) return;
  makeCurrent(cell);
  select(cell.dataset.key);
});
$("cluster").addEventListener("focusin", (event) => {
  const cell = event.target.closest(".cell");
  if (cell) makeCurrent(cell);
});
$("cluster").addEventListener("keydown", (event) => {
  const steps = { ArrowRight: [1, ".cell"], ArrowLeft: [-1, ".cell"], ArrowDown: [1, ".name"], ArrowUp: [-1, ".name"] };
  const cell = event.target.closest(".cell");
  if (!cell || event.ctrlKey || event.altKey || event.metaKey) return;
  const cells = [...$("cluster").querySelectorAll(".cell")].filter((one) => !one.closest("[inert]"));
  let next = null;
  if (event.key === "Home") next = cells[0];
  else if (event.key === "End") next = cells.at(-1);
  else if (steps[event.key]) {
    const [step, wanted] = steps[event.key];
    let index = cells.indexOf(cell) + step;
    while (cells[index] && !cells[index].matches(wanted)) index += step;
    next = cells[index];
  } else return;
  event.preventDefault();
  next?.focus();
});

// What a screen reader hears: no more than a sentence in a few seconds, the newest first.

let waiting = [];
let announcedAt = 0;

function say(text) {
  waiting.push(text);
  const due = Math.max(0, announcedAt + ANNOUNCE_MS - Date.now());
  if (waiting.length === 1) setTimeout(() => {
    const more = waiting.length - 1;
    write($("announced"), waiting.at(-1) + (more ? ` And ${more} more before that.` : ""));
    waiting = [];
    announcedAt = Date.now();
  }, due);
}

// Faults, on a rehearsal only.

let offered = "";

function showFaults() {
  const faults = meta.faults ?? [];
  $("breaking").hidden = !faults.length;
  const text = JSON.stringify(faults);
  if (!faults.length || text === offered) return;
  offered = text;
  $("faults").replaceChildren(...faults.map(faultNode));
  showChoices();
}

function faultNode(fault) {
  const root = element("li");
  const form = element("form");
  form.dataset.kind = fault.kind;
  form.fault = form.shown = fault;
  const row = element("div", "row");
  const choose = (name, on, options) => {
    const title = element("label", "", name);
    const choice = element("select");
    choice.dataset.on = on;
    if (fault.command.includes("--container-instances")) choice.dataset.by = "arn";
    choice.append(...options);
    choice.addEventListener("change", () => showCommand(form));
    title.append(choice);
    row.append(title);
    return choice;
  };
  if (fault.on) form.target_ = choose(`Which ${fault.on}`, fault.on, []);
  const hows = Object.entries(fault.hows);
  if (hows.length) form.how = choose("How bad", "", hows.map(([how, says]) => {
    const option = element("option", "", `${how}: ${says}`);
    option.value = how;
    return option;
  }));
  const button = element("button", "do", fault.label);
  button.type = "submit";
  const says = element("span", "says", fault.says);
  row.append(button, says);
  const command = element("div", "command");
  const code = element("code");
  code.tabIndex = 0;
  code.setAttribute("role", "group");
  const copy = element("button", "copy", "Copy");
  copy.type = "button";
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.textContent);
    write($("fault-words"), "Copied.");
  });
  command.append(code, copy);
  Object.assign(form, { code, button, says, copy });
  form.append(row, command);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    carryOut(form);
  });
  root.append(form);
  return root;
}

const mayComeBack = (one) => one.status === "DRAINING" && !one.lifecycle.startsWith("Terminating");

const CHOICES = {
  task: () => all("task").filter((one) => one.phase === "running")
    .map((one) => [one.id, `${one.letter} ${label(one.service)} ${short(one.id)}`]),
  instance: () => all("instance").filter((one) => one.status === "ACTIVE").map((one) => [one.id, `${one.id} in ${one.zone}`]),
  // What drains is chosen last, and only as long as Auto Scaling does not end it.
  arn: () => all("instance").filter((one) => one.status === "ACTIVE" || mayComeBack(one))
    .map((one) => [one.arn, `${mayComeBack(one) ? "draining: " : ""}${one.id} in ${one.zone}`, mayComeBack(one)]),
  zone: () => all("zone").map((one) => [one.name, one.name]),
  service: () => all("service").map((one) => [one.name, one.label]),
};

function showChoices() {
  for (const form of document.querySelectorAll("#faults form")) {
    const choice = form.target_;
    if (!choice) {
      showCommand(form);
      continue;
    }
    const wanted = CHOICES[choice.dataset.by ?? choice.dataset.on]()
      .sort((a, b) => (a[2] ?? 0) - (b[2] ?? 0) || (a[1] < b[1] ? -1 : 1));
    const text = JSON.stringify(wanted);
    if (choice.dataset.shown === text) continue;
    choice.dataset.shown = text;
    const before = choice.value;
    choice.replaceChildren(...wanted.map(([value, words]) => {
      const option = element("option", "", words);
      option.value = value;
      return option;
    }));
    if (wanted.some(([value]) => value === before)) choice.value = before;
    form.button.disabled = !wanted.length;
    showCommand(form);
  }
}

// For an instance that drains, what undoes it takes the fault's place.
function showCommand(form) {
  const { fault } = form;
  const drains = fault.undo && all("instance").some((one) => one.arn === form.target_.value && mayComeBack(one));
  const shown = form.shown = drains ? fault.undo : fault;
  write(form.button, shown.label);
  mark(form.button, "data-kind", shown.kind);
  write(form.says, shown.says);
  mark(form.code, "aria-label", `The command for: ${shown.label}`);
  mark(form.copy, "aria-label", `Copy the command for: ${shown.label}`);
  let { command } = shown;
  if (form.target_) command = command.replaceAll("{target}", form.target_.value || "...");
  if (form.how) command = command.replaceAll("{how}", form.how.value);
  write(form.code, command);
}

async function carryOut(form) {
  const focused = document.activeElement;
  form.button.disabled = true;
  write($("fault-words"), `${form.shown.label}…`);
  try {
    const answer = await fetch("fault", {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "X-Drydock-Token": document.querySelector("meta[name=token]").content,
      },
      body: JSON.stringify({ kind: form.shown.kind, target: form.target_?.value, how: form.how?.value }),
    });
    const said = await answer.json();
    write($("fault-words"), (answer.ok ? "" : "Refused: ") + said.words);
  } catch (error) {
    write($("fault-words"), `The watch does not answer: ${error.message}`);
  }
  form.button.disabled = Boolean(form.target_ && !form.target_.options.length);
  // A button that is disabled loses the focus; who has not gone on has it back.
  if (document.activeElement === document.body) focused.focus();
}

// What comes.

const SHOW = { instance: showInstance, task: showTask, service: showService, deployment: showDeployment, event: showEvent, stopped: showStopped };
const ORDER = ["zone", "service", "deployment", "instance", "task", "stopped", "event"];

function apply(message) {
  const first = message.whole;
  if (first) {
    for (const key of [...records.keys()]) if (!(key in message.changed)) message.gone.push(key);
    samples.length = 0;
  }
  offset = message.now - Date.now() / 1000;
  const kinds = {};
  const fresh = new Set();
  for (const [key, one] of Object.entries(message.changed)) {
    const kind = key.slice(0, key.indexOf(":"));
    if (!records.has(key)) fresh.add(kind);
    records.set(key, one);
    (kinds[kind] ??= []).push(key);
  }
  const gone = new Set();
  for (const key of message.gone) {
    gone.add(key.slice(0, key.indexOf(":")));
    records.delete(key);
    const node = nodes.get(key);
    if (!node || key.startsWith("zone:")) continue;
    nodes.delete(key);
    leave(node.root);
  }
  for (const kind of ORDER) {
    for (const key of kinds[kind] ?? []) {
      if (kind === "zone") zoneNode(records.get(key).name);
      else SHOW[kind](key, records.get(key));
    }
  }
  // A task may be told of before its instance or service, and stay when its instance goes.
  const homes = fresh.has("instance") || gone.has("instance") || fresh.has("service");
  if (homes && !first) for (const one of all("task")) showTask("task:" + one.id, one);
  if (kinds.service) for (const one of all("deployment")) showDeployment("deployment:" + one.id, one);
  const has = (...some) => some.some((kind) => kinds[kind] || gone.has(kind));
  if (has("instance", "zone", "task")) {
    density();
    countZones();
    keepOneStop();
    $("loose").hidden = !$("loose").querySelector(".task:not(.leaving)");
  }
  if (has("target", "task") || (!meta.read_at && records.get("meta")?.read_at)) showTargets();
  if (kinds.event && !first) for (const key of kinds.event.slice(-3)) say(plain(records.get(key)));
  if (records.has("meta")) {
    const before = meta;
    meta = records.get("meta");
    showMeta();
    if (meta.rates_error !== before.rates_error || meta.rates !== before.rates) showTraffic();
    if (!before.read_at || has("instance", "service", "event", "stopped")) showNone();
  }
  samples.push(...message.samples);
  samples.splice(0, Math.max(0, samples.length - SAMPLES));
  if (message.samples.length || first) showTraffic();
  if (has("task", "instance", "service", "zone")) showChoices();
  if (selected) showDetail();
  showFreshness();
  // For whoever measures: how many messages were shown, and how long the last one took.
  document.body.dataset.shown = String(Number(document.body.dataset.shown ?? 0) + 1);
}

const events = new EventSource("events");
events.addEventListener("message", (event) => {
  const began = performance.now();
  connected = true;
  apply(JSON.parse(event.data));
  document.body.dataset.took = (performance.now() - began).toFixed(1);
});
events.addEventListener("error", () => {
  connected = false;
  showFreshness();
});
setInterval(showFreshness, 250);
