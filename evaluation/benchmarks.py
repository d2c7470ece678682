"""The maths benchmarks by name, and the figures that are published on them.

Each is one pinned file (storage/pinned.py): a benchmark whose rows differ is another benchmark.

Traps. The AMC set of the Dr. GRPO paper is another one (83 rows of 2022 and 2023), so its figure
stands beside nothing here. That paper's Minerva answers mix in those of neighbouring sub-problems
(25 differ in value): ours are the boxed ones.
"""

from pathlib import Path

import tasks
from config import UserError
from storage.pinned import BENCHMARKS, place_of

SUITES = {"math": ("aime24", "amc23", "math500", "minerva", "olympiadbench")}


# ---------------------------------------------------------------- problems


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


def load(suite: str, folder: str | None = None) -> dict[str, list[tasks.Problem]]:
    """{name: problems in the file's order} of a suite.

    UserError for an unknown name, a changed file or no network.
    """
    loaded = {}
    for name in names_of(suite):
        benchmark = BENCHMARKS[name]
        problems = tasks.read_rows(str(place_of(benchmark, folder)), task="math")
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
