"""Thoughts of a response: where one begins, how to keep to it, and which is the first right one.

    SwitchPenalty  TIP (arXiv 2501.18585): the words that begin another thought are made unlikely
                   for a while after a thought has begun
    figures        outcome efficiency (arXiv 2412.21187): how much of a response it took to come to
                   the right answer; underthinking (2501.18585): how much of a wrong one came after
                   a right thought

A right thought is found by rule. In Countdown it is a whole expression over the given numbers that
reaches the target, or the equation that ends a chain of steps which does: "5-3=2", "2*12=24". Else
it is a right answer in a box, in the answer block, behind "answer is", or what a line comes to
("= 24"), which may be an intermediate value that happens to be right. Of knights and knaves no rule
says where a thought is right: their figures are None.
"""

import re

import torch

from evaluation import behaviour
from evaluation.responses import Graded, tokens_until
from evaluation.statistics import mean_interval
from tasks import Problem, check, check_ids

# ---------------------------------------------------------------- a penalty on switches


class SwitchPenalty:
    """What the sampler adds to logits: -alpha for ids that begin a switch word, for a window.

    A thought begins with the response and behind each switch word; the penalty holds for the
    `window` ids that follow. A word stands for four spellings: as given and with its first letter
    small or capital, with and without a space before it. A spelling of several ids is penalised at
    its first one that is no blank, so what else begins with that id is penalised, too; it is found
    where all of its ids stand. Source: arXiv 2501.18585, section 4.
    """

    def __init__(self, words: tuple[str, ...], alpha: float, window: int, model, tokenizer):
        self.window = window
        self.spellings = []  # of each its ids [n]
        self.penalty = torch.zeros(model.config.vocab_size, device=model.device)
        for ids in spellings(words, tokenizer):
            check_ids(ids, tokenizer, model.config.vocab_size)
            self.spellings.append(torch.tensor(ids, device=model.device))
            self.penalty[ids[0]] = -alpha

    def __call__(self, rollouts: list[int], ids: torch.Tensor, counts: torch.Tensor):
        """[B, V] for rows that have drawn the first `counts` [B] of `ids` [B, T]."""
        begun = counts < self.window  # the first thought
        for spelling in self.spellings:
            begun = begun | self.stands_in_window(spelling, ids, counts)
        return begun[:, None] * self.penalty

    def stands_in_window(self, spelling: torch.Tensor, ids: torch.Tensor, counts: torch.Tensor):
        """Of each row, whether this spelling has ended fewer than `window` ids ago: [B], bool."""
        length = len(spelling)
        back = torch.arange(self.window + length - 1, 0, -1, device=ids.device)
        places = counts[:, None] - back  # (B, window + length - 1), the last one drawn at the end
        recent = ids.gather(1, places.clamp_min(0))
        recent = recent.masked_fill(places < 0, -1)
        found = recent.unfold(1, length, 1) == spelling  # (B, window, length)
        return found.all(2).any(1)


def spellings(words: tuple[str, ...], tokenizer) -> list[list[int]]:
    """The ids of each spelling of these words, from the first id that is no blank, each once."""
    found = []
    for word in words:
        for first in (word[0], word[0].lower(), word[0].upper()):
            for space in ("", " "):
                ids = tokenizer(space + first + word[1:], add_special_tokens=False)["input_ids"]
                while len(ids) > 1 and not tokenizer.decode(ids[:1]).strip():
                    ids = ids[1:]
                if ids not in found:
                    found.append(ids)
    return found


# ---------------------------------------------------------------- the first right thought

# A step of a Countdown trace: "12*2=24". Numbers of more digits are no values of a problem.
STEP = re.compile(r"\b([0-9]{1,9}) ?([-+*/×÷−]) ?([0-9]{1,9}) ?= ?([0-9]{1,9})\b")
TASKS_WITHOUT_RULE = ("kk",)


def first_right_thought(text: str, problem: Problem) -> int | None:
    """Characters up to the end of the first right thought, None if there is none."""
    ends = []
    for end, answer in behaviour.candidates(text, problem):
        right, _, _ = check(answer, problem)
        if right:
            ends.append(end)
            break
    if problem.task == "countdown":
        end = end_of_right_chain(text, problem.facts["numbers"], problem.facts["target"])
        if end is not None:
            ends.append(end)
    return min(ends, default=None)


def end_of_right_chain(text: str, numbers: list[int], target: int) -> int | None:
    """Where a chain of right steps first joins all of the numbers to the target; None if nowhere.

    A step takes two values and leaves one in their place. One whose values are not there goes back
    to where they were, as a search does that tries another last step, or to the start.
    """
    chain = [sorted(numbers)]  # the values that are left after 0, 1, 2, ... steps
    for step in STEP.finditer(text):
        a, b, value = int(step[1]), int(step[3]), int(step[4])
        if not is_right(a, step[2], b, value):
            continue
        for length in range(len(chain), 0, -1):
            left = without(chain[length - 1], (a, b))
            if left is not None:
                chain = [*chain[:length], sorted([*left, value])]
                break
        if chain[-1] == [target]:
            return step.end()
    return None


def without(values: list[int], taken: tuple[int, int]) -> list[int] | None:
    """The values that are left when two are taken; None if they are not among them."""
    left = list(values)
    for value in taken:
        if value not in left:
            return None
        left.remove(value)
    return left


def is_right(a: int, sign: str, b: int, value: int) -> bool:
    """Whether a step's arithmetic is right, in whole numbers."""
    if sign == "+":
        return a + b == value
    if sign in "-−":
        return a - b == value
    if sign in "*×":
        return a * b == value
    return b * value == a and b != 0


# ---------------------------------------------------------------- figures


def figures(graded: list[Graded]) -> dict[str, tuple]:
    """{name: its interval}: each is three None where no rule finds a right thought.

    outcome_efficiency: over all responses, tokens to the end of the first right thought by all
    tokens, 0 for a wrong response (2412.21187, section 2.2). underthinking: over wrong responses,
    the share of tokens behind the first right thought, 0 where there is none (2501.18585, section
    3). right_thought: the share of wrong responses that hold one.
    """
    efficiency = []
    underthinking = []
    held = []
    for group in graded:
        if not group.drawn or group.problem.task in TASKS_WITHOUT_RULE:
            continue
        of_all = []
        after = []
        has_one = []
        for response, right in zip(group.responses, group.right):
            end = first_right_thought(response.text, group.problem)
            until = len(response.text) if end is None else end
            share = tokens_until(response, until) / response.tokens
            if right:
                of_all.append(share)
                continue
            of_all.append(0.0)
            after.append(0.0 if end is None else 1 - share)
            has_one.append(float(end is not None))
        efficiency.append(of_all)
        underthinking.append(after)
        held.append(has_one)
    return {
        "outcome_efficiency": share_of_tokens(efficiency),
        "underthinking": share_of_tokens(underthinking),
        "right_thought": share_of_tokens(held),
    }


def share_of_tokens(groups: list[list[float]]) -> tuple:
    """The mean of shares, one list a problem, with an interval that stays from 0 to 1."""
    value, low, high = mean_interval(groups)
    if low is None:
        return value, low, high
    return value, max(0.0, low), min(1.0, high)
