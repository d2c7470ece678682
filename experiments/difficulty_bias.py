"""Dividing by the group's standard deviation makes very easy and very hard questions count for more.

Dr. GRPO (arXiv 2503.20783, section 3.1), the second of the two biases. Mechanism: of G responses k are right; centred
rewards give the question a gradient in proportion to k (G - k), and the standard deviation of the group, sqrt(k (G - k) /
(G (G - 1))), divides it. `exact` has the factor that this comes to: about 2 at a solve rate of 1/2, 2.5 at 0.1 or 0.9, and
never 1, so what counts is the factor beside that of other questions. The effect is a factor of 1.4 at most: curves of
learning need not show it.

Measured without training. The world is planted: a question is a share and a number, and the base has learned to say the
number again in that share of the cases and another one in the rest. On the same responses the gradient is taken with and
without the division, one kind of question after the other.

Falsified if the measured factors do not follow the exact ones. The control, a constant factor, must fail.
"""
import math
import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch

import model as lm
import grpo
import reward
import sample
import tasks
from sample import Sampling
from experiments import lab, length_bias
from optim import pick_device
from train import TrainConfig
from update import update

SEEDS = (10, 11, 12, 13, 14)
ARMS = ("1/20", "1/10", "1/4", "1/2", "9/10")  # how often the base is right
GROUPS, G = 1024, 8  # 256 groups and three seeds left the rarest kind undecided


def question(rng: random.Random, arm: str) -> tasks.Problem:
    n = rng.randint(10, 100)
    return tasks.Problem("data", f"{arm}:{n}", str(n), f"{arm}:{n}")


def response(rng: random.Random, problem: tasks.Problem, arm: str) -> str:
    says = problem.answer if rng.random() < Fraction(arm) else rng.randint(10, 100)
    return f"</think><answer>{says}</answer>"


def prepare(folder: Path) -> None:
    rng, pairs = random.Random("difficulty_bias"), []
    for _ in range(30_000):
        arm = rng.choice(ARMS)
        problem = question(rng, arm)
        pairs.append((problem.question, response(rng, problem, arm)))
    lab.make_base(folder, pairs, length_bias.SHAPE, steps=2500, rows=128, lr=4e-3, warmup=100)


class Gradient:
    """Stands for an optimizer: it takes no step."""

    def __init__(self, model):
        self.parameters = list(model.parameters())

    def accumulate(self) -> None:
        pass

    def step(self, lr: float, clip_norm: float) -> float:
        """The norm of the gradient, which is dropped."""
        norm = torch.stack([p.grad.norm() for p in self.parameters if p.grad is not None]).norm()
        for p in self.parameters:
            p.grad = None
        return float(norm)


def measure(folder: Path, arm: str, seed: int) -> dict:
    model, tokenizer = lm.load(str(folder / "base"), *pick_device(lab.device))
    rng = random.Random(f"{arm}/{seed}")
    problems = [question(rng, arm) for _ in range(GROUPS)]
    prompts = [tasks.encode(p.question, "none", tokenizer) for p in problems]
    rollouts = sample.generate(model, tokenizer, prompts, Sampling(16), G, seed)
    right = torch.tensor([reward.score("simplerl", sample.text_of(tokenizer, r), problems[i // G], r.finished).accuracy
                          for i, r in enumerate(rollouts)]).view(GROUPS, G)
    c, norms = replace(TrainConfig(), loss="dr_grpo", max_new_tokens=16), []
    for std in (False, True):
        norms.append(update(model, Gradient(model), rollouts, grpo.advantages(right, std).flatten(), 0.0, c)["grad_norm"])
    p = right.mean().item()
    return {"numbers": {"solved": p, "without std": norms[0], "with std": norms[1], "factor": norms[1] / norms[0],
                        "exact": exact(p)}, "curves": {}}


def exact(p: float, group: int = G) -> float:
    """What the division multiplies the expected gradient of a question with, solved with probability p."""
    def chance(k):
        return math.comb(group, k) * p ** k * (1 - p) ** (group - k)
    mixed = range(1, group)
    std = {k: math.sqrt(k * (group - k) / (group * (group - 1))) for k in mixed}
    return sum(chance(k) * k * (group - k) / std[k] for k in mixed) / sum(chance(k) * k * (group - k) for k in mixed)


def judge(found: dict) -> list[tuple[str, bool | None]]:
    off = [[f / e - 1 for f, e in zip(lab.numbers(found, arm, "factor"), lab.numbers(found, arm, "exact"))] for arm in found]
    middle = lab.numbers(found, "1/2", "factor")
    constant = [a / b - 1 for a, b in zip(lab.numbers(found, "1/20", "factor"), middle)]
    return [*((f"solved {arm}: the measured factor is within 10 % of the exact one", lab.within(values, 0.1))
              for arm, values in zip(found, off)),
            ("solved 1/20 counts at least 1.2 times as much beside 1/2 as it would without", lab.above(constant, 0.2)),
            ("and 9/10 at least 1.1 times",
             lab.above([a / b - 1 for a, b in zip(lab.numbers(found, "9/10", "factor"), middle)], 0.1))]


def table(found: dict) -> list[str]:
    return lab.columns(found, ("solved", "without std", "with std", "factor", "exact"), 3)


def draw(found: dict, figure) -> None:
    left, right = figure.subplots(1, 2)
    grid = [i / 200 for i in range(2, 199)]
    left.plot(grid, [exact(p) / exact(0.5) for p in grid], color="black", lw=1, label="exact")
    for i, arm in enumerate(found):
        middle = lab.numbers(found, "1/2", "factor")
        left.plot(lab.numbers(found, arm, "solved"), [a / b for a, b in zip(lab.numbers(found, arm, "factor"), middle)],
                  "o", color=f"C{i}", label=f"measured, {arm}")
    left.set(xlabel="solve rate of the question",
             ylabel="what the division multiplies a question's weight\nwith, beside one solved 1/2")
    left.legend(fontsize=8)
    for i, name in enumerate(("without std", "with std")):
        by_seed = [[norm / sum(norms) for norm in norms] for norms in zip(*(lab.numbers(found, arm, name) for arm in found))]
        for j, shares in enumerate(zip(*by_seed)):
            lab.bar(right, j + 0.4 * i, shares, width=0.4, color=f"C{i}", label=name if j == 0 else None)
    right.set_xticks([j + 0.2 for j in range(len(ARMS))], ARMS)
    right.set(xlabel="solve rate of the question", ylabel="share of the gradient's norm")
    right.legend(fontsize=8)
    figure.suptitle("Dividing by the standard deviation gives easy and hard questions more weight than they have without")
