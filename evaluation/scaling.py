"""How accuracy scales with test-time compute: the figures of s1 (arXiv 2501.19393, section 3.2).

    python -m evaluation.scaling a.json b.json c.json

takes files of `eval.py --json` that differ in how much was spent on a response, by --think-cap,
--force-wait or the votes of --k, and prints a row for each with its mean tokens and accuracy, then

    control      the mean share of responses within the budget that was asked for, of the files that
                 asked for one (--think-cap and --answer-tokens)
    scaling      the mean slope of accuracy over tokens of all pairs of files, per 1,000 tokens
    performance  the best accuracy

The tokens are those of whole responses; the paper counts those of the thinking. It asks of a useful
method that its scaling is above 0.
"""

import itertools
import json
from dataclasses import dataclass

from config import UserError, parse, run_program, setting
from evaluation.tables import Column, aligned, interval, number


@dataclass(frozen=True)
class ScalingConfig:
    """The files that are compared."""

    files: tuple[str, ...] = setting((), "files of eval.py --json", positional=True)


def read(path: str) -> dict:
    """The figures of a file of `--json`; those of several benchmarks are their mean's."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        found = content.get("mean", content)
        for name in ("pass@1", "length"):
            if not isinstance(found[name], (int, float)):
                raise ValueError(f"no number {name}")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: not written by eval.py --json ({error})") from None
    return found


def control(found: list[dict]) -> float | None:
    """The mean share of responses within the budget that was asked for; None if none was."""
    shares = [figures.get("within_budget") for figures in found]
    shares = [share for share in shares if share is not None]
    if not shares:
        return None
    return sum(shares) / len(shares)


def scaling(points: list[tuple[float, float]]) -> float | None:
    """The mean slope of all pairs of (tokens, accuracy), per token; None without two lengths."""
    slopes = []
    for (a, at_a), (b, at_b) in itertools.combinations(sorted(points), 2):
        if b > a:
            slopes.append((at_b - at_a) / (b - a))
    if not slopes:
        return None
    return sum(slopes) / len(slopes)


def table(paths: list[str], found: list[dict]) -> str:
    """A row for each file, and the three figures below."""
    cells = [["", "tokens", "accuracy", "within budget"]]
    points = []
    for path, figures in zip(paths, found):
        tokens = figures["length"]
        accuracy = figures["pass@1"]
        points.append((tokens, accuracy))
        shown = number(accuracy, 3) + interval(figures, Column("", "pass@1"))
        cells.append([path, number(tokens, 1), shown, number(figures.get("within_budget"), 3)])
    slope = scaling(points)
    if slope is not None:
        slope *= 1000
    best = max(accuracy for _, accuracy in points)
    lines = [aligned(cells), ""]
    lines.append(f"control {number(control(found), 3)}")
    lines.append(f"scaling {number(slope, 3)} per 1,000 tokens")
    lines.append(f"performance {number(best, 3)}")
    return "\n".join(lines)


def main(argv: list[str] | None = None):
    settings, _ = parse(ScalingConfig, "s1's figures of several evaluations", argv)
    if len(settings.files) < 2:
        raise UserError("give two files of eval.py --json or more")
    print(table(settings.files, [read(path) for path in settings.files]))


if __name__ == "__main__":
    run_program(main)
