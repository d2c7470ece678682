"""What the rows are measured on: weights, prompts and lengths.

There is one set of weights, in our model and in transformers'.
"""

from dataclasses import asdict, dataclass, replace

import torch

import model as lm
import sample
import tasks
from config import UserError, setting
from engine.batches import LARGE_LOGITS_BYTES
from engine.device import pick_device, pick_dtype
from speed.floors import Machine, measure_machine
from speed.lengths import lognormal_lengths
from speed.memory import SHAPES
from speed.report import check_json, chosen, numbers
from storage import model_folder

ROWS = ("prefill", "decode", "rollout", "logprobs", "update", "step", "attention")
# Its vocabulary holds the base's.
TINY = lm.ModelConfig(2048, 64, 128, 2, 4, 2, tie_word_embeddings=True)
CONTEXT = 32768  # tokens, of random weights
PROBLEM_TOKENS = 16  # a problem has more


@dataclass(frozen=True)
class RowsConfig:
    """What the rows are measured on, and how often."""

    shape: str = setting(
        "qwen2.5-1.5b",
        "shape of the random weights: a name that `bench.py memory` lists, or tiny",
    )
    rows: str = setting("", f"what to measure, separated by commas: {', '.join(ROWS)}; empty: all")
    repeats: int = setting(3, "measured rounds, after one for warming up")
    patience: float = setting(8.0, "seconds after which a side of a row is measured no more often")
    context: int = setting(600, "tokens that a decoding row sees, in the decode rows")
    slots: str = setting("1,16,64,256,512", "rows that decode at a time, in the decode rows")
    rollouts: str = setting("256,1024", "rollouts of the rollout rows")
    prompts: int = setting(128, "prompts of the step")
    group: int = setting(8, "responses per prompt")
    prompt_tokens: int = setting(256, "tokens of a prompt")
    max_new_tokens: int = setting(1024, "longest response, tokens; the mean is an eighth")
    token_budget: int = setting(
        8192, "tokens of a micro-batch, of ours and of the log-prob pass of both"
    )
    trl_rows: int = setting(8, "rows of TRL's micro-batches")
    json: str = setting("bench-cuda.json", "write all figures to this file")
    device: str = setting("cuda", "cuda; cpu is for rehearsals")

    def __post_init__(self):
        if self.shape != "tiny" and self.shape not in SHAPES:
            raise UserError(f"--shape {self.shape}: choose {', '.join(SHAPES)} or tiny")
        at_least_1 = min(self.repeats, self.prompts, self.token_budget, self.trl_rows) >= 1
        at_least_2 = min(self.group, self.prompt_tokens) >= 2
        at_least_8 = min(self.max_new_tokens, self.context) >= 8
        if not (at_least_1 and at_least_2 and at_least_8) or self.patience < 0:
            raise UserError(
                "--repeats, --prompts, --token-budget and --trl-rows must be at least 1, --group "
                "and --prompt-tokens at least 2, --max-new-tokens and --context at least 8"
            )
        chosen(self.rows, ROWS)
        for n in numbers("--rollouts", self.rollouts):
            if n % self.group:
                raise UserError(
                    f"--rollouts {self.rollouts}: must be multiples of --group {self.group}"
                )
        numbers("--slots", self.slots)
        check_json(self.json)


# ---------------------------------------------------------------- what is measured on


@dataclass
class Subject:
    """One set of weights, in our model and in theirs, and the problem of its size."""

    settings: RowsConfig
    model: lm.Transformer
    tokenizer: object
    theirs: object  # transformers' model on the same tensors, without gradients
    stops: list[int]
    machine: Machine
    folder: str  # for what TRL writes
    run: object = None  # what the trainer keeps, once it has been asked for

    @property
    def device(self) -> torch.device:
        return self.model.device

    def texts(self, n: int) -> list[str]:
        """Prompts of at least --prompt-tokens tokens, cut after a whole problem."""
        each = self.settings.prompt_tokens // PROBLEM_TOKENS + 1
        problems = tasks.make_problems("countdown", "train", "bench", each * n)
        return [self.joined(problems[i * each : (i + 1) * each]) for i in range(n)]

    def joined(self, problems: list[tasks.Problem]) -> str:
        """One prompt of as many of these problems as it takes."""
        text = ""
        for problem in problems:
            text += tasks.prompt(problem, "short", self.tokenizer)
            if len(self.tokenizer(text)["input_ids"]) >= self.settings.prompt_tokens:
                return text
        raise AssertionError("a problem has fewer tokens than are counted on")

    def prompts(self, n: int) -> list[list[int]]:
        """The ids of the texts."""
        return [self.tokenizer(text)["input_ids"] for text in self.texts(n)]

    def sampling(self) -> sample.Sampling:
        return sample.Sampling(self.settings.max_new_tokens)

    def limits(self, n: int, seed: int) -> list[int]:
        """Imposed lengths of n responses, tokens."""
        return lognormal_lengths(n, self.settings.max_new_tokens / 8, seed)


def random_model(
    shape: lm.ModelConfig, context: int, device, dtype, seed: int = 0
) -> lm.Transformer:
    """A model of this shape with N(0, 0.02) matrices, made on the device.

    No id stops its responses.
    """
    config = replace(shape, max_position_embeddings=context, rope_theta=1e6)
    with torch.device("meta"):
        model = lm.Transformer(config)
    model = model.to(dtype).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.02, generator=generator)
            elif name.endswith("bias"):
                parameter.fill_(0.0)
            else:
                parameter.fill_(1.0)
    return model


def their_model(model: lm.Transformer, tokenizer):
    """transformers' model with the very tensors of ours.

    There is no second copy, until an optimizer moves ours.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = asdict(model.config) | {"head_dim": model.config.head_size}
    stop_ids = (tokenizer.eos_token_id,)
    values = model_folder.config_json(fields, stop_ids, tokenizer, model.dtype)
    dtype = getattr(torch, values.pop("torch_dtype"))
    with torch.device(model.device):
        config = AutoConfig.for_model(**values)
        theirs = AutoModelForCausalLM.from_config(config, dtype=dtype)
    tensors = lm.checkpoint_tensors(model)
    missing, surplus = theirs.load_state_dict(tensors, strict=False, assign=True)
    assert not surplus and set(missing) <= {"lm_head.weight"}, (missing, surplus)
    theirs.tie_weights()
    return theirs.eval()


def random_subject(settings: RowsConfig, scratch: str) -> Subject:
    """Random weights of a published shape, or of a tiny one."""
    device = pick_device(settings.device)
    tokenizer = lm.load("base")[1]
    shape = TINY if settings.shape == "tiny" else SHAPES[settings.shape]
    dtype, _ = pick_dtype("auto", device, shape.hidden_size)
    model = random_model(shape, CONTEXT, device, dtype)
    # Bytes that are copied, and the width of the matrices, in measuring the machine.
    size = 2**28
    width = 2048
    if device.type == "cuda":
        size = 2**32
        width = 8192
        model.logits_bytes = LARGE_LOGITS_BYTES
    elif settings.shape == "tiny":
        size = 2**24
        width = 256
    theirs = their_model(model, tokenizer)
    machine = measure_machine(device, dtype, size, width)
    return Subject(settings, model, tokenizer, theirs, [tokenizer.eos_token_id], machine, scratch)


def base_subject(settings, machine: Machine, scratch: str) -> Subject:
    """The headline's model on a CPU, with its lengths."""
    model, tokenizer = lm.load(settings.model, dtype=settings.dtype)
    stops = list(model.stop_ids)
    model.stop_ids = ()
    rows = RowsConfig(
        repeats=settings.repeats,
        context=settings.context,
        slots=settings.slots,
        group=settings.group,
        prompts=settings.prompts,
        rollouts=f"{16 * settings.group},{64 * settings.group}",
        prompt_tokens=24,
        max_new_tokens=settings.max_new_tokens,
        token_budget=2048,
        json=settings.json,
        device="cpu",
    )
    theirs = their_model(model, tokenizer)
    return Subject(rows, model, tokenizer, theirs, stops, machine, scratch)
