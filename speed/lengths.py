"""What lengths responses have where they are imposed, and how many decode steps they take."""

import heapq
import math
import random
from statistics import NormalDist

# Of the logarithm of a response's length: half a per cent of the rows reach 8 times the mean.
SIGMA = 1.0
LONGEST = 8  # times the mean


def lognormal_lengths(n: int, average: float, seed: int) -> list[int]:
    """`n` response lengths in tokens, log-normal, from 1 to 8 times the mean.

    They are the quantiles, in an order of their own, and not draws: every seed has the same work
    to do. The cut takes about a hundredth off the mean.
    """
    logarithm = NormalDist(math.log(average) - SIGMA**2 / 2, SIGMA)
    longest = round(LONGEST * average)
    lengths = []
    for i in range(n):
        quantile = math.exp(logarithm.inv_cdf((i + 0.5) / n))
        lengths.append(min(max(1, round(quantile)), longest))
    random.Random(seed).shuffle(lengths)
    return lengths


def even_lengths(tokens: int, n: int) -> list[int]:
    """`n` response lengths that add up to `tokens` and differ by one at most."""
    length, longer = divmod(tokens, n)
    return [length + 1] * longer + [length] * (n - longer)


def makespan(lengths: list[int], slots: int) -> int:
    """Decode steps that rows of these lengths take when a free slot takes the next one at once."""
    ends = [0] * slots
    for length in lengths:
        heapq.heappushpop(ends, ends[0] + length)
    return max(ends)
