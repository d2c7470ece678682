// One response: its tokens, what is known of the token under the pointer, and why it was paid.

const MOST_TOKENS = 3000; // shown at first: more spans make a page slow

// A response of a group as one object: the strip's columns, and what is shown of it beyond.
function responseOf(group, k) {
  const shown = (group.shown && group.shown[k]) || {};
  const columns = ["tokens", "finished", "total", "accuracy", "advantage", "why"];
  const strip = Object.fromEntries(columns.map((name) => [name, group[name][k]]));
  return { ...strip, ...shown, k };
}

// "right" or "wrong", and why.
function verdictOf(response) {
  const right = response.accuracy === 1;
  const made = element("p");
  made.append(element("span", right ? "right-mark" : "wrong-mark", right ? "\u2713 right" : "\u2717 wrong"));
  const reason = response.why === "right" ? "" : `: ${response.why}`;
  appendText(made, `${reason}; paid ${short(response.total)}, ${response.tokens} tokens`);
  return made;
}

// Put a response, with everything about it, into a place of the page.
function showResponse(parent, group, response, colour, largest, goOn = () => {}) {
  const parts = [verdictOf(response)];
  if (response.text === undefined) {
    const file = group.kind === "train" ? "rollouts.jsonl" : "tokens.jsonl";
    parts.push(element("p", "quiet", `The text of this response is not in this page: see ${file}.`));
  } else if (response.ids) {
    const facts = element("div", "token-facts");
    facts.setAttribute("aria-live", "polite");
    facts.append(element("p", "quiet", "Point at a token, or touch one: id, log-prob, alternatives."));
    parts.push(tokensOf(group, response, colour, largest, facts), facts);
  } else {
    parts.push(textOf(response));
    parts.push(element("p", "quiet", "The tokens of this response are not in this page."));
  }
  if (response.reasons) parts.push(reasonsOf(group, response));
  fill(parent, ...parts);
}

// ---------------------------------------------------------------- tokens

// The texts of a response's tokens; "" for what rewards do not see.
function piecesOf(group, response) {
  const special = new Set(group.special);
  return response.ids.map((id) => (special.has(id) ? "" : group.pieces[id]));
}

// [first, end) of the answer among the characters of the joined pieces; null if it is not there.
function answerSpan(response, joined) {
  const { span, answer } = response.reasons;
  if (!span) return null;
  if (joined.startsWith(response.text)) return span;
  const first = joined.lastIndexOf(answer); // a character of several tokens has shifted it
  return first < 0 ? null : [first, first + answer.length];
}

// The tokens as spans, coloured. Pointing at one, or moving to it by the arrows, fills `facts`.
function tokensOf(group, response, colour, largest, facts) {
  const box = element("div", "tokens");
  box.tabIndex = 0;
  const pieces = piecesOf(group, response);
  const answer = answerSpan(response, pieces.join(""));
  const clipped = new Set(response.clipped);
  let characters = 0;

  function append(first, end) {
    for (let t = first; t < end; t++) {
      const span = tokenSpan(group, response, t);
      span.dataset.t = t;
      const after = characters + pieces[t].length;
      if (answer && characters < answer[1] && after > answer[0]) span.classList.add("answer");
      characters = after;
      if (colour === "ratio" && clipped.has(t)) span.classList.add("clipped");
      paint(span, COLOURS[colour].value(response, t), largest);
      box.append(span);
    }
    if (end === response.ids.length) {
      box.append(...endOf(group, response));
      return;
    }
    const more = element("button", "", `show ${response.ids.length - end} more tokens`);
    more.addEventListener("click", () => {
      more.remove();
      append(end, response.ids.length);
    });
    box.append(more);
  }

  append(0, Math.min(MOST_TOKENS, response.ids.length));
  let chosen = null;

  function choose(span) {
    if (!span) return;
    if (chosen) chosen.classList.remove("chosen");
    chosen = span;
    chosen.classList.add("chosen");
    showFacts(facts, group, response, Number(span.dataset.t));
  }

  box.addEventListener("pointerover", (event) => choose(event.target.closest("[data-t]")));
  box.addEventListener("click", (event) => choose(event.target.closest("[data-t]")));
  box.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1 };
    if (!steps[event.key]) return;
    const t = chosen ? Number(chosen.dataset.t) + steps[event.key] : 0;
    choose(box.querySelector(`[data-t="${t}"]`));
    event.preventDefault();
  });
  return box;
}

// One token. The stop token is an action like the others, and is drawn as one.
function tokenSpan(group, response, t) {
  const id = response.ids[t];
  const last = t === response.ids.length - 1;
  if (last && response.finished && group.special.includes(id)) {
    const stop = element("span", "token action", "\u25a0 stop ");
    appendText(stop, group.pieces[id]);
    return stop;
  }
  const span = element("span", "token");
  appendText(span, group.pieces[id]);
  return span;
}

// What ended a response, if it was no stop token.
function endOf(group, response) {
  if (!response.finished) return [element("span", "action limit", "\u2702 cut at the length limit")];
  const last = response.ids[response.ids.length - 1];
  if (group.special.includes(last)) return [];
  return [element("span", "action", "\u25a0 ended by its text")];
}

// What is known of token t.
function showFacts(facts, group, response, t) {
  const id = response.ids[t];
  const head = element("p");
  head.append(`token ${t + 1} of ${response.ids.length}: `, code(group.pieces[id]));
  if (group.parts.includes(id)) head.append(" (part of a character, in the tokenizer's spelling)");
  head.append(`, id ${id}; log-prob ${short(response.logprobs[t])}, p ${probability(response.logprobs[t])}`);
  head.append(`; entropy ${short(response.entropy[t])}`);
  if (response.log_ratio) {
    const how = response.clipped.includes(t) ? "clipped: no gradient" : "not clipped";
    head.append(`; ratio ${Math.exp(response.log_ratio[t]).toFixed(3)}, ${how}`);
  }
  const pushes = element("p");
  if (response.sides) {
    pushes.append(
      `advantage \u00d7 weight: GRPO ${signed(push(response, "grpo"))}, ` +
        `Dr. GRPO ${signed(push(response, "dr_grpo"))}, quotient ${short(quotient(response))}`,
    );
  }
  const rows = response.likeliest[t].map((other, i) => {
    const logprob = response.their_logprobs[t][i];
    const cells = [code(group.pieces[other]), other, short(logprob), probability(logprob)];
    return { cells, own: other === id };
  });
  const title = element("p", "quiet", "the five likeliest here (bold: the one that was drawn)");
  fill(facts, head, pushes, title, table(["text", "id", "log-prob", "p"], rows));
}

function probability(logprob) {
  const p = Math.exp(logprob);
  return p > 0.9995 && p < 1 ? "> 0.9995" : short(p);
}

// A table; rows: {cells, own}, where numbers stand to the right and an own row stands out.
function table(heads, rows) {
  const made = element("table");
  const top = element("tr");
  for (const head of heads) top.append(element("th", "", head));
  made.append(top);
  for (const { cells, own } of rows) {
    const row = element("tr", own ? "own" : "");
    for (const cell of cells) {
      const place = element("td", cell instanceof Node ? "" : "number");
      place.append(cell);
      row.append(place);
    }
    made.append(row);
  }
  return made;
}

// ---------------------------------------------------------------- text alone

// The text of a response whose tokens are not known.
function textOf(response) {
  const box = element("div", "tokens");
  const { span } = response.reasons || {};
  const [first, end] = span || [0, 0];
  appendText(box, response.text.slice(0, first));
  const answer = element("span", "answer");
  appendText(answer, response.text.slice(first, end));
  box.append(answer);
  appendText(box, response.text.slice(end));
  if (response.characters > response.text.length) {
    const missing = response.characters - response.text.length;
    box.append(element("span", "action limit", `${missing} more characters are not in this page`));
  }
  if (!response.finished) box.append(...endOf(null, response));
  return box;
}

// ---------------------------------------------------------------- why

function reasonsOf(group, response) {
  const { answer, fault, value, rewards } = response.reasons;
  const made = element("div", "why");
  const read = element("p");
  if (answer === null) {
    read.append(`no answer was read: ${fault}`);
  } else {
    read.append("read as the answer (underlined): ", code(answer));
    if (value !== null) read.append(`, which is ${value}`);
    if (group.answer) read.append("; one right answer: ", code(group.answer));
  }
  const format = element("p", "", fault ? `format broken: ${fault}` : "the format holds");
  made.append(read, format);
  if (response.sides) made.append(sidesTable(response));
  if (rewards.length) {
    const own = data.runs[group.run].config.reward;
    const rows = rewards.map(([name, total, reason]) => ({
      cells: [element("span", "", name), short(total), code(reason)],
      own: name === own,
    }));
    const details = element("details");
    details.open = true;
    details.append(element("summary", "", "What each reward would have paid (bold: this run's)"));
    details.append(table(["reward", "pays", "why"], rows));
    made.append(details);
  }
  return made;
}

function sidesTable(response) {
  const rows = Object.entries(response.sides).map(([name, { advantage, weight }]) => ({
    cells: [
      element("span", "", name === "grpo" ? "GRPO" : "Dr. GRPO"),
      signed(advantage),
      short(weight),
      signed(advantage * weight),
    ],
    own: false,
  }));
  const made = table(["method", "advantage", "weight of a token", "product"], rows);
  const ratio = quotient(response);
  const words = ratio === null ? "no advantage, so no push at all" : `quotient ${short(ratio)}`;
  const row = element("tr");
  const cell = element("td", "", words);
  cell.colSpan = 4;
  row.append(cell);
  made.append(row);
  return made;
}
