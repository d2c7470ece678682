"""What a run is trained on, known by content: a path says where a file is, its sha256 what it is.

A run keeps both, so that it goes on with the same files in another folder or on another machine,
and never with others in silence.
"""

import hashlib
from pathlib import Path

from config import UserError, flag_of
from storage import model_folder, pinned, runs

# How to go on if a source is another one now.
REMEDY = {
    "data": "name the file that it was trained on with --data",
    "eval_data": "name the file that it is tried on with --eval-data",
    "model": "name the model that it started from with --model",
    "teacher": "name the model that it learns from with --teacher",
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


def check_sources(settings, folder: Path, saved: Path | None) -> dict[str, list[str]]:
    """The sha256 of the files that a run reads; a UserError if it began with others.

    settings: a train.TrainConfig; saved: its newest checkpoint, None if there is none. The files
    are those of --data, --eval-data, --model and --teacher. The starting model is not asked for
    where a checkpoint stands in for it.
    """
    earlier, stored = runs.read_config(folder)
    sha256 = dict(stored or {})
    is_reference = settings.kl_coef != 0 and not runs.keeps_reference(settings, saved)
    reads_model = not saved or is_reference or settings.model != earlier.get("model")
    places = {"data": settings.data, "eval_data": settings.eval_data, "data_dir": settings.data_dir}
    if reads_model:
        places["model"] = settings.model
    if settings.teacher:
        places["teacher"] = settings.teacher
    found = {}
    for name, place in places.items():
        if earlier and place:
            check_there(folder, name, place)
    for name in ("data", "eval_data"):
        if places[name]:
            place = pinned.place_of_data(places[name], settings.data_dir, flag_of(name))
            found[name] = sha256_of([Path(place)])
    if reads_model:
        found["model"] = sha256_of_model(settings.model)
    if settings.teacher:
        found["teacher"] = sha256_of_model(settings.teacher)
    if earlier and stored is None and found:
        print(
            f"{folder}: an earlier version made this run and kept no sha256 of "
            f"{' and '.join(map(flag_of, found))}: what is there now is taken"
        )
    for name, hashes in found.items():
        if name in sha256:
            check_same(folder, name, places[name], hashes, sha256[name])
    return sha256 | found
