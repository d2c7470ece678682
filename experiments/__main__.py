"""The laboratory: each finding of the R1-Zero papers by one command.

    python -m experiments                     # all of them, with their last verdict and cost
    python -m experiments length_bias         # one, in minutes: writes results/length_bias.json and .png
    python -m experiments --all
    python -m experiments length_bias --show  # its last table and verdict; runs nothing
    python -m experiments length_bias --seeds 100-104  # other seeds leave results/ alone: into runs/lab/results/100-104
"""
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from config import Refusal, parse, run, setting
from experiments import lab
from optim import pick_device


@dataclass(frozen=True)
class LabConfig:
    names: tuple = setting((), "experiments; none: list them", positional=True)
    all: bool = setting(False, "every experiment")
    seeds: str = setting("", "seeds, as 0-4 or 0,1,2; by default the experiment's own")
    jobs: int = setting(2, "runs at a time, each on one thread")
    device: str = setting("cpu", "auto, cpu or cuda; a GPU computes in bf16, the committed results in fp32")
    show: bool = setting(False, "print the last result and draw it again; run nothing")
    scratch: str = setting("runs/lab", "folder for bases and runs")
    results: str = setting("", "folder for NAME.json and NAME.png; by default results, or with other seeds or a GPU a "
                               "folder of their own in --scratch")

    def __post_init__(self):
        for name in self.names:
            if name not in lab.NAMES:
                raise Refusal(f"no experiment {name!r}: choose {', '.join(lab.NAMES)}")
        if self.jobs < 1:
            raise Refusal("--jobs must be at least 1")
        pick_device(self.device)
        if (self.all or self.names) and not importlib.util.find_spec("matplotlib"):
            raise Refusal("the experiments draw with matplotlib: pip install -r requirements-dev.txt")
        if self.seeds:
            seeds_of(self.seeds)


def seeds_of(text: str) -> list[int]:
    """0-4 or 0,1,2: different whole numbers."""
    first, dash, last = text.partition("-")
    parts = [first, last] if dash else text.split(",")
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise Refusal(f"--seeds {text}: write 0-4 or 0,1,2")
    if dash and int(last) - int(first) >= 1000:
        raise Refusal(f"--seeds {text}: more than 1000")
    seeds = list(range(int(first), int(last) + 1)) if dash else [int(part) for part in parts]
    if not seeds or len(set(seeds)) < len(seeds):
        raise Refusal(f"--seeds {text}: none, or one twice")
    return seeds


def listing(results: Path) -> str:
    """One line per experiment: verdict, seeds, cost, claim."""
    lines = [f"{'experiment':<17}{'verdict':<15}{'seeds':>5}{'minutes':>9}  claim"]
    for name in lab.NAMES:
        path = results / f"{name}.json"
        if path.is_file():
            r = json.loads(path.read_text())
            lines.append(f"{name:<17}{r['verdict']:<15}{len(r['seeds']):>5}{r['seconds'] / 60:>9.1f}  {lab.claim(name)}")
        else:
            lines.append(f"{name:<17}not run yet")
    return "\n".join(lines)


def main():
    c, _ = parse(LabConfig, "findings of the R1-Zero papers, each reproduced by one command")
    names = lab.NAMES if c.all else c.names
    other = "-".join(part for part in (c.device.replace("cpu", ""), c.seeds) if part)
    results = Path(c.results) if c.results else Path(c.scratch) / "results" / other if other else Path("results")
    for name in names:
        if c.show:
            if not (results / f"{name}.json").is_file():
                raise Refusal(f"no {results}/{name}.json: run it first, the same without --show")
            result = json.loads((results / f"{name}.json").read_text())
            lab.picture(name, result, results)
        else:
            seeds = seeds_of(c.seeds) if c.seeds else list(lab.seeds(name))
            try:
                result = lab.conduct(name, seeds, c.jobs, Path(c.scratch), results, c.device)
            except KeyboardInterrupt:
                print(f"{name}: interrupted, no result is written", file=sys.stderr)
                raise
        print(lab.report(result), flush=True)
    if not names:
        print(listing(results))


if __name__ == "__main__":
    run(main)
