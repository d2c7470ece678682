"""A mismatched template costs accuracy and RL wins it back, so RL improves more where the template was worse.

Dr. GRPO (arXiv 2503.20783, sections 2 and 3.3): Qwen2.5-Math answers best without a template; the R1 template takes
much of its accuracy, RL brings it back, and the improvement looks like learning to reason. Mechanism: the ability is in
the weights and the template only hides it; a few right samples in mixed groups teach the model where to begin.

Planted: the embedded base has read Countdown under the template `short` only. The base of this experiment is fine-tuned
for a moment on traces of its own kinds, half of them searches, so that it is able before RL; 4 % stand under `qwen-math`,
so that some of that is left there. RL runs under `short` (matched), `none` (the same without the tag `<think>`) and
`qwen-math`, and, as the control, under `qwen-math` from the embedded base, which has never seen it: nothing right to
sample, nothing to reward.

A first design left "half is missing" undecided (seeds 0 to 4: `short` .23 and `qwen-math` .08 before RL, .79 and .69
after): its traces were those of the embedded base, of which 15 % search, so that there was little to hide, and after RL 23 %
of the responses under `qwen-math` were cut off at 128 tokens.

Falsified if one of the two mismatched templates does not cost accuracy at step 0, or half of that is still missing after
RL, or the matched one gains as much; or if RL learns where nothing was left, which is the limit of the claim.
"""
import random
from pathlib import Path

import model as lm
import tasks
import traces
from experiments import lab

SEEDS = (10, 11, 12, 13, 14)
STEPS = 40
SHARE = 0.04  # of the fine-tuning traces under the other template
HABITS = {"guess": 0.3, "try": 0.2, "search": 0.5}
MATCHED, UNTAGGED, OTHER, UNSEEN = "short", "none", "qwen-math", "qwen-math, never seen"
ARMS = {MATCHED: "matched", UNTAGGED: "mismatched", OTHER: "mismatched", UNSEEN: "control"}


def prepare(folder: Path) -> None:
    rng, tokenizer = random.Random("template"), lm.load("base")[1]
    pairs = [(tasks.prompt(p, OTHER if rng.random() < SHARE else MATCHED, tokenizer),
              traces.trace(p, rng.choices(list(HABITS), HABITS.values())[0], rng))
             for p in tasks.draw("countdown", "train", "template", 3000)]
    lab.make_base(folder, pairs, steps=30, rows=64, lr=5e-4, warmup=5)


def measure(folder: Path, arm: str, seed: int) -> dict:
    lines = lab.run(folder / f"{arm}-{seed}", "base" if arm == UNSEEN else folder / "base", task="countdown",
                    template=arm.partition(",")[0], loss="dr_grpo", steps=STEPS, prompts_per_step=16, group_size=8,
                    max_new_tokens=160, lr=3e-4, seed=seed, eval_problems=512)
    start, final = lines[0]["eval_accuracy"], lines[-1]["eval_accuracy"]
    return {"numbers": {"start": start, "final": final, "improvement": final - start,
                        "truncated": lines[-1]["eval_truncated"]},
            "curves": {name: lab.curve(lines, name) for name in ("accuracy", "length")}}


def judge(found: dict) -> list[tuple[str, bool | None]]:
    predictions = []
    for arm in (UNTAGGED, OTHER):
        start, final = (lab.differences(found, MATCHED, arm, when) for when in ("start", "final"))
        more = lab.differences(found, arm, MATCHED, "improvement")
        predictions += [(f"{arm}: before RL it costs more than 0.1", lab.above(start, 0.1)),
                        (f"{arm}: after RL less than half of that is missing",
                         lab.above([s / 2 - f for s, f in zip(start, final)], 0.0)),
                        (f"{arm}: it improves more than the matched one", lab.above(more, 0.0))]
    return [*predictions,
            ("where the template leaves nothing RL ends < 0.05", lab.below(lab.numbers(found, UNSEEN, "final"), 0.05))]


def table(found: dict) -> list[str]:
    return lab.columns(found, ("start", "final", "improvement", "truncated"))


def draw(found: dict, figure) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for i, arm in enumerate(found):
        lab.band(left, [one["curves"]["accuracy"] for one in found[arm]], arm, smooth=3, color=f"C{i}")
        start, final, gained = (lab.numbers(found, arm, name) for name in ("start", "final", "improvement"))
        lab.bar(right, i, final, color=f"C{i}")
        lab.bar(right, i, start, color="white", alpha=0.6)
        right.text(i, max(final) + 0.02, f"{lab.mean(gained):+.2f}", ha="center")
    figure.suptitle("A mismatched template hides what the base can do; RL finds it again")
    left.set(xlabel="step of RL", ylabel="accuracy on Countdown, training problems", ylim=(0, 1))
    lab.legend(figure, left)
    right.set(ylabel="held-out accuracy: before RL (pale) and gained", ylim=(0, 1))
    right.set_xticks(range(len(found)), [arm.replace(", ", ",\n") + f"\n({ARMS[arm]})" for arm in found], fontsize=7)
