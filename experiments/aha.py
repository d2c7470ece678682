"""Reflection is in the base before RL, at its data's rate; RL takes it up only where it pays, and never from nothing.

Dr. GRPO (arXiv 2503.20783, section 2.3): the bases that R1-Zero runs start from reflect already; and in its appendix,
of R1-Zero itself: responses that reflect are no more often right for it. R1-Zero (2501.12948, table 3) shows such a moment
as the work of RL. Mechanism: RL can only reweight what is sampled, and it reweights by reward, not by wording.

Planted, by fine-tuning the embedded base: a response to a Countdown problem is a guess (13 % right). A share goes on
with "rethink" and writes its last equation again. Where it pays, that line ends in a verdict, and after a "no" an
ordered search follows; where it is empty, nothing follows but the same answer. The word is spelt in bytes the base
hardly knows, so those arms first read traces that all reflect, half of them emptily, and then their own mixture; a
part of the 2 % stays empty from that. The arm without reflection has never read the word, nor these searches, from which
`empty` has some accuracy to gain.

What pays is the search and not the word, which is its entrance. On the 15 seeds of its first three runs RL took the word
up from 10 % on each, and dropped it again on 2, when it could search without; accuracy stayed. From 2 % it came to the
search without the word on 5. So the rate is predicted at its highest and with 10 %, accuracy with both; the rate at the end
is only shown. "Highest" is that of five steps' mean, over the two groups that each step writes down: what is sampled
after the last update is not in it.

Falsified if the rate before RL is far from the data's share, if reflection grows from 0 %, does not grow from 10 % where
it pays, or grows as much where it is empty; or if empty reflection goes with right answers.
"""
import random
from pathlib import Path
from statistics import mean

import tasks
import traces
from evaluation.behaviour import count
from experiments import lab
from experiments.length_growth import GUESS, SEARCH

SEEDS = (30, 31, 32, 33, 34)
STEPS = 40
LONGEST = 192
ARMS = {"pays, 2 %": (0.02, True), "pays, 10 %": (0.10, True), "absent": (0.0, True), "empty, 10 %": (0.10, False)}


def response(problem: tasks.Problem, share: float, pays: bool, rng: random.Random) -> str:
    lines, answer = traces.search_countdown(problem, GUESS, rng)
    if rng.random() < share:
        value = int(lines[-1].partition("=")[2])
        right = value == problem.facts["target"]
        lines += ["rethink", lines[-1] + (f" {'yes' if right else 'no'}" if pays else "")]
        if pays and not right:
            more, answer = traces.search_countdown(problem, SEARCH, rng)
            lines += more
    return "\n".join(lines) + f"</think> <answer>{answer}</answer>"


def prepare(folder: Path) -> None:
    problems = tasks.draw("countdown", "train", "aha", 6000)
    prompts = [tasks.prompt(p, "short", None) for p in problems]
    rng = random.Random("aha")
    always = [(q, response(p, 1.0, rng.random() < 0.5, rng)) for q, p in zip(prompts, problems)]
    spelling = lab.make_base(folder / "spelling", always, steps=150, rows=64, lr=1e-3, warmup=10)
    for arm, planted in ARMS.items():
        rng = random.Random(f"aha {arm}")
        start = str(spelling) if planted[0] else "base"  # 2 % are too few to learn the word from; absent: never read
        lab.make_base(folder / arm, [(q, response(p, *planted, rng)) for q, p in zip(prompts, problems)], model=start,
                      steps=100, rows=64, lr=5e-4, warmup=10)


def reflects(text: str) -> bool:
    return count(text)["reflection"] > 0


def gain(graded: list) -> float | None:
    """Accuracy of reflecting responses minus that of the others to the same problem; None if no problem has both."""
    differences = []
    for g in graded:
        earned = {True: [], False: []}
        for r, reward in zip(g.responses, g.rewards):
            earned[reflects(r.text)].append(reward.accuracy)
        if all(earned.values()):
            differences += [right - mean(earned[False]) for right in earned[True]]
    return mean(differences) if differences else None


def measure(folder: Path, arm: str, seed: int) -> dict:
    base, out = folder / arm / "base", folder / f"{arm}-{seed}"
    lines = lab.run(out, base, task="countdown", loss="dr_grpo", steps=STEPS, prompts_per_step=16, group_size=8,
                    max_new_tokens=LONGEST, lr=3e-4, seed=seed, eval_every=1)
    curves = {name: lab.curve(lines, name) for name in ("length", "accuracy")}
    curves["reflects"] = [mean(reflects(r["text"]) for r in step) for step in lab.rollouts(out, STEPS)]
    found = {"rate_highest": max(mean(curves["reflects"][i:i + 5]) for i in range(STEPS - 4))}
    for when, model, k in ("before", base, 8), ("after", out / f"checkpoints/step-{STEPS}", 2):
        figures, graded = lab.sampled(model, "countdown", 512, k, LONGEST, seed)
        found |= {f"accuracy_{when}": figures["pass@1"], f"gain_{when}": gain(graded),
                  f"rate_{when}": mean(reflects(r.text) for g in graded for r in g.responses)}
    return {"numbers": found, "curves": curves}


def judge(found: dict) -> list[tuple[str, bool | None]]:
    def of(arm, name):
        return lab.numbers(found, arm, name)
    rise = {arm: [b - a for a, b in zip(of(arm, "rate_before"), of(arm, "rate_highest"))] for arm in ARMS}
    return [*((f"{arm}: the rate before RL is within {bound} of the data's",
               lab.near(of(arm, "rate_before"), ARMS[arm][0], bound))
              for arm, bound in (("pays, 10 %", 0.03), ("empty, 10 %", 0.03), ("pays, 2 %", 0.015))),
            ("absent: no response reflects, before RL, in it or after",
             max(sum((of("absent", f"rate_{when}") for when in ("before", "highest", "after")), [])) == 0),
            ("pays, 10 %: in RL the rate comes, over five steps, to more than 0.3 above that before",
             lab.above(rise["pays, 10 %"], 0.3)),
            *((f"{arm}: accuracy rises by more than 0.3", lab.above(
                [b - a for a, b in zip(of(arm, "accuracy_before"), of(arm, "accuracy_after"))], 0.3))
              for arm in ("pays, 10 %", "pays, 2 %")),
            ("empty: the rate rises by less than half of what it does with pays, 10 %", lab.above(
                [a / 2 - b for a, b in zip(rise["pays, 10 %"], rise["empty, 10 %"])], 0)),
            ("empty, before RL: reflecting responses are as often right as others to the same problems, within 0.1",
             lab.within(of("empty, 10 %", "gain_before"), 0.1)),
            ("pays, 10 %, before RL: they are more often right, by more than 0.3",
             lab.above(of("pays, 10 %", "gain_before"), 0.3))]


def table(found: dict) -> list[str]:
    return lab.columns(found, ("rate_before", "rate_highest", "rate_after", "accuracy_before", "accuracy_after",
                               "gain_before"))


def draw(found: dict, figure) -> None:
    figure.set_size_inches(13, 4.8)
    before, rate, right = figure.subplots(1, 3)
    for i, arm in enumerate(found):
        gains = [v for v in lab.numbers(found, arm, "gain_before") if v is not None]
        if gains:
            lab.bar(before, i, gains, color=f"C{i}")
        for j, one in enumerate(found[arm]):  # a line a seed: some keep the word, some drop it, and a mean is neither
            lab.band(rate, [one["curves"]["reflects"]], None if j else arm, 5, color=f"C{i}", lw=1)
        lab.band(right, [one["curves"]["accuracy"] for one in found[arm]], arm, color=f"C{i}")
    before.axhline(0, color="black", lw=0.5)
    before.set(ylabel="before RL: accuracy of responses that\nreflect, minus that of others to the same problem",
               ylim=(-0.2, 1))
    before.set_xticks(range(len(found)), found, rotation=20)
    rate.set(xlabel="step of RL", ylabel="share that reflects (two groups a step; a line a seed)", ylim=(0, 1))
    right.set(xlabel="step of RL", ylabel="accuracy (share right)", ylim=(0, 1))
    lab.legend(figure, right)
    figure.suptitle("RL takes up the reflection that the base has, where it pays; it makes none")
