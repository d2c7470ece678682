"""Published files of problems, each pinned: one address, one checksum, fetched once.

A file is fetched when it is first asked for, aloud, checked by its sha256, and kept in
`~/.cache/onezero` (ONEZERO_CACHE names another folder). With a folder given, the files are read
from there and nothing is fetched. A changed file is refused: results on other rows are other
results, and `--data FILE` reads any file.

There are two tables of the same kind. BENCHMARKS are evaluated on (evaluation/benchmarks.py) and
never trained on. TRAINING are the files of the recipes, which `--data` takes by name.

A trap: `datasets/train/gsm_8k` of the Dr. GRPO paper's repository holds all 1,319 test questions of
GSM8K. The training file here is GSM8K's own.
"""

import hashlib
import http.client
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from config import UserError
from storage.folders import write_file

SECONDS = 60  # without an answer, before the network counts as unreachable


@dataclass(frozen=True)
class PinnedFile:
    """One file of problems that never changes."""

    file: str  # its name in the cache and in a folder of files
    address: str  # pinned to a commit
    sha256: str
    problems: int  # rows that have an answer


# ---------------------------------------------------------------- the files

GITHUB = "https://raw.githubusercontent.com"
SIMPLERL = (
    f"{GITHUB}/hkust-nlp/simpleRL-reason/cf1c7858bfc145a27aa733e75d930d34f0d318a6"
    "/examples/simplelr_math_eval/data"
)
GSM8K = (
    f"{GITHUB}/openai/grade-school-math/3101c7d5072418e28b9008a6636bde82a006892c"
    "/grade_school_math/data"
)
RLLM = f"{GITHUB}/agentica-project/rllm/874daa4acb7f451dc2a4b2b6e8ce28f5aa88d1f5/rllm/data/train"

BENCHMARKS = {
    "aime24": PinnedFile(
        "aime24.jsonl",
        f"{SIMPLERL}/aime24/test.jsonl",
        "af2b8bd2aa911b6333ad0df32f3ca05c7ae8ed10f1731f4372c8ae26990bf7ac",
        30,
    ),
    "amc23": PinnedFile(
        "amc23.jsonl",
        f"{SIMPLERL}/amc23/test.jsonl",
        "43707e1ca784602d8479de24ee8ce36609dbebc46dd152b0b12a46611aa898a4",
        40,
    ),
    "math500": PinnedFile(
        "math500.jsonl",
        f"{SIMPLERL}/math500/test.jsonl",
        "35dc41080a3680858b27fa7e0533d2d547825316fc5dafe5d316f4ccc5a06132",
        500,
    ),
    "minerva": PinnedFile(
        "minerva_math.jsonl",
        f"{SIMPLERL}/minerva_math/test.jsonl",
        "0e656b430d3a0a1dab6aa853f453ba3805e28e2cabe4fc72486a897cc09d8ba2",
        272,
    ),
    "olympiadbench": PinnedFile(
        "olympiadbench.jsonl",
        f"{SIMPLERL}/olympiadbench/test.jsonl",
        "bb8c1e38a16ea9eacb77530315a674d883f267fbff79183effc53681b4fcc416",
        675,
    ),
    "gsm8k": PinnedFile(
        "gsm8k_test.jsonl",
        f"{GSM8K}/test.jsonl",
        "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
        1319,
    ),
}

TRAINING = {
    "gsm8k-train": PinnedFile(
        "gsm8k_train.jsonl",
        f"{GSM8K}/train.jsonl",
        "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
        7473,
    ),
    # 7,474 problems of MATH with a model's rating of the difficulty; four have no answer.
    "math-train": PinnedFile(
        "math_train.json",
        f"{RLLM}/math/math.json",
        "569230b362fd501e1a33d8f29aae3b4b989d32e2b91b07c3f48493528c3bf6d2",
        7470,
    ),
}


# ---------------------------------------------------------------- where a file is


def place_of_data(data: str, folder: str | None = None, flag: str = "--data") -> str:
    """The path that `--data` means: the file of a name in TRAINING, else the path itself.

    flag: what the user calls it.

    UserError if there is no such file.
    """
    if data in TRAINING:
        return str(place_of(TRAINING[data], folder))
    if Path(data).is_file():
        return data
    if Path(data).exists():
        raise UserError(
            f"{flag} {data}: this is no file, but a folder, a pipe or a device: write what it "
            "holds into a file first"
        )
    if data in BENCHMARKS:
        raise UserError(
            f"{flag} {data}: this is a benchmark, to evaluate on and never to train on: eval.py "
            f"--suite {data}, or train.py --eval-suite {data}"
        )
    raise UserError(
        f"{flag} {data}: there is no such file; by name it takes {' and '.join(TRAINING)}"
    )


def place_of(pinned: PinnedFile, folder: str | None = None) -> Path:
    """The file itself, checked: in a folder of the user's, else in the cache."""
    if folder:
        return find(pinned, folder)
    return fetch(pinned)


def cache_folder() -> Path:
    """Where fetched files are kept."""
    named = os.environ.get("ONEZERO_CACHE")
    if named:
        return Path(named)
    return Path.home() / ".cache" / "onezero"


def sha256_of(content: bytes) -> str:
    """The checksum that a file is known by."""
    return hashlib.sha256(content).hexdigest()


def fetch(pinned: PinnedFile) -> Path:
    """The file in the cache, downloaded if it is not there or not whole."""
    place = cache_folder() / pinned.file
    if place.is_file() and sha256_of(place.read_bytes()) == pinned.sha256:
        return place
    print(f"fetching {pinned.address} to {place}", flush=True)
    content = download(pinned)
    found = sha256_of(content)
    if found != pinned.sha256:
        raise UserError(
            f"{pinned.address}: what came has sha256 {found}, not {pinned.sha256}: try again, or "
            f"put the file as {pinned.file} into a folder and name it with --data-dir"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    write_file(place, content.decode("utf-8"))
    return place


def download(pinned: PinnedFile) -> bytes:
    """What stands at the file's address; UserError if the network does not answer."""
    try:
        with urllib.request.urlopen(pinned.address, timeout=SECONDS) as answer:
            return answer.read()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", "") or error or type(error).__name__
        raise UserError(
            f"cannot fetch {pinned.address} ({reason}): put the file as {pinned.file} into a "
            "folder and name it with --data-dir, or read a file of your own with --data"
        ) from None


def find(pinned: PinnedFile, folder: str) -> Path:
    """The file in a folder of the user's, unchanged."""
    place = Path(folder) / pinned.file
    if not place.is_file():
        raise UserError(f"--data-dir {folder}: there is no {pinned.file} (it is {pinned.address})")
    found = sha256_of(place.read_bytes())
    if found != pinned.sha256:
        raise UserError(
            f"{place} has sha256 {found}, not {pinned.sha256}: not the file that is meant; --data "
            "reads any file"
        )
    return place
