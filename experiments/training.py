"""Bases made on the spot, RL runs that start from them, and evaluations of what came out."""

import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from statistics import mean

import model as lm
import sft
from engine.device import pick_device
from eval import evaluate, held_out
from sample import Sampling
from storage.folders import write_file
from train import TrainConfig, train

# A base is made anew if one of these has changed: the files of the model that it starts from,
# and the code that trains it.
START_FILES = ("config.json", "tokenizer.json", "model.safetensors")
CODE_FILES = (
    "sft.py",
    "model.py",
    "engine/attention.py",
    "engine/optimizer.py",
    "tasks/order.py",
    "tasks/pairs.py",
)


# ---------------------------------------------------------------- bases


def write_rows(path: Path, rows: list[dict]) -> str:
    """Write JSON lines; returns the path as text, as the configurations want it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, "".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def make_base(
    folder: Path,
    pairs: list[tuple[str, str]],
    shape: dict | None = None,
    model: str = "base",
    device: str = "cpu",
    **settings,
) -> Path:
    """Train a model on (prompt, response) pairs, and return its folder.

    It starts from random weights of a `shape`, else from the `model`, which is the embedded base
    if nothing else is said. `settings` are those of sft.SFTConfig.
    It is made once: a folder made by the same code from the same model, pairs and settings, on
    the same kind of device, is taken as it is.
    """
    key = base_key(model, pairs, shape, settings, device)
    base = folder / "base"
    note = folder / "base.sha256"
    if note.is_file() and note.read_text("utf-8") == key:
        return base
    note.unlink(missing_ok=True)
    if shape:
        model = random_model(folder / "random", shape, settings.get("seed", 0))
    rows = [{"prompt": prompt, "response": response} for prompt, response in pairs]
    data = write_rows(folder / "pairs.jsonl", rows)
    shutil.rmtree(base, ignore_errors=True)
    chosen = {"save_every": 10**6, "weight_decay": 0.0, **settings}
    config = sft.SFTConfig(out=str(base), model=model, data=data, device=device, **chosen)
    with quiet(folder / "sft.log"):
        sft.train(config)
    write_file(note, key)
    return base


def base_key(
    start: str, pairs: list[tuple[str, str]], shape: dict | None, settings: dict, device: str
) -> str:
    """A hash of all that a base comes from."""
    contents = []
    for name in START_FILES:
        contents.append(sha256((Path(start) / name).read_bytes()))
    for name in CODE_FILES:
        contents.append(sha256(Path(name).read_bytes()))
    origin = json.dumps([contents, pairs, shape, settings, device])
    return sha256(origin.encode())


def sha256(content: bytes) -> str:
    """The hash of a content in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def random_model(folder: Path, shape: dict, seed: int) -> str:
    """Save a model of a shape with random weights and the embedded base's tokenizer."""
    tokenizer = lm.load("base")[1]
    model = sft.new_model(shape, tokenizer, seed)
    lm.save(folder, model, tokenizer, dict(model.named_parameters()))
    return str(folder)


# ---------------------------------------------------------------- RL runs


def run_rl(folder: Path, model: Path | str, steps: int, device: str, **settings) -> list[dict]:
    """Train anew in `folder`; returns the lines of its metrics, that of step 0 first.

    `settings` are those of train.TrainConfig.
    """
    shutil.rmtree(folder, ignore_errors=True)
    chosen = {"save_every": steps, "eval_every": steps, "eval_problems": 1, **settings}
    config = TrainConfig(out=str(folder), model=str(model), steps=steps, device=device, **chosen)
    with quiet(folder.parent / f"{folder.name}.log"):
        summary = train(config)
    if not summary:  # train stops in good order after Ctrl-C; half a run is no result
        raise KeyboardInterrupt
    return read_rows(folder / "metrics.jsonl")


@contextlib.contextmanager
def quiet(log: Path):
    """What is printed meanwhile goes into a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(log, "w", encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        yield


def read_rows(path: Path) -> list[dict]:
    """Read JSON lines."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def rollouts_by_step(folder: Path, steps: int) -> list[list[dict]]:
    """The responses that a run wrote down, a list for each step.

    With eval_every=1 a run writes down the first two groups of every step.
    """
    by_step = [[] for _ in range(steps)]
    for group in read_rows(folder / "rollouts.jsonl"):
        by_step[group["step"] - 1] += group["responses"]
    return by_step


def curve(lines: list[dict], key: str) -> list[float | None]:
    """A figure's value at each step; None where a step has none. Step 0 is left out."""
    return [line.get(key) for line in lines if line["step"]]


def late(values: list[float | None], last: int = 20) -> float:
    """The mean over the last steps that have a value."""
    known = [value for value in values if value is not None]
    return mean(known[-last:])


# ---------------------------------------------------------------- evaluations


def evaluate_held_out(
    model: Path, task: str, n: int, k: int, max_new_tokens: int, seed: int, device: str
) -> tuple[dict, list]:
    """Sample k responses to each of n held-out problems; returns (figures, graded) of evaluate."""
    loaded = lm.load(str(model), pick_device(device), "auto")
    problems = held_out(task, n)
    sampling = Sampling(max_new_tokens)
    return evaluate(*loaded, problems, "short", "dr_grpo", k, sampling, seed)
