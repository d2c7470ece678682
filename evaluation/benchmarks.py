"""The maths benchmarks, each from one pinned file, and the figures that are published on them.

A file is fetched once, checked by its sha256, and kept in `~/.cache/onezero` (ONEZERO_CACHE names
another folder). With a folder given, the files are read from there and nothing is fetched. A
changed file is refused: a benchmark whose rows differ is another benchmark, and `--data FILE` reads
any file.

Traps. The AMC set of the Dr. GRPO paper is another one (83 rows of 2022 and 2023), so its figure
stands beside nothing here. That paper's Minerva answers mix in those of neighbouring sub-problems
(25 differ in value): ours are the boxed ones. Its `datasets/train/gsm_8k` holds all 1,319 test
questions of GSM8K: never train on it.
"""

import hashlib
import http.client
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import tasks
from config import UserError
from storage.folders import write_file

GITHUB = "https://raw.githubusercontent.com"
SIMPLERL = (
    f"{GITHUB}/hkust-nlp/simpleRL-reason/cf1c7858bfc145a27aa733e75d930d34f0d318a6"
    "/examples/simplelr_math_eval/data"
)
GSM8K = (
    f"{GITHUB}/openai/grade-school-math/3101c7d5072418e28b9008a6636bde82a006892c"
    "/grade_school_math/data"
)
SECONDS = 60  # without an answer, before the network counts as unreachable


@dataclass(frozen=True)
class Benchmark:
    """One pinned file of problems."""

    file: str  # its name in the cache and in a folder of files
    address: str  # pinned to a commit
    sha256: str
    problems: int


BENCHMARKS = {
    "aime24": Benchmark(
        "aime24.jsonl",
        f"{SIMPLERL}/aime24/test.jsonl",
        "af2b8bd2aa911b6333ad0df32f3ca05c7ae8ed10f1731f4372c8ae26990bf7ac",
        30,
    ),
    "amc23": Benchmark(
        "amc23.jsonl",
        f"{SIMPLERL}/amc23/test.jsonl",
        "43707e1ca784602d8479de24ee8ce36609dbebc46dd152b0b12a46611aa898a4",
        40,
    ),
    "math500": Benchmark(
        "math500.jsonl",
        f"{SIMPLERL}/math500/test.jsonl",
        "35dc41080a3680858b27fa7e0533d2d547825316fc5dafe5d316f4ccc5a06132",
        500,
    ),
    "minerva": Benchmark(
        "minerva_math.jsonl",
        f"{SIMPLERL}/minerva_math/test.jsonl",
        "0e656b430d3a0a1dab6aa853f453ba3805e28e2cabe4fc72486a897cc09d8ba2",
        272,
    ),
    "olympiadbench": Benchmark(
        "olympiadbench.jsonl",
        f"{SIMPLERL}/olympiadbench/test.jsonl",
        "bb8c1e38a16ea9eacb77530315a674d883f267fbff79183effc53681b4fcc416",
        675,
    ),
    "gsm8k": Benchmark(
        "gsm8k_test.jsonl",
        f"{GSM8K}/test.jsonl",
        "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
        1319,
    ),
}
SUITES = {"math": ("aime24", "amc23", "math500", "minerva", "olympiadbench")}


# ---------------------------------------------------------------- files


def names_of(suite: str) -> list[str]:
    """The benchmarks of a suite, each once.

    A suite is `math`, the name of a benchmark, or several of these with commas between them.
    UserError for an unknown name.
    """
    known = [*SUITES, *BENCHMARKS]
    found = []
    for word in suite.split(","):
        name = word.strip()
        if name not in known:
            raise UserError(
                f"unknown suite {name!r}: choose {', '.join(known)}, or several with commas"
            )
        found += SUITES.get(name, [name])
    return list(dict.fromkeys(found))


def cache_folder() -> Path:
    """Where fetched files are kept."""
    named = os.environ.get("ONEZERO_CACHE")
    if named:
        return Path(named)
    return Path.home() / ".cache" / "onezero"


def sha256_of(content: bytes) -> str:
    """The checksum that a file is known by."""
    return hashlib.sha256(content).hexdigest()


def fetch(benchmark: Benchmark) -> Path:
    """The benchmark's file in the cache, downloaded if it is not there or not whole."""
    place = cache_folder() / benchmark.file
    if place.is_file() and sha256_of(place.read_bytes()) == benchmark.sha256:
        return place
    content = download(benchmark)
    found = sha256_of(content)
    if found != benchmark.sha256:
        raise UserError(
            f"{benchmark.address}: what came has sha256 {found}, not {benchmark.sha256}: try "
            "again, or name a folder that holds the file with --data-dir"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    write_file(place, content.decode("utf-8"))
    return place


def download(benchmark: Benchmark) -> bytes:
    """What stands at the benchmark's address; UserError if the network does not answer."""
    try:
        with urllib.request.urlopen(benchmark.address, timeout=SECONDS) as answer:
            return answer.read()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", "") or error or type(error).__name__
        raise UserError(
            f"cannot fetch {benchmark.address} ({reason}): put the file as {benchmark.file} into a "
            "folder and name it with --data-dir, or read a file of your own with --data"
        ) from None


def find(benchmark: Benchmark, folder: str) -> Path:
    """The benchmark's file in a folder of the user's, unchanged."""
    place = Path(folder) / benchmark.file
    if not place.is_file():
        raise UserError(
            f"--data-dir {folder}: there is no {benchmark.file} (it is {benchmark.address})"
        )
    found = sha256_of(place.read_bytes())
    if found != benchmark.sha256:
        raise UserError(
            f"{place} has sha256 {found}, not {benchmark.sha256}: not this benchmark; "
            "--data reads any file"
        )
    return place


def load(suite: str, folder: str | None = None) -> dict[str, list[tasks.Problem]]:
    """{name: problems in the file's order} of a suite.

    UserError for an unknown name, a changed file or no network.
    """
    loaded = {}
    for name in names_of(suite):
        benchmark = BENCHMARKS[name]
        if folder:
            place = find(benchmark, folder)
        else:
            place = fetch(benchmark)
        problems = tasks.read_rows(str(place), task="math")
        # The sum of the file has been checked: it is this file.
        assert len(problems) == benchmark.problems, f"{name}: {len(problems)} rows"
        loaded[name] = problems
    return loaded


# ---------------------------------------------------------------- published figures

ZERO = "SimpleRL's README (hkust-nlp/simpleRL-reason, table 1), pass@1"
ZOO = "SimpleRL-Zoo (arXiv 2503.18892), temperature 1, top-p 0.95, one response"
R1 = "DeepSeek-R1 (arXiv 2501.12948), temperature 0.6, top-p 0.95, mean of 4 to 64 responses"

# Hub id: (source and how it was measured, {benchmark: per cent}), on these very sets.
PUBLISHED = {
    "Qwen/Qwen2.5-Math-7B": (
        ZERO,
        {"aime24": 16.7, "amc23": 52.5, "math500": 52.4, "minerva": 12.9, "olympiadbench": 16.4},
    ),
    "hkust-nlp/Qwen-2.5-Math-7B-SimpleRL-Zero": (
        ZERO,
        {"aime24": 33.3, "amc23": 62.5, "math500": 77.2, "minerva": 33.5, "olympiadbench": 37.6},
    ),
    "hkust-nlp/Qwen-2.5-Math-7B-SimpleRL": (
        ZERO,
        {"aime24": 26.7, "amc23": 62.5, "math500": 82.4, "minerva": 39.7, "olympiadbench": 43.3},
    ),
    "hkust-nlp/Qwen-2.5-Math-7B-SimpleRL-Zoo": (
        f"{ZOO}; AIME24 is 24.0 as avg@32",
        {"aime24": 40.0},
    ),
    "Qwen/Qwen2.5-0.5B": (ZOO, {"gsm8k": 36.7}),
    "hkust-nlp/Qwen-2.5-0.5B-SimpleRL-Zoo": (ZOO, {"gsm8k": 49.5}),
    "sail/Qwen2.5-Math-7B-Oat-Zero": (
        "Dr. GRPO (arXiv 2503.20783, abstract), greedy",
        {"aime24": 43.3},
    ),
    "deepseek-ai/DeepSeek-R1-Zero": (
        f"{R1}; AIME24 is 86.7 as maj@64",
        {"aime24": 71.0, "math500": 95.9},
    ),
    "deepseek-ai/DeepSeek-R1": (R1, {"aime24": 79.8, "math500": 97.3}),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": (R1, {"aime24": 28.9}),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": (R1, {"aime24": 55.5}),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": (
        f"{R1}; AIME24 is 83.3 as maj@64",
        {"aime24": 72.6, "math500": 94.3},
    ),
    "simplescaling/s1-32B": (
        "s1 (simplescaling/s1), greedy, without budget forcing",
        {"aime24": 50.0},
    ),
    "GAIR/LIMO": ("LIMO (GAIR-NLP/LIMO), greedy", {"aime24": 57.1, "math500": 94.8}),
    "GAIR/LIMO-v2": ("LIMO (GAIR-NLP/LIMO), greedy", {"aime24": 63.3, "math500": 95.6}),
}


def published(model: str) -> tuple[str, dict[str, float]]:
    """(source, {benchmark: share}) of a hub id, or of its place in the hub's cache.

    Any other folder has ("", {}), whatever it is called: a name alone proves nothing.
    """
    parts = Path(model).parts
    for hub_id, (source, percentages) in PUBLISHED.items():
        cached = "models--" + hub_id.replace("/", "--")
        if model == hub_id or cached in parts:
            shares = {name: round(value / 100, 4) for name, value in percentages.items()}
            return source, shares
    return "", {}
