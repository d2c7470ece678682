"""Longer thinking pays where the model's own verdict says when: waits that heed no verdict, or an
empty one, win little.

s1 (arXiv 2501.19393, section 3.1 and figure 4): the end of the thinking is replaced by "Wait", up
to six times, and accuracy rises, further than a vote of as many tokens takes it; a cap on the
thinking lowers it. TIP (2501.18585): wrong responses hold right thoughts that were left, so words
that leave one are made unlikely. R1-Zero (2501.12948): a vote of 64 helps. Mechanism: a wait buys
one more try. That is a gain for who was wrong and a loss for who was right, so what counts is
whether the model can tell the two apart; s1's model had to, for it could also write its old answer
again.

Planted, by fine-tuning the embedded base: responses to Countdown try at random until one try is
right or, after each that fails, give up with a chance of 0.35 and answer with the last. Tries are
independent, so that votes are a fair rival: one order of search would make the same mistakes each
time. Two arms differ in one word:
    verdicts   "yes" or "no" behind each try says whether it is right
    scrambled  the same traces, with a coin in place of each verdict: the control
A wait is a line break in the place of `</think>`, which this base reads as "another try". `always`
waits whatever stands there, as s1 does; `unless` lets the thinking end if its last line says "yes".
TIP's penalty stands on "no", the only word here that leaves a thought.

A seed is a base of its own (traces and order of fine-tuning), problems and draws: no two of them
share more than the embedded base.

Falsified if two waits unless "yes" win less than 0.15, or two that heed nothing win half as much,
or a vote of four, which costs more tokens, comes within 0.05; if a short cap costs nothing or the
penalty wins half as much; or if waits unless "yes" win 0.05 where the "yes" is a coin. It is this
last that shows that the verdict pays, and not the tokens.

On the seeds of development (200, 201) the base had .26, with one and two waits unless "yes" .40 and
.51, with two waits always .20; a vote of four .28, of eight .37; caps of 16, 32 and 64 tokens .16,
.23 and .27. Where verdicts are a coin: .12, and .11 with two waits unless "yes".
"""

import random
import re
from pathlib import Path
from statistics import mean

import model as lm
import sample
import tasks
from engine.device import pick_device
from eval import EvalConfig, evaluate, generate_for
from evaluation import thoughts, votes
from experiments import figures, training
from experiments.evidence import (
    above,
    below,
    changes,
    columns,
    less_than_half,
    numbers,
    subtract,
    within,
)
from tasks import traces

SEEDS = (10, 11, 12, 13, 14)
TASK = "countdown:3"
PROBLEMS = 48
LONGEST = 192
VOTERS = 8
TRIES = traces.Habit(0.0, ordered=False, tries=60, give_up=0.35, checks=True)
VERDICT = re.compile(r"\b(yes|no)\b")
VERDICTS = "verdicts"
SCRAMBLED = "scrambled"
ARMS = {VERDICTS: "they say what is right", SCRAMBLED: "they are a coin"}

# Each method with its flags of eval.py.
METHODS = {
    "plain": {},
    "always 2": {"force_wait": 2},
    "unless 1": {"force_wait": 1, "wait_unless": " yes"},
    "unless 2": {"force_wait": 2, "wait_unless": " yes"},
    "cap 16": {"think_cap": 16},
    "cap 32": {"think_cap": 32},
    "cap 64": {"think_cap": 64},
    "penalty 3": {"switch_penalty": 3.0, "switch_words": ("no",)},
}
ON_BOTH = ("plain", "always 2", "unless 1", "unless 2")  # the others with verdicts only
COMMON = {"wait_text": "\n", "answer_tokens": 24}

# Curves of the figure: their points, from few tokens to many.
LINES = {
    "waits unless yes": ("plain", "unless 1", "unless 2"),
    "waits always": ("plain", "always 2"),
    "votes of 1, 2, 4, 8": ("plain", "vote of 2", "vote of 4", "vote of 8"),
    "caps of 16, 32, 64": ("cap 16", "cap 32", "cap 64", "plain"),
    "penalty on no": ("plain", "penalty 3"),
}


# ---------------------------------------------------------------- the planted world


def prepare(folder: Path, device: str) -> None:
    """Nothing: each seed makes bases of its own, in `measure`."""


def pairs(arm: str, seed: int, n: int) -> list[tuple[str, str]]:
    """n (prompt, response) of an arm; the arms of a seed differ in the verdicts alone."""
    rng = random.Random(f"test_time {seed}")
    coin = random.Random(f"test_time {seed} coin")
    tokenizer = lm.load("base")[1]
    found = []
    for problem in tasks.make_problems(TASK, "train", f"test_time {seed}", n):
        lines, answer = traces.search_countdown(problem, TRIES, rng)
        thinking = "\n".join(lines)
        if arm == SCRAMBLED:
            thinking = scrambled(thinking, coin)
        prompt = tasks.prompt(problem, "short", tokenizer)
        found.append((prompt, f"{thinking}</think> <answer>{answer}</answer>"))
    return found


def scrambled(thinking: str, coin: random.Random) -> str:
    """The thinking with each of its verdicts drawn anew, whatever it was."""

    def drawn(verdict: re.Match) -> str:
        return coin.choice(("yes", "no"))

    return VERDICT.sub(drawn, thinking)


# ---------------------------------------------------------------- measurement


def measure(folder: Path, arm: str, seed: int, device: str) -> dict:
    """Accuracy and tokens of each method, on a base and on held-out problems of this seed."""
    steps = 12
    rows = 32
    base = training.make_base(
        folder / f"{arm}-{seed}",
        pairs(arm, seed, steps * rows),
        device=device,
        steps=steps,
        rows=rows,
        lr=1e-3,
        warmup=5,
        seed=seed,
    )
    loaded = lm.load(str(base), pick_device(device), "auto")
    problems = tasks.make_problems(TASK, "held-out", f"test_time {seed}", PROBLEMS)
    found = {}
    for method, flags in METHODS.items():
        if arm == SCRAMBLED and method not in ON_BOTH:
            continue
        k = VOTERS if method == "plain" else 2
        settings = EvalConfig(**COMMON, **flags)
        values, graded = evaluate(
            *loaded,
            problems,
            "short",
            "dr_grpo",
            k,
            sample.Sampling(LONGEST),
            seed,
            generate=generate_for(settings, *loaded),
        )
        right_thought, _, _ = thoughts.figures(graded)["right_thought"]
        found[f"{method}: accuracy"] = values["pass@1"]
        found[f"{method}: tokens"] = values["length"]
        found[f"{method}: truncated"] = values["truncated"]
        found[f"{method}: right thought"] = right_thought
        if method == "plain":
            found |= voted(graded) | told(graded)
    return {"numbers": found, "curves": {}}


def voted(graded: list) -> dict[str, float]:
    """Accuracy of votes, and the tokens of all of their voters."""
    values = votes(graded)
    found = {}
    for size in (2, 4, 8):
        found[f"vote of {size}: accuracy"] = values[f"maj@{size}"]
        found[f"vote of {size}: tokens"] = values[f"tokens@{size}"]
        found[f"vote of {size}: truncated"] = None
        found[f"vote of {size}: right thought"] = None
    return found


def told(graded: list) -> dict[str, float | None]:
    """The share of right responses where the thinking ends in a "yes", and of the others."""
    by_ending = {True: [], False: []}
    for group in graded:
        for response, right in zip(group.responses, group.right):
            thinking = response.text.partition("</think>")[0].rstrip()
            by_ending[thinking.endswith(" yes")].append(right)
    return {
        "right if yes": share(by_ending[True]),
        "right if not": share(by_ending[False]),
    }


def share(which: list[bool]) -> float | None:
    """The share of those that are true; None if there are none."""
    return mean(which) if which else None


# ---------------------------------------------------------------- predictions


def gains(found: dict, arm: str, method: str, over: str = "plain") -> list[float]:
    """How much more accurate a method is than another, on the base of each seed."""
    return changes(found, arm, f"{over}: accuracy", f"{method}: accuracy")


def told_apart(found: dict, arm: str) -> list[float]:
    """How much oftener a response is right that ends in a "yes"; none if a seed has no such one."""
    shares = [numbers(found, arm, name) for name in ("right if yes", "right if not")]
    if None in shares[0] + shares[1]:
        return [None]
    return subtract(*shares)


def judge(found: dict) -> list[tuple[str, bool | None]]:
    """The predictions with their answers."""
    real = VERDICTS
    waits = gains(found, real, "unless 2")
    tokens = changes(found, real, "vote of 4: tokens", "unless 2: tokens")
    control = gains(found, SCRAMBLED, "unless 2")
    over_always = gains(found, SCRAMBLED, "unless 2", over="always 2")
    return [
        (
            "with verdicts, a response that ends in yes is right oftener by 0.5",
            above(told_apart(found, real), 0.5),
        ),
        ("scrambled, by less than 0.15", within(told_apart(found, SCRAMBLED), 0.15)),
        ("2 waits unless yes win more than 0.15", above(waits, 0.15)),
        (
            "the second of them wins more than nothing",
            above(gains(found, real, "unless 2", over="unless 1"), 0.0),
        ),
        (
            "2 waits always win less than half of what 2 waits unless yes do",
            less_than_half(gains(found, real, "always 2"), waits),
        ),
        ("a vote of 8 wins more than nothing", above(gains(found, real, "vote of 8"), 0.0)),
        (
            "2 waits unless yes are more than 0.05 above a vote of 4",
            above(gains(found, real, "unless 2", over="vote of 4"), 0.05),
        ),
        ("and cost fewer tokens", below(tokens, 0.0)),
        ("a cap of 32 is above one of 16", above(gains(found, real, "cap 32", "cap 16"), 0.0)),
        ("a cap of 16 costs more than 0.05", below(gains(found, real, "cap 16"), -0.05)),
        ("a cap of 64 changes less than 0.1", within(gains(found, real, "cap 64"), 0.1)),
        (
            "a penalty on no wins less than half of what 2 waits unless yes do",
            less_than_half(gains(found, real, "penalty 3"), waits),
        ),
        ("scrambled, 2 waits unless yes win less than 0.05", below(control, 0.05)),
        (
            "scrambled, 2 waits unless yes are within 0.1 of 2 waits always",
            within(over_always, 0.1),
        ),
    ]


def table(found: dict) -> list[str]:
    """A line for each method on each of the two bases."""
    methods = [*METHODS, "vote of 2", "vote of 4", "vote of 8"]
    names = ("accuracy", "tokens", "truncated", "right thought")
    by_method = {}
    for arm in found:
        for method in methods:
            if not is_measured(found, arm, method):
                continue
            runs = []
            for run in found[arm]:
                values = {name: run["numbers"][f"{method}: {name}"] for name in names}
                runs.append({"numbers": values})
            by_method[f"{arm}, {method}"] = runs
    return columns(found, ("right if yes", "right if not")) + columns(by_method, names)


def is_measured(found: dict, arm: str, method: str) -> bool:
    """Whether an arm has the figures of a method."""
    return f"{method}: accuracy" in found[arm][0]["numbers"]


# ---------------------------------------------------------------- figure


def draw(found: dict, figure) -> None:
    """Accuracy by tokens, a curve for each method, on each of the two bases."""
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (arm, meaning) in zip(panels, ARMS.items()):
        for i, (name, points) in enumerate(LINES.items()):
            if not all(is_measured(found, arm, point) for point in points):
                continue
            tokens = [mean(numbers(found, arm, f"{point}: tokens")) for point in points]
            by_seed = [numbers(found, arm, f"{point}: accuracy") for point in points]
            middle = [mean(values) for values in by_seed]
            lowest = [min(values) for values in by_seed]
            highest = [max(values) for values in by_seed]
            axes.plot(tokens, middle, "o-", color=f"C{i}", label=name)
            axes.fill_between(tokens, lowest, highest, color=f"C{i}", alpha=0.15, lw=0)
        axes.set(title=f"{arm}: {meaning}", xlabel="tokens a problem", ylim=(0, 0.7))
    panels[0].set_ylabel(f"accuracy on {TASK}, held-out problems")
    figure.suptitle("Longer thinking pays where the model's own verdict says when")
    figures.legend(figure, panels[0], columns=5)
