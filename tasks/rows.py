"""The rows of a file: JSON objects, one a line or all in one array, or the rows of a parquet file.

What a file is, its first bytes say, not its name. A byte order mark, white space before an array
and empty lines at the end carry nothing and are passed over; an empty line between two others may
be a lost row and is refused.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from config import UserError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # what Windows writes before UTF-8
PARQUET = b"PAR1"
# First bytes of files that people have instead.
OTHERS = {
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it first",
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"ARROW1": "an Arrow file: save it as JSON lines or as parquet",
    b"version https://git-lfs": "a pointer of Git LFS: git lfs pull fetches the file itself",
}


def rows(path: str) -> Iterator[tuple[str, dict]]:
    """(where, object) for each row of a file.

    UserError names a row that is not a JSON object, and a file that is something else.
    """
    check_can_be_read_again(path)
    with open(path, "rb") as file:
        start = file.read(max(map(len, OTHERS)))
    for signature, what in OTHERS.items():
        if start.startswith(signature):
            raise UserError(f"{path} is {what}")
    if start.startswith(PARQUET):
        yield from parquet_rows(path)
    elif is_array(path):
        yield from array_rows(path)
    else:
        yield from line_rows(path)


def check_can_be_read_again(path: str) -> None:
    """A UserError for a pipe or a device: what has been read from it once is gone."""
    if Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir():
        raise UserError(
            f"{path} is a pipe or a device, and a file is read more than once: write what comes "
            "from it into a file first"
        )


def is_array(path: str) -> bool:
    """Whether the first thing in a file, white space aside, is a bracket."""
    with open(path, "rb") as file:
        for line in file:
            text = line.removeprefix(BYTE_ORDER_MARK).strip()
            if text:
                return text.startswith(b"[")
    return False


def array_rows(path: str) -> Iterator[tuple[str, dict]]:
    """The rows of a JSON array, counted from 1."""
    with open(path, "rb") as file:
        text = file.read().removeprefix(BYTE_ORDER_MARK)
    for number, row in enumerate(parse_json(text, path), 1):
        where = f"{path}, row {number}"
        yield where, object_of(row, where)


def line_rows(path: str) -> Iterator[tuple[str, dict]]:
    """The rows of a file of JSON lines, counted from 1."""
    empty = 0  # the first line of those that are empty up to here
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(BYTE_ORDER_MARK)
            if not line.strip():
                empty = empty or number
                continue
            if empty:
                raise UserError(f"{path}, line {empty}: empty")
            where = f"{path}, line {number}"
            yield where, object_of(parse_json(line, where), where)


def parquet_rows(path: str) -> Iterator[tuple[str, dict]]:
    """The rows of a parquet file, counted from 1; UserError where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # here: it is no requirement
    except ImportError:
        raise UserError(
            f"{path} is a parquet file: pip install pyarrow, or save it as JSON lines"
        ) from None
    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield f"{path}, row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: a damaged parquet file ({error})") from None


def parse_json(text: bytes, where: str):
    """The value of a JSON text; UserError if it is none."""
    try:
        value = json.loads(text.decode("utf-8"))
        # An escaped half of a surrogate pair is JSON, but no text.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, brackets without end
        raise UserError(f"{where}: not JSON ({error})") from None
    return value


def object_of(value, where: str) -> dict:
    """The value itself if it is a JSON object; UserError if not."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: not a JSON object")
    return value
