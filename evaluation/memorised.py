"""How much of what a model solves it has learned by heart: puzzles beside perturbed ones.

    python -m evaluation.problems --task kk:3 --out originals.jsonl --perturbed perturbed.jsonl
    python eval.py --model MODEL --data originals.jsonl --split all --save a.jsonl
    python eval.py --model MODEL --data perturbed.jsonl --split all --save b.jsonl
    python -m evaluation.memorised a.jsonl b.jsonl

The memorisation score (LiMem of "On Memorization of Large Language Models in Logical Reasoning",
arXiv 2410.23123) is accuracy x (1 - share still solved after perturbation). Of several responses a
problem it is the expected value: the mean of a x (1 - b) over pairs, where a and b are the shares
of right responses to a puzzle and to its perturbed one. A model that guesses has such a score too,
so compare it with the same model's before training; who gives the old puzzle's answer to the
perturbed one more often than that has learned it by heart.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import tasks
from config import UserError, check_settings, parse, run_program, setting
from evaluation import responses
from evaluation.responses import Graded
from evaluation.statistics import mean_interval, share_interval
from storage.folders import check_file, write_file


@dataclass(frozen=True)
class MemorisedConfig:
    """The settings of a comparison."""

    files: tuple = setting(
        (),
        "responses to the puzzles, and to the perturbed ones, by eval.py --save",
        positional=True,
    )
    json: str | None = setting(None, "write the figures to this file")

    def __post_init__(self):
        check_settings(self)
        if len(self.files) != 2:
            raise UserError(
                "give two files of eval.py --save: "
                "python -m evaluation.memorised ORIGINALS PERTURBED"
            )
        read = [Path(file).resolve() for file in self.files]
        if self.json and Path(self.json).resolve() in read:
            raise UserError(f"--json {self.json}: that is a file that is read")


def groups_of(path: str) -> list[Graded]:
    """The graded problems of a file of one or more benchmarks."""
    _, graded = responses.read_graded(path)
    groups = []
    for name in graded:
        groups += graded[name]
    return groups


def share_right(group: Graded) -> float:
    """The share of right responses to a problem."""
    return sum(group.right) / len(group.right)


def share_old(group: Graded, original: tasks.Problem) -> float:
    """The share of responses to a perturbed puzzle that answer the one it was made from."""
    old = 0
    for answer in group.answers:
        if answer is not None and tasks.check(answer, original)[0]:
            old += 1
    return old / len(group.answers)


def figures(originals: list[Graded], perturbed: list[Graded]) -> dict:
    """Accuracy on both, the share still solved, the old answers and the score, of pairs of puzzles.

    Each is (value, low, high), but for the share still solved, which is a plain ratio (None if
    nothing is solved), and the number of pairs. UserError if no two puzzles belong together.
    """
    before = {group.problem.key: group for group in originals}
    pairs = []
    for group in perturbed:
        key = group.problem.facts.get("original")
        if isinstance(key, str) and key in before:
            pairs.append((before[key], group))
    if not pairs:
        raise UserError(
            "no puzzle of the second file was made from one of the first: python -m "
            "evaluation.problems --perturbed writes such pairs"
        )
    k = min(len(originals[0].right), len(perturbed[0].right))
    first = [share_right(original) for original, _ in pairs]
    second = [share_right(changed) for _, changed in pairs]
    old = [share_old(changed, original.problem) for original, changed in pairs]
    learned = [a * (1 - b) for a, b in zip(first, second)]
    still = None
    if sum(first):
        still = 1 - sum(learned) / sum(first)
    return {
        "pairs": len(pairs),
        "accuracy": share_interval(first, k),
        "accuracy_perturbed": share_interval(second, k),
        "old_answer": share_interval(old, k),
        "still_solved": still,
        "memorised": mean_interval([[value] for value in learned]),
    }


def lines_of(found: dict) -> list[str]:
    """The figures as text."""
    still = "-"
    if found["still_solved"] is not None:
        still = f"{found['still_solved']:.3f}"
    return [
        f"pairs               {found['pairs']}",
        f"puzzles solved      {interval(found['accuracy'])}",
        f"perturbed solved    {interval(found['accuracy_perturbed'])}",
        f"old answer given    {interval(found['old_answer'])}",
        f"still solved        {still}   of the solved puzzles, when perturbed",
        f"memorisation score  {interval(found['memorised'])}",
    ]


def interval(value: tuple) -> str:
    """`.123 [.100, .150]`, or the value alone where its interval is not known."""
    middle, low, high = value
    if low is None:
        return f"{middle:.3f}"
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


def main():
    settings, _ = parse(MemorisedConfig, "how much of what a model solves it has learned by heart")
    if settings.json:
        check_file("--json", settings.json)
    originals, perturbed = map(groups_of, settings.files)
    found = figures(originals, perturbed)
    print("\n".join(lines_of(found)))
    if settings.json:
        write_file(Path(settings.json), json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    run_program(main)
