// Groups, their strips, and the response that is open.

const MOST_GROUPS = 200; // in the list; search and steps lead to the others

const state = { run: 0, group: null, k: 0 };

// What the choice "Of" calls the place of a group.
function whereOf(group) {
  if (group.kind === "eval") return group.set;
  return `step ${group.step}, ${group.kind === "train" ? "training" : "held out"}`;
}

function groupsOfRun() {
  return data.groups.filter((group) => group.run === state.run);
}

// ---------------------------------------------------------------- filters

// Whether a response passes the boxes that are ticked and the search.
function passes(group, k) {
  if (byId("only-wrong").checked && group.accuracy[k] === 1) return false;
  if (byId("only-truncated").checked && group.finished[k]) return false;
  if (byId("only-flat").checked && group.advantage[k] !== 0) return false;
  const wanted = byId("search").value.toLowerCase();
  if (!wanted) return true;
  const shown = group.shown && group.shown[k];
  const texts = [group.question, group.why[k], shown ? shown.text : ""];
  return texts.some((text) => text.toLowerCase().includes(wanted));
}

// The numbers of a group's responses that pass, the best paid first, of these the shortest.
function orderOf(group) {
  const numbers = [...group.tokens.keys()].filter((k) => passes(group, k));
  return numbers.sort((a, b) => group.total[b] - group.total[a] || group.tokens[a] - group.tokens[b]);
}

// The groups of the chosen place of which a response passes.
function listedGroups() {
  const where = byId("where").value;
  return groupsOfRun().filter(
    (group) => (where === "all" || whereOf(group) === where) && orderOf(group).length > 0,
  );
}

// ---------------------------------------------------------------- what is drawn

function showRollouts() {
  const groups = groupsOfRun();
  byId("rollouts").hidden = groups.length === 0;
  const places = [...new Set(groups.map(whereOf))].map((name) => [name, name]);
  const last = groups.filter((group) => group.kind !== "held-out").at(-1) || groups.at(-1);
  if (last) fillSelect(byId("where"), [["all", "all"], ...places], whereOf(last));
  showList();
}

// The list of groups; the one that was open stays open if it is still listed.
function showList() {
  const groups = listedGroups();
  if (!groups.includes(state.group)) openGroup(groups[0] || null);
  const buttons = groups.slice(0, MOST_GROUPS).map((group) => {
    const button = element("button");
    const right = group.accuracy.filter((value) => value === 1).length;
    appendText(button, `${whereOf(group)}: ${right} of ${group.tokens.length} right. `);
    appendText(button, group.question.slice(0, 150));
    button.addEventListener("click", () => {
      openGroup(group);
      showList();
    });
    if (group === state.group) button.setAttribute("aria-current", "true");
    return button;
  });
  const rest = groups.length - buttons.length;
  if (rest > 0) buttons.push(element("p", "quiet", `and ${rest} more: choose a step, or search`));
  byId("groups-title").textContent = `Groups: ${groups.length}`;
  fill(byId("groups"), ...buttons);
  showGroup();
}

// Open a group at the first response of which the page has the tokens, or the text, or the strip.
function openGroup(group) {
  state.group = group;
  if (!group) return;
  const order = orderOf(group);
  const shown = group.shown || [];
  const withTokens = order.find((k) => shown[k] && shown[k].ids);
  const withText = order.find((k) => shown[k]);
  state.k = withTokens ?? withText ?? order[0];
}

function showGroup() {
  const group = state.group;
  fill(byId("group-question"));
  fill(byId("strips"));
  fill(byId("legend"));
  fill(byId("response"));
  if (!group) {
    byId("group-question").textContent = "No response passes the filters.";
    return;
  }
  appendText(byId("group-question"), group.question);
  const order = orderOf(group);
  if (!order.includes(state.k)) state.k = order[0];
  const longest = Math.max(...group.tokens);
  fill(byId("strips"), ...order.map((k) => stripOf(group, k, longest)));
  const colour = byId("colour").value;
  const largest = scaleOf(group.tokens.map((_, k) => responseOf(group, k)), colour);
  showLegend(byId("legend"), colour, largest);
  showResponse(byId("response"), group, responseOf(group, state.k), colour, largest);
}

// One response as a bar whose length is its tokens.
function stripOf(group, k, longest) {
  const right = group.accuracy[k] === 1;
  const strip = element("button", "strip");
  strip.dataset.k = k;
  if (k === state.k) strip.setAttribute("aria-current", "true");
  strip.append(element("span", "", `${right ? "\u2713" : "\u2717"} paid ${short(group.total[k])}`));
  const track = element("span", "track");
  const bar = element("span", `bar ${right ? "right" : "wrong"}${group.finished[k] ? "" : " cut"}`);
  bar.style.width = `${(70 * group.tokens[k]) / longest}%`;
  const cut = group.finished[k] ? "" : " cut";
  const missing = group.shown && group.shown[k] ? "" : ", no text here";
  track.append(bar, element("span", "", `${group.tokens[k]}${cut}${missing}`));
  strip.append(track);
  strip.addEventListener("click", () => {
    state.k = k;
    showGroup();
  });
  return strip;
}

// Open the next response, or the one before; at a group's end go on to the next group.
function move(direction) {
  if (!state.group) return;
  const order = orderOf(state.group);
  const at = order.indexOf(state.k) + direction;
  if (order[at] !== undefined) {
    state.k = order[at];
    showGroup();
  } else {
    const groups = listedGroups();
    const next = groups[groups.indexOf(state.group) + direction];
    if (!next) return;
    openGroup(next);
    if (direction < 0) state.k = orderOf(next).at(-1);
    showList();
  }
  byId("strips").querySelector("[aria-current]").scrollIntoView({ block: "nearest" });
}
