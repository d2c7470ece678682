"""Length and accuracy grow together, under Dr. GRPO too: RL selects long responses that pay.
Without them length stays.

R1-Zero (arXiv 2501.12948, figure 3) reads growing length as more thinking; Dr. GRPO (2503.20783)
showed that 1/|o| makes a part of it; SimpleRL-Zero (the report before SimpleRL-Zoo, 2503.18892) saw
length fall first, while a habit of its base, code, went away. Mechanism: in a group the searches
earn the reward and the guesses do not, so the tokens that begin a search gain probability. Nothing
pays for length, and Dr. GRPO has no length term.

Planted, by fine-tuning the embedded base on traces of its own writers: most responses to a
Countdown problem guess (one try without a check, 23 tokens, 13 % right); a share searches in order
and checks each result (56 tokens on average, right); in one arm 40 % are junk, code that nobody
runs and that holds no answer (about 120 tokens). One arm is trained with GRPO, for the "too".

Falsified if length grows without searches in the base, or does not grow with 10 % of them; if RL
does not select them; or if there is junk and the length does not fall before it rises.
"""

import random
from pathlib import Path
from statistics import mean

import tasks
from evaluation import behaviours
from evaluation.behaviour import count
from experiments import figures, training
from experiments.evidence import (
    above,
    below,
    changes,
    columns,
    curves,
    less_than_half,
    near,
    numbers,
    within,
)
from tasks import traces

SEEDS = (10, 11, 12, 13, 14)
STEPS = 40
LONGEST = 160  # tokens: 97 % of the traces that search end within it
SEARCHING = "10 % search"
SAME = "10 % search, GRPO"
FEW = "2 % search"
NONE = "no search"
JUNK = "2 % search, 40 % junk"
ARMS = {  # shares of the traces: search, junk
    SEARCHING: (0.10, 0.0),
    SAME: (0.10, 0.0),
    FEW: (0.02, 0.0),
    NONE: (0.0, 0.0),
    JUNK: (0.02, 0.40),
}
GUESS = traces.Habit(share=0, ordered=False, tries=1, give_up=1.0, checks=False)
SEARCH = traces.Habit(share=0, ordered=True, tries=60, give_up=0.0, checks=True)


# ---------------------------------------------------------------- the planted world


def junk(problem: tasks.Problem, rng: random.Random) -> str:
    """Code without an answer: the style that Qwen2.5-Math unlearns in SimpleRL-Zero."""
    lines = []
    for _ in range(rng.randint(6, 10)):
        first, second, third = rng.sample(problem.facts["numbers"], 3)
        inner = rng.choice("+-*/")
        outer = rng.choice("+-*/")
        lines.append(f"print(({first}{inner}{second}){outer}{third})")
    return "```python\n" + "\n".join(lines) + "\n```"


def response(problem: tasks.Problem, searches: float, off_task: float, rng: random.Random) -> str:
    """Junk or a search, each in its share of the cases, and a guess in the rest."""
    dice = rng.random()
    if dice < off_task:
        return junk(problem, rng)
    if dice < off_task + searches:
        habit = SEARCH
    else:
        habit = GUESS
    lines, answer = traces.search_countdown(problem, habit, rng)
    return "\n".join(lines) + f"</think> <answer>{answer}</answer>"


def prepare(folder: Path, device: str) -> None:
    """Make a base for each mixture of traces."""
    for arm, shares in ARMS.items():
        if arm == SAME:
            continue
        rng = random.Random(f"length_growth {arm}")
        pairs = []
        for problem in tasks.make_problems("countdown", "train", "length_growth", 6000):
            prompt = tasks.prompt(problem, "short", None)
            pairs.append((prompt, response(problem, *shares, rng)))
        training.make_base(
            folder / arm, pairs, device=device, steps=100, rows=64, lr=1e-3, warmup=10
        )


# ---------------------------------------------------------------- measurement


def measure(folder: Path, arm: str, seed: int, device: str) -> dict:
    """Length, accuracy and checks by step of RL, and on held-out problems before and after."""
    if arm == SAME:
        base = folder / SEARCHING / "base"
        loss = "grpo"
    else:
        base = folder / arm / "base"
        loss = "dr_grpo"
    out = folder / f"{arm}-{seed}"
    lines = training.run_rl(
        out,
        base,
        task="countdown",
        loss=loss,
        steps=STEPS,
        prompts_per_step=16,
        group_size=8,
        max_new_tokens=LONGEST,
        lr=3e-4,
        seed=seed,
        device=device,
        eval_every=1,
    )
    names = ("length", "accuracy", "truncated")
    by_step = {name: training.curve(lines, name) for name in names}
    by_step["checks"] = []
    for responses in training.rollouts_by_step(out, STEPS):
        checking = [count(row["text"])["verification"] > 0 for row in responses]
        by_step["checks"].append(mean(checking))
    found = {}
    for when, model in (("before", base), ("after", out / f"checkpoints/step-{STEPS}")):
        held_out = on_held_out(model, seed, device)
        for name, value in held_out.items():
            found[f"{name}_{when}"] = value
    of_five_steps = [mean(by_step["length"][i : i + 5]) for i in range(STEPS - 4)]
    found["lowest"] = min(of_five_steps)
    found["end"] = of_five_steps[-1]
    return {"numbers": found, "curves": by_step}


def on_held_out(model: Path, seed: int, device: str) -> dict[str, float]:
    """Accuracy, lengths and shares of a model's responses to held-out problems."""
    measured, graded = training.evaluate_held_out(model, "countdown", 512, 2, LONGEST, seed, device)
    is_junk = []
    for group in graded:
        is_junk += ["```" in sampled.text for sampled in group.responses]
    return {
        "accuracy": measured["pass@1"],
        "length": measured["length"],
        "length_right": measured["length_right"],
        "truncated": measured["truncated"],
        "checks": behaviours(graded)["verification_share"],
        "junk": mean(is_junk),
    }


# ---------------------------------------------------------------- predictions


def judge(found: dict) -> list[tuple[str, bool | None]]:
    """The predictions with their answers."""

    def of(arm: str, name: str) -> list[float]:
        return numbers(found, arm, name)

    def rise(arm: str, name: str) -> list[float]:
        return changes(found, arm, f"{name}_before", f"{name}_after")

    predictions = [
        (
            "10 % search: the base checks a result in 5 to 15 % of its responses",
            near(of(SEARCHING, "checks_before"), 0.10, 0.05),
        ),
        ("no search: it does in less than 0.5 %", below(of(NONE, "checks_before"), 0.005)),
    ]
    for arm in (SEARCHING, SAME, FEW):
        predictions += [
            (f"{arm}: length grows by more than 10 tokens", above(rise(arm, "length"), 10)),
            (f"{arm}: accuracy grows by more than 0.2", above(rise(arm, "accuracy"), 0.2)),
            (
                f"{arm}: length of right responses grows by more than 10 tokens",
                above(rise(arm, "length_right"), 10),
            ),
        ]
    predictions += [
        (
            "10 % search: after RL more than 80 % check",
            above(of(SEARCHING, "checks_after"), 0.8),
        ),
        (
            "no search: length changes by less than 3 tokens",
            within(rise(NONE, "length"), 3),
        ),
        (
            "no search: accuracy gains less than half of what it gains with 10 %",
            less_than_half(rise(NONE, "accuracy"), rise(SEARCHING, "accuracy")),
        ),
    ]
    return predictions + judge_junk(found)


def judge_junk(found: dict) -> list[tuple[str, bool | None]]:
    """The predictions about the arm with junk, and their control."""
    fall = changes(found, JUNK, "lowest", "length_before")
    climb = changes(found, JUNK, "lowest", "end")
    fall_without = changes(found, FEW, "lowest", "length_before")
    before = numbers(found, JUNK, "junk_before")
    after = numbers(found, JUNK, "junk_after")
    return [
        ("junk: more than 25 % of the base's responses", above(before, 0.25)),
        ("junk: less than 2 % after RL", below(after, 0.02)),
        ("junk: length falls by more than 10 tokens first", above(fall, 10)),
        ("junk: then it rises by more than 10", above(climb, 10)),
        ("2 % search without junk: no fall, less than 3 tokens", below(fall_without, 3)),
    ]


def table(found: dict) -> list[str]:
    """The figures of the arms."""
    lengths = ("length_before", "lowest", "length_after")
    return columns(found, (*lengths, "accuracy_before", "accuracy_after", "checks_before"))


# ---------------------------------------------------------------- figure


def draw(found: dict, figure) -> None:
    """Length, accuracy and the share that checks, by step."""
    units = {
        "length": "mean length (tokens)",
        "accuracy": "accuracy (share right)",
        "checks": "share that checks a result\n(of two groups a step)",
    }
    panels = figure.subplots(1, 3)
    for axes, (name, unit) in zip(panels, units.items()):
        for i, arm in enumerate(found):
            figures.band(axes, curves(found, arm, name), arm, smooth=5, color=f"C{i}")
        axes.set(xlabel="step", ylabel=unit, ylim=(0, None))
    figures.legend(figure, panels[-1])
    figure.suptitle("Length grows with accuracy where the base has long responses that pay")
