"""A run's folder: what stands in it, written so that a kill at any moment loses nothing.

    config.json            the resolved configuration, versions, git commit, and the sha256 of what
                           the run is trained on
    metrics.jsonl          a line per step; step 0 holds the first evaluation
    rollouts.jsonl         some whole groups, with rewards, advantages and why
    tokens.jsonl           of some of them every token, see evaluation/tokens.py
    checkpoints/step-N/    a Hugging Face folder of the fp32 weights, and trainer.pt:
                           the optimizer's state and the step; with --algorithm ppo critic.pt
                           too: the critic's weights and its optimizer's state; with
                           --renew-reference reference.pt, once it is not the starting model
    summary.json           accuracy before and after, written at the end
    report.html            the run as a page, see report.py

A log may be ahead of the newest checkpoint when a run is killed: resuming cuts it back to the
checkpoint's step. Of the checkpoints the newest few are kept: an old one goes when a new one is
whole.
"""

import json
import math
import pickle
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from config import UserError
from storage import pinned
from storage.folders import check_link, remove_folder, write_file, writing
from storage.model_folder import WEIGHTS, lasting_name, read_json

CONFIG = "config.json"
METRICS = "metrics.jsonl"
ROLLOUTS = "rollouts.jsonl"
TOKENS = "tokens.jsonl"
SUMMARY = "summary.json"
PAGE = "report.html"
TRAINER = "trainer.pt"
CRITIC = "critic.pt"
REFERENCE = "reference.pt"


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
    check_link(folder)
    if (folder / CONFIG).exists() and not (folder / WEIGHTS).exists():
        raise UserError(
            f"{folder} holds a run already: go on with --resume {folder} or choose another --out"
        )
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: choose another --out")
    for path in folder.iterdir():
        if not path.name.startswith("."):  # a kill may leave .lock
            raise UserError(f"{folder} is not empty and holds no run: choose another --out")


def new_run_folder(settings) -> Path:
    """The folder of a new run: --out, or a new name under runs/.

    settings: a train.TrainConfig. A UserError if there is something in it.
    """
    if settings.out:
        folder = Path(settings.out)
    else:
        about = Path(settings.data).stem if settings.data else settings.task.replace(":", "")
        how = settings.loss if settings.algorithm == "grpo" else settings.algorithm
        folder = Path(new_name(f"runs/{about}-{how}-seed{settings.seed}"))
    check_free(folder)
    return folder


def check_untouched(folder: Path, saved: list[Path], is_new: bool) -> None:
    """A UserError if another process has worked on the folder while this one was loading.

    saved: the checkpoints that were there before.
    """
    if is_new:
        check_free(folder)
    if checkpoints(folder) != saved:
        raise UserError(f"{folder}: another process has worked on this run meanwhile: start again")


def claim(folder: Path) -> FileLock:
    """A lock that keeps other processes out of a run.

    `release()`, or any end of this process, lets them in.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{folder}: another process is at work on this run") from None
    return lock


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


# What config.json holds beside the settings.
VERSIONS = "versions"
SHA256 = "sha256"


def lasting_settings(settings, folder: Path) -> dict:
    """The resolved configuration of a run; its paths can be resolved from any folder."""
    kept = asdict(replace(settings, resume=None, out=str(folder.resolve())))
    kept["model"] = lasting_name(settings.model)
    if settings.teacher:
        kept["teacher"] = lasting_name(settings.teacher)
    if settings.recipe:
        kept["recipe"] = absolute(settings.recipe)
    if settings.data and settings.data not in pinned.TRAINING:
        kept["data"] = absolute(settings.data)
    if settings.eval_data and settings.eval_data not in pinned.TRAINING:
        kept["eval_data"] = absolute(settings.eval_data)
    if settings.data_dir:
        kept["data_dir"] = absolute(settings.data_dir)
    return kept


def absolute(path: str) -> str:
    return str(Path(path).resolve())


def write_config(folder: Path, settings: dict, sha256: dict[str, list[str]]) -> None:
    """Write the settings, the versions, and the sha256 of the files that the run is trained on."""
    record = {**settings, SHA256: sha256, VERSIONS: versions()}
    write_file(folder / CONFIG, json.dumps(record, indent=2) + "\n")


def read_config(folder: Path) -> tuple[dict, dict | None]:
    """(settings, sha256 of the files that the run is trained on) of a run.

    ({}, None) where no run is; None for the sha256 of an earlier version's run, which kept none.
    """
    file = folder / CONFIG
    if not file.is_file():
        return {}, None
    settings = read_json(file)
    if "model_type" in settings:
        raise UserError(f"{folder} is a model, not a run: a run's folder holds metrics.jsonl")
    settings.pop(VERSIONS, None)
    sha256 = settings.pop(SHA256, None)
    if sha256 is not None and not are_hashes(sha256):
        raise UserError(
            f"{file}: {SHA256} = {sha256!r} is not an object of lists of hashes: mend it, or take "
            "it out"
        )
    return settings, sha256


def are_hashes(found) -> bool:
    """Whether something is an object of lists of strings."""
    if not isinstance(found, dict):
        return False
    lists = list(found.values())
    if not all(isinstance(hashes, list) for hashes in lists):
        return False
    return all(isinstance(text, str) for hashes in lists for text in hashes)


# ---------------------------------------------------------------- the logs


def append_line(path: Path, record: dict, compact: bool = False) -> None:
    """Add a record to a log; `compact` leaves out the spaces between its parts."""
    separators = (",", ":") if compact else None
    with writing(path), open(path, "a", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(record, separators=separators) + "\n")


def read_lines(path: Path) -> list[dict]:
    """The records of a log, in order."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def cut_log(path: Path, step: int) -> list[dict]:
    """Drop the lines after `step`, and a line that a kill left unfinished; returns what stays."""
    if not path.exists():
        return []
    kept = []
    text = []
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
            text.append(line.decode() + "\n")
    write_file(path, "".join(text))
    return kept


def take_up_logs(folder: Path, step: int) -> float:
    """Cut a run's logs back to a step, -1 empties them; returns the seconds that it has taken."""
    metrics = folder / METRICS
    lines = cut_log(metrics, step)
    cut_log(folder / ROLLOUTS, step)
    cut_log(folder / TOKENS, step)
    try:
        seconds = sum(line["seconds"] for line in lines)
    except (KeyError, TypeError):
        raise UserError(
            f"{metrics}: a line has no seconds, so it is damaged: mend or move the file to resume"
        ) from None
    missing = step + 1 - len(lines)
    if missing > 0:
        print(
            f"{metrics}: {missing} of the lines up to step {step} are missing: its curves and "
            "summary will tell what is left",
            file=sys.stderr,
        )
    return seconds


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


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints; 0 keeps all."""
    if not keep:
        return
    for checkpoint in checkpoints(folder)[:-keep]:
        remove_folder(checkpoint)


def clear_drafts(folder: Path) -> None:
    """Delete what a kill left of checkpoints that were being written or deleted."""
    for kind in ("new", "gone"):
        for draft in (folder / "checkpoints").glob(f".step-*.{kind}"):
            shutil.rmtree(draft, ignore_errors=True)


def plan_disk(settings, folder: Path, checkpoint: int) -> None:
    """Say what the checkpoints to come will take; a UserError if the disk has not that much free.

    settings: a train.TrainConfig; checkpoint: bytes of one.
    """
    saved = checkpoints(folder)
    done = step_of(saved[-1]) if saved else 0
    if done < settings.steps:
        to_come = math.ceil(settings.steps / settings.save_every) - done // settings.save_every
        print(check_disk(folder, checkpoint, to_come, settings.keep))


def check_disk(folder: Path, checkpoint: int, to_come: int, keep: int) -> str:
    """How much a run will write, in a line; a UserError if the disk has not that much free.

    checkpoint: bytes of one, of which `to_come` will be written, each before an old one goes.
    """
    more = checkpoints_more(len(checkpoints(folder)), to_come, keep)
    needed = more * checkpoint
    existing = (folder / "checkpoints").resolve()  # it may be a link to another disk
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    size, all_of_them, left = (tqdm.format_sizeof(n, "B") for n in (checkpoint, needed, free))
    said = f"a checkpoint takes {size}, the run {all_of_them} more at most; {left} are free"
    if needed <= free:
        return f"disk: {said}"
    advice = "make room or choose another --out"
    if checkpoints_more(len(checkpoints(folder)), to_come, keep=1) < more:
        advice = f"take --keep 1, {advice}"
    raise UserError(f"{folder}: the disk is too small: {said}: {advice}")


def checkpoints_more(there: int, to_come: int, keep: int) -> int:
    """By how many the checkpoints will grow at most: a new one is written before an old one goes.

    there: those that there are; to_come: those that will be written; keep: 0 keeps all.
    """
    if not keep:
        return to_come
    most = min(there + to_come, keep + 1)
    return max(most - there, min(to_come, 1))


def write_trainer(checkpoint: Path, optimizer, step: int) -> None:
    """The optimizer's state and the step, in a checkpoint's folder."""
    write_state(checkpoint / TRAINER, optimizer, {"step": step})


def write_critic(checkpoint: Path, optimizer) -> None:
    """The critic's fp32 weights and its optimizer's state, beside the policy's."""
    write_state(checkpoint / CRITIC, optimizer, {"weights": optimizer.named_masters()})


def write_state(file: Path, optimizer, more: dict) -> None:
    """An optimizer's state, and what belongs to it, as a file."""
    # With the parameters' names: states that are laid out for others are refused on resuming.
    state = {"adam": optimizer.adam.state_dict(), "names": optimizer.names, **more}
    # A file that Python opens: of one that torch opens nobody learns why it could not be written.
    with writing(file), open(file, "wb") as opened:
        torch.save(state, opened)


def read_trainer(checkpoint: Path, optimizer) -> int:
    """Take up the optimizer's state; returns the step.

    A UserError if it is damaged or laid out for other parameters.
    """

    def step_in(state: dict) -> int:
        step = state["step"]
        if step != step_of(checkpoint):
            raise ValueError(f"its step is {step!r}")
        return step

    return read_state(checkpoint / TRAINER, optimizer, step_in)


def read_critic(checkpoint: Path, optimizer) -> None:
    """Take up the critic's weights and its optimizer's state; UserErrors as of `read_trainer`."""
    if not (checkpoint / CRITIC).is_file():
        raise UserError(
            f"{checkpoint} has no {CRITIC}: move that checkpoint away to resume from the one before"
        )

    def take_weights(state: dict) -> None:
        weights = state["weights"]
        for name, master in optimizer.named_masters().items():
            master.copy_(weights[name])
        optimizer.refresh()

    read_state(checkpoint / CRITIC, optimizer, take_weights)


def keeps_reference(settings, checkpoint: Path | None) -> bool:
    """Whether the reference model of a checkpoint is no longer the starting model, so that the
    checkpoint has it; None is the beginning of a run.
    """
    renewed = settings.renew_reference
    return bool(checkpoint and renewed) and step_of(checkpoint) >= renewed


def write_reference(checkpoint: Path, reference) -> None:
    """The reference model's weights, in its compute type, in a checkpoint's folder."""
    file = checkpoint / REFERENCE
    weights = {name: tensor.detach() for name, tensor in reference.named_parameters()}
    with writing(file), open(file, "wb") as opened:
        torch.save({"weights": weights}, opened)


def read_reference(checkpoint: Path, reference) -> None:
    """Give a model the weights that `write_reference` has kept; a UserError if they do not fit."""
    file = checkpoint / REFERENCE
    remedy = "move that checkpoint away to resume from the one before"
    if not file.is_file():
        raise UserError(f"{checkpoint} has no {REFERENCE}: {remedy}")
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)["weights"]
        for name, parameter in reference.named_parameters():
            parameter.copy_(weights[name])
    except DAMAGED as error:
        raise UserError(f"{file} is damaged ({error}): {remedy}") from None


# What reading a file raises that holds something else: text, half of it, another program's object.
DAMAGED = (
    *(RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError),
    pickle.UnpicklingError,
)


def read_state(file: Path, optimizer, take):
    """Take up an optimizer's state; returns what `take` makes of the rest of the file.

    A UserError if it is damaged or laid out for other parameters.
    """
    device = optimizer.masters[0].device
    try:
        state = torch.load(file, map_location=device, weights_only=True)
        names = state.get("names")
        adam = state["adam"]
        taken = None
        if names == optimizer.names:
            optimizer.adam.load_state_dict(adam)
            taken = take(state)
    except DAMAGED as error:
        raise UserError(
            f"{file} is damaged ({error}): move that checkpoint away to resume from the one before"
        ) from None
    if names != optimizer.names:
        raise UserError(
            f"{file} lays the optimizer's states out for other parameters (an earlier version "
            f"wrote it): it cannot be resumed; begin a new run with --model {file.parent}"
        )
    return taken
