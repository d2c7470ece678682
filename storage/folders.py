"""Files and folders that appear whole or not at all: written beside their place, flushed, then
renamed into it.
"""

import contextlib
import os
import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from config import UserError


@contextlib.contextmanager
def writing(path):
    """Whatever fails inside is an OSError that names `path`.

    On a full disk each library has an error of its own: safetensors a SafetensorError, torch a
    RuntimeError about positions that covers the system's error, tokenizers a bare Exception; and
    the system's own says no name where a file is open already.
    """
    try:
        yield
    except Exception as error:
        cause = error
        while cause and not isinstance(cause, OSError):
            cause = cause.__context__
        if cause:
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        raise OSError(None, str(error), str(path)) from error


def write_file(path: Path, text: str) -> None:
    """Write beside the place, then rename into it: the file is whole or as it was.

    A link stays one: what it leads to is written.
    """
    path = Path(os.path.realpath(path))
    draft = path.with_name(f".{path.name}.new")
    try:
        # newline: on every system the same bytes.
        with writing(path), open(draft, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def check_file(flag: str, file: str) -> None:
    """A UserError for a file that cannot be written: this is said before the work, not after it.

    What is there already may be a folder, a pipe or a device, or kept from being changed.
    """
    place = Path(os.path.realpath(file))
    if not place.parent.is_dir():
        raise UserError(f"{flag} {file}: there is no such folder")
    taken = place.exists() and not (place.is_file() and os.access(place, os.W_OK))
    if taken or not os.access(place.parent, os.W_OK):
        raise UserError(f"{flag} {file}: no file can be written there")


@contextlib.contextmanager
def new_folder(path):
    """A folder that appears whole or not at all: filled beside its place, flushed, then renamed
    into it.

    A folder that was there is replaced only then. After an error nothing of the new one is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        old.rename(path)  # a kill came between the two renames below
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        for file in draft.rglob("*"):  # a tokenizer may make a folder of chat templates
            if file.is_file():
                flush(file)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    draft.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def check_link(path: Path) -> None:
    """A UserError for a link that leads nowhere, or in a circle: nothing can be made there."""
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path} is a link to something that does not exist: remove or mend it")


@contextlib.contextmanager
def claimed(path: Path):
    """Keep other processes from writing a folder; a UserError if one does so already.

    Its parents are made, so a place that cannot be written is found here, before the work.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(f".{path.name}.lock")
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{path}: another process is at work on this folder") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows deletes no open file, but its lock does
            file.unlink()
        lock.release()


def flush(file: Path) -> None:
    """Return only when the disk has a file's content."""
    # Open for writing too: Windows flushes no other file.
    with writing(file), open(file, "r+b") as handle:
        os.fsync(handle.fileno())


def remove_folder(path: Path) -> None:
    """Delete a folder so that a kill half-way leaves nothing that looks whole."""
    gone = path.with_name(f".{path.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
