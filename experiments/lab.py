"""What the experiments share: bases made on the spot, runs side by side, intervals, verdicts, a file and a figure each.

An experiment is a module with

    SEEDS                         the seeds of the committed results
    ARMS                          names of what is compared
    prepare(folder)               make bases and problems there, once
    measure(folder, arm, seed)    one run; returns {"numbers": {name: value}, "curves": {name: [values by step]}}
    judge(found)                  [(what the claim predicts, True | False | None if the seeds do not decide)]
    table(found)                  lines of text
    draw(found, figure)           a figure of it, the claim as its title

`found` is {arm: [what measure returned, a seed each]}. The experiment holds if every prediction does, it does not if one
is refuted, else it is undecided. Predictions are about intervals over seeds, so a few lucky seeds decide nothing.
"""
import contextlib
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context
from pathlib import Path
from statistics import mean, stdev
from threading import RLock

import torch
from tqdm import tqdm

import model as lm
import sft
from eval import evaluate, held_out
from storage.folders import write_file
from optim import pick_device
from runs import versions
from sample import Sampling
from train import TrainConfig, train

NAMES = ("length_bias", "difficulty_bias", "length_growth", "aha", "template", "four_habits", "bugs")
device = "cpu"  # --device sets it, in each worker
T_975 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)  # Student's t, by degrees of freedom from 1 on


# ---------------------------------------------------------------- bases, problems, runs

def write_rows(path: Path, rows: list[dict]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, "".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def make_base(folder: Path, pairs: list[tuple[str, str]], shape: dict | None = None, **settings) -> Path:
    """A model trained on (prompt, response) pairs, from random weights of a `shape`, else from the embedded base.

    Made once: a folder made by the same code from the same model, pairs and settings, on the same kind of device, is taken
    as it is.
    """
    start = settings.pop("model", "base")
    files = [Path(start) / name for name in ("config.json", "tokenizer.json", "model.safetensors")]
    files += [Path(f"{room}.py") for room in ("sft", "model", "engine/attention", "optim", "adam")]
    contents = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    key = hashlib.sha256(json.dumps([contents, pairs, shape, settings, device]).encode()).hexdigest()
    out, note = folder / "base", folder / "base.sha256"
    if note.is_file() and note.read_text() == key:
        return out
    note.unlink(missing_ok=True)
    if shape:
        tokenizer = lm.load("base")[1]
        model = sft.new_model(shape, tokenizer, settings.get("seed", 0))
        lm.save(folder / "random", model, tokenizer, dict(model.named_parameters()))
        start = str(folder / "random")
    data = write_rows(folder / "pairs.jsonl", [{"prompt": p, "response": r} for p, r in pairs])
    shutil.rmtree(out, ignore_errors=True)
    with quiet(folder / "sft.log"):
        sft.train(sft.SFTConfig(**{"out": str(out), "model": str(start), "data": data, "save_every": 10 ** 6,
                                   "device": device, "weight_decay": 0.0, **settings}))
    write_file(note, key)
    return out


def run(folder: Path, model: Path | str, **settings) -> list[dict]:
    """Train anew in `folder`; returns the lines of its metrics, that of step 0 first."""
    shutil.rmtree(folder, ignore_errors=True)
    steps = settings["steps"]
    with quiet(folder.parent / f"{folder.name}.log"):
        done = train(TrainConfig(**{"out": str(folder), "model": str(model), "save_every": steps, "eval_every": steps,
                                    "eval_problems": 1, "device": device, **settings}))
    if not done:  # train stops in good order after Ctrl-C; half a run is no result
        raise KeyboardInterrupt
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@contextlib.contextmanager
def quiet(log: Path):
    """What a run prints goes into a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        yield


def curve(lines: list[dict], key: str) -> list[float | None]:
    """A figure's value at each step; None where a step has none."""
    return [line.get(key) for line in lines if line["step"]]


def late(values: list[float | None], last: int = 20) -> float:
    """The mean over the last steps that have a value."""
    return mean([v for v in values if v is not None][-last:])


def gaps(found: dict, arm: str) -> list[list[float | None]]:
    """By seed and step, how much longer wrong responses were than right ones (tokens)."""
    return [[None if None in (wrong, right) else wrong - right for wrong, right in zip(
        one["curves"]["length_wrong"], one["curves"]["length_right"])] for one in found[arm]]


def rollouts(folder: Path, steps: int) -> list[list[dict]]:
    """The responses that a run wrote down, by step; with eval_every=1 it writes the first two groups of every step."""
    found = [[] for _ in range(steps)]
    for row in (json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()):
        found[row["step"] - 1] += row["responses"]
    return found


def sampled(model: Path, task: str, n: int, k: int, max_new_tokens: int, seed: int) -> tuple[dict, list]:
    """(figures, graded) of eval.evaluate on held-out problems, k responses each."""
    loaded = lm.load(str(model), *pick_device(device))
    return evaluate(*loaded, held_out(task, n), "short", "dr_grpo", k, Sampling(max_new_tokens), seed)


# ---------------------------------------------------------------- what seeds say

def interval(values: list[float]) -> tuple[float, float, float]:
    """(mean, low, high): 95 % for the mean over seeds by Student's t; of one value all real numbers."""
    n, middle = len(values), mean(values)
    half = T_975[min(n - 2, 8)] * stdev(values) / n ** 0.5 if n > 1 else float("inf")
    return middle, middle - half, middle + half


def above(values: list[float], bound: float) -> bool | None:
    """Whether the mean is above a bound; None if the interval holds it, or a seed has no figure."""
    if None in values:
        return None
    _, low, high = interval(values)
    return True if low > bound else False if high < bound else None


def below(values: list[float], bound: float) -> bool | None:
    return None if None in values else above([-v for v in values], -bound)


def within(values: list[float], bound: float) -> bool | None:
    """Whether the mean lies between -bound and bound."""
    answers = above(values, -bound), below(values, bound)
    return False if False in answers else None if None in answers else True


def near(values: list[float], middle: float, bound: float) -> bool | None:
    """Whether the mean lies within a bound of `middle`."""
    return None if None in values else within([v - middle for v in values], bound)


def numbers(found: dict, arm: str, name: str) -> list[float]:
    """A figure of an arm, a seed each."""
    return [one["numbers"][name] for one in found[arm]]


def differences(found: dict, a: str, b: str, name: str) -> list[float]:
    """Of two arms, seed by seed: they share problems and start."""
    return [x - y for x, y in zip(numbers(found, a, name), numbers(found, b, name))]


def shown(values: list[float], decimals: int = 2) -> str:
    middle, low, high = interval(values)
    return f"{middle:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def columns(found: dict, names: tuple[str, ...], decimals: int = 2) -> list[str]:
    """A table: a line for each arm, its figures with their intervals; blank where a seed has none."""
    first = max(map(len, found)) + 2

    def cell(arm: str, name: str) -> str:
        values = numbers(found, arm, name)
        return "" if None in values else shown(values, decimals)
    return [" " * first + "".join(f"{name:>26}" for name in names),
            *(f"{arm:<{first}}" + "".join(f"{cell(arm, name):>26}" for name in names) for arm in found)]


def verdict(predictions: list[tuple[str, bool | None]]) -> str:
    answers = [answer for _, answer in predictions]
    return "does not hold" if False in answers else "undecided" if None in answers else "holds"


# ---------------------------------------------------------------- an experiment from start to end

def seeds(name: str) -> tuple[int, ...]:
    return importlib.import_module(f"experiments.{name}").SEEDS


def claim(name: str) -> str:
    return importlib.import_module(f"experiments.{name}").__doc__.split("\n")[0]


def worker(where: str) -> None:
    """What a process does when it starts."""
    global device
    device = where
    tqdm.set_lock(RLock())  # of this process alone; its own is a semaphore, which stays behind if the process is ended


@contextlib.contextmanager
def undisturbed():
    """Processes that start in here leave Ctrl-C to the one that started them."""
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)


def prepared(name: str, folder: Path) -> None:
    torch.set_num_threads(2)  # it runs alone; whatever --jobs is, for another number sums in another order
    print(f"{name}: making its bases", file=sys.stderr, flush=True)
    importlib.import_module(f"experiments.{name}").prepare(folder)


def one(name: str, folder: Path, arm: str, seed: int) -> dict:
    torch.set_num_threads(1)  # small matrices: two runs of one thread do more than one of two
    began = time.time()
    measured = importlib.import_module(f"experiments.{name}").measure(folder, arm, seed)
    seconds = round(time.time() - began, 1)
    print(f"{name}: {arm}, seed {seed}: {seconds} s", file=sys.stderr, flush=True)
    return {"seed": seed, "seconds": seconds, **measured}


def conduct(name: str, seeds: list[int], jobs: int, scratch: Path, results: Path, where: str = "cpu") -> dict:
    """Run all arms with all seeds, judge, write NAME.json and NAME.png; returns what the JSON holds."""
    module, began = importlib.import_module(f"experiments.{name}"), time.time()
    folder = scratch / name
    if jobs == 1:
        worker(where)
        prepared(name, folder)
        runs = {(arm, seed): one(name, folder, arm, seed) for seed in seeds for arm in module.ARMS}
    else:
        os.environ["OMP_NUM_THREADS"] = "1"  # of the workers, which read it when they start
        with ProcessPoolExecutor(jobs, get_context("spawn"), worker, (where,)) as pool:
            try:
                with undisturbed():
                    bases = pool.submit(prepared, name, folder)
                bases.result()
                with undisturbed():
                    started = {(arm, seed): pool.submit(one, name, folder, arm, seed) for seed in seeds
                               for arm in module.ARMS}
                runs = {key: job.result() for key, job in started.items()}
            except BaseException:  # Ctrl-C too: nothing that waits is begun, nothing that runs goes on
                pool.shutdown(wait=False, cancel_futures=True)
                for process in active_children():
                    process.terminate()
                raise
    found = {arm: [runs[arm, seed] for seed in seeds] for arm in module.ARMS}
    predictions = module.judge(found)
    result = {"name": name, "verdict": verdict(predictions), "predictions": predictions, "table": module.table(found),
              "seeds": seeds, "seconds": round(time.time() - began), "device": where, "jobs": jobs,
              "versions": {**versions(), "threads": 1}, "arms": found}
    results.mkdir(parents=True, exist_ok=True)
    write_file(results / f"{name}.json", json.dumps(result) + "\n")
    picture(name, result, results)
    return result


def picture(name: str, result: dict, results: Path) -> None:
    """NAME.png from what NAME.json holds."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    figure = plt.figure(figsize=(10, 4.8), layout="constrained")
    importlib.import_module(f"experiments.{name}").draw(result["arms"], figure)
    figure.savefig(results / f"{name}.png", dpi=110)
    plt.close(figure)


def report(result: dict) -> str:
    marks = {True: "yes", False: "no", None: "undecided"}
    predictions = [f"  {marks[answer]:<10}{text}" for text, answer in result["predictions"]]
    name, seeds = result["name"], ", ".join(map(str, result["seeds"]))
    return "\n".join([f"{name}: {claim(name)}", *(f"  {line}" for line in result["table"]), *predictions,
                      f"{name}: {result['verdict']} (seeds {seeds}; {result['seconds']} s)"])


def legend(figure, axes, columns: int = 4) -> None:
    """The arms of one panel, under all of them, where they hide no curve."""
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)


def bar(axes, at: float, values: list[float], **style) -> None:
    """The mean over seeds, and their range."""
    middle = mean(values)
    axes.bar(at, middle, yerr=[[middle - min(values)], [max(values) - middle]], capsize=3, **style)


def band(axes, curves: list[list[float | None]], label: str, smooth: int = 10, **style) -> None:
    """The mean over seeds of a curve by step, smoothed, and the range of the seeds."""
    def smoothed(values):
        known = [[v for v in values[max(0, i + 1 - smooth):i + 1] if v is not None] for i in range(len(values))]
        return [mean(part) if part else float("nan") for part in known]
    by_seed = [smoothed(values) for values in curves]
    middle = [mean(at) for at in zip(*by_seed)]
    steps = range(1, len(middle) + 1)
    line, = axes.plot(steps, middle, label=label, **style)
    axes.fill_between(steps, [min(at) for at in zip(*by_seed)], [max(at) for at in zip(*by_seed)], color=line.get_color(),
                      alpha=0.15, lw=0)
