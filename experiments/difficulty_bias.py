"""Dividing by the group's standard deviation makes very easy and very hard questions count for
more.

Dr. GRPO (arXiv 2503.20783, section 3.1), the second of the two biases. Mechanism: of G responses k
are right; centred rewards give the question a gradient in proportion to k (G - k), and the standard
deviation of the group, sqrt(k (G - k) / (G (G - 1))), divides it. `exact` has the factor that this
comes to: about 2 at a solve rate of 1/2, 2.5 at 0.1 or 0.9, and never 1, so what counts is the
factor beside that of other questions. The effect is a factor of 1.4 at most: curves of learning
need not show it.

Measured without training. The world is planted: a question is a share and a number, and the base
has learned to say the number again in that share of the cases and another one in the rest. On the
same responses the gradient is taken with and without the division, one kind of question after the
other.

Falsified if the measured factors do not follow the exact ones. The control, a constant factor, must
fail.
"""

import math
import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch

import grpo
import model as lm
import reward
import sample
import tasks
from engine.device import pick_device
from experiments import figures, length_bias, training
from experiments.evidence import above, columns, numbers, ratios, within
from sample import Sampling
from train import TrainConfig, update

SEEDS = (10, 11, 12, 13, 14)
ARMS = ("1/20", "1/10", "1/4", "1/2", "9/10")  # how often the base is right
GROUPS = 1024  # 256 groups and three seeds left the rarest kind undecided
G = 8
LONGEST = 16  # tokens


# ---------------------------------------------------------------- the planted world


def question(rng: random.Random, arm: str) -> tasks.Problem:
    """A question of one kind: its share, and the number that is to be said again."""
    number = rng.randint(10, 100)
    text = f"{arm}:{number}"
    return tasks.Problem("data", text, str(number), text)


def response(rng: random.Random, problem: tasks.Problem, arm: str) -> str:
    """The right number in the arm's share of the cases, any number in the rest."""
    if rng.random() < Fraction(arm):
        said = problem.answer
    else:
        said = rng.randint(10, 100)
    return f"</think><answer>{said}</answer>"


def prepare(folder: Path, device: str) -> None:
    """Make the base, which is right as often as the question says."""
    rng = random.Random("difficulty_bias")
    pairs = []
    for _ in range(30_000):
        arm = rng.choice(ARMS)
        problem = question(rng, arm)
        pairs.append((problem.question, response(rng, problem, arm)))
    training.make_base(
        folder,
        pairs,
        length_bias.SHAPE,
        device=device,
        steps=2500,
        rows=128,
        lr=4e-3,
        warmup=100,
    )


# ---------------------------------------------------------------- measurement


class Gradient:
    """Stands for an optimizer: it takes no step."""

    def __init__(self, model):
        self.parameters = list(model.parameters())

    def accumulate(self) -> None:
        """Nothing: the gradient stays where it is."""

    def step(self, lr: float, clip_norm: float) -> float:
        """The norm of the gradient, which is dropped."""
        norms = [p.grad.norm() for p in self.parameters if p.grad is not None]
        norm = torch.stack(norms).norm()
        for p in self.parameters:
            p.grad = None
        return float(norm)


def measure(folder: Path, arm: str, seed: int, device: str) -> dict:
    """The norm of one kind of question's gradient, with and without the division."""
    model, tokenizer = lm.load(str(folder / "base"), pick_device(device), "auto")
    rng = random.Random(f"{arm}/{seed}")
    problems = [question(rng, arm) for _ in range(GROUPS)]
    prompts = tasks.encode_prompts(problems, "none", tokenizer, model.config.vocab_size)
    rollouts = sample.generate(model, tokenizer, prompts, Sampling(LONGEST), G, seed)
    accuracies = []
    for i, rollout in enumerate(rollouts):
        text = sample.text_of(model, tokenizer, rollout.response)
        scored = reward.score("simplerl", text, problems[i // G], rollout.finished)
        accuracies.append(scored.accuracy)
    right = torch.tensor(accuracies).view(GROUPS, G)
    config = replace(TrainConfig(), loss="dr_grpo", max_new_tokens=LONGEST)

    def gradient_norm(divide: bool) -> float:
        advantages = grpo.advantages(right, divide).flatten()
        return update(model, Gradient(model), rollouts, advantages, 0.0, config)["grad_norm"]

    without = gradient_norm(divide=False)
    divided = gradient_norm(divide=True)
    solved = right.mean().item()
    found = {
        "solved": solved,
        "without std": without,
        "with std": divided,
        "factor": divided / without,
        "exact": exact(solved),
    }
    return {"numbers": found, "curves": {}}


def exact(p: float, group: int = G) -> float:
    """What the division multiplies a question's expected gradient with, if p is its solve rate."""
    with_std = []
    without_std = []
    for k in range(1, group):  # only groups that are mixed have a gradient
        chance = math.comb(group, k) * p**k * (1 - p) ** (group - k)
        std = math.sqrt(k * (group - k) / (group * (group - 1)))
        with_std.append(chance * k * (group - k) / std)
        without_std.append(chance * k * (group - k))
    return sum(with_std) / sum(without_std)


# ---------------------------------------------------------------- predictions


def excess(values: list[float], others: list[float]) -> list[float]:
    """By seed, how much larger the values are than the others, as a share of these."""
    return [ratio - 1 for ratio in ratios(values, others)]


def judge(found: dict) -> list[tuple[str, bool | None]]:
    """The predictions with their answers."""
    predictions = []
    for arm in found:
        off = excess(numbers(found, arm, "factor"), numbers(found, arm, "exact"))
        text = f"solved {arm}: the measured factor is within 10 % of the exact one"
        predictions.append((text, within(off, 0.1)))
    middle = numbers(found, "1/2", "factor")
    hard = excess(numbers(found, "1/20", "factor"), middle)
    easy = excess(numbers(found, "9/10", "factor"), middle)
    predictions += [
        (
            "solved 1/20 counts at least 1.2 times as much beside 1/2 as it would without",
            above(hard, 0.2),
        ),
        ("and 9/10 at least 1.1 times", above(easy, 0.1)),
    ]
    return predictions


def table(found: dict) -> list[str]:
    """The figures of the arms."""
    return columns(found, ("solved", "without std", "with std", "factor", "exact"), 3)


# ---------------------------------------------------------------- figure


def draw(found: dict, figure) -> None:
    """Left the factor by solve rate, exact and measured; right the shares of the gradient."""
    left, right = figure.subplots(1, 2)
    draw_factors(found, left)
    draw_shares(found, right)
    figure.suptitle(
        "Dividing by the standard deviation gives easy and hard questions more weight "
        "than they have without"
    )


def draw_factors(found: dict, axes) -> None:
    """The factor of a question beside that of one that is solved half of the time."""
    rates = []
    expected = []
    for i in range(2, 199):
        rate = i / 200
        rates.append(rate)
        expected.append(exact(rate) / exact(0.5))
    axes.plot(rates, expected, color="black", lw=1, label="exact")
    middle = numbers(found, "1/2", "factor")
    for i, arm in enumerate(found):
        solved = numbers(found, arm, "solved")
        factors = ratios(numbers(found, arm, "factor"), middle)
        axes.plot(solved, factors, "o", color=f"C{i}", label=f"measured, {arm}")
    axes.set(
        xlabel="solve rate of the question",
        ylabel="what the division multiplies a question's weight\nwith, beside one solved 1/2",
    )
    axes.legend(fontsize=8)


def draw_shares(found: dict, axes) -> None:
    """Each kind of question's share of the gradient's norm, with and without the division."""
    for i, name in enumerate(("without std", "with std")):
        by_arm = [numbers(found, arm, name) for arm in found]
        totals = [sum(norms) for norms in zip(*by_arm)]  # of each seed
        for j, norms in enumerate(by_arm):
            shares = ratios(norms, totals)
            label = name if j == 0 else None
            figures.bar(axes, j + 0.4 * i, shares, width=0.4, color=f"C{i}", label=label)
    middles = [j + 0.2 for j in range(len(ARMS))]
    axes.set_xticks(middles, ARMS)
    axes.set(xlabel="solve rate of the question", ylabel="share of the gradient's norm")
    axes.legend(fontsize=8)
