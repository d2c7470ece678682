// What a token is coloured by. A token's value is a number, or null where it has none.
//
// Zero has no colour: it is the page's white (or black). Size is also the height of a bar, which
// stands below a token where the value is above zero, and over it where it is below.

const COLOURS = {
  surprise: {
    name: "surprise",
    about: "\u2212log p of the token, nats",
    value: (response, t) => -response.logprobs[t],
  },
  entropy: {
    name: "entropy",
    about: "of the distribution that it was drawn from, nats",
    value: (response, t) => response.entropy[t],
  },
  ratio: {
    name: "ratio and clip",
    about: "log(\u03c0 / \u03c0_old) in the update; a dashed frame: clipped, no gradient",
    value: (response, t) => (response.log_ratio ? response.log_ratio[t] : null),
    // What is smaller is rounding, and stays white.
    least: 0.001,
  },
  grpo: {
    name: "advantage \u00d7 weight, GRPO",
    about: "(r \u2212 mean) / std \u00d7 1/|o|",
    value: (response) => push(response, "grpo"),
  },
  dr_grpo: {
    name: "advantage \u00d7 weight, Dr. GRPO",
    about: "(r \u2212 mean) \u00d7 1/L",
    value: (response) => push(response, "dr_grpo"),
  },
  quotient: {
    name: "GRPO / Dr. GRPO",
    about: "log2 of the quotient: +1 is twice the push under GRPO",
    value: (response) => logQuotient(response),
  },
};
const MOST_ALPHA = 0.6; // text stays readable on it
const TALLEST_BAR = 6; // pixels

// Advantage times weight of each token of a response under a method.
function push(response, method) {
  if (!response.sides) return null;
  const side = response.sides[method];
  return side.advantage * side.weight;
}

// GRPO's push over Dr. GRPO's; null where there is none.
function quotient(response) {
  const below = push(response, "dr_grpo");
  if (!below) return null;
  return push(response, "grpo") / below;
}

function logQuotient(response) {
  const value = quotient(response);
  return value === null ? null : Math.log2(value);
}

// The largest value, without its sign, of the tokens of these responses: what the scale ends at.
function scaleOf(responses, colour) {
  const { value, least = 0 } = COLOURS[colour];
  let largest = least;
  for (const response of responses) {
    if (!response || !response.ids) continue;
    for (let t = 0; t < response.ids.length; t++) {
      const size = Math.abs(value(response, t));
      if (size > largest) largest = size;
    }
  }
  return largest;
}

// Colour an element by a value on a scale that ends at `largest`.
function paint(target, value, largest) {
  if (!value || !largest) return;
  const share = Math.min(1, Math.abs(value) / largest);
  const hue = value > 0 ? "0,114,178" : "213,94,0";
  const bar = Math.round(share * TALLEST_BAR);
  target.style.backgroundColor = `rgba(${hue},${(share * MOST_ALPHA).toFixed(3)})`;
  target.style.boxShadow = `inset 0 ${value > 0 ? -bar : bar}px 0 0 rgba(${hue},1)`;
}

// What the colours mean, with the ends of the scale.
function showLegend(place, colour, largest) {
  fill(place, element("strong", "", COLOURS[colour].name), element("span", "", COLOURS[colour].about));
  if (!largest) {
    place.append(element("span", "", "nothing here has a value"));
    return;
  }
  const signedScale = !["surprise", "entropy"].includes(colour);
  for (const share of signedScale ? [-1, -0.5, 0, 0.5, 1] : [0, 0.25, 0.5, 1]) {
    const end = share * largest;
    const sample = element("span", "sample", ` ${signedScale ? signed(end) : short(end)} `);
    paint(sample, share, 1);
    place.append(sample);
  }
}
