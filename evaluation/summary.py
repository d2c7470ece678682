"""The figures of graded responses, each with its interval: accuracy, votes, lengths, behaviours.

A problem whose prompt does not fit the context is in every share of right answers, and in no
length, truncated share or behaviour, because nothing was drawn for it.
"""

from collections import Counter
from dataclasses import replace

import reward
import tasks
from evaluation import behaviour
from evaluation.responses import Graded, tokens_until
from evaluation.statistics import Interval, majority, mean_interval, pass_at_k, share_interval

MOST_VALUES = (
    16  # different values that a spelling is compared with: a vote beyond these stands for itself
)


def with_intervals(found: dict[str, Interval]) -> dict:
    """{"name": (value, low, high)} as {"name": value, "name_ci": [low, high]}."""
    columns = {}
    for name, (value, low, high) in found.items():
        columns[name] = value
        columns[name + "_ci"] = [low, high]
    return columns


# ---------------------------------------------------------------- accuracy and lengths


def figures(graded: list[Graded]) -> dict:
    """Every figure as {"name": value, "name_ci": [low, high]}; one that no response has is None."""
    k = len(graded[0].responses)
    drawn = [group for group in graded if group.drawn]
    found = {"problems": len(graded), "k": k, "too_long": len(graded) - len(drawn)}
    found |= with_intervals(accuracy_intervals(graded, k))
    found |= with_intervals(length_intervals(drawn, k))
    return found


def accuracy_intervals(graded: list[Graded], k: int) -> dict[str, Interval]:
    """The intervals of pass@1, of pass@2, 4, 8, ... up to k and, of several responses, of maj@k."""
    right_counts = [sum(group.right) for group in graded]
    found = {"pass@1": share_interval([count / k for count in right_counts], k)}
    for size in sizes_up_to(k):
        values = [pass_at_k(k, count, size) for count in right_counts]
        found[f"pass@{size}"] = share_interval(values, k)
    if k > 1:
        votes = [vote(group) for group in graded]
        found[f"maj@{k}"] = share_interval(votes, k)
    return found


def sizes_up_to(k: int) -> list[int]:
    """The powers of two from 2 on that are below k, and k itself unless it is 1."""
    sizes = []
    size = 2
    while size < k:
        sizes.append(size)
        size *= 2
    if k > 1:
        sizes.append(k)
    return sizes


def length_intervals(drawn: list[Graded], k: int) -> dict[str, Interval]:
    """The intervals of the truncated share and of the mean length: of all, right and wrong ones.

    Lengths are in tokens.
    """
    hit_limit = []
    lengths = []
    lengths_right = []
    lengths_wrong = []
    for group in drawn:
        unfinished = sum(not response.finished for response in group.responses)
        hit_limit.append(unfinished / k)
        lengths.append([response.tokens for response in group.responses])
        lengths_right.append(lengths_where(group, right=True))
        lengths_wrong.append(lengths_where(group, right=False))
    return {
        "truncated": share_interval(hit_limit, k),
        "length": mean_interval(lengths),
        "length_right": mean_interval(lengths_right),
        "length_wrong": mean_interval(lengths_wrong),
    }


def lengths_where(group: Graded, right: bool) -> list[int]:
    """The lengths, in tokens, of the right responses of a group or of its wrong ones."""
    pairs = zip(group.responses, group.right)
    return [response.tokens for response, was_right in pairs if was_right == right]


# ---------------------------------------------------------------- votes


def vote(group: Graded) -> float:
    """What the majority of a group's answers is worth, each value counted once."""
    return majority(one_spelling(group.answers, group.problem), group.right)


def one_spelling(answers: list[str | None], problem: tasks.Problem) -> list[str | None]:
    """Maths answers, each in the commonest spelling of its value: `1/2` and `0.5` vote together.

    A rarer spelling is graded as if the commoner one were the right answer, exactly, whatever
    tolerance the problem has. Answers of other tasks stay as they are.
    """
    if problem.task != "math":
        return answers
    votes = Counter(answer for answer in answers if answer is not None)
    values = []
    spelling = {None: None}
    for answer, _ in votes.most_common():
        value = equal_value(answer, values, problem)
        if value is None:
            value = answer
            if len(values) < MOST_VALUES:
                values.append(answer)
        spelling[answer] = value
    return [spelling[answer] for answer in answers]


def equal_value(answer: str, values: list[str], problem: tasks.Problem) -> str | None:
    """The first of `values` that `answer` says as well; None if it says none of them."""
    for value in values:
        right, _, _ = reward.check(answer, replace(problem, answer=value, facts={}))
        if right:
            return value
    return None


# ---------------------------------------------------------------- behaviours


def behaviours(graded: list[Graded]) -> dict:
    """Of each behaviour its mean count and the share of responses with any; outcome efficiency.

    `name` is the mean count a response, `name_share` the share of responses with any. Outcome
    efficiency (arXiv 2412.21187) is tokens up to the first right answer by all tokens, 0 for a
    wrong response; `efficiency_right` is its mean over right responses alone.
    """
    k = len(graded[0].responses)
    drawn = [group for group in graded if group.drawn]
    counts = [counts_of(group) for group in drawn]
    found = {}
    for name in behaviour.RULES:
        by_group = [group_counts[name] for group_counts in counts]
        shares = [sum(map(bool, numbers)) / k for numbers in by_group]
        found[name] = mean_interval(by_group)
        found[name + "_share"] = share_interval(shares, k)
    of_right = []
    of_all = []
    for group in drawn:
        efficient = efficiencies(group)
        wrong = k - len(efficient)
        of_right.append(efficient)
        of_all.append(efficient + [0.0] * wrong)
    found["efficiency"] = mean_interval(of_all)
    found["efficiency_right"] = mean_interval(of_right)
    return with_intervals(found)


def counts_of(group: Graded) -> dict[str, list[int]]:
    """Of each behaviour how often it occurs in each response of a group."""
    counts = {name: [] for name in behaviour.RULES}
    for response in group.responses:
        for name, count in behaviour.count(response.text, group.problem).items():
            counts[name].append(count)
    return counts


def efficiencies(group: Graded) -> list[float]:
    """The outcome efficiency of each right response of a group."""
    shares = []
    for response, right in zip(group.responses, group.right):
        if right:
            end = behaviour.first_right(response.text, group.problem)
            shares.append(tokens_until(response, end) / response.tokens)
    return shares
