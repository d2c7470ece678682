"""One experiment from start to end: bases, arms with seeds, predictions, verdict, result.

An experiment is a module with

    SEEDS                               the seeds of the committed results
    ARMS                                names of what is compared
    prepare(folder, device)             make bases and problems there, once
    measure(folder, arm, seed, device)  one run; returns {"numbers": {name: value},
                                        "curves": {name: [values by step]}}
    judge(found)                        [(what the claim predicts, True | False | None)];
                                        None if the seeds do not decide
    table(found)                        lines of text
    draw(found, figure)                 a figure of it, the claim as its title

`found` is {arm: [what measure returned, a seed each]}. The experiment holds if every prediction
does, it does not if one is refuted, else it is undecided. Predictions are about intervals over
seeds, so a few lucky seeds decide nothing.
"""

import time
from pathlib import Path

from experiments import catalogue, evidence, results, workers
from storage.runs import versions


def conduct(
    name: str, seeds: list[int], jobs: int, scratch: Path, out: Path, device: str = "cpu"
) -> dict:
    """Run all arms with all seeds, judge, write NAME.json and NAME.png into `out`.

    Bases and runs are left in `scratch`. Returns what the JSON holds.
    """
    began = time.time()
    experiment = catalogue.load(name)
    measured = workers.measure_all(name, scratch / name, seeds, jobs, device)
    found = {}
    for arm in experiment.ARMS:
        found[arm] = [measured[arm, seed] for seed in seeds]
    predictions = experiment.judge(found)
    result = {
        "name": name,
        "verdict": evidence.verdict(predictions),
        "predictions": predictions,
        "table": experiment.table(found),
        "seeds": seeds,
        "seconds": round(time.time() - began),
        "device": device,
        "jobs": jobs,
        "versions": {**versions(), "threads": 1},
        "arms": found,
    }
    results.write(result, out)
    return result
