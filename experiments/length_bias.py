"""GRPO makes wrong responses long, Dr. GRPO does not, at equal accuracy.

Dr. GRPO (arXiv 2503.20783, section 3.1): with 1/|o| a long wrong response is punished less per token than a short one, and
a short right one is rewarded more. Mechanism: the gradient of a stop/continue policy's own log-prob has mean 0, so under a
constant advantage a constant normaliser gives no expected change of length; 1/|o| gives one (exactly: `expected_drift`),
of the sign that makes A < 0 longer and A > 0 shorter. It acts only on a policy that can tell, before it chooses its
length, whether it is wrong. Accuracy is planted: no loss can change it much here, and so it is equal.

The world is planted: a question names two numbers and a third one that exactly one of them maps to under a fixed random
table. The base knows the table forwards. One layer cannot look it up for two candidates before answering, so it guesses
and stays wrong about half of the time; having answered, it writes what its guess maps to, whether that was right, and then
marks that do nothing, geometrically many: dots if it was right, commas if it was wrong.

Falsified if Dr. GRPO or the token mean opens half the gap of GRPO, or GRPO without the standard deviation opens none.
The planted fault, a stop token that is left out of the loss, must turn the sign at first: right responses earn for each mark
and never for stopping. Then they grow into the limit, where they are cut off, earn nothing and count as wrong, and the marks
go away; so the fault is judged in steps 11 to 30, and counting these as wrong works against its prediction.
"""
import random
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import grpo
from experiments import lab

SEEDS = (0, 1, 2, 3, 4)
STEPS = 150
ARMS = {"GRPO": dict(loss="grpo"), "GRPO, no std": dict(loss="grpo", std="off"), "Dr. GRPO": dict(loss="dr_grpo"),
        "Dr. GRPO, std": dict(loss="dr_grpo", std="on"), "token mean": dict(loss="token_mean"),
        "GRPO, stop token left out": dict(loss="grpo")}
SHAPE = dict(hidden_size=64, intermediate_size=256, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=4,
             max_position_embeddings=128, tie_word_embeddings=True)
WORLD = dict(template="none", reward="simplerl", prompts_per_step=16, group_size=8, max_new_tokens=48, lr=5e-4)
STAY = 6 / 7  # probability of another dot: 6 on average


def random_table(name: str) -> dict[int, int]:
    """What each number from 10 to 100 maps to: a permutation that nothing but the base's training text tells."""
    numbers = list(range(10, 101))
    return dict(zip(numbers, random.Random(name).sample(numbers, len(numbers))))


def problem(rng: random.Random, table: dict[int, int]) -> dict:
    a, b = rng.sample(list(table), 2)
    right = rng.choice((a, b))
    return {"question": f"{a},{b}:{table[right]}", "answer": str(right)}


def pair(rng: random.Random, table: dict[int, int]) -> tuple[str, str]:
    """(question, response): a guess, what it maps to, the verdict, dots."""
    p = problem(rng, table)
    guess = rng.choice(p["question"].partition(":")[0].split(","))
    dots = 0
    while rng.random() < STAY:
        dots += 1
    verdict, mark = ("yes", ".") if guess == p["answer"] else ("no", ",")
    return p["question"], f"</think><answer>{guess}</answer>={table[int(guess)]} {verdict}" + mark * min(dots, 40)


def prepare(folder: Path) -> None:
    rng, table = random.Random("length_bias pairs"), random_table("length_bias")
    lab.make_base(folder, [pair(rng, table) for _ in range(30_000)], SHAPE, steps=1500, rows=128, lr=4e-3, warmup=100)
    rows = {row["question"]: row for row in (problem(rng, table) for _ in range(6000))}
    lab.write_rows(folder / "problems.jsonl", list(rows.values()))


def without_stop():
    """The planted fault, as long as it is entered: the stop token, a response's last, has no weight in the loss."""
    honest = grpo.token_weights
    return patch.object(grpo, "token_weights", lambda lengths, *rest: honest(lengths, *rest).scatter(
        1, (lengths - 1)[:, None], 0.0))


def measure(folder: Path, arm: str, seed: int) -> dict:
    with without_stop() if "left out" in arm else nullcontext():
        lines = lab.run(folder / f"{arm}-{seed}", folder / "base", data=str(folder / "problems.jsonl"), steps=STEPS,
                        seed=seed, **WORLD, **ARMS[arm])
    curves = {name: lab.curve(lines, name) for name in ("length_right", "length_wrong", "accuracy", "truncated")}
    last = {name: lab.late(values) for name, values in curves.items()}
    early = [lab.late(curves[name][:30]) for name in ("length_wrong", "length_right")]  # steps 11 to 30
    return {"numbers": {**last, "gap": last["length_wrong"] - last["length_right"], "early gap": early[0] - early[1]},
            "curves": curves}


def judge(found: dict) -> list[tuple[str, bool | None]]:
    gap = {arm: lab.numbers(found, arm, "gap") for arm in ARMS}
    half = [g / 2 for g in gap["GRPO"]]
    accuracy = lab.differences(found, "GRPO", "Dr. GRPO", "accuracy")
    fault = lab.numbers(found, "GRPO, stop token left out", "early gap")
    return [("GRPO: wrong responses are more than 10 tokens longer than right ones", lab.above(gap["GRPO"], 10.0)),
            ("so they are without the standard deviation", lab.above(gap["GRPO, no std"], 10.0)),
            *((f"{arm}: the gap is less than half of GRPO's", lab.above([h - g for h, g in zip(half, gap[arm])], 0.0))
              for arm in ("Dr. GRPO", "Dr. GRPO, std", "token mean")),
            ("the stop token left out: in steps 11 to 30 right ones are more than 2 tokens longer", lab.below(fault, -2.0)),
            ("GRPO and Dr. GRPO differ by less than 0.1 in accuracy", lab.within(accuracy, 0.1))]


def table(found: dict) -> list[str]:
    exact = [expected_drift(8, -1.0, constant, counts) for constant, counts in ((False, True), (True, True), (False, False))]
    return [*lab.columns(found, ("length_wrong", "length_right", "gap", "early gap", "accuracy", "truncated")),
            "exact, without training: drift of the logit of stopping, mean length 8, advantage -1 (negative: longer): "
            f"1/|o| {exact[0]:.3f}, constant {exact[1]:.3f}, 1/|o| with the stop token left out {exact[2]:.3f}"]


def draw(found: dict, figure) -> None:
    axes = figure.subplots()
    for i, arm in enumerate(found):
        plain = arm in ("GRPO", "Dr. GRPO", "token mean")
        lab.band(axes, lab.gaps(found, arm), arm, color=f"C{i}", ls="-" if plain else "--")
    axes.axhline(0, color="black", lw=0.5)
    axes.set(title="1/|o| makes wrong responses longer than right ones; the constant normaliser does not", xlabel="step",
             ylabel="length, wrong − right (tokens)")
    lab.legend(figure, axes, 3)


def expected_drift(mean_length: float, advantage: float, constant: bool, stop_counts: bool = True,
                   longest: int = 4000) -> float:
    """Exact d(logit of stopping), expected, of a geometric stop/continue policy under a constant advantage.

    The policy stops after each token with probability p = 1 / mean_length. The sum over a response of d log pi / d logit
    is 1 - p for the stop and -p for each token that went on; it is divided by its length, or by mean_length (constant).
    """
    p, total = 1 / mean_length, 0.0
    for length in range(1, longest):
        score = (1 - p) * stop_counts - p * (length - 1)
        total += (1 - p) ** (length - 1) * p * score / (mean_length if constant else length)
    return advantage * total
