"""A run as one page: its curves, and its rollouts token by token with the reason of each reward.

It works on a run in progress, on several runs at once, and on runs of earlier versions.

    python report.py runs/countdown-dr_grpo-seed0 --open
    python report.py runs/grpo runs/dr_grpo --out both.html
    python report.py runs/grpo runs/dr_grpo --png both.png

The page is one file: no server, no network, no dependency. What of it is written by hand stands in
evaluation/html/, what a run records for it in its tokens.jsonl (evaluation/tokens.py).
"""

import json
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from config import UserError, check_settings, parse, run_program, setting
from evaluation import page, picture
from storage import runs


@dataclass(frozen=True)
class ReportConfig:
    """The settings of a report."""

    runs: tuple = setting((), "run folders", positional=True)
    out: str | None = setting(
        None, "page to write; by default report.html in the last run's folder"
    )
    open: bool = setting(False, "open the page in a browser")
    megabytes: float = setting(
        page.MEGABYTES, "largest page, MB; what does not fit is left out", above=0
    )
    png: str | None = setting(
        None, "write the curves to this picture instead, .png, .pdf or .svg; needs matplotlib"
    )
    smooth: int = setting(5, "steps that a training curve of --png is averaged over", at_least=1)
    title: str = setting("", "a line above the picture of --png")

    def __post_init__(self):
        if not self.runs:
            raise UserError("name a run folder: python report.py runs/NAME [runs/OTHER ...]")
        check_settings(self)
        if self.png and Path(self.png).suffix not in (".png", ".pdf", ".svg"):
            raise UserError(f"--png {self.png}: choose a name that ends in .png, .pdf or .svg")


# ---------------------------------------------------------------- the table


def table(folders: list[str]) -> str:
    """The summaries of finished runs as a Markdown table, with the median of several."""
    rows = []
    summaries = []
    for folder in folders:
        file = Path(folder) / "summary.json"
        if file.is_file():
            try:
                summary = json.loads(file.read_text("utf-8"))
                rows.append(summary_row(Path(folder).name, summary))
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(f"{file}: damaged ({error})") from None
            summaries.append(summary)
    if not summaries:
        return ""
    head = [
        "| run | before | after | 95 % interval | length before | after | steps | seconds |",
        "|---" * 8 + "|",
    ]
    if len(summaries) > 1:
        rows.append(median_row(summaries))
    return "\n".join(head + rows)


def summary_row(name: str, summary: dict) -> str:
    """One finished run."""
    low, high = summary["accuracy_after_ci"]
    return (
        f"| {name} | {summary['accuracy_before']:.3f} | {summary['accuracy_after']:.3f} "
        f"| {low:.3f} to {high:.3f} "
        f"| {summary['length_before']:.0f} | {summary['length_after']:.0f} "
        f"| {summary['steps']} | {summary['seconds']:.0f} |"
    )


def median_row(summaries: list[dict]) -> str:
    """The median of every figure over the runs; an interval and a number of steps have none."""

    def middle(key: str) -> float:
        return median(summary[key] for summary in summaries)

    return (
        f"| median | {middle('accuracy_before'):.3f} | {middle('accuracy_after'):.3f} | "
        f"| {middle('length_before'):.0f} | {middle('length_after'):.0f} | "
        f"| {middle('seconds'):.0f} |"
    )


# ---------------------------------------------------------------- python report.py


def main():
    settings, _ = parse(ReportConfig, "a run as one page, and a table of the runs that are done")
    folders = list(settings.runs)
    summaries = table(folders)  # before anything is written: a damaged one is refused
    if settings.png:
        out = settings.png
        picture.plot(folders, out, settings.smooth, settings.title)
    else:
        out = settings.out or str(Path(folders[-1]) / runs.PAGE)
        page.write_page(folders, out, settings.megabytes)
    print(summaries or "no run is done yet")
    print(out)
    if settings.open and not settings.png:
        webbrowser.open(Path(out).resolve().as_uri())


if __name__ == "__main__":
    run_program(main)
