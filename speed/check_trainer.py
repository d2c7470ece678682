"""Sections of `bench.py check`: train.py, the update and its memory, and the tests of a GPU."""

import contextlib
import importlib.util
import io
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch
from xml.etree import ElementTree

import torch

import model as lm
import reward
import train
from config import UserError
from engine import memory
from engine.batches import LARGE_LOGITS_BYTES, LOGITS_BYTES
from speed import floors, measure, rows, side_ours
from speed.findings import Bench, Findings
from speed.measure import Side
from storage import runs

ROOT = Path(__file__).parent.parent
STEPS = 3
BY_LENGTH = "by length"  # the name of a reward that leaves no group equal
# What sampler and trainer may differ by: their mean in any type, and the largest in fp32.
MEAN_GAP = 0.02
GAP_IN_FP32 = 1e-3
MEMORY_ERROR = 0.1  # the estimate's, as a share of it


# ---------------------------------------------------------------- train.py

VARIANTS = {
    "as it is": dict(),
    "fp32": dict(dtype="fp32"),
    "offloaded": dict(offload_optimizer=True),
    "bf16 states": dict(optimizer_states="bf16"),
    "checkpointing": dict(gradient_checkpointing=True),
    "r1 template": dict(template="r1"),
}


def check_train(bench: Bench, findings: Findings) -> None:
    """A few steps of train.py on the embedded base, in several settings."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, changes in VARIANTS.items():
            folder = Path(scratch) / name.replace(" ", "-")
            with findings.guarded(f"{name}, ended by"):
                quietly(train.train, settings(bench, folder, **changes))
                judge(findings, name, folder)
        with findings.guarded("resumed, ended by"):
            resumed_run(bench, findings, Path(scratch))


def settings(bench: Bench, folder: Path, **changes) -> train.TrainConfig:
    """A short run of the embedded base, in which every group has something to learn."""
    sizes = bench.sizes
    common = dict(
        out=str(folder),
        reward=BY_LENGTH,
        steps=STEPS,
        prompts_per_step=sizes.train_prompts,
        group_size=sizes.train_group,
        max_new_tokens=sizes.train_tokens,
        eval_problems=sizes.train_prompts,
        warmup=0,
        seed=1,
        device=bench.device.type,
    )
    return quietly(partial(train.TrainConfig, **common | changes))


def by_length(right, parsed, reading):
    """(a reward, 0): it differs from response to response, right or wrong."""
    return -(len(reading.thinking) % 7) / 7, 0.0  # not above 0: a truncated response keeps it


def quietly(call, *arguments):
    """Call with that reward, and nothing printed: only the check's own lines are to be seen."""
    aside = io.StringIO()
    rewarded = patch.dict(reward.REWARDS, {BY_LENGTH: by_length})
    with rewarded, contextlib.redirect_stdout(aside), contextlib.redirect_stderr(aside):
        return call(*arguments)


def steps_of(folder: Path) -> list[dict]:
    """The lines of a run's steps, without the evaluation before them."""
    return runs.read_lines(folder / runs.METRICS)[1:]


def judge(findings: Findings, name: str, folder: Path) -> None:
    """Whether a run has done its steps, and whether sampler and trainer agreed."""
    lines = steps_of(folder)
    numbers = [line["step"] for line in lines]
    findings.holds(f"{name}, steps", numbers == list(range(1, STEPS + 1)), f"{numbers}")
    mean = max(line["logprob_gap_mean"] for line in lines)
    findings.below(f"{name}, logprob_gap_mean", mean, MEAN_GAP)
    if name == "fp32":
        furthest = max(line["logprob_gap_max"] for line in lines)
        findings.below(f"{name}, logprob_gap_max", furthest, GAP_IN_FP32)
    last = lines[-1]
    seconds = f"{last['seconds_sample']:.2f} s sampling, {last['seconds_update']:.2f} s update"
    findings.info(f"{name}, last step", f"{seconds}, {last['tokens_per_second']:,.0f} tokens/s")


def go_on(config: train.TrainConfig) -> None:
    """What `python train.py --resume RUN --steps N` does."""
    train.train(train.resumed(config, {"resume", "steps"}))


def resumed_run(bench: Bench, findings: Findings, scratch: Path) -> None:
    """A run that stops and is resumed, beside one that was never stopped."""
    folder = scratch / "resumed"
    quietly(train.train, settings(bench, folder, steps=STEPS - 1))
    again = train.TrainConfig(resume=str(folder), steps=STEPS)
    quietly(go_on, again)
    judge(findings, "resumed", folder)
    whole = steps_of(scratch / "as-it-is")[-1]["reward"]
    resumed = steps_of(folder)[-1]["reward"]
    findings.info("resumed, reward of the last step", f"{resumed:.4f}, without a stop {whole:.4f}")


# ---------------------------------------------------------------- the update


def check_update(bench: Bench, findings: Findings) -> None:
    """An update of realistic lengths, in settings that take turns, and its peak of memory."""
    model = bench.random(bench.dtype)
    with tempfile.TemporaryDirectory() as scratch:
        subject = bench.subject(model, scratch)
        rollouts = rows.made_up_rollouts(subject, bench.sizes.prompts * bench.sizes.group)
        setup = setup_of(bench, model, rollouts)
        needed = memory.phases(model.config, replace(setup, **WAYS["large logits"]))[1]
        if bench.on_gpu and needed > memory.USABLE * torch.cuda.mem_get_info()[0] / 1e9:
            free = torch.cuda.mem_get_info()[0] / 1e9
            findings.skip("time", f"{needed:.1f} GB are needed, {free:.1f} are free: see --shape")
            return
        run = rows.our_run(subject)
        time_updates(bench, findings, run, rollouts)
        peak_of_update(bench, findings, run, rollouts, setup)


def setup_of(bench: Bench, model, rollouts: list) -> memory.Setup:
    """What the estimate is told of an update."""
    prompts = {tuple(rollout.prompt) for rollout in rollouts}
    longest = max(len(rollout.prompt) + len(rollout.response) for rollout in rollouts)
    return memory.Setup(
        slots=0,
        tokens=longest,
        token_budget=bench.sizes.token_budget,
        width=model.dtype.itemsize,
        gpu=bench.on_gpu,
        kernel=model.packs,
        prompts=sum(map(len, prompts)),
    )


# The ways to update that take turns: the bytes of the largest logits, and whether layers are
# computed anew in backward.
WAYS = {
    "small logits": dict(logits_bytes=LOGITS_BYTES, checkpointing=False),
    "large logits": dict(logits_bytes=LARGE_LOGITS_BYTES, checkpointing=False),
    "checkpointing": dict(logits_bytes=LARGE_LOGITS_BYTES, checkpointing=True),
}


def one_update(run, rollouts: list, logits_bytes: int, checkpointing: bool) -> None:
    """An update in one of these ways."""
    advantage = torch.linspace(-1, 1, len(rollouts)) + 0.001  # none is 0
    run.model.logits_bytes = logits_bytes
    run.model.recompute = checkpointing
    side_ours.our_update(run, rollouts, advantage)


def time_updates(bench: Bench, findings: Findings, run, rollouts: list) -> None:
    """Seconds of the ways to update, in turns, beside the floor."""
    sizes = bench.sizes
    machine = floors.measure_machine(bench.device, bench.dtype, sizes.copied, sizes.width)
    sides = {}
    for name, way in WAYS.items():
        sides[name] = Side(partial(one_update, run, rollouts, **way))
    found = measure.take_turns(sides, sizes.repeats, 10.0, bench.device)
    starts, lengths = rows.group_lengths(rollouts, sizes.group)
    operations = floors.update_operations(run.model, starts, sizes.group, lengths)
    floor, _ = machine.floor(0, operations)
    for name, seconds in found.items():
        text = seconds
        if isinstance(seconds, list):
            middle = measure.spread(seconds)[0]
            text = f"{1e3 * middle:.1f} ms, {floor / middle:.0%} of the floor's speed"
        findings.info(f"{name}, {sum(starts) + sum(lengths):,} tokens", text)


def peak_of_update(
    bench: Bench, findings: Findings, run, rollouts: list, setup: memory.Setup
) -> None:
    """torch's own peak beside the estimate."""
    for name, way in WAYS.items():
        estimate = memory.phases(run.model.config, replace(setup, **way))[1]
        if not bench.on_gpu:
            findings.skip(f"peak, {name}", f"a GPU's; estimated {estimate:.4f} GB")
            continue
        estimate -= memory.CONTEXT / 1e9
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        one_update(run, rollouts, **way)
        found = torch.cuda.max_memory_allocated() / 1e9
        findings.info(f"peak, {name}", f"{found:.2f} GB, estimated {estimate:.2f}")
        findings.below(f"error of the estimate, {name}", abs(found / estimate - 1), MEMORY_ERROR)


# ---------------------------------------------------------------- out of memory


def check_memory(bench: Bench, findings: Findings) -> None:
    """Memory that runs out: the update is repeated with half the budget, or one line says why."""
    with tempfile.TemporaryDirectory() as scratch:
        for part in (refused_before, halved_once, twice, while_sampling):
            with findings.guarded(f"{part.__name__}, ended by"):
                part(bench, findings, Path(scratch) / part.__name__)


def refused(call, *arguments) -> str:
    """The one line that a call ends with; "" if it does not."""
    try:
        quietly(call, *arguments)
    except UserError as error:
        return str(error)
    return ""


def refused_before(bench: Bench, findings: Findings, folder: Path) -> None:
    """A run that cannot fit writes nothing."""
    line = refused(train.train, settings(bench, folder, memory_gb=0.001))
    if bench.on_gpu:
        torch.cuda.set_per_process_memory_fraction(1.0)  # --memory-gb has lowered it
    findings.holds("a run that cannot fit", "GPU memory" in line and not folder.exists(), line)


def ask_for_too_much(device: torch.device) -> None:
    """Run out of memory: on a GPU by asking its allocator for more than there is."""
    if device.type == "cuda":
        torch.empty(2**50, dtype=torch.uint8, device=device)
    raise torch.OutOfMemoryError("out of memory, by intention")


def full_at(device: torch.device, attempts: set[int]):
    """A patch: micro-batches of these numbers run out of memory, counted from 1."""
    compute = lm.SharedPrompts.response_logprobs
    seen = []

    def response_logprobs(shared, *rest):
        seen.append(shared)
        found = compute(shared, *rest)
        if len(seen) in attempts:
            ask_for_too_much(device)
        return found

    return patch.object(lm.SharedPrompts, "response_logprobs", response_logprobs)


def halved_once(bench: Bench, findings: Findings, folder: Path) -> None:
    """The update is repeated with half the budget."""
    run = quietly(train.open_run, settings(bench, folder))
    try:
        before = run.token_budget
        with full_at(bench.device, {1}):
            quietly(train.train_step, run)
    finally:
        run.lock.release()
    halved = run.budget_halved and run.token_budget == before // 2
    findings.holds("an update that runs out", halved, f"{before} becomes {run.token_budget} tokens")


def twice(bench: Bench, findings: Findings, folder: Path) -> None:
    """The second time it is one line that names flags."""
    with full_at(bench.device, set(range(1, 1000))):
        line = refused(train.train, settings(bench, folder))
    findings.holds("an update that runs out twice", "lower --token-budget" in line, line)


def while_sampling(bench: Bench, findings: Findings, folder: Path) -> None:
    """Sampling that does not fit names --slots; on a GPU torch may allocate no more."""
    # Of long responses: the blocks that torch holds already have no room for their cache.
    long = settings(bench, folder, max_new_tokens=8 * bench.sizes.train_tokens)
    run = quietly(train.open_run, long)
    try:
        if bench.on_gpu:
            torch.cuda.empty_cache()
            total = torch.cuda.get_device_properties(bench.device).total_memory
            torch.cuda.set_per_process_memory_fraction(torch.cuda.memory_reserved() / total)
            try:
                line = refused(train.train_step, run)
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0)
        else:
            with patch.object(lm.Transformer, "cache", no_cache):
                line = refused(train.train_step, run)
    finally:
        run.lock.release()
    findings.holds("sampling that runs out", "lower --slots" in line, line)


def no_cache(model, slots: int, capacity: int):
    """Stands for a cache that does not fit."""
    ask_for_too_much(model.device)


# ---------------------------------------------------------------- the tests of a GPU


def check_tests(bench: Bench, findings: Findings) -> None:
    """The tests that are marked for a GPU, by pytest in a process of its own."""
    if not bench.on_gpu:
        findings.skip("marked for a GPU", "there is none")
        return
    if not importlib.util.find_spec("pytest"):
        findings.skip("marked for a GPU", "pip install -r requirements-dev.txt")
        return
    run_tests(findings, ["-m", "gpu", str(ROOT / "tests")], 240)


def run_tests(findings: Findings, arguments: list[str], seconds: float) -> None:
    """A line for each test that pytest runs."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
        if not report.exists():
            findings.holds("pytest", False, done.stderr or done.stdout)
            return
        outcomes = outcomes_of(report)
    if not outcomes:
        findings.holds("pytest", False, "no test is marked")
    for name, (outcome, message) in outcomes.items():
        findings.add(outcome, name, message)


def outcomes_of(report: Path) -> dict[str, tuple[str, str]]:
    """{test: (verdict, message)} of a file that pytest's --junitxml has written."""
    outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname').split('.')[-1]}::{case.get('name')}"
        outcomes[name] = ("PASS", f"{float(case.get('time')):.1f} s")
        for part in case:
            if part.tag in ("failure", "error"):
                outcomes[name] = ("FAIL", part.get("message", ""))
            elif part.tag == "skipped":
                outcomes[name] = ("SKIP", part.get("message", ""))
    return outcomes
