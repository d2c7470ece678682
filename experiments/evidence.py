"""What the seeds say: figures of arms, intervals over seeds, predictions with three answers.

`found` is {arm: [what measure returned, a seed each]}. A list of values has one for each seed.
An answer to a prediction is True, False, or None if the seeds do not decide.
"""

from statistics import mean, stdev

# Student's t for 95 %, by degrees of freedom from 1 on.
T_975 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)


# ---------------------------------------------------------------- figures of the arms


def numbers(found: dict, arm: str, name: str) -> list[float]:
    """A figure of an arm."""
    return [run["numbers"][name] for run in found[arm]]


def curves(found: dict, arm: str, name: str) -> list[list[float | None]]:
    """A curve of an arm, by seed and step."""
    return [run["curves"][name] for run in found[arm]]


def subtract(values: list[float], others: list[float]) -> list[float]:
    """The values minus the others, seed by seed."""
    return [value - other for value, other in zip(values, others)]


def ratios(values: list[float], others: list[float]) -> list[float]:
    """The values over the others, seed by seed."""
    return [value / other for value, other in zip(values, others)]


def halves(values: list[float]) -> list[float]:
    """Half of each value."""
    return [value / 2 for value in values]


def differences(found: dict, arm: str, other: str, name: str) -> list[float]:
    """A figure of an arm minus that of another, seed by seed: they share problems and start."""
    return subtract(numbers(found, arm, name), numbers(found, other, name))


def changes(found: dict, arm: str, before: str, after: str) -> list[float]:
    """How far one figure of an arm lies above another one of the same arm."""
    return subtract(numbers(found, arm, after), numbers(found, arm, before))


def length_gaps(found: dict, arm: str) -> list[list[float | None]]:
    """By seed and step, how much longer wrong responses were than right ones (tokens)."""
    by_seed = []
    for run in found[arm]:
        wrong_by_step = run["curves"]["length_wrong"]
        right_by_step = run["curves"]["length_right"]
        gaps = []
        for wrong, right in zip(wrong_by_step, right_by_step):
            if wrong is None or right is None:
                gaps.append(None)
            else:
                gaps.append(wrong - right)
        by_seed.append(gaps)
    return by_seed


# ---------------------------------------------------------------- intervals


def interval(values: list[float]) -> tuple[float, float, float]:
    """(mean, low, high): 95 % for the mean over seeds by Student's t.

    One value says nothing: its interval is all real numbers.
    """
    n = len(values)
    middle = mean(values)
    if n == 1:
        return middle, float("-inf"), float("inf")
    t = T_975[min(n - 2, 8)]
    half = t * stdev(values) / n**0.5
    return middle, middle - half, middle + half


def shown(values: list[float], decimals: int = 2) -> str:
    """The mean and its interval as text."""
    middle, low, high = interval(values)
    return f"{middle:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def columns(found: dict, names: tuple[str, ...], decimals: int = 2) -> list[str]:
    """A table: a line for each arm, its figures with their intervals.

    It is blank where a seed has no figure.
    """
    first = max(map(len, found)) + 2
    header = " " * first
    for name in names:
        header += f"{name:>26}"
    lines = [header]
    for arm in found:
        line = f"{arm:<{first}}"
        for name in names:
            values = numbers(found, arm, name)
            cell = "" if None in values else shown(values, decimals)
            line += f"{cell:>26}"
        lines.append(line)
    return lines


# ---------------------------------------------------------------- predictions


def above(values: list[float], bound: float) -> bool | None:
    """Whether the mean is above a bound; None if the interval holds it, or a seed has no figure."""
    if None in values:
        return None
    _, low, high = interval(values)
    if low > bound:
        return True
    if high < bound:
        return False
    return None


def below(values: list[float], bound: float) -> bool | None:
    """Whether the mean is below a bound; None as in `above`."""
    if None in values:
        return None
    return above([-value for value in values], -bound)


def within(values: list[float], bound: float) -> bool | None:
    """Whether the mean lies between -bound and bound."""
    return conjunction([above(values, -bound), below(values, bound)])


def near(values: list[float], middle: float, bound: float) -> bool | None:
    """Whether the mean lies within a bound of `middle`."""
    if None in values:
        return None
    return within(subtract(values, [middle] * len(values)), bound)


def less_than_half(values: list[float], others: list[float]) -> bool | None:
    """Whether the values are less than half of the others, seed by seed."""
    return above(subtract(halves(others), values), 0.0)


def more_than_half(values: list[float], others: list[float]) -> bool | None:
    """Whether the values are more than half of the others, seed by seed."""
    return above(subtract(values, halves(others)), 0.0)


def conjunction(answers: list[bool | None]) -> bool | None:
    """False if one answer is, else None if one is, else True."""
    if False in answers:
        return False
    if None in answers:
        return None
    return True


def verdict(predictions: list[tuple[str, bool | None]]) -> str:
    """Whether the claim holds: every prediction does, one is refuted, or neither."""
    words = {True: "holds", False: "does not hold", None: "undecided"}
    answers = [answer for _, answer in predictions]
    return words[conjunction(answers)]
