"""Primed with habits of search RL ends far higher, even if every primed answer was wrong; empty thinking or dots do not.

Cognitive Behaviors (arXiv 2503.01307; figures: its published runs, step 250): Llama-3.2-3B ends at .34; primed with
1000 traces that verify, go back, set sub-goals and chain backwards at .74, with such traces that all end in a wrong answer
at .74, with empty thinking at .41, with dots of the same length at .38. Mechanism: RL makes likelier what pays now and
then. Checking a result and going back pays in the sampled responses whatever the answers of the priming traces were; dots
never do.

Planted: the base is the embedded one, fine-tuned until it guesses only (first prediction; its pre-training held
searches, so priming wakes a habit here and need not teach it from nothing). Then PRIMES traces an arm:
    all          search in order, a verdict after each try, back to the last step that is good; gives up now and then
    wrong        such a search that never comes to the target and at last writes it for another result: no answer is right
    back-track   the same search without verdicts, which stops anywhere
    verify       one guess and its verdict: it never goes back
    sub-goal     backwards from the target: what two numbers must come to so that the third ends there, and one try for it
    dots, empty  dots, as many as the thinking of `all` has tokens, or nothing; always with a right answer
    unprimed     the base as it is

Most of the difference is there before RL, for priming wakes searches that pre-training had: `all` begins at .47, `wrong`
at .44, the unprimed base at .13. RL then adds .31, .30 and .13 (empty .14, dots .11). The predictions are about the end.

No prediction is made for one habit alone: on the seeds of development RL from `verify` went back by itself, though not on
every seed; `back-track` won less than half of what `all` did (the paper's arm ends at .77) and `sub-goal` ended below the
base. `all` sets no sub-goals: half of its traces searching by them brought it down, for that search was new to the base.
From `wrong` this base takes the search, and does its sums as before: 4 in 10 of its responses are right before RL.

Falsified if dots or empty thinking win half of what `all` wins over the unprimed base, or if wrong answers in the priming
cost 0.15 or half of what `all` is above dots.
"""
import random
from pathlib import Path

import checkpoint
import reward
import tasks
import traces
from evaluation import behaviour
from experiments import lab

SEEDS = (30, 31, 32, 33)
STEPS = 70
PRIMES = 1500
LONGEST = 128
ARMS = ("all", "wrong", "back-track", "verify", "sub-goal", "dots", "empty", "unprimed")
GUESS = traces.MIXTURE["guess"]
ALL = traces.Habit(0.0, ordered=True, tries=60, give_up=0.3, checks=True)
VERIFY = traces.Habit(0.0, ordered=False, tries=1, give_up=1.0, checks=True)


def response(problem: tasks.Problem, arm: str, rng: random.Random, tokenizer) -> str | None:
    """A trace of this arm, as it follows the `short` template; None if the arm has none of this problem."""
    tries = traces.Habit(0.0, ordered=True, tries=rng.randint(1, 4), give_up=0.0, checks=arm == "wrong")
    habit = {"unprimed": GUESS, "verify": VERIFY, "back-track": tries, "wrong": tries}.get(arm, ALL)
    lines, answer = by_goal(problem, rng) if arm == "sub-goal" else traces.search_countdown(problem, habit, rng)
    if arm == "wrong":  # the last result, which is not the target, is taken for it
        if reward.check(answer, problem)[0]:
            return None
        lines[-1] = f"{lines[-1].partition('=')[0]}={problem.facts['target']} yes"
    thinking = "\n".join(lines)
    if arm in ("dots", "empty"):
        answer = problem.answer
        thinking = "." * len(tokenizer(thinking)["input_ids"]) if arm == "dots" else ""
    return f"{thinking}</think> <answer>{answer}</answer>"


def by_goal(problem: tasks.Problem, rng: random.Random) -> tuple[list[str], str]:
    """Lines and answer: what the target and one number leave for the other two, then the move of these that meets it, if
    there is one, else any."""
    target, numbers = problem.facts["target"], rng.sample(problem.facts["numbers"], 3)
    last, x, y = numbers
    move, goal = rng.choice(tasks.steps(target, last))
    tries = tasks.steps(x, y)
    attempt, value = rng.choice([t for t in tries if t[1] == goal] or tries)
    larger = target >= last  # stands first in `move`
    undone = {"+": f"({attempt})-{last}", "-": f"({attempt})+{last}" if larger else f"{last}-({attempt})",
              "*": f"({attempt})/{last}", "/": f"({attempt})*{last}" if larger else f"{last}/({attempt})"}
    return [f"{move}={goal}", f"{attempt}={traces.written(value, rng)}"], next(undone[c] for c in move if c in undone)


def pairs(arm: str, n: int, tokenizer) -> list[tuple[str, str]]:
    """n (prompt, response) of an arm, on training problems."""
    rng = random.Random(f"four_habits {arm}")
    found = [(tasks.prompt(p, "short", tokenizer), response(p, arm, rng, tokenizer))
             for p in tasks.draw("countdown", "train", f"four_habits {arm}", 3 * n if arm == "wrong" else n)]
    return [pair for pair in found if pair[1] is not None][:n]


def prepare(folder: Path) -> None:
    tokenizer = checkpoint.load("base")[1]
    guesser = lab.make_base(folder / "unprimed", pairs("unprimed", 8000, tokenizer), steps=120, rows=64, lr=1e-3,
                            warmup=10)
    for arm in ARMS[:-1]:
        lab.make_base(folder / arm, pairs(arm, PRIMES, tokenizer), model=str(guesser), steps=50, rows=64, lr=5e-4,
                      warmup=5)


def searching(model: Path, seed: int) -> float:
    """Share of responses to held-out problems that judge a result."""
    graded = lab.sampled(model, "countdown", 256, 2, LONGEST, seed)[1]
    return lab.mean([behaviour.count(r.text)["verification"] > 0 for g in graded for r in g.responses])


def measure(folder: Path, arm: str, seed: int) -> dict:
    out = folder / f"{arm}-{seed}"
    lines = lab.run(out, folder / arm / "base", task="countdown", reward="simplerl", loss="dr_grpo", steps=STEPS,
                    prompts_per_step=16, group_size=8, max_new_tokens=LONGEST, lr=3e-4, seed=seed, eval_problems=512)
    curves = {name: lab.curve(lines, name) for name in ("accuracy", "length")}
    return {"numbers": {"start": lines[0]["eval_accuracy"], "final": lines[-1]["eval_accuracy"],
                        "checks_start": searching(folder / arm / "base", seed),
                        "checks_final": searching(out / f"checkpoints/step-{STEPS}", seed),
                        "length_start": lines[0]["eval_length"], "length_final": lines[-1]["eval_length"],
                        "truncated": lines[-1]["eval_truncated"]}, "curves": curves}


def judge(found: dict) -> list[tuple[str, bool | None]]:
    won = {arm: lab.differences(found, arm, "unprimed", "final") for arm in ARMS}
    gain, wrong = (lab.differences(found, arm, "dots", "final") for arm in ("all", "wrong"))
    return [("the base judges a result in less than 1 % of its responses", lab.below(
                lab.numbers(found, "unprimed", "checks_start"), 0.01)),
            ("`all` ends more than 0.15 above dots", lab.above(gain, 0.15)),
            ("wrong answers keep more than half of that", lab.above([w - g / 2 for w, g in zip(wrong, gain)], 0.0)),
            ("`all` and wrong end within 0.15", lab.within(lab.differences(found, "all", "wrong", "final"), 0.15)),
            *((f"{arm}: it wins less than half of what `all` wins over that base",
               lab.above([a / 2 - w for a, w in zip(won["all"], won[arm])], 0.0)) for arm in ("dots", "empty"))]


def table(found: dict) -> list[str]:
    return lab.columns(found, ("start", "final", "checks_start", "checks_final", "length_start", "length_final"))


def draw(found: dict, figure) -> None:
    axes = figure.subplots()
    for i, arm in enumerate(found):
        lab.band(axes, [one["curves"]["accuracy"] for one in found[arm]], arm, color=f"C{i}")
    axes.set(title="Primed with habits of search RL ends far higher, right or wrong; dots do not help",
             xlabel="step of RL", ylabel="accuracy on Countdown", ylim=(0, 1))
    lab.legend(figure, axes)
