"""Length and accuracy grow together, under Dr. GRPO too: RL selects long responses that pay. Without them length stays.

R1-Zero (arXiv 2501.12948, figure 3) reads growing length as more thinking; Dr. GRPO (2503.20783) showed that 1/|o|
makes a part of it; SimpleRL-Zero (the report before SimpleRL-Zoo, 2503.18892) saw length fall first, while a habit of
its base, code, went away.
Mechanism: in a group the searches earn the reward and the guesses do not, so the tokens that begin a search gain
probability. Nothing pays for length, and Dr. GRPO has no length term.

Planted, by fine-tuning the embedded base on traces of its own writers: most responses to a Countdown problem guess (one
try without a check, 23 tokens, 13 % right); a share searches in order and checks each result (56 tokens on average,
right); in one arm 40 % are junk, code that nobody runs and that holds no answer (about 120 tokens). One arm is trained
with GRPO, for the "too".

Falsified if length grows without searches in the base, or does not grow with 10 % of them; if RL does not select them; or
if there is junk and the length does not fall before it rises.
"""
import random
from pathlib import Path
from statistics import mean

import tasks
import traces
from evaluation import behaviours
from evaluation.behaviour import count
from experiments import lab

SEEDS = (10, 11, 12, 13, 14)
STEPS = 40
LONGEST = 160  # tokens: 97 % of the traces that search end within it
JUNK = "2 % search, 40 % junk"
SAME = "10 % search, GRPO"
ARMS = {"10 % search": (0.10, 0.0), SAME: (0.10, 0.0), "2 % search": (0.02, 0.0), "no search": (0.0, 0.0),
        JUNK: (0.02, 0.40)}  # shares of the traces: search, junk
GUESS = traces.Habit(share=0, ordered=False, tries=1, give_up=1.0, checks=False)
SEARCH = traces.Habit(share=0, ordered=True, tries=60, give_up=0.0, checks=True)


def junk(problem: tasks.Problem, rng: random.Random) -> str:
    """Code without an answer: the style that Qwen2.5-Math unlearns in SimpleRL-Zero."""
    lines = []
    for _ in range(rng.randint(6, 10)):
        a, b, c = rng.sample(problem.facts["numbers"], 3)
        lines.append(f"print(({a}{rng.choice('+-*/')}{b}){rng.choice('+-*/')}{c})")
    return "```python\n" + "\n".join(lines) + "\n```"


def response(problem: tasks.Problem, searches: float, off_task: float, rng: random.Random) -> str:
    draw = rng.random()
    if draw < off_task:
        return junk(problem, rng)
    lines, answer = traces.search_countdown(problem, SEARCH if draw < off_task + searches else GUESS, rng)
    return "\n".join(lines) + f"</think> <answer>{answer}</answer>"


def prepare(folder: Path) -> None:
    for arm, shares in ARMS.items():
        if arm == SAME:
            continue
        rng = random.Random(f"length_growth {arm}")
        lab.make_base(folder / arm, [(tasks.prompt(p, "short", None), response(p, *shares, rng))
                                     for p in tasks.draw("countdown", "train", "length_growth", 6000)],
                      steps=100, rows=64, lr=1e-3, warmup=10)


def measure(folder: Path, arm: str, seed: int) -> dict:
    base, out = folder / ("10 % search" if arm == SAME else arm) / "base", folder / f"{arm}-{seed}"
    lines = lab.run(out, base, task="countdown", loss="grpo" if arm == SAME else "dr_grpo", steps=STEPS,
                    prompts_per_step=16, group_size=8, max_new_tokens=LONGEST, lr=3e-4, seed=seed, eval_every=1)
    curves = {name: lab.curve(lines, name) for name in ("length", "accuracy", "truncated")}
    curves["checks"] = [mean(count(r["text"])["verification"] > 0 for r in step) for step in lab.rollouts(out, STEPS)]
    found = {}
    for when, model in ("before", base), ("after", out / f"checkpoints/step-{STEPS}"):
        figures, graded = lab.sampled(model, "countdown", 512, 2, LONGEST, seed)
        found |= {f"{name}_{when}": value for name, value in {
            "accuracy": figures["pass@1"], "length": figures["length"], "length_right": figures["length_right"],
            "truncated": figures["truncated"], "checks": behaviours(graded)["verification_share"],
            "junk": mean("```" in r.text for g in graded for r in g.responses)}.items()}
    five = [mean(curves["length"][i:i + 5]) for i in range(STEPS - 4)]  # of five steps each
    return {"numbers": {**found, "lowest": min(five), "end": five[-1]}, "curves": curves}


def judge(found: dict) -> list[tuple[str, bool | None]]:
    def of(arm, name):
        return lab.numbers(found, arm, name)

    def rise(arm, name):
        return [b - a for a, b in zip(of(arm, f"{name}_before"), of(arm, f"{name}_after"))]
    growing = [(f"{arm}: {what} grows by more than {bound}{unit}", lab.above(rise(arm, name), bound))
               for arm in ("10 % search", SAME, "2 % search")
               for name, what, bound, unit in (("length", "length", 10, " tokens"), ("accuracy", "accuracy", 0.2, ""),
                                               ("length_right", "length of right responses", 10, " tokens"))]
    fall = [a - b for a, b in zip(of(JUNK, "length_before"), of(JUNK, "lowest"))]
    climb = [a - b for a, b in zip(of(JUNK, "end"), of(JUNK, "lowest"))]
    calm = [a - b for a, b in zip(of("2 % search", "length_before"), of("2 % search", "lowest"))]
    return [("10 % search: the base checks a result in 5 to 15 % of its responses",
             lab.near(of("10 % search", "checks_before"), 0.10, 0.05)),
            ("no search: it does in less than 0.5 %", lab.below(of("no search", "checks_before"), 0.005)),
            *growing,
            ("10 % search: after RL more than 80 % check", lab.above(of("10 % search", "checks_after"), 0.8)),
            ("no search: length changes by less than 3 tokens", lab.within(rise("no search", "length"), 3)),
            ("no search: accuracy gains less than half of what it gains with 10 %", lab.above(
                [a / 2 - b for a, b in zip(rise("10 % search", "accuracy"), rise("no search", "accuracy"))], 0)),
            ("junk: more than 25 % of the base's responses", lab.above(of(JUNK, "junk_before"), 0.25)),
            ("junk: less than 2 % after RL", lab.below(of(JUNK, "junk_after"), 0.02)),
            ("junk: length falls by more than 10 tokens first", lab.above(fall, 10)),
            ("junk: then it rises by more than 10", lab.above(climb, 10)),
            ("2 % search without junk: no fall, less than 3 tokens", lab.below(calm, 3))]


def table(found: dict) -> list[str]:
    return lab.columns(found, ("length_before", "lowest", "length_after", "accuracy_before", "accuracy_after",
                              "checks_before"))


def draw(found: dict, figure) -> None:
    for axes, name, unit in zip(figure.subplots(1, 3), ("length", "accuracy", "checks"), (
            "mean length (tokens)", "accuracy (share right)", "share that checks a result\n(of two groups a step)")):
        for i, arm in enumerate(found):
            lab.band(axes, [one["curves"][name] for one in found[arm]], arm, smooth=5, color=f"C{i}")
        axes.set(xlabel="step", ylabel=unit, ylim=(0, None))
    lab.legend(figure, axes)
    figure.suptitle("Length grows with accuracy where the base has long responses that pay")
