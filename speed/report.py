"""What a benchmark prints and writes: lines of a row, and a JSON file that is complete after each of them."""
import importlib.metadata
import importlib.util
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch

from config import Refusal
from runs import versions
from speed.measure import Machine, spread
from storage.folders import write_file

TITLES = {"ours": "ours", "static": "transformers", "continuous": "transformers, continuous", "trl": "TRL"}


def numbers(flag: str, text: str) -> list[int]:
    """Whole numbers above 0, separated by commas."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise Refusal(f"{flag} {text}: give whole numbers above 0, separated by commas")
    return [int(part) for part in parts]


def chosen(text: str, known: tuple[str, ...]) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in known]:
        raise Refusal(f"--rows {unknown[0]}: choose from {', '.join(known)}")
    return names


def check_json(path: str) -> None:
    if not Path(path).parent.is_dir():  # said now, not after half an hour
        raise Refusal(f"--json {path}: there is no such folder")


class Report:
    """Prints each table and writes the file anew with it, so that a kill loses nothing that was measured."""

    def __init__(self, c, device: torch.device):
        self.path, load = Path(c.json), round(os.getloadavg()[0], 1)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        about = versions() | {"device": name, "load_before": load}
        if importlib.util.find_spec("trl"):
            about["trl"] = importlib.metadata.version("trl")
        self.found = {"config": asdict(c), "about": about}
        print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)

    def add(self, title: str, figures, text: str) -> None:
        print(text, flush=True)
        self.found[title] = figures
        write_file(self.path, json.dumps(self.found, indent=2) + "\n")

    def times(self, title: str, found: dict, tokens: int, machine: Machine, floor: tuple | None = None,
              more: dict | None = None) -> None:
        """One row: seconds of each side, or why there are none.

        tokens: useful ones of a call. floor: (bytes, operations) of a call. more: figures of a single side, by name.
        """
        least, by = machine.floor(*floor) if floor else (None, None)
        lines = [f"\n{title}" + (f": at least {1000 * least:,.2f} ms, by {by}" if floor else "")]
        for name, seconds in found.items():
            if isinstance(seconds, str):
                lines.append(f"  {TITLES[name]:<26}{seconds}")
                continue
            middle, low, high = spread(seconds)
            line = f"  {TITLES[name]:<26}{1000 * middle:>11,.2f} ms [{1000 * low:,.2f}, {1000 * high:,.2f}]"
            line += f" n={len(seconds)}"
            line += f"{tokens / middle:>12,.0f} tokens/s"
            line += f", {least / middle:.1%} of the floor's speed" if floor else ""
            if name != "ours" and isinstance(found["ours"], list):
                line += f", ours {middle / spread(found['ours'])[0]:.2f} x"
            lines.append(line)
        lines += [f"    {name}: {value}" for name, value in (more or {}).items()]
        figures = {"tokens": tokens, "floor": least, "floor_by": by, "sides": found, "more": more or {}}
        self.add(title, figures, "\n".join(lines))
