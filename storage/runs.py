"""A run's folder: what stands in it, written so that a kill at any moment loses nothing.

    config.json            the resolved configuration, versions and git commit
    metrics.jsonl          a line per step; step 0 holds the first evaluation
    rollouts.jsonl         some whole groups, with rewards, advantages and why
    checkpoints/step-N/    a Hugging Face folder of the fp32 weights, and trainer.pt:
                           the optimizer's state and the step
    summary.json           accuracy before and after, written at the end

A log may be ahead of the newest checkpoint when a run is killed: resuming cuts it back to the
checkpoint's step.
"""

import fcntl
import json
import pickle
import subprocess
import sys
from pathlib import Path

import torch

from config import UserError
from storage.folders import write_file

CONFIG = "config.json"
METRICS = "metrics.jsonl"
ROLLOUTS = "rollouts.jsonl"
SUMMARY = "summary.json"
TRAINER = "trainer.pt"


def new_name(name: str) -> str:
    """`name`, or the first of `name-2`, `name-3`, … that no folder has."""
    free = name
    number = 1
    while Path(free).exists():
        number += 1
        free = f"{name}-{number}"
    return free


def check_free(folder: Path) -> None:
    """A UserError if a new run cannot go into this folder."""
    if (folder / CONFIG).exists():
        raise UserError(
            f"{folder} holds a run already: go on with --resume {folder} or choose another --out"
        )
    if not folder.exists():
        return
    for path in folder.iterdir():
        if not path.name.startswith("."):  # a kill may leave .lock
            raise UserError(f"{folder} is not empty and holds no run: choose another --out")


def claim(folder: Path):
    """An open file that keeps other processes out of a run.

    Closing it, or any end of this process, lets them in.
    """
    handle = open(folder / ".lock", "w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise UserError(f"{folder}: another process is at work on this run") from None
    return handle


# ---------------------------------------------------------------- the configuration


def versions() -> dict:
    """What the numbers of a run depend on besides its configuration."""
    import transformers  # here: it takes seconds, and `--help` needs none of it

    command = ["git", "rev-parse", "HEAD"]
    here = Path(__file__).parent
    try:
        found = subprocess.run(command, cwd=here, capture_output=True, text=True)
        commit = found.stdout.strip()
    except OSError:  # no git on this machine
        commit = ""
    return {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "git_commit": commit or None,
        "threads": torch.get_num_threads(),
    }


def write_config(folder: Path, settings: dict) -> None:
    text = json.dumps({**settings, "versions": versions()}, indent=2)
    write_file(folder / CONFIG, text + "\n")


# ---------------------------------------------------------------- the logs


def append_line(path: Path, record: dict) -> None:
    with open(path, "a") as file:
        file.write(json.dumps(record) + "\n")


def read_lines(path: Path) -> list[dict]:
    """The records of a log, in order."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def cut_log(path: Path, step: int) -> list[dict]:
    """Drop the lines after `step`, and a line that a kill left unfinished; returns what stays."""
    if not path.exists():
        return []
    kept = []
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            late = record["step"] > step
        except (ValueError, TypeError, KeyError):
            if number < len(lines):  # a kill can break the last line alone
                raise UserError(
                    f"{path}, line {number} is damaged: mend or move the file to resume"
                ) from None
            break
        if not late:
            kept.append(record)
    write_file(path, "".join(json.dumps(record) + "\n" for record in kept))
    return kept


# ---------------------------------------------------------------- checkpoints


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first (drafts carry a leading dot)."""
    complete = []
    for path in (folder / "checkpoints").glob("step-*"):
        if path.name.removeprefix("step-").isdecimal():
            complete.append(path)
    return sorted(complete, key=step_of)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def checkpoint_place(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step-{step}"


def write_trainer(checkpoint: Path, optimizer, step: int) -> None:
    """The optimizer's state and the step, in a checkpoint's folder."""
    # With the parameters' names: states that are laid out for others are refused on resuming.
    state = {"adam": optimizer.adam.state_dict(), "step": step, "names": optimizer.names}
    torch.save(state, checkpoint / TRAINER)


def read_trainer(checkpoint: Path, optimizer) -> int:
    """Take up the optimizer's state; returns the step.

    A UserError if it is damaged or laid out for other parameters.
    """
    file = checkpoint / TRAINER
    device = optimizer.masters[0].device
    try:
        state = torch.load(file, map_location=device, weights_only=True)
        names = state.get("names")
        if names == optimizer.names:
            optimizer.adam.load_state_dict(state["adam"])
        step = state["step"]
    except (RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{file} is damaged ({error}): move that checkpoint away to resume from the one before"
        ) from None
    if names != optimizer.names:
        raise UserError(
            f"{file} lays the optimizer's states out for other parameters (an earlier version "
            f"wrote it): it cannot be resumed; begin a new run with --model {checkpoint}"
        )
    return step
