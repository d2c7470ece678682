// From the data to the page, and from a choice or a key to what it changes.

const data = JSON.parse(byId("data").textContent);

// Held-out responses have no group, so nothing but these to be coloured by.
const OF_ONE_RESPONSE = ["surprise", "entropy"];

function showTitle() {
  const names = data.runs.map((run) => run.name).join(", ");
  byId("title").textContent = names;
  document.title = `${names}: report`;
  const lines = data.runs.map((run) => run.about).filter((about) => about);
  for (const about of lines) byId("summary").append(about, element("br"));
  for (const run of data.runs) byId("settings").append(settingsOf(run));
}

function settingsOf(run) {
  const settings = Object.entries(run.config)
    .filter(([, value]) => value !== null && value !== "" && !Array.isArray(value))
    .map(([name, value]) => `${name} ${value}`);
  const details = element("details");
  details.append(element("summary", "", `settings of ${run.name}`));
  appendText(details, settings.join(", "));
  return details;
}

function showLeftOut() {
  const lines = data.left_out.length ? data.left_out : ["Nothing that the run has logged."];
  fill(byId("left-out"), ...lines.map((line) => element("li", "", line)));
}

function showRun() {
  state.run = Number(byId("run").value);
  state.group = null;
  showBefore();
  showRollouts();
}

function onKey(event) {
  const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
  if (event.key === "Escape" && typing) event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = {
    j: () => move(1),
    k: () => move(-1),
    "/": () => byId("search").focus(),
    "?": () => byId("help").showModal(),
  };
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
}

function start() {
  const colours = Object.entries(COLOURS).map(([key, { name }]) => [key, name]);
  fillSelect(byId("colour"), colours, "surprise");
  fillSelect(
    byId("before-colour"),
    colours.filter(([key]) => OF_ONE_RESPONSE.includes(key)),
    "surprise",
  );
  fillSelect(byId("run"), data.runs.map((run, number) => [number, `${number + 1}: ${run.name}`]), 0);
  byId("run-choice").hidden = data.runs.length < 2;
  const changes = {
    run: showRun,
    "before-problem": showProblem,
    "before-colour": showPair,
    "before-left-step": showPair,
    "before-right-step": showPair,
    where: showList,
    colour: showGroup,
    "only-wrong": showList,
    "only-truncated": showList,
    "only-flat": showList,
  };
  for (const [id, action] of Object.entries(changes)) byId(id).addEventListener("change", action);
  byId("search").addEventListener("input", showList);
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  document.addEventListener("keydown", onKey);
  showTitle();
  showCurves();
  showLeftOut();
  showRun();
}

start();
