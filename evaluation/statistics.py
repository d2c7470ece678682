"""Numbers from numbers: pass@k, the majority's vote, and 95 % intervals.

Intervals are by problem: the k responses to one problem are not k independent pieces of evidence.
"""

import math
from collections import Counter

Z = 1.96  # two-sided 95 %
NO_SPREAD = 1e-12  # a variance up to here is the rounding of problems that all agree

# (mean, low, high), or None in place of what is not known.
Interval = tuple[float | None, float | None, float | None]


def pass_at_k(n: int, right: int, k: int) -> float:
    """Probability that k of n responses, drawn without replacement, hold a right one.

    Source: arXiv 2107.03374, equation 1. ValueError unless 1 <= k <= n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs at least {k} responses, not {n}")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def majority(answers: list[str | None], right: list[bool]) -> float:
    """1.0 if the commonest answer is right. Responses without an answer do not vote.

    Ties: the expected value of drawing one of the tied answers at random. If nobody answers: 0.
    Answers are compared as text; one text is right or wrong for all who gave it, decided by the
    share of them that was.
    """
    votes = Counter()
    right_votes = Counter()
    for answer, answer_is_right in zip(answers, right):
        if answer is None:
            continue
        votes[answer] += 1
        if answer_is_right:
            right_votes[answer] += 1
    if not votes:
        return 0.0
    most = max(votes.values())
    shares = []  # of the tied answers, how often each was right
    for answer, count in votes.items():
        if count == most:
            shares.append(right_votes[answer] / most)
    return sum(shares) / len(shares)


def share_interval(values: list[float], k: int | None = None) -> Interval:
    """(mean, low, high) of per-problem values in [0, 1], each from `k` responses.

    It is Wilson's score interval at the sample size that gives the observed variance of the mean:
    with one response a problem it is the usual Wilson interval, with many it narrows as far as the
    problems differ from each other only. Without values there is nothing to say: three None.
    """
    n = len(values)
    if n == 0:
        return None, None, None
    mean = sum(values) / n
    variance = sum((value - mean) ** 2 for value in values) / n
    size = n  # problems that all agree say no more than n can
    if variance > NO_SPREAD:
        size = n * mean * (1 - mean) / variance
    if k:
        size = min(size, n * k)  # nor do k responses a problem say more than n * k independent ones
    shrink = 1 + Z * Z / size
    centre = (mean + Z * Z / (2 * size)) / shrink
    half = Z / shrink * math.sqrt(mean * (1 - mean) / size + Z * Z / (4 * size * size))
    low = max(0.0, min(mean, centre - half))
    high = min(1.0, max(mean, centre + half))
    return mean, low, high


def paired_gain(before: list[bool], after: list[bool]) -> Interval:
    """(gain, low, high) in the share of right answers, of the same problems before and after.

    The interval is that of Agresti and Min (2005) for paired shares: Wald's, after half an
    observation more in each of the four cells, so that it has a width where nothing changed.
    """
    n = len(before)
    won = sum(now and not then for then, now in zip(before, after))
    lost = sum(then and not now for then, now in zip(before, after))
    size = n + 2
    difference = (won - lost) / size
    spread = (won + lost + 1) / size - difference**2
    half = Z * math.sqrt(spread / size)
    gain = (won - lost) / n
    return gain, max(-1.0, min(gain, difference - half)), min(1.0, max(gain, difference + half))


def mean_interval(groups: list[list[float]]) -> Interval:
    """(mean, low, high) over all values, given as one list a problem.

    The interval is that of a ratio of sums over problems. None where nothing can be said: there is
    no mean without values, and no interval from a single problem.
    """
    total = sum(map(len, groups))
    if total == 0:
        return None, None, None
    mean = sum(map(sum, groups)) / total
    with_values = sum(map(bool, groups))
    if with_values == 1:
        return mean, None, None
    squares = sum((sum(group) - mean * len(group)) ** 2 for group in groups)
    half = Z * math.sqrt(squares) / total
    return mean, mean - half, mean + half
