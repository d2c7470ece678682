"""The laboratory: each finding of the R1-Zero papers by one command.

    python -m experiments                     # all of them, with their last verdict and cost
    python -m experiments length_bias         # one, in minutes: results/length_bias.json and .png
    python -m experiments --all
    python -m experiments length_bias --show  # its last table and verdict; runs nothing
    python -m experiments length_bias --seeds 100-104

The last one leaves results/ alone: other seeds write into runs/lab/results/100-104.
"""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

from config import UserError, parse, run_program, setting
from engine.device import pick_device
from experiments import catalogue, lab, results


@dataclass(frozen=True)
class LabConfig:
    """The command line of the laboratory."""

    names: tuple = setting((), "experiments; none: list them", positional=True)
    all: bool = setting(False, "every experiment")
    seeds: str = setting("", "seeds, as 0-4 or 0,1,2; by default the experiment's own")
    jobs: int = setting(2, "runs at a time, each on one thread")
    device: str = setting(
        "cpu", "auto, cpu or cuda; a GPU computes in bf16, the committed results in fp32"
    )
    show: bool = setting(False, "print the last result and draw it again; run nothing")
    scratch: str = setting("runs/lab", "folder for bases and runs")
    results: str = setting(
        "",
        "folder for NAME.json and NAME.png; by default results, or with other seeds or a GPU a "
        "folder of their own in --scratch",
    )

    def __post_init__(self):
        for name in self.names:
            if name not in catalogue.NAMES:
                choices = ", ".join(catalogue.NAMES)
                raise UserError(f"no experiment {name!r}: choose {choices}")
        if self.jobs < 1:
            raise UserError("--jobs must be at least 1")
        pick_device(self.device)
        draws = self.all or self.names
        if draws and not importlib.util.find_spec("matplotlib"):
            raise UserError(
                "the experiments draw with matplotlib: pip install -r requirements-dev.txt"
            )
        if self.seeds:
            parse_seeds(self.seeds)


def parse_seeds(text: str) -> list[int]:
    """Read 0-4 or 0,1,2: different whole numbers."""
    first, dash, last = text.partition("-")
    parts = [first, last] if dash else text.split(",")
    for part in parts:
        if not part.isdecimal() or len(part) >= 10:
            raise UserError(f"--seeds {text}: write 0-4 or 0,1,2")
    if not dash:
        seeds = [int(part) for part in parts]
    elif int(last) - int(first) >= 1000:
        raise UserError(f"--seeds {text}: more than 1000")
    else:
        seeds = list(range(int(first), int(last) + 1))
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {text}: none, or one twice")
    return seeds


def results_folder(config: LabConfig) -> Path:
    """Where results are written and looked for.

    What another device or other seeds gave stands apart from the committed results.
    """
    if config.results:
        return Path(config.results)
    device = config.device.replace("cpu", "")
    apart = "-".join(part for part in (device, config.seeds) if part)
    if apart:
        return Path(config.scratch) / "results" / apart
    return Path("results")


def show_again(name: str, folder: Path) -> dict:
    """Read a result and draw it again."""
    if not results.place(folder, name).is_file():
        raise UserError(f"no {folder}/{name}.json: run it first, the same without --show")
    result = results.read(name, folder)
    results.draw_picture(result, folder)
    return result


def run_experiment(name: str, config: LabConfig, folder: Path) -> dict:
    """Run an experiment and write its result."""
    if config.seeds:
        seeds = parse_seeds(config.seeds)
    else:
        seeds = list(catalogue.seeds(name))
    scratch = Path(config.scratch)
    try:
        return lab.conduct(name, seeds, config.jobs, scratch, folder, config.device)
    except KeyboardInterrupt:
        print(f"{name}: interrupted, no result is written", file=sys.stderr)
        raise


def main():
    """List the experiments, or run or show those that are named."""
    config, _ = parse(LabConfig, "findings of the R1-Zero papers, each reproduced by one command")
    folder = results_folder(config)
    names = catalogue.NAMES if config.all else config.names
    for name in names:
        if config.show:
            result = show_again(name, folder)
        else:
            result = run_experiment(name, config, folder)
        print(results.report(result), flush=True)
    if not names:
        print(results.listing(folder))


if __name__ == "__main__":
    run_program(main)
