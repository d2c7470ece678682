"""The figures of graded responses, each with its interval: accuracy, votes, lengths, behaviours.

A problem whose prompt does not fit the context is in every share of right answers, and in no
length, truncated share or behaviour, because nothing was drawn for it.
"""

from collections import Counter
from dataclasses import replace

import tasks
from evaluation import behaviour, thoughts
from evaluation.responses import Graded, tokens_until
from evaluation.statistics import Interval, majority, mean_interval, pass_at_k, share_interval

# Different values that a spelling is compared with: a vote beyond these stands for itself.
MOST_VALUES = 16


def with_intervals(found: dict[str, Interval]) -> dict:
    """{"name": (value, low, high)} as {"name": value, "name_ci": [low, high]}."""
    columns = {}
    for name, (value, low, high) in found.items():
        columns[name] = value
        columns[name + "_ci"] = [low, high]
    return columns


def together(records: list[dict]) -> dict[str, list]:
    """Records that have the same names, as one: under each name the list of their values."""
    lists = {}
    for record in records:
        for name, value in record.items():
            lists.setdefault(name, []).append(value)
    return lists


def drawn_of(graded: list[Graded]) -> list[Graded]:
    """The groups for which responses were drawn."""
    return [group for group in graded if group.drawn]


# ---------------------------------------------------------------- accuracy and lengths


def figures(graded: list[Graded]) -> dict:
    """Every figure as {"name": value, "name_ci": [low, high]}; one that no response has is None."""
    k = len(graded[0].responses)
    drawn = drawn_of(graded)
    found = {"problems": len(graded), "k": k, "too_long": len(graded) - len(drawn)}
    found |= with_intervals(accuracy_intervals(graded, k))
    found |= with_intervals(length_intervals(drawn, k))
    return found


def accuracy_intervals(graded: list[Graded], k: int) -> dict[str, Interval]:
    """The intervals of pass@1, of pass@2, 4, 8, ... up to k and, of several responses, of maj@k."""
    by_group = together([accuracies(group, k) for group in graded])
    found = {}
    for name, values in by_group.items():
        found[name] = share_interval(values, k)
    return found


def accuracies(group: Graded, k: int) -> dict[str, float]:
    """What one problem contributes to each of these."""
    right = sum(group.right)
    found = {"pass@1": right / k}
    size = 2
    while size < k:
        found[f"pass@{size}"] = pass_at_k(k, right, size)
        size *= 2
    if k > 1:
        found[f"pass@{k}"] = pass_at_k(k, right, k)
        answers = one_spelling(group.answers, group.problem)
        found[f"maj@{k}"] = majority(answers, group.right)
    return found


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
        right = lengths_where(group, right=True)
        wrong = lengths_where(group, right=False)
        lengths.append(right + wrong)
        lengths_right.append(right)
        lengths_wrong.append(wrong)
    return {
        "truncated": share_interval(hit_limit, k),
        "length": mean_interval(lengths),
        "length_right": mean_interval(lengths_right),
        "length_wrong": mean_interval(lengths_wrong),
    }


def lengths_where(group: Graded, right: bool) -> list[int]:
    """The lengths of the right responses of a group, or of its wrong ones."""
    pairs = zip(group.responses, group.right)
    return [response.tokens for response, was_right in pairs if was_right == right]


# ---------------------------------------------------------------- votes


def votes(graded: list[Graded]) -> dict:
    """Accuracy of a vote of 1, 2, 4, ... up to k responses, and the tokens of so many a problem.

    Of the k responses the first so many vote, then the next, and so on; what is left over does not.
    """
    k = len(graded[0].responses)
    answers = [one_spelling(group.answers, group.problem) for group in graded]
    found = {}
    for size in sizes_up_to(k):
        votes_of_size = zip(graded, answers)
        shares = [mean_vote(group, spelled, size) for group, spelled in votes_of_size]
        found[f"maj@{size}"] = share_interval(shares, k // size)
        spent = []
        for group in drawn_of(graded):
            spent.append([size * response.tokens for response in group.responses])
        found[f"tokens@{size}"] = mean_interval(spent)
    return with_intervals(found)


def sizes_up_to(k: int) -> list[int]:
    """1, 2, 4, 8, ... and k."""
    sizes = []
    size = 1
    while size < k:
        sizes.append(size)
        size *= 2
    return [*sizes, k]


def mean_vote(group: Graded, answers: list[str | None], size: int) -> float:
    """The mean of the votes of each `size` responses that stand together.

    answers: those of the group in one spelling, which is dear to find.
    """
    right = group.right
    found = []
    for begin in range(0, len(answers) - size + 1, size):
        members = slice(begin, begin + size)
        found.append(majority(answers[members], right[members]))
    return sum(found) / len(found)


def one_spelling(answers: list[str | None], problem: tasks.Problem) -> list[str | None]:
    """Maths answers, each in the commonest spelling of its value: `1/2` and `0.5` vote together.

    A rarer spelling is graded as if the commoner one were the right answer, exactly, whatever
    tolerance the problem has. Answers of other tasks stay as they are.
    """
    if problem.task != "math":
        return answers
    values = []
    spelling = {None: None}
    for answer, _ in Counter(answers).most_common():
        if answer is None:
            continue
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
        right, _, _ = tasks.check(answer, replace(problem, answer=value, facts={}))
        if right:
            return value
    return None


# ---------------------------------------------------------------- behaviours


def behaviours(graded: list[Graded]) -> dict:
    """Of each behaviour its mean count and the share of responses with any; then the thoughts.

    `name` is the mean count a response, `name_share` the share of responses with any. `efficiency`
    is tokens up to the first right answer that is stated by all tokens, 0 for a wrong response;
    `efficiency_right` is its mean over right responses alone. Thoughts: see thoughts.figures.
    """
    k = len(graded[0].responses)
    drawn = drawn_of(graded)
    counts = together(list(map(counts_of, drawn)))
    found = {}
    for name in behaviour.RULES:
        by_group = counts.get(name, [])  # none, if nothing was drawn at all
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
    found |= thoughts.figures(drawn)
    return with_intervals(found)


def counts_of(group: Graded) -> dict[str, list[int]]:
    """Of each behaviour how often it occurs in each response of a group."""
    return together([behaviour.count(response.text, group.problem) for response in group.responses])


def efficiencies(group: Graded) -> list[float]:
    """The outcome efficiency of each right response of a group."""
    shares = []
    for response, right in zip(group.responses, group.right):
        if right:
            end = behaviour.first_right(response.text, group.problem)
            shares.append(tokens_until(response, end) / response.tokens)
    return shares
