"""The experiments by name: their modules, seeds and claims."""

import importlib
from types import ModuleType

NAMES = (
    "length_bias",
    "difficulty_bias",
    "length_growth",
    "aha",
    "template",
    "four_habits",
    "bugs",
    "test_time",
)


def load(name: str) -> ModuleType:
    """The module of an experiment."""
    return importlib.import_module(f"experiments.{name}")


def seeds(name: str) -> tuple[int, ...]:
    """The seeds of the committed result."""
    return load(name).SEEDS


def claim(name: str) -> str:
    """The claim of an experiment in one line: the first paragraph of its docstring."""
    first_paragraph = load(name).__doc__.split("\n\n")[0]
    return " ".join(first_paragraph.split())
