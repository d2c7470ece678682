"""A run's folder: what stands in it, how it is written so that a kill at any moment loses nothing, how it is resumed.

    config.json            the resolved configuration, versions and git commit
    metrics.jsonl          a line per step; step 0 holds the first evaluation
    rollouts.jsonl         some whole groups, with rewards, advantages and why
    checkpoints/step-N/    a Hugging Face folder of the fp32 weights, and trainer.pt: optimizer state and step
    summary.json           accuracy before and after, written at the end

A log may be ahead of the newest checkpoint when a run is killed: resuming cuts it back to the checkpoint's step.
"""
import fcntl
import json
import pickle
import random
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

import model as lm
import sample
import tasks
from config import Refusal, check_values
from engine import memory
from engine.decoder import Decoder
from engine.device import default_budget, pick_device
from engine.optimizer import MasterAdamW
from evaluation import benchmarks
from storage import model_folder
from storage.folders import new_folder, write_file
from tasks import files

# Settings of the machine, not of the run: they change nothing but rounding.
MEMORY = {"token_budget", "slots", "memory_gb", "gradient_checkpointing", "offload_optimizer"}


@dataclass
class Run:
    """Everything a step needs."""
    c: object  # train.TrainConfig
    folder: Path
    model: lm.Transformer
    tokenizer: object
    optimizer: MasterAdamW
    problems: object  # a task's name, or the training side of --data
    held_out: list
    suite: dict[str, list]  # benchmarks to evaluate on as well
    reference: lm.Transformer | None
    slots: int = 256  # rows that decode at a time
    decoder: Decoder | None = None  # the sampler's buffers and graphs
    resident: bool = True  # they stay during the update
    halved: bool = False  # memory ran out once, and c.token_budget is a half of what it was
    step: int = 0  # steps done
    seconds: float = 0.0  # spent in steps and evaluations, earlier sittings included
    lock: object = None  # held while a process works on the run

    def sampling(self) -> sample.Sampling:
        return sample.Sampling(self.c.max_new_tokens, self.c.temperature,
                               stop_strings=tasks.STOP_STRINGS.get(self.c.template, ()))

    def seed(self, what: str) -> int:
        return random.Random(f"{what}/{self.c.seed}/{self.step}").getrandbits(62)


def versions() -> dict:
    """What the numbers of a run depend on besides its configuration."""
    import transformers
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True,
                                text=True).stdout.strip()
    except OSError:  # no git on this machine
        commit = ""
    return {"python": sys.version.split()[0], "torch": torch.__version__, "transformers": transformers.__version__,
            "git_commit": commit or None, "threads": torch.get_num_threads()}


def resumed(c, given: set[str]):
    """The configuration of the run that --resume names."""
    if extra := given - {"resume", "steps", "device"} - MEMORY:
        raise Refusal(f"--resume takes the run's own settings; leave out --{min(extra).replace('_', '-')}")
    file = Path(c.resume) / "config.json"
    if not file.is_file():
        raise Refusal(f"--resume {c.resume}: no run there (no config.json)")
    stored = model_folder.read_json(file)
    stored.pop("versions", None)
    changes = {name: getattr(c, name) for name in given}
    return replace(type(c)(**check_values(stored, type(c), str(file))), **changes)


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first (drafts carry a leading dot)."""
    found = (p for p in (folder / "checkpoints").glob("step-*") if p.name.removeprefix("step-").isdecimal())
    return sorted(found, key=lambda p: int(p.name.removeprefix("step-")))


def append_line(path: Path, record: dict) -> None:
    with open(path, "a") as file:
        file.write(json.dumps(record) + "\n")


def cut_log(path: Path, step: int) -> list[dict]:
    """Drop the lines after `step`, and a line that a kill left unfinished; returns what stays."""
    kept, lines = [], path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            after = record["step"] > step
        except (ValueError, TypeError, KeyError):
            if number < len(lines):  # a kill can break the last line alone
                raise Refusal(f"{path}, line {number} is damaged: mend or move the file to resume") from None
            break
        if not after:
            kept.append(record)
    if path.exists():
        write_file(path, "".join(json.dumps(r) + "\n" for r in kept))
    return kept


def problems_of(c) -> tuple:
    """(what to train on: a task's name or a list, held-out problems, {benchmark: problems})."""
    if c.data and not Path(c.data).is_file():
        raise Refusal(f"--data {c.data}: there is no such file (README.md says where the recipes' files are fetched)")
    suite = benchmarks.load(c.eval_suite, c.data_dir) if c.eval_suite else {}
    suite = {name: problems[:c.eval_suite_problems or None] for name, problems in suite.items()}
    if not c.data:
        return c.task, tasks.make_problems(c.task, "held-out", 0, c.eval_problems), suite
    sides = tasks.read_jsonl(c.data, c.question_field, c.answer_field, "math" if c.task == "math" else "data",
                             files.levels_of(c.levels))
    return sides["train"], sides["held-out"][:c.eval_problems or None], suite


def fitting(problems: list, prompts: list[list[int]], c, model) -> list:
    """The problems whose prompts fit the context with their response: of a file the others are passed over aloud.

    Refusal if none does, or if one of a generated task does not.
    """
    sample.check_prompts(model, [min(prompts, key=len)] if c.data else prompts, c.max_new_tokens)
    room = model.config.max_position_embeddings - c.max_new_tokens
    fit = [problem for problem, prompt in zip(problems, prompts) if len(prompt) <= room]
    if len(fit) < len(problems):
        print(f"{c.data}: passed over, too long with {c.max_new_tokens} new tokens for the model's context: "
              f"{len(problems) - len(fit)} of {len(problems)} training problems", file=sys.stderr)
    return fit


def planned(c, config: lm.ModelConfig, longest: int, device, dtype) -> memory.Setup:
    """What a run will take, said aloud where that is much; slots are filled in. `longest`: tokens of a prompt.

    Refusal if it cannot fit. --memory-gb limits a GPU; on a CPU it is only what must suffice.
    """
    s = memory.setup(c, longest, c.token_budget or default_budget(device), dtype.itemsize)
    gb, most = c.memory_gb, min(256, c.prompts_per_step * c.group_size)
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        free += memory.CONTEXT  # this process has its context already
        gb = min(gb or free / 1e9, free / 1e9)
        if c.memory_gb:
            torch.cuda.set_per_process_memory_fraction(max(0.0, gb * 1e9 - memory.CONTEXT) / total)
    s = memory.plan(config, s, gb, most) if gb else replace(s, slots=s.slots or 256, resident=True)
    if device.type == "cuda" or max(memory.phases(config, s)) > 1:
        print(memory.described(config, s, gb))
    return s


def open_run(c) -> Run:
    """Load everything, and make the run's folder or take up the one to resume."""
    device, dtype = pick_device(c.device)
    problems, test, suite = problems_of(c)
    if c.resume:
        folder = Path(c.resume)
    else:
        folder = Path(c.out or free_name(f"runs/{Path(c.data).stem if c.data else c.task.replace(':', '')}-{c.loss}"
                                         f"-seed{c.seed}"))
        if (folder / "config.json").exists():
            raise Refusal(f"{folder} holds a run already: go on with --resume {folder} or choose another --out")
        if folder.exists() and any(not p.name.startswith(".") for p in folder.iterdir()):  # a kill may leave .lock
            raise Refusal(f"{folder} is not empty and holds no run: choose another --out")
    saved = checkpoints(folder)
    model, tokenizer = lm.load(str(saved[-1]) if saved else c.model, "cpu", torch.float32)
    model.recompute = c.gradient_checkpointing
    known = problems if c.data else test  # the problems of a generated task are drawn step by step
    prompts = tasks.encode_prompts(known, c.template, tokenizer)
    fit = fitting(known, prompts, c, model)
    others = tasks.encode_prompts([p for group in (test, *suite.values()) for p in group], c.template, tokenizer)
    longest = min(max(map(len, prompts + others)), model.config.max_position_embeddings - c.max_new_tokens)
    plan = planned(c, model.config, longest, device, dtype)
    optimizer = MasterAdamW(model, dtype, weight_decay=c.weight_decay, device=device, offload=c.offload_optimizer,
                            states=c.optimizer_states, seed=c.seed)  # moves the model to the device
    reference = lm.load(c.model, device, dtype)[0].requires_grad_(False) if c.kl_coef else None
    this = Run(c, folder, model, tokenizer, optimizer, fit if c.data else problems, test, suite, reference, plan.slots,
               Decoder(model, plan.slots), plan.resident)
    folder.mkdir(parents=True, exist_ok=True)
    if saved:
        try:
            state = torch.load(saved[-1] / "trainer.pt", map_location=optimizer.masters[0].device,
                               weights_only=True)
            if state.get("names") != optimizer.names:
                raise Refusal(f"{saved[-1]}/trainer.pt lays the optimizer's states out for other parameters (an earlier "
                              f"version wrote it): it cannot be resumed; begin a new run with --model {saved[-1]}")
            optimizer.adam.load_state_dict(state["adam"])
            this.step = state["step"]
        except Refusal:
            raise
        except (RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
            raise Refusal(f"{saved[-1]}/trainer.pt is damaged ({error}): move that checkpoint away to resume from the one "
                          "before") from None
    this.lock = claim(folder)
    try:
        lines = cut_log(folder / "metrics.jsonl", this.step if saved else -1)
        cut_log(folder / "rollouts.jsonl", this.step if saved else -1)
        this.seconds = sum(line["seconds"] for line in lines)
        found = {name: str(Path(getattr(c, name)).resolve()) for name in ("data", "data_dir") if getattr(c, name)}
        write_file(folder / "config.json", json.dumps({**asdict(replace(c, resume=None, out=str(folder), **found)),
                                                       "versions": versions()}, indent=2) + "\n")  # from any folder
    except BaseException:
        this.lock.close()
        raise
    return this


def claim(folder: Path):
    """An open file that keeps other processes out of a run; closing it, or any end of this process, lets them in."""
    handle = open(folder / ".lock", "w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise Refusal(f"{folder}: another process is at work on this run") from None
    return handle


def free_name(name: str) -> str:
    """`name`, or `name-2`, `name-3`, … if a folder of that name is there."""
    return next(n for i in range(1, 10 ** 6) if not Path(n := name if i == 1 else f"{name}-{i}").exists())


def save(this: Run) -> Path:
    """A checkpoint: a Hugging Face folder of the fp32 masters and the trainer's state, whole or not at all."""
    place = this.folder / "checkpoints" / f"step-{this.step}"
    with new_folder(place) as draft:
        lm.write(draft, this.model, this.tokenizer, this.optimizer.named_masters())
        # With the parameters' names: states that are laid out for others are refused on resuming.
        state = {"adam": this.optimizer.adam.state_dict(), "step": this.step, "names": this.optimizer.names}
        torch.save(state, draft / "trainer.pt")
    return place


def summary(this: Run) -> dict:
    """The run in one record, from the evaluations in its metrics."""
    evaluations = [line for line in map(json.loads, (this.folder / "metrics.jsonl").read_text().splitlines())
                   if "eval_accuracy" in line]
    first, last = evaluations[0], evaluations[-1]
    return {"accuracy_before": first["eval_accuracy"], "accuracy_before_ci": first["eval_accuracy_ci"],
            "accuracy_after": last["eval_accuracy"], "accuracy_after_ci": last["eval_accuracy_ci"],
            "length_before": first["eval_length"], "length_after": last["eval_length"], "steps": this.step,
            "seconds": round(this.seconds, 1), "device": str(this.model.device), "seed": this.c.seed}
