"""GRPO makes wrong responses long, Dr. GRPO does not, at equal accuracy.

Dr. GRPO (arXiv 2503.20783, section 3.1): with 1/|o| a long wrong response is punished less per
token than a short one, and a short right one is rewarded more. Mechanism: the gradient of a
stop/continue policy's own log-prob has mean 0, so under a constant advantage a constant normaliser
gives no expected change of length; 1/|o| gives one (exactly: `expected_drift`), of the sign that
makes A < 0 longer and A > 0 shorter. It acts only on a policy that can tell, before it chooses its
length, whether it is wrong. Accuracy is planted: no loss can change it much here, and so it is
equal.

The world is planted: a question names two numbers and a third one that exactly one of them maps to
under a fixed random table. The base knows the table forwards. One layer cannot look it up for two
candidates before answering, so it guesses and stays wrong about half of the time; having answered,
it writes what its guess maps to, whether that was right, and then marks that do nothing,
geometrically many: dots if it was right, commas if it was wrong.

Falsified if Dr. GRPO or the token mean opens half the gap of GRPO, or GRPO without the standard
deviation opens none. The planted fault, a stop token that is left out of the loss, must turn the
sign at first: right responses earn for each mark and never for stopping. Then they grow into the
limit, where they are cut off, earn nothing and count as wrong, and the marks go away; so the fault
is judged in steps 11 to 30, and counting these as wrong works against its prediction.
"""

import random
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import grpo
from experiments import figures, training
from experiments.evidence import (
    above,
    below,
    columns,
    differences,
    length_gaps,
    less_than_half,
    numbers,
    within,
)

# What the planted fault patches: the place, and the name of its function there.
TOKEN_WEIGHTS = (grpo, "token_weights")

SEEDS = (0, 1, 2, 3, 4)
STEPS = 150
FAULT = "GRPO, stop token left out"
ARMS = {
    "GRPO": dict(loss="grpo"),
    "GRPO, no std": dict(loss="grpo", std="off"),
    "Dr. GRPO": dict(loss="dr_grpo"),
    "Dr. GRPO, std": dict(loss="dr_grpo", std="on"),
    "token mean": dict(loss="token_mean"),
    FAULT: dict(loss="grpo"),
}
SHAPE = dict(
    hidden_size=64,
    intermediate_size=256,
    num_hidden_layers=1,
    num_attention_heads=4,
    num_key_value_heads=4,
    max_position_embeddings=128,
    tie_word_embeddings=True,
)
WORLD = dict(
    template="none",
    reward="simplerl",
    prompts_per_step=16,
    group_size=8,
    max_new_tokens=48,
    lr=5e-4,
)
STAY = 6 / 7  # probability of another mark: 6 on average
MOST_MARKS = 40


# ---------------------------------------------------------------- the planted world


def random_table(name: str) -> dict[int, int]:
    """What each number from 10 to 100 maps to.

    It is a permutation that nothing but the base's training text tells.
    """
    domain = list(range(10, 101))
    return dict(zip(domain, random.Random(name).sample(domain, len(domain))))


def problem(rng: random.Random, table: dict[int, int]) -> dict:
    """Which of two numbers maps to a third one?"""
    first, second = rng.sample(list(table), 2)
    right = rng.choice((first, second))
    return {"question": f"{first},{second}:{table[right]}", "answer": str(right)}


def pair(rng: random.Random, table: dict[int, int]) -> tuple[str, str]:
    """(question, response): a guess, what it maps to, the verdict, and marks."""
    asked = problem(rng, table)
    question = asked["question"]
    candidates = question.partition(":")[0].split(",")
    guess = rng.choice(candidates)
    marks = 0
    while rng.random() < STAY:
        marks += 1
    marks = min(marks, MOST_MARKS)
    if guess == asked["answer"]:
        ending = "yes" + "." * marks
    else:
        ending = "no" + "," * marks
    return question, f"</think><answer>{guess}</answer>={table[int(guess)]} {ending}"


def prepare(folder: Path, device: str) -> None:
    """Make the base, and problems without one question twice."""
    rng = random.Random("length_bias pairs")
    table = random_table("length_bias")
    pairs = [pair(rng, table) for _ in range(30_000)]
    training.make_base(
        folder, pairs, SHAPE, device=device, steps=1500, rows=128, lr=4e-3, warmup=100
    )
    problems = {}
    for _ in range(6000):
        asked = problem(rng, table)
        problems[asked["question"]] = asked
    training.write_rows(folder / "problems.jsonl", list(problems.values()))


def without_stop():
    """The planted fault, as long as this context is entered.

    The stop token, a response's last, has no weight in the loss.
    """
    honest = getattr(*TOKEN_WEIGHTS)

    def stop_left_out(lengths, *rest):
        weights = honest(lengths, *rest)
        stops = (lengths - 1)[:, None]
        return weights.scatter(1, stops, 0.0)

    return patch.object(*TOKEN_WEIGHTS, stop_left_out)


# ---------------------------------------------------------------- measurement


def measure(folder: Path, arm: str, seed: int, device: str) -> dict:
    """Lengths of wrong and right responses in RL, late and in steps 11 to 30."""
    changed = without_stop() if arm == FAULT else nullcontext()
    with changed:
        lines = training.run_rl(
            folder / f"{arm}-{seed}",
            folder / "base",
            data=str(folder / "problems.jsonl"),
            steps=STEPS,
            seed=seed,
            device=device,
            **WORLD,
            **ARMS[arm],
        )
    names = ("length_right", "length_wrong", "accuracy", "truncated")
    by_step = {name: training.curve(lines, name) for name in names}
    found = {name: training.late(values) for name, values in by_step.items()}
    found["gap"] = found["length_wrong"] - found["length_right"]
    early_wrong = training.late(by_step["length_wrong"][:30])  # the last 20 of these 30
    early_right = training.late(by_step["length_right"][:30])
    found["early gap"] = early_wrong - early_right
    return {"numbers": found, "curves": by_step}


def expected_drift(
    mean_length: float,
    advantage: float,
    constant: bool,
    stop_counts: bool = True,
    longest: int = 4000,
) -> float:
    """Exact d(logit of stopping), expected, of a geometric policy under a constant advantage.

    The policy stops after each token with probability p = 1 / mean_length. The sum over a response
    of d log pi / d logit is 1 - p for the stop and -p for each token that went on; it is divided by
    the response's length, or by mean_length (`constant`).
    """
    p = 1 / mean_length
    total = 0.0
    for length in range(1, longest):
        probability = (1 - p) ** (length - 1) * p
        score = (1 - p) * stop_counts - p * (length - 1)
        divisor = mean_length if constant else length
        total += probability * score / divisor
    return advantage * total


# ---------------------------------------------------------------- predictions


def judge(found: dict) -> list[tuple[str, bool | None]]:
    """The predictions with their answers."""
    gap = {arm: numbers(found, arm, "gap") for arm in ARMS}
    fault = numbers(found, FAULT, "early gap")
    accuracy = differences(found, "GRPO", "Dr. GRPO", "accuracy")
    predictions = [
        (
            "GRPO: wrong responses are more than 10 tokens longer than right ones",
            above(gap["GRPO"], 10.0),
        ),
        ("so they are without the standard deviation", above(gap["GRPO, no std"], 10.0)),
    ]
    for arm in ("Dr. GRPO", "Dr. GRPO, std", "token mean"):
        answer = less_than_half(gap[arm], gap["GRPO"])
        predictions.append((f"{arm}: the gap is less than half of GRPO's", answer))
    predictions += [
        (
            "the stop token left out: in steps 11 to 30 right ones are more than 2 tokens longer",
            below(fault, -2.0),
        ),
        ("GRPO and Dr. GRPO differ by less than 0.1 in accuracy", within(accuracy, 0.1)),
    ]
    return predictions


def table(found: dict) -> list[str]:
    """The figures of the arms, and the exact drift that no training is needed for."""
    names = ("length_wrong", "length_right", "gap", "early gap", "accuracy", "truncated")
    per_length = expected_drift(8, -1.0, constant=False)
    constant = expected_drift(8, -1.0, constant=True)
    left_out = expected_drift(8, -1.0, constant=False, stop_counts=False)
    exact = (
        "exact, without training: drift of the logit of stopping, mean length 8, advantage -1 "
        f"(negative: longer): 1/|o| {per_length:.3f}, constant {constant:.3f}, "
        f"1/|o| with the stop token left out {left_out:.3f}"
    )
    return [*columns(found, names), exact]


# ---------------------------------------------------------------- figure


def draw(found: dict, figure) -> None:
    """By step, how much longer wrong responses are than right ones."""
    axes = figure.subplots()
    for i, arm in enumerate(found):
        plain = arm in ("GRPO", "Dr. GRPO", "token mean")
        style = "-" if plain else "--"
        figures.band(axes, length_gaps(found, arm), arm, color=f"C{i}", ls=style)
    axes.axhline(0, color="black", lw=0.5)
    axes.set(
        title="1/|o| makes wrong responses longer than right ones; "
        "the constant normaliser does not",
        xlabel="step",
        ylabel="length, wrong − right (tokens)",
    )
    figures.legend(figure, axes, 3)
