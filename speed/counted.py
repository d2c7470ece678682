"""What a GPU has to do, counted without one: kernels, bytes, operations, and the time they predict.

    python bench.py counted --shape qwen2.5-1.5b

Nothing is measured. The code runs at its real size on tensors without values (fake_gpu.py); each
kernel then takes as long as its bytes at a large copy's bandwidth, its operations at a large
product's rate, or as the shortest kernel, whichever is longest. The floor is that of `bench.py
cuda`: what a perfect program would have to move and to compute.
"""

from dataclasses import dataclass, replace

import torch

import model as lm
import sample
from config import UserError, parse, setting
from engine.batches import LARGE_LOGITS_BYTES
from engine.decoder import Decoder
from speed import fake_gpu, floors
from speed.floors import Machine
from speed.memory import SHAPES
from speed.report import numbers

STOP_ID = 1  # which id it is does not matter: nothing is drawn


@dataclass(frozen=True)
class CountedConfig:
    """What is counted, and the machine that the times are predicted for: by default an H200."""

    shape: str = setting("qwen2.5-1.5b", "shape of the model, as `bench.py memory` lists them")
    slots: str = setting("64,256,512", "rows that decode at a time")
    context: int = setting(600, "tokens that a decoding row sees", at_least=1)
    prompt_tokens: int = setting(256, "tokens of the update's prompt", at_least=2)
    group: int = setting(8, "responses to it", at_least=1)
    response_tokens: int = setting(1024, "tokens of a response", at_least=1)
    logits_gb: float = setting(
        LARGE_LOGITS_BYTES / 1e9, "GB of the trainer's largest fp32 logits", above=0
    )
    bandwidth: float = setting(4.3e12, "bytes per second of a large copy", above=0)
    rate: float = setting(7.9e14, "bf16 operations per second of a large product", above=0)
    least_us: float = setting(4.0, "microseconds of the shortest kernel", at_least=0)
    kinds: bool = setting(False, "print the kinds of kernels as well")

    def __post_init__(self):
        if self.shape not in SHAPES:
            raise UserError(f"--shape {self.shape}: choose {', '.join(SHAPES)}")
        numbers("--slots", self.slots)


@dataclass
class Count:
    """One line of the table."""

    name: str
    watch: fake_gpu.Watch
    work: tuple[float, float]  # bytes and operations of the floor


def decode_step(shape: lm.ModelConfig, slots: int, context: int) -> Count:
    """One step of `slots` rows that see `context` tokens each."""
    with fake_gpu.on_cuda(), torch.no_grad():
        model = fake_gpu.model_of(shape, torch.bfloat16, "cuda:0")
        model.stop_ids = (STOP_ID,)
        decoder = Decoder(model, slots).make_room(context + 1, context)
        with fake_gpu.Watch(seen=context) as watch:
            sample.decode_step(decoder, [(slots, context)], sample.Sampling(context))
        work = floors.decode_work(model, slots, context)
    return Count(f"decode step, {slots} slots", watch, work)


def update(
    shape: lm.ModelConfig, prompt: int, group: int, response: int, logits: int = LARGE_LOGITS_BYTES
) -> Count:
    """Forward and backward of one group of responses to one prompt, without the optimizer.

    prompt, response: tokens of each. logits: bytes of the largest fp32 tensor [positions, V].
    """
    watch = fake_gpu.Watch("cpu")
    with fake_gpu.as_a_gpu_updates(watch):
        model = fake_gpu.model_of(shape, torch.bfloat16, "cpu")
        model.logits_bytes = logits
        model.make_rope_table(prompt + response)
        prompts = [[STOP_ID] * prompt] * group
        responses = [[STOP_ID] * response] * group
        with watch:
            shared = lm.SharedPrompts(model, prompts, 4 * prompt)
            logprobs, _ = shared.response_logprobs(prompts, responses)
            logprobs.sum().backward()
            shared.backward()
        operations = floors.update_operations(model, [prompt], group, [response] * group)
    return Count(f"update, {group} x {response} tokens", watch, (0, operations))


def head(shape: lm.ModelConfig, positions: int, logits: int = LARGE_LOGITS_BYTES) -> Count:
    """The log-probabilities of so many ids from their hidden states, forward and backward."""
    shape = replace(shape, num_hidden_layers=0)
    watch = fake_gpu.Watch("cpu")
    with fake_gpu.as_a_gpu_updates(watch):
        model = fake_gpu.model_of(shape, torch.bfloat16, "cpu")
        model.logits_bytes = logits
        hidden = torch.empty(positions, shape.hidden_size, dtype=model.dtype, requires_grad=True)
        targets = torch.empty(positions, dtype=torch.int64)
        with watch:
            picked, _ = lm.token_logprobs(model, hidden, targets, 1.0)
            picked.sum().backward()
    operations = 6 * positions * shape.vocab_size * shape.hidden_size
    return Count(f"of it the head, {positions} ids", watch, (0, operations))


def predicted(watch: fake_gpu.Watch, machine: Machine, least: float) -> float:
    """Seconds of all kernels, one after another; `least`: seconds of the shortest."""
    seconds = 0.0
    for _, size, operations in watch.log:
        taken, _ = machine.floor(size, operations)
        seconds += max(taken, least)
    return seconds


def table(counts: list[Count], machine: Machine, least: float) -> str:
    """A line for each count."""
    lines = [
        f"{'':<28}{'kernels':>8}{'GB':>8}{'elementwise':>13}{'TFLOP':>8}"
        f"{'floor':>9}{'predicted':>11}{'share':>7}   ms"
    ]
    for count in counts:
        watch = count.watch
        floor, _ = machine.floor(*count.work)
        seconds = predicted(watch, machine, least)
        lines.append(
            f"{count.name:<28}{watch.kernels:>8,}{sum(watch.bytes.values()) / 1e9:>8.1f}"
            f"{watch.elementwise_bytes / 1e9:>13.1f}{sum(watch.operations.values()) / 1e12:>8.2f}"
            f"{1e3 * floor:>9.2f}{1e3 * seconds:>11.2f}{floor / seconds:>7.0%}"
        )
    return "\n".join(lines)


def kinds_of(count: Count) -> str:
    """The kinds of kernels of a count, those that move the most first."""
    watch = count.watch
    lines = [f"\n{count.name}"]
    for kind, size in watch.bytes.most_common():
        lines.append(f"  {kind:<28}{watch.calls[kind]:>8,}{size / 1e9:>10.2f} GB")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    settings, _ = parse(CountedConfig, "what a GPU has to do, counted without one", argv)
    shape = SHAPES[settings.shape]
    machine = Machine(settings.bandwidth, settings.rate)
    counts = []
    for slots in numbers("--slots", settings.slots):
        counts.append(decode_step(shape, slots, settings.context))
    sizes = (settings.prompt_tokens, settings.group, settings.response_tokens)
    logits = int(1e9 * settings.logits_gb)
    counts.append(update(shape, *sizes, logits))
    counts.append(head(shape, settings.group * settings.response_tokens, logits))
    print(table(counts, machine, settings.least_us / 1e6))
    if settings.kinds:
        for count in counts:
            print(kinds_of(count))
