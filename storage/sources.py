"""What a run is trained on, known by content: a path says where a file is, its sha256 what it is.

A run keeps both, so that it goes on with the same files in another folder or on another machine,
and never with others in silence.
"""

import hashlib
from pathlib import Path

from config import UserError, flag_of
from storage import model_folder

# How to go on if a source is another one now.
REMEDY = {
    "data": "name the file that it was trained on with --data",
    "eval_data": "name the file that it is tried on with --eval-data",
    "model": "name the model that it started from with --model",
}


def sha256_of(files: list[Path]) -> list[str]:
    """The sha256 of each file, as `sha256sum` prints it."""
    found = []
    for path in files:
        with open(path, "rb") as file:
            found.append(hashlib.file_digest(file, "sha256").hexdigest())
    return found


def sha256_of_model(model: str) -> list[str]:
    """The sha256 of the files of a model's weights, in the order of their names."""
    folder = model_folder.find(model)
    model_folder.check_complete(folder)
    return sha256_of([folder / name for name in model_folder.weight_files(folder)])


def check_there(run: Path, name: str, place: str) -> None:
    """A UserError if a run's file or folder has gone from the absolute path that the run keeps."""
    if Path(place).is_absolute() and not Path(place).exists():
        flag = flag_of(name)
        raise UserError(
            f"{run}: there is no {place} here, which this run was made with ({flag}): give its new "
            f"place beside --resume, {flag} PLACE"
        )


def check_same(run: Path, name: str, place: str, found: list[str], stored: list[str]) -> None:
    """A UserError if a source of a run is not what it was; the lists are the files' sha256."""
    for ours, theirs in zip(found, stored):
        if ours != theirs:
            raise UserError(
                f"{run}: {flag_of(name)} {place} is not what this run is trained on (sha256 "
                f"{ours[:12]}…, was {theirs[:12]}…): {REMEDY[name]}, or begin a new run"
            )
    if len(found) != len(stored):
        raise UserError(
            f"{run}: {flag_of(name)} {place} has {len(found)} files of weights, what this run is "
            f"trained on had {len(stored)}: {REMEDY[name]}, or begin a new run"
        )
