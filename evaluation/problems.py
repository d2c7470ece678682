"""Problems of a task as a file: to train and to evaluate on the very same ones.

    python -m evaluation.problems --task countdown:3 --n 500 --out problems.jsonl
    python -m evaluation.problems --task kk:3 --out originals.jsonl --perturbed perturbed.jsonl

The rows are whole problems, with their keys, so a file of one side of the fence stays there: train
on `--data problems.jsonl --eval-data held-out.jsonl`, evaluate with `--data FILE --split all`.

With --perturbed each puzzle of --out is a training puzzle, and that line of the other file is the
same puzzle with one word changed and another solution. It is held out by its own key: no training
on the task draws it.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import tasks
from config import UserError, check_settings, parse, run_program, setting
from storage.folders import check_file, write_file


@dataclass(frozen=True)
class ProblemsConfig:
    """The settings of a file of problems."""

    task: str = setting("countdown", "countdown, kk, arithmetic, sums or words, as kk:3 or kk:3-7")
    n: int = setting(200, "problems", at_least=1)
    split: str = setting("train", "the side of the fence", choices=tasks.SPLITS)
    seed: int = setting(0, "seed of the draw")
    out: str = setting("problems.jsonl", "file to write")
    perturbed: str | None = setting(
        None, "write the puzzles of kk here too, each with one word changed and another solution"
    )

    def __post_init__(self):
        check_settings(self)
        if self.perturbed is None:
            return
        if self.task.partition(":")[0] != "kk":
            raise UserError(f"--perturbed changes puzzles of --task kk, not of {self.task}")
        if self.split != "train":
            raise UserError(
                "--perturbed: the puzzles are on the training side and the changed ones held out: "
                "leave out --split"
            )
        if Path(self.perturbed).resolve() == Path(self.out).resolve():
            raise UserError("--out and --perturbed name the same file")


def puzzles_and_perturbed(
    task: str, n: int, seed: int
) -> tuple[list[tasks.Problem], list[tasks.Problem]]:
    """(training puzzles, each of them perturbed and held out), `n` of both, in the same order.

    A puzzle that has no such neighbour is passed over. UserError if the task has too few.
    """
    make_puzzle = tasks.generator(task)
    rng = random.Random(f"{task}/pairs/{seed}")
    found = {}  # original's key: the two puzzles
    taken = set()  # keys of perturbed puzzles
    misses = 0
    while len(found) < n and misses <= tasks.PATIENCE:
        misses += 1
        original = make_puzzle(rng)
        if original.key in found or tasks.split_of(original.key) != "train":
            continue
        changed = tasks.perturbed(original, rng, "held-out")
        if changed is None or changed.key in taken:
            continue
        found[original.key] = (original, changed)
        taken.add(changed.key)
        misses = 0
    if len(found) < n:
        raise UserError(
            f"task {task!r} has only about {len(found)} training puzzles that one changed word "
            f"makes a held-out puzzle, not {n}: lower --n, or take more people"
        )
    originals = [original for original, _ in found.values()]
    changed = [changed for _, changed in found.values()]
    return originals, changed


def write(path: str, problems: list[tasks.Problem]) -> None:
    """Write problems as JSON lines that `tasks.read_rows` reads; the file is whole or as it was."""
    lines = [json.dumps(tasks.row_of(problem)) + "\n" for problem in problems]
    write_file(Path(path), "".join(lines))


def main():
    settings, _ = parse(ProblemsConfig, "write problems of a task to a file")
    check_file("--out", settings.out)
    if settings.perturbed is None:
        problems = tasks.make_problems(settings.task, settings.split, settings.seed, settings.n)
        write(settings.out, problems)
        print(f"{settings.out}: {len(problems)} problems of {settings.task}, {settings.split}")
        return
    check_file("--perturbed", settings.perturbed)
    originals, changed = puzzles_and_perturbed(settings.task, settings.n, settings.seed)
    write(settings.out, originals)
    write(settings.perturbed, changed)
    print(f"{settings.out}: {len(originals)} puzzles of {settings.task}, train")
    print(f"{settings.perturbed}: each of them with one word changed, held-out")


if __name__ == "__main__":
    run_program(main)
