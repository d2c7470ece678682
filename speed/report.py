"""What a benchmark prints and writes.

Lines of a row, and a JSON file that is complete after each of them. Here too: what is checked of
the flags that all programs share.
"""

import importlib.metadata
import importlib.util
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch

from config import UserError
from speed.floors import Machine
from speed.measure import spread
from storage.folders import write_file
from storage.runs import versions

TITLES = {
    "ours": "ours",
    "static": "transformers",
    "continuous": "transformers, continuous",
    "trl": "TRL",
}


# ---------------------------------------------------------------- flags


def listed(text: str) -> list[str]:
    """The words between the commas of a flag's value."""
    words = [word.strip() for word in text.split(",")]
    return [word for word in words if word]


def numbers(flag: str, text: str) -> list[int]:
    """Whole numbers above 0, separated by commas."""
    words = listed(text)
    for word in words:
        if not word.isdecimal() or int(word) == 0:
            raise UserError(f"{flag} {text}: give whole numbers above 0, separated by commas")
    return [int(word) for word in words]


def chosen(text: str, known: tuple[str, ...]) -> list[str]:
    """The names of rows, separated by commas; UserError if one is not known."""
    names = listed(text)
    for name in names:
        if name not in known:
            raise UserError(f"--rows {name}: choose from {', '.join(known)}")
    return names


def check_json(path: str) -> None:
    """UserError if the folder of --json is not there: said now, not after half an hour."""
    if not Path(path).parent.is_dir():
        raise UserError(f"--json {path}: there is no such folder")


# ---------------------------------------------------------------- what is said


class Report:
    """Prints each table and writes the file anew with it.

    So a kill loses nothing that was measured.
    """

    def __init__(self, settings, device: torch.device):
        self.path = Path(settings.json)
        about = versions()
        about["device"] = "CPU"
        if device.type == "cuda":
            about["device"] = torch.cuda.get_device_name(device)
        about["load_before"] = round(os.getloadavg()[0], 1)
        if importlib.util.find_spec("trl"):
            about["trl"] = importlib.metadata.version("trl")
        self.found = {"config": asdict(settings), "about": about}
        print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)

    def add(self, title: str, figures, text: str) -> None:
        """Print `text`, and put `figures` into the file under `title`."""
        print(text, flush=True)
        self.found[title] = figures
        write_file(self.path, json.dumps(self.found, indent=2) + "\n")

    def times(
        self,
        title: str,
        found: dict,
        tokens: int,
        machine: Machine,
        floor: tuple | None = None,
        more: dict | None = None,
    ) -> None:
        """One row: seconds of each side, or why there are none.

        tokens: useful ones of a call. floor: (bytes, operations) of a call. more: figures of a
        single side, by name.
        """
        least = None
        floor_by = None
        heading = f"\n{title}"
        if floor:
            least, floor_by = machine.floor(*floor)
            heading += f": at least {1000 * least:,.2f} ms, by {floor_by}"
        lines = [heading]
        for name, seconds in found.items():
            if isinstance(seconds, str):
                lines.append(f"  {TITLES[name]:<26}{seconds}")
                continue
            line = timing_line(TITLES[name], seconds, tokens, least)
            if name != "ours" and isinstance(found["ours"], list):
                ratio = spread(seconds)[0] / spread(found["ours"])[0]
                line += f", ours {ratio:.2f} x"
            lines.append(line)
        more = more or {}
        for name, value in more.items():
            lines.append(f"    {name}: {value}")
        figures = {
            "tokens": tokens,
            "floor": least,
            "floor_by": floor_by,
            "sides": found,
            "more": more,
        }
        self.add(title, figures, "\n".join(lines))


def timing_line(title: str, seconds: list[float], tokens: int, least: float | None) -> str:
    """A side's times, its useful tokens per second, and how near it comes to the floor."""
    middle, low, high = spread(seconds)
    line = f"  {title:<26}{1000 * middle:>11,.2f} ms [{1000 * low:,.2f}, {1000 * high:,.2f}]"
    line += f" n={len(seconds)}{tokens / middle:>12,.0f} tokens/s"
    if least is not None:
        line += f", {least / middle:.1%} of the floor's speed"
    return line
