"""The rows of a benchmark: prefill, decode, rollout, log-prob pass, update, step; each beside its floor and the others.

    python bench.py cuda --shape qwen2.5-1.5b --rows decode,rollout
    python bench.py cuda --shape tiny --device cpu      # every row on a CPU, in seconds: a rehearsal, no measurement

Weights are random, in bf16 on a GPU, and transformers' model has the very same tensors. Prompts are Countdown problems cut
by the embedded base's tokenizer and joined to the length asked for. Lengths are imposed (bench.py). Where a package is
missing, its side says so; where memory ends, that side of that row says so, and the rest goes on.

GRPOTrainer of TRL keeps bf16 weights here and steps on them; ours keeps fp32 masters besides, as train.py does.
"""
import importlib.util
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch

import sample
import update as updating
from config import parse
from engine.batches import micro_batches
from engine.decoder import Decoder
from engine.optimizer import MasterAdamW
from runs import Run
from speed import attention as kernels
from speed import measure, sides
from speed.measure import Side
from speed.report import Report, chosen, numbers
from speed.subject import ROWS, RowsConfig, Subject, random_subject, their_model


def add_row(report: Report, s: Subject, title: str, work: dict[str, Side], tokens: int, floor: tuple,
            more: dict | None = None) -> None:
    """Measure the sides of a row in turns and report them."""
    found = measure.take_turns(work, s.c.repeats, s.c.patience, s.device)
    report.times(title, found, tokens, s.machine, floor, more)


def prefill(s: Subject, report: Report) -> None:
    width = s.c.prompt_tokens
    n = max(1, min(64, 16384 // width))
    prompts = [p[:width] for p in s.prompts(n)]
    add_row(report, s, f"prefill, {n} x {width} tokens", {
        "ours": Side(sides.our_prefill(s.model, prompts)), "static": Side(sides.their_prefill(s.theirs, prompts))},
        n * width, (0, measure.forward_operations(s.model, [width] * n, 0)))


def decode(s: Subject, report: Report) -> None:
    steps = 16 if s.device.type == "cuda" else 4
    for slots in numbers("--slots", s.c.slots):
        add_row(report, s, f"decode, {slots} slots, {s.c.context} tokens of context", {
            "ours": Side(sides.our_decode(s.model, slots, s.c.context, steps)),
            "static": Side(sides.static_decode(s.theirs, slots, s.c.context, steps))},
            slots, measure.decode_work(s.model, slots, s.c.context))


def rollout_sides(s: Subject, prompts: list[list[int]], limits: list[int]) -> dict[str, Side]:
    """Our sampler and transformers' two; the long calls of theirs warm up with a few tokens on a GPU."""
    rows, group, cap = [p for p in prompts for _ in range(s.c.group)], s.c.group, s.c.max_new_tokens

    d = Decoder(s.model, min(256, len(rows))).make_room(max(map(len, prompts)) + cap, cap)

    def ours():
        sides.ours(s.model, s.tokenizer, prompts, group, limits, s.sampling(), 0, d)

    def static(longest: int):
        sides.static(s.theirs, rows, [min(n, longest) for n in limits], min(cap, longest), s.stops, 0)

    def continuous() -> float:
        return sides.continuous(s.theirs, rows, limits, cap, s.stops, 0)[1]
    short = s.device.type == "cuda"  # continuous batching captures its graphs before its clock starts
    return {"ours": Side(ours), "static": Side(lambda: static(cap), (lambda: static(8)) if short else None),
            "continuous": Side(continuous, (lambda: None) if short else None)}


def rollout(s: Subject, report: Report) -> None:
    """Realistic lengths, then the same number of tokens in equal lengths, ours alone."""
    for n in numbers("--rollouts", s.c.rollouts):
        prompts, limits = s.prompts(n // s.c.group), s.limits(n, 0)
        starts = [len(p) for p in prompts]
        add_row(report, s, f"rollout, {n} rows, lengths imposed, longest {max(limits)}", rollout_sides(s, prompts, limits),
                sum(limits), measure.rollout_work(s.model, starts, s.c.group, limits, min(n, 256)))
        equal = [round(sum(limits) / n)] * n
        add_row(report, s, f"rollout, {n} rows of {equal[0]} tokens each",
                {"ours": rollout_sides(s, prompts, equal)["ours"]}, sum(equal),
                measure.rollout_work(s.model, starts, s.c.group, equal, min(n, 256)))


def made_up_rollouts(s: Subject, n: int) -> list[sample.Rollout]:
    """Rollouts of random ids with imposed lengths, and log-probs that agree with nothing."""
    generator, prompts, found = torch.Generator().manual_seed(0), s.prompts(-(-n // s.c.group)), []
    for i, length in enumerate(s.limits(n, 0)):
        ids = torch.randint(1, s.model.config.vocab_size, (length,), generator=generator).tolist()
        found.append(sample.Rollout(prompts[i // s.c.group], ids, [-1.0] * length, True))
    return found


def logprobs(s: Subject, report: Report) -> None:
    rollouts = made_up_rollouts(s, s.c.prompts * s.c.group)
    lengths = [len(r.prompt) + len(r.response) for r in rollouts]
    batches = [[rollouts[i] for i in batch] for batch in micro_batches(lengths, s.c.token_budget)]
    scored = sum(len(r.response) for r in rollouts)
    add_row(report, s, f"log-prob pass, {len(rollouts)} rows, {sum(lengths):,} tokens", {
        "ours": Side(lambda: sides.our_logprobs(s.model, batches)),
        "static": Side(lambda: sides.their_logprobs(s.theirs, batches))},
        scored, (0, measure.forward_operations(s.model, lengths, scored)))


def our_run(s: Subject) -> Run:
    """What train.update needs, with the optimizer's fp32 masters on the subject's device; one, as its hooks stay."""
    if s.run:
        return s.run
    c = sides.training_config(prompts_per_step=s.c.prompts, group_size=s.c.group, max_new_tokens=s.c.max_new_tokens,
                              token_budget=s.c.token_budget)
    s.model.requires_grad_(True)
    optimizer = MasterAdamW(s.model, s.model.embed_tokens.weight.dtype)
    s.run = Run(c, Path(s.folder), s.model, s.tokenizer, optimizer, "countdown", [], {}, None)
    return s.run


def update(s: Subject, report: Report) -> None:
    """A whole update with its optimizer step, and how long the optimizer step takes of it."""
    this, rollouts = our_run(s), made_up_rollouts(s, s.c.prompts * s.c.group)
    advantage = torch.rand(len(rollouts), generator=torch.Generator().manual_seed(0)) + 0.5
    lengths = [len(r.prompt) + len(r.response) for r in rollouts]
    scored = sum(len(r.response) for r in rollouts)

    def optimizer_step():
        for p in s.model.parameters():
            p.grad = torch.zeros_like(p)
        this.optimizer.accumulate()
        this.optimizer.step(sides.LR, 1.0)
    found = measure.take_turns({"ours": Side(optimizer_step)}, s.c.repeats, s.c.patience, s.device)["ours"]
    parts = {"optimizer step, ms": found if isinstance(found, str) else round(1000 * measure.spread(found)[0], 2)}
    add_row(report, s, f"update, {len(rollouts)} rows, {sum(lengths):,} tokens", {
        "ours": Side(lambda: updating.update(s.model, this.optimizer, rollouts, advantage, sides.LR, this.c))},
        scored, (0, 3 * measure.forward_operations(s.model, lengths, scored)), more=parts)


def step(s: Subject, report: Report) -> None:
    """A whole step and its split; TRL's between the ends of two of its own, less ours, which runs in between."""
    this, n = our_run(s), s.c.prompts * s.c.group
    texts, prompts, limits = s.texts(s.c.prompts), s.prompts(s.c.prompts), s.limits(n, 0)
    d = Decoder(s.model, min(256, n)).make_room(max(map(len, prompts)) + s.c.max_new_tokens, s.c.max_new_tokens)
    rounds, parts, theirs, missing = s.c.repeats + 1, [], [], {}

    def turn():
        parts.append(sides.our_step(this, prompts, limits, len(parts), d))
    if importlib.util.find_spec("trl"):
        try:
            trl_steps(s, texts, limits, rounds, theirs, turn)
        except torch.OutOfMemoryError:
            missing["trl"] = "out of memory beside ours"
            parts.clear()
    else:
        missing["trl"] = "is not installed: pip install -r requirements-bench.txt"
    while len(parts) < rounds:
        turn()
    ours = {"ours": [sum(p.values()) for p in parts[1:]]}
    split = {f"seconds of {part}": round(measure.spread([p[part] for p in parts[1:]])[0], 3) for part in parts[0]}
    report.times(f"step, {s.c.prompts} x {s.c.group} rollouts, lengths imposed, longest {max(limits)}",
                 ours | (missing or {"trl": theirs[1:]}), sum(limits), s.machine, more=split)


def trl_steps(s: Subject, texts: list[str], limits: list[int], rounds: int, times: list[float], turn) -> None:
    """Steps of GRPOTrainer with imposed lengths; `turn()` is called after each, and its time is not counted."""
    rows, began, seen = len(limits), [0.0], []
    cuts = next(n for n in range(max(1, rows // s.c.trl_rows), rows + 1) if rows % n == 0)

    def rule(_, ids, __) -> list[float]:
        seen.append(sorted(map(len, ids)))
        return [i * 7919 % 101 / 101 for i in range(rows)]  # no two of a group are equal

    def on_step_end():
        measure.synchronize(s.device)
        times.append(time.perf_counter() - began[0])
        turn()
        began[0] = time.perf_counter()
    model = their_model(s.model, s.tokenizer)  # its own: a trainer changes the forward of the model that it is given
    sides.impose(model, limits, s.stops)
    trl = sides.TrlStep(texts, s.c.group, cuts, s.c.max_new_tokens, rounds, 1.0)
    trainer = sides.trl_trainer(model, s.tokenizer, trl, rule, f"{s.folder}/trl", on_step_end)
    began[0] = time.perf_counter()
    trainer.train()
    assert all(lengths == sorted(limits) for lengths in seen), "TRL's responses have not their imposed lengths"


def attention(s: Subject, report: Report) -> None:
    c = s.model.config
    for slots in numbers("--slots", s.c.slots):
        found, text = kernels.compare(c, slots, s.c.context, s.device, s.model.embed_tokens.weight.dtype, s.machine,
                                              s.c.repeats)
        report.add(f"attention of one layer, {slots} slots", found, text)


def run_rows(s: Subject, names: list[str], report: Report) -> None:
    machine = s.machine
    report.add("machine", asdict(machine), f"measured: copies {machine.bandwidth / 1e9:,.1f} GB/s, matrix products "
                                           f"{machine.rate / 1e12:,.2f} TFLOP/s ({s.model.embed_tokens.weight.dtype})")
    rows = dict(zip(ROWS, (prefill, decode, rollout, logprobs, update, step, attention)))
    for name in names:
        try:
            rows[name](s, report)
        except torch.OutOfMemoryError:  # while the row was being made
            report.add(name, "out of memory", f"\n{name}: out of memory")
        if s.device.type == "cuda":
            torch.cuda.empty_cache()


def main(argv: list[str] | None = None):
    c, _ = parse(RowsConfig, "random weights of a published shape beside transformers, TRL and the machine's limit", argv)
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        s = random_subject(c, scratch)
        run_rows(s, chosen(c.rows, ROWS) or list(ROWS), Report(c, s.device))
    print(f"\nall figures: {c.json}", file=sys.stderr)
