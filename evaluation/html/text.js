"use strict";
// Making elements, and showing texts that may hold anything.
//
// A model's text reaches the page as text nodes alone: nothing here sets innerHTML. What the eye
// would not see, or what would turn the line around, is written out.

// An element with a class and a text.
function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== "") made.textContent = text;
  return made;
}

function byId(id) {
  return document.getElementById(id);
}

// Replace what an element holds.
function fill(parent, ...children) {
  parent.replaceChildren(...children);
}

// Fill a select with [value, text] pairs, keeping the choice if it is still there.
function fillSelect(select, pairs, chosen = select.value) {
  fill(select);
  for (const [value, text] of pairs) {
    const option = element("option", "", text);
    option.value = value;
    select.append(option);
  }
  const values = pairs.map(([value]) => String(value));
  select.value = values.includes(String(chosen)) ? chosen : values[0];
}

// Control characters; marks that change the direction; characters without width; line separators;
// tags and variation selectors; and halves of surrogate pairs.
const UNSEEN = new RegExp(
  "[\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f" +
    "\\u200b-\\u200f\\u2028-\\u202f\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffc\\ufffe\\uffff" +
    "\\u{e0000}-\\u{e0fff}\\ud800-\\udfff]",
  "gu",
);
const NAMES = { 9: "\u21e5", 10: "\u23ce", 13: "\u240d" };

// How an unseen character is written: a sign of its own, or its number.
function written(character) {
  const code = character.codePointAt(0);
  if (NAMES[code]) return NAMES[code];
  if (code < 32) return String.fromCharCode(0x2400 + code);
  return "<U+" + code.toString(16).toUpperCase().padStart(4, "0") + ">";
}

// Append a text to an element so that all of it can be seen.
function appendText(parent, text) {
  let end = 0;
  for (const match of text.matchAll(UNSEEN)) {
    parent.append(text.slice(end, match.index));
    parent.append(element("span", "hidden-character", written(match[0])));
    if (match[0] === "\n") parent.append("\n");
    end = match.index + match[0].length;
  }
  parent.append(text.slice(end));
}

// A short text as code.
function code(text) {
  const made = element("code");
  appendText(made, text);
  return made;
}

// A number for people: about three digits.
function short(value) {
  if (value === null || value === undefined) return "\u2013";
  if (value === 0 || Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  if (size < 0.001 || size >= 1e5) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

// A number with its sign.
function signed(value) {
  return value > 0 ? "+" + short(value) : short(value);
}
