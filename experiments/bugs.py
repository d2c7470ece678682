"""Five classic faults of an implementation show in the logged figures, most of them long before accuracy tells.

Each fault is a switch that exists only here; all but the first on Countdown with the embedded base and Dr. GRPO:
    stop token left out     of the loss, in the world of length_bias, where responses choose their length
    temperature forgotten   sampling at 0.7, the trainer's log-probs at 1 (control: the same with a trainer that knows)
    top-p                   0.9 in the sampler, of which the trainer knows nothing
    local normaliser        each micro-batch divides by its own rows, so that long rows count for more
    pure bf16               weights rounded to bf16 after each step (control: fp32 at the same small learning rate)

What they break: on-policy, sampler and trainer agree on every log-prob; the gradient does not depend on the micro-batches;
the stop token is an action; a step of 1e-5 beside a weight of 0.02 is below bf16's resolution. Falsified if a fault leaves
the figures of its control as they were.
"""
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

import grpo
import model as lm
import optim
from experiments import lab, length_bias
from runs import Run

SEEDS = (0, 1, 2)
STEPS = 40
COUNTDOWN = dict(prompts_per_step=16, group_size=8, max_new_tokens=160, token_budget=1024)
ARMS = {"none, marks": dict(loss="grpo"), "stop token left out": dict(loss="grpo"), "none": {},
        "temperature forgotten": dict(temperature=0.7), "none, temperature 0.7": dict(temperature=0.7), "top-p": {},
        "local normaliser": {}, "pure bf16": dict(lr=3e-5), "none, lr 3e-5": dict(lr=3e-5)}


def prepare(folder: Path) -> None:
    length_bias.prepare(folder)  # the embedded base and generated problems need nothing


def fault(arm: str):
    """The patch that a fault is; a context manager."""
    if arm == "stop token left out":
        return length_bias.without_stop()
    if arm == "temperature forgotten":
        honest = lm.response_logprobs
        return patch.object(lm, "response_logprobs", lambda model, prompts, responses, temperature: honest(
            model, prompts, responses))
    if arm == "top-p":
        honest = Run.sampling
        return patch.object(Run, "sampling", lambda this: replace(honest(this), top_p=0.9))
    if arm == "local normaliser":
        honest = grpo.policy_loss

        def loss(logprobs, old, A, lengths, kind, step, *rest):
            return honest(logprobs, old, A, lengths, kind, replace(step, rows=len(A)), *rest)
        return patch.object(grpo, "policy_loss", loss)
    if arm == "pure bf16":
        honest = optim.MasterAdamW.step

        def step(self, lr, clip_norm):
            norm = honest(self, lr, clip_norm)
            with torch.no_grad():
                for p in self.params:
                    p.copy_(p.bfloat16())
            return norm
        return patch.object(optim.MasterAdamW, "step", step)
    return nullcontext()


def measure(folder: Path, arm: str, seed: int) -> dict:
    marks = arm in ("none, marks", "stop token left out")
    world = dict(data=str(folder / "problems.jsonl"), **length_bias.WORLD) if marks else COUNTDOWN
    with fault(arm):
        lines = lab.run(folder / f"{arm}-{seed}", folder / "base" if marks else "base", steps=STEPS, seed=seed,
                        **{**world, **ARMS[arm]})
    curves = {name: lab.curve(lines, name) for name in ("accuracy", "length", "length_right", "length_wrong", "truncated",
                                                        "entropy", "logprob_gap_mean", "clip_share")}
    first, last = lines[1], {name: lab.late(values, 10) for name, values in curves.items()}
    wrong, right = (lab.late(curves[name][:30]) for name in ("length_wrong", "length_right"))  # steps 11 to 30
    return {"numbers": {**last, "wrong - right": wrong - right, "first gap": first["logprob_gap_mean"],
                        "first norm": first["grad_norm"], "gain": last["accuracy"] - lab.late(curves["accuracy"][:3])},
            "curves": curves}


def judge(found: dict) -> list[tuple[str, bool | None]]:
    def gap(arm):
        return lab.numbers(found, arm, "first gap")
    ratio = [a / b for a, b in zip(lab.numbers(found, "local normaliser", "first norm"),
                                   lab.numbers(found, "none", "first norm"))]
    return [("no fault: sampler and trainer agree to 1e-4", lab.below(gap("none"), 1e-4)),
            ("and at temperature 0.7", lab.below(gap("none, temperature 0.7"), 1e-4)),
            ("temperature forgotten: they differ by more than ten times that, from the first step",
             lab.above(gap("temperature forgotten"), 1e-3)),
            ("top-p: the same", lab.above(gap("top-p"), 1e-3)),
            ("stop token left out: in steps 11 to 30 right responses are more than 2 tokens longer than wrong ones",
             lab.below(lab.numbers(found, "stop token left out", "wrong - right"), -2.0)),
            ("without the fault wrong ones are", lab.above(lab.numbers(found, "none, marks", "wrong - right"), 2.0)),
            ("local normaliser: the first gradient, of the same rollouts, is more than 1.5 times as large",
             lab.above(ratio, 1.5)),
            ("pure bf16: less than half of what fp32 gains at the same learning rate",
             lab.below([a - b / 2 for a, b in zip(lab.numbers(found, "pure bf16", "gain"),
                                                  lab.numbers(found, "none, lr 3e-5", "gain"))], 0.0))]


def table(found: dict) -> list[str]:
    return lab.columns(found, ("accuracy", "gain", "length", "wrong - right", "entropy", "first gap"), 3)


def draw(found: dict, figure) -> None:
    panels, marks = figure.subplots(1, 3), ("none, marks", "stop token left out")
    found = {arm: runs for arm, runs in found.items() if arm not in marks}
    for axes, key, title, unit in zip(panels, ("accuracy", "length", "logprob_gap_mean"),
                                      ("accuracy", "length", "sampler against trainer"),
                                      ("share right", "tokens", "mean difference of log-probs (nats)")):
        for i, arm in enumerate(found):
            lab.band(axes, [one["curves"][key] for one in found[arm]], arm, 5, color=f"C{i}",
                     ls="--" if arm.startswith("none") else "-")
        axes.set(xlabel="step", ylabel=unit, title=title)
    panels[2].set_yscale("log")
    lab.legend(figure, panels[0])
    figure.suptitle("Faults show in the logged figures, most before accuracy tells")
