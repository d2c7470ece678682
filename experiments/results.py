"""A result: NAME.json, NAME.png, and what is printed of them."""

import json
from pathlib import Path

from experiments import catalogue
from storage.folders import write_file


def place(folder: Path, name: str) -> Path:
    """Where the JSON of an experiment is."""
    return folder / f"{name}.json"


def write(result: dict, folder: Path) -> None:
    """Write NAME.json and draw NAME.png."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(place(folder, result["name"]), json.dumps(result) + "\n")
    draw_picture(result, folder)


def read(name: str, folder: Path) -> dict:
    """What NAME.json holds."""
    return json.loads(place(folder, name).read_text("utf-8"))


def draw_picture(result: dict, folder: Path) -> None:
    """Draw NAME.png from what NAME.json holds."""
    import matplotlib  # only here: whoever lists the experiments need not have it

    matplotlib.use("Agg")
    from matplotlib import pyplot

    name = result["name"]
    figure = pyplot.figure(figsize=(10, 4.8), layout="constrained")
    catalogue.load(name).draw(result["arms"], figure)
    figure.savefig(folder / f"{name}.png", dpi=110)
    pyplot.close(figure)


def report(result: dict) -> str:
    """Claim, table, predictions with their answers, and verdict, as text."""
    name = result["name"]
    words = {True: "yes", False: "no", None: "undecided"}
    lines = [f"{name}: {catalogue.claim(name)}"]
    for line in result["table"]:
        lines.append(f"  {line}")
    for prediction, answer in result["predictions"]:
        lines.append(f"  {words[answer]:<10}{prediction}")
    seeds = ", ".join(map(str, result["seeds"]))
    lines.append(f"{name}: {result['verdict']} (seeds {seeds}; {result['seconds']} s)")
    return "\n".join(lines)


def listing(folder: Path) -> str:
    """One line for each experiment: verdict, seeds, cost, claim."""
    lines = [f"{'experiment':<17}{'verdict':<15}{'seeds':>5}{'minutes':>9}  claim"]
    for name in catalogue.NAMES:
        if place(folder, name).is_file():
            lines.append(listed(read(name, folder)))
        else:
            lines.append(f"{name:<17}not run yet")
    return "\n".join(lines)


def listed(result: dict) -> str:
    """The line of one result in the list."""
    name = result["name"]
    seeds = len(result["seeds"])
    minutes = result["seconds"] / 60
    claim = catalogue.claim(name)
    return f"{name:<17}{result['verdict']:<15}{seeds:>5}{minutes:>9.1f}  {claim}"
