// The same held-out problem at two steps, side by side.

function heldOut() {
  return groupsOfRun().filter((group) => group.kind === "held-out");
}

// The groups of one held-out problem, by step.
function historyOf(place) {
  return heldOut().filter((group) => group.place === place);
}

// The first problem that was answered wrong at first and right at last; else the first one.
function tellingProblem() {
  const places = [...new Set(heldOut().map((group) => group.place))];
  const learned = places.find((place) => {
    const history = historyOf(place);
    return history[0].accuracy[0] < history.at(-1).accuracy[0];
  });
  return learned === undefined ? places[0] : learned;
}

function showBefore() {
  const groups = heldOut();
  byId("before").hidden = groups.length === 0;
  if (!groups.length) return;
  const problems = new Map(groups.map((group) => [group.place, group.question]));
  const pairs = [...problems].map(([place, question]) => [
    place,
    `${place + 1}: ${question.slice(0, 80)}`,
  ]);
  fillSelect(byId("before-problem"), pairs, tellingProblem());
  showProblem();
}

// Another problem: its first and its last step.
function showProblem() {
  const history = historyOf(Number(byId("before-problem").value));
  fill(byId("before-question"));
  appendText(byId("before-question"), history[0].question);
  const steps = history.map((group) => [group.step, stepName(group)]);
  fillSelect(byId("before-left-step"), steps, history[0].step);
  fillSelect(byId("before-right-step"), steps, history.at(-1).step);
  showPair();
}

function stepName(group) {
  return group.step === 0 ? "0: the base" : String(group.step);
}

// Both responses on one scale, so that their colours can be compared.
function showPair() {
  const history = historyOf(Number(byId("before-problem").value));
  const colour = byId("before-colour").value;
  const pair = ["left", "right"].map((side) => {
    const step = Number(byId(`before-${side}-step`).value);
    return history.find((group) => group.step === step);
  });
  const responses = pair.map((group) => responseOf(group, 0));
  const largest = scaleOf(responses, colour);
  showLegend(byId("before-legend"), colour, largest);
  showResponse(byId("before-left"), pair[0], responses[0], colour, largest);
  showResponse(byId("before-right"), pair[1], responses[1], colour, largest);
}
