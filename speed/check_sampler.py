"""Sections of `bench.py check`: the decode step, its graphs, its time, whole rollouts."""

from functools import partial

import torch
from torch.profiler import ProfilerActivity, profile

import sample
import tasks
from engine import memory
from engine.decoder import Decoder
from sample import Sampling
from speed import floors, measure, side_ours
from speed.findings import Bench, Findings, short
from speed.lengths import lognormal_lengths
from speed.measure import Side

ROUNDED_UP = 1e-6  # a log-prob of 0 may be that


def samplings(new_tokens: int) -> dict[str, Sampling]:
    """Four ways to draw: each is another path through `sample.draw`."""
    return {
        "plain": Sampling(new_tokens),
        "temperature": Sampling(new_tokens, temperature=0.7),
        "cut off": Sampling(new_tokens, temperature=0.8, top_k=50, top_p=0.9, min_p=0.01),
        "greedy": Sampling(new_tokens, temperature=0.0),
    }


def busy_decoder(model, lengths: list[int], new_tokens: int) -> Decoder:
    """A decoder whose rows are alive and see made-up keys and values of these lengths."""
    decoder = Decoder(model, len(lengths)).make_room(max(lengths) + new_tokens + 1, new_tokens)
    generator = torch.Generator(model.device).manual_seed(0)
    decoder.cache.kv.normal_(generator=generator)
    decoder.cache.lengths.copy_(torch.tensor(lengths))
    decoder.pending.random_(1, model.config.vocab_size, generator=generator)
    decoder.uniform.uniform_(generator=generator)
    decoder.limit.fill_(new_tokens)
    decoder.alive.fill_(True)
    return decoder


def models(bench: Bench, dtype: torch.dtype) -> dict:
    """The base, and two layers of the shape: its heads and its vocabulary."""
    return {"base": bench.base(dtype), bench.shape_name: bench.random(dtype, layers=2)}


# ---------------------------------------------------------------- one step


def check_step(bench: Bench, findings: Findings) -> None:
    """A decode step without a graph: it waits for nothing, and draws what has a probability."""
    if not bench.on_gpu:
        findings.skip("waits", "set_sync_debug_mode watches a GPU")
    for dtype in bench.dtypes:
        for about, model in models(bench, dtype).items():
            for way, sampling in samplings(4).items():
                name = f"{about} in {short(dtype)}, {way}"
                with findings.guarded(f"{name}, ended by"):
                    drawn = one_step(bench, model, sampling)
                    value = "drawn" if drawn else "an id without probability"
                    findings.holds(name, drawn, value)


@torch.no_grad()
def one_step(bench: Bench, model, sampling: Sampling) -> bool:
    """Whether each row of a step has drawn an id that has a probability."""
    lengths = lognormal_lengths(bench.sizes.rows[0], bench.sizes.seen, 0)
    decoder = busy_decoder(model, lengths, sampling.max_new_tokens)
    spans = [(decoder.slots, decoder.capacity)]
    sample.decode_step(decoder, spans, sampling)  # what a library sets up first may wait
    if bench.on_gpu:
        torch.cuda.set_sync_debug_mode("error")
    try:
        sample.decode_step(decoder, spans, sampling)
    finally:
        if bench.on_gpu:
            torch.cuda.set_sync_debug_mode("default")
    logprobs = decoder.logprobs[:, 1]
    counted = decoder.count.eq(2) | ~decoder.alive
    has_probability = logprobs.isfinite() & (logprobs <= ROUNDED_UP)
    return bool(has_probability.all() and counted.all())


# ---------------------------------------------------------------- graphs


class Eager:
    """Stands for the graph of a step, and runs the step itself."""

    def __init__(self, decoder: Decoder, slots: int, positions: int, decode_step, sampling):
        self.step = partial(decode_step, decoder, [(slots, positions)], sampling)

    def replay(self) -> None:
        self.step()


def check_graphs(bench: Bench, findings: Findings) -> None:
    """Graphs draw the ids that the same steps draw without them, and capturing changes no row."""
    if not bench.on_gpu:
        findings.skip("capture", "graphs are a GPU's; here it is seldom checks against many")
    for dtype in bench.dtypes:
        for about, model in models(bench, dtype).items():
            for way, sampling in samplings(bench.sizes.drawn).items():
                name = f"{about} in {short(dtype)}, {way}"
                with findings.guarded(f"{name}, ended by"):
                    compare_graphs(bench, findings, model, sampling, name)


def compare_graphs(bench: Bench, findings: Findings, model, sampling: Sampling, name: str) -> None:
    """Ids with graphs and without; on a GPU also what rows hold before and after a capture."""
    compare_ids(bench, findings, model, sampling, name)
    if bench.on_gpu:
        unchanged = capture_changes_nothing(bench, model, sampling)
        findings.holds(f"{name}, buffers", unchanged, "unchanged" if unchanged else "changed")


def compare_ids(bench: Bench, findings: Findings, model, sampling: Sampling, name: str) -> None:
    """The ids and log-probs of the same rollouts with graphs and without."""
    problems = tasks.make_problems("countdown", "train", "check", bench.sizes.prompts)
    vocabulary = model.config.vocab_size
    prompts = tasks.encode_prompts(problems, "short", bench.tokenizer, vocabulary)
    n = bench.sizes.group

    def drawn(graphs: bool) -> list[sample.Rollout]:
        decoder = Decoder(model, 3 * len(prompts) * n // 4)  # fewer than rollouts: slots refill
        check_every = 4
        if not graphs:
            decoder.capture = partial(Eager, decoder)
            if not bench.on_gpu:
                check_every = 1
        how = dict(decoder=decoder, check_every=check_every)
        return sample.generate(model, bench.tokenizer, prompts, sampling, n, 0, **how)

    different = 0
    furthest = 0.0
    for ours, plain in zip(drawn(True), drawn(False)):
        different += ours.response != plain.response
        for a, b in zip(ours.logprobs, plain.logprobs):
            furthest = max(furthest, abs(a - b))
    value = f"{different} of {len(prompts) * n} rollouts differ, log-probs by {furthest:.2g}"
    findings.holds(f"{name}, ids", different == 0, value)


@torch.no_grad()
def capture_changes_nothing(bench: Bench, model, sampling: Sampling) -> bool:
    """Whether rows hold after a capture what they held before it."""
    lengths = lognormal_lengths(bench.sizes.rows[0], bench.sizes.seen, 0)
    decoder = busy_decoder(model, lengths, sampling.max_new_tokens)
    buffers = (decoder.pending, decoder.alive, decoder.count, decoder.limit, decoder.uniform)
    held = held_in_cache(decoder)
    before = [buffer.clone() for buffer in (*buffers, decoder.cache.lengths, held)]
    decoder.capture(decoder.slots, decoder.capacity, sample.decode_step, sampling)
    after = (*buffers, decoder.cache.lengths, held_in_cache(decoder))
    return all(torch.equal(a, b) for a, b in zip(before, after))


def held_in_cache(decoder: Decoder):
    """The keys and values of positions in use; the others as 0."""
    cache = decoder.cache
    used = cache.positions < cache.lengths[:, None]  # (B, S)
    return cache.kv.masked_fill(~used[:, None, :, None], 0)


# ---------------------------------------------------------------- the time of a step


def check_decode(bench: Bench, findings: Findings) -> None:
    """The time of a decode step beside its floor, and what it is spent on."""
    model = bench.random(bench.dtype)
    sizes = bench.sizes
    machine = floors.measure_machine(bench.device, bench.dtype, sizes.copied, sizes.width)
    for slots in sizes.slots:
        try:
            time_step(bench, findings, model, machine, slots)
        except torch.OutOfMemoryError:
            findings.skip(f"{slots} slots", "their cache does not fit")
        torch.cuda.empty_cache()  # the next one's blocks have other sizes
    split_of_step(bench, findings, model)


def time_step(bench: Bench, findings: Findings, model, machine, slots: int) -> None:
    """The time of a step of so many rows."""
    context = bench.sizes.context
    steps = 16 if bench.on_gpu else 2
    call = side_ours.our_decode(model, slots, context, steps)
    found = measure.take_turns({"ours": Side(call)}, 5, 3.0, bench.device)["ours"]
    if isinstance(found, str):
        findings.info(f"{slots} slots", found)
        return
    floor, by = machine.floor(*floors.decode_work(model, slots, context))
    middle = measure.spread(found)[0]
    share = f"{floor / middle:.0%} of the floor's speed, by {by}"
    findings.info(f"{slots} slots", f"{1e3 * middle:.2f} ms a step, {share}")


# What kernels of a GPU, and operations of a CPU, have in their names.
KINDS = {
    "attention": ("flash", "fmha", "scaled_dot", "bmm"),
    "products": ("gemm", "nvjet", "cutlass", "cublas", "splitk", "gemv", "addmm", "aten::mm"),
    "drawing": ("scan", "cumsum", "search", "exp", "log", "gather", "scatter"),
    "norms": ("norm",),
    "copies": ("copy", "memcpy", "cat", "index", "memset", "fill"),
}


def kind_of(name: str) -> str:
    """What a kernel of this name is for."""
    for kind, marks in KINDS.items():
        if any(mark in name.lower() for mark in marks):
            return kind
    return "other elementwise"


def split_of_step(bench: Bench, findings: Findings, model) -> None:
    """The device's time of one step by kind of kernel; on a GPU of a graph's replay."""
    slots = min(256, max(bench.sizes.slots))
    decoder = busy_decoder(model, [bench.sizes.context] * slots, 8)
    spans = [(slots, decoder.capacity - 4)]
    decoder.advance(spans, 1, sample.decode_step, Sampling(8))  # captures
    activity = ProfilerActivity.CUDA if bench.on_gpu else ProfilerActivity.CPU
    with profile(activities=[activity]) as seen:
        decoder.advance(spans, 1, sample.decode_step, Sampling(8))
        measure.synchronize(bench.device)
    total = {}
    calls = 0
    for event in seen.key_averages():
        own = event.self_device_time_total if bench.on_gpu else event.self_cpu_time_total
        if own == 0:
            continue
        kind = kind_of(event.key)
        total[kind] = total.get(kind, 0.0) + own
        calls += event.count
    largest_first = sorted(total.items(), key=lambda item: -item[1])
    parts = [f"{kind} {microseconds / 1e3:.2f} ms" for kind, microseconds in largest_first]
    name = f"split of a step, {slots} slots"
    findings.holds(name, bool(parts), f"{calls} kernels: {', '.join(parts)}")


# ---------------------------------------------------------------- whole rollouts

# Several tokens of any tokenizer: random weights do not come to it.
SELDOM = "</answer> and no more <end of all answers>"


def check_rollouts(bench: Bench, findings: Findings) -> None:
    """Rollouts of realistic lengths, with and without a stop string to look for."""
    model = bench.random(bench.dtype)
    model.stop_ids = ()
    sizes = bench.sizes
    subject = bench.subject(model)
    prompts = subject.prompts(sizes.prompts)
    n = sizes.prompts * sizes.group
    limits = subject.limits(n, 0)
    decoder = side_ours.decoder_for(model, prompts, n, sizes.max_new_tokens)
    drawn = {}

    def turn(name: str, stop_strings: tuple[str, ...]) -> Side:
        sampling = Sampling(sizes.max_new_tokens, stop_strings=stop_strings)

        def call():
            drawn[name] = side_ours.our_rollouts(
                model, bench.tokenizer, prompts, sizes.group, limits, sampling, 0, decoder
            )

        return Side(call)

    if bench.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    sides = {"without": turn("without", ()), "with": turn("with", (SELDOM,))}
    found = measure.take_turns(sides, sizes.repeats, 15.0, bench.device)
    for name, seconds in found.items():
        text = seconds
        if isinstance(seconds, list):
            text = f"{sum(limits) / measure.spread(seconds)[0]:,.0f} tokens/s"
        findings.info(f"{name} a stop string, {n} rows, longest {max(limits)}", text)
    if len(drawn) < len(found):
        return
    alike = all(a.response == b.response for a, b in zip(drawn["without"], drawn["with"]))
    findings.holds("the stop string changes no id", alike, "the same" if alike else "others")
    peak_of_sampling(bench, findings, model, prompts)


def peak_of_sampling(bench: Bench, findings: Findings, model, prompts: list) -> None:
    """The peak of memory beside the estimate's for this phase, without an optimizer."""
    longest = max(map(len, prompts)) + bench.sizes.max_new_tokens
    slots = bench.sizes.prompts * bench.sizes.group
    setup = memory.Setup(slots, longest, 1, offload=True, width=model.dtype.itemsize)
    estimate = memory.phases(model.config, setup)[0] - memory.CONTEXT / 1e9
    if not bench.on_gpu:
        findings.skip("peak of memory", f"a GPU's; estimated {estimate:.3f} GB")
        return
    found = torch.cuda.max_memory_allocated() / 1e9
    findings.info("peak of memory", f"{found:.2f} GB, estimated {estimate:.2f}")
