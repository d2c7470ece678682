"""What `bench.py check` says, a line a finding, and what its sections are given to work on.

A line is `PASS|FAIL|INFO|SKIP name value threshold`. INFO is measured and not judged; SKIP says why
something did not run here.
"""

import traceback
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch

import model as lm
from engine.attention import has_packed_kernel
from engine.device import pick_device, pick_dtype
from sample import ONE_STRIDE
from speed.memory import SHAPES
from speed.subject import CONTEXT, TINY, RowsConfig, Subject, random_model

VERDICTS = ("PASS", "FAIL", "INFO", "SKIP")
LARGE_GB = 60  # GPU memory from which the 1.5 B shape is taken


# ---------------------------------------------------------------- a line


@dataclass(frozen=True)
class Finding:
    """One line of the check."""

    verdict: str
    name: str  # section/what
    value: str
    threshold: str = ""  # what the value was held against
    detail: str = ""  # for the JSON file: where an exception came from

    def text(self) -> str:
        line = f"{self.verdict}  {self.name}  {self.value}"
        if self.threshold:
            line += f"  ({self.threshold})"
        return line


class Findings:
    """The findings of one section; each is handed on at once to `tell`."""

    def __init__(self, section: str, tell):
        self.section = section
        self.tell = tell

    def add(self, verdict: str, name: str, value, threshold: str = "", detail: str = "") -> None:
        one_line = " ".join(str(value).split())
        self.tell(Finding(verdict, f"{self.section}/{name}", one_line, threshold, detail))

    @contextmanager
    def guarded(self, name: str = "ended by"):
        """What goes wrong inside is a FAIL of this name, and what comes after it goes on."""
        try:
            yield
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            value = f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"
            self.add("FAIL", name, value, detail=traceback.format_exc())

    def info(self, name: str, value) -> None:
        """Something that is measured and not judged."""
        self.add("INFO", name, value)

    def skip(self, name: str, why: str) -> None:
        """Something that cannot run here."""
        self.add("SKIP", name, why)

    def holds(self, name: str, is_so: bool, value) -> None:
        """Something that is so or is not."""
        self.add("PASS" if is_so else "FAIL", name, value)

    def below(self, name: str, value: float, limit: float) -> None:
        """A number that may be at most `limit`; NaN is too large."""
        self.add("PASS" if value <= limit else "FAIL", name, f"{value:.3g}", f"at most {limit:g}")

    def above(self, name: str, value: float, limit: float) -> None:
        """A number that must be above `limit`, as where a fault has to show."""
        self.add("PASS" if value > limit else "FAIL", name, f"{value:.3g}", f"above {limit:g}")


# ---------------------------------------------------------------- what is checked


@dataclass(frozen=True)
class Sizes:
    """How large the sections make what they run."""

    copied: int  # bytes of the copy
    width: int  # rows and columns of the large product
    rows: tuple[int, ...]  # rows that decode, in the attention sections
    heads: tuple[int, ...]  # head sizes D, there
    seen: int  # mean tokens that a row sees, there
    slots: tuple[int, ...]  # rows that decode, in the timings
    context: int  # tokens that a row sees, in the timings
    products: tuple[int, ...]  # rows M of a product
    repeats: int  # measured rounds
    prompts: int  # of a step, of rollouts and of updates
    group: int  # responses to each
    prompt_tokens: int
    max_new_tokens: int  # of rollouts and updates with made-up lengths; the mean is an eighth
    token_budget: int  # of the update
    drawn: int  # tokens of a response in the sections that compare ids
    train_prompts: int  # of train.py's steps
    train_group: int
    train_tokens: int  # longest response


FULL = Sizes(
    copied=2**32,
    width=8192,
    rows=(8, 64, 256),
    heads=(64, 128),
    seen=200,
    slots=(1, 16, 64, 256, 512),
    context=600,
    products=(1, 8, 16, 64, 128, 256, 512),
    repeats=3,
    prompts=32,
    group=8,
    prompt_tokens=256,
    max_new_tokens=1024,
    token_budget=8192,
    drawn=64,
    train_prompts=16,
    train_group=8,
    train_tokens=128,
)
SMALL = Sizes(
    copied=2**20,
    width=64,
    rows=(3,),
    heads=(16,),
    seen=6,
    slots=(1, 4),
    context=16,
    products=(1, 4),
    repeats=1,
    prompts=2,
    group=2,
    prompt_tokens=24,
    max_new_tokens=16,
    token_budget=128,
    drawn=6,
    train_prompts=2,
    train_group=8,
    train_tokens=40,
)


class Bench:
    """The device, and the models that are checked on it."""

    def __init__(self, device: str, shape: str):
        self.device = pick_device(device)
        self.on_gpu = self.device.type == "cuda"
        self.sizes = FULL if self.on_gpu else SMALL
        self.shape_name = shape if shape != "auto" else self.fitting_shape()

    def fitting_shape(self) -> str:
        """The shape that is timed where none is named."""
        if not self.on_gpu:
            return "tiny"
        total = torch.cuda.get_device_properties(self.device).total_memory
        return "qwen2.5-1.5b" if total >= LARGE_GB * 1e9 else "qwen2.5-0.5b"

    @property
    def shape(self) -> lm.ModelConfig:
        if self.shape_name == "tiny":
            return replace(TINY, vocab_size=2 * ONE_STRIDE)  # drawn from in two strides
        return SHAPES[self.shape_name]

    @property
    def dtype(self) -> torch.dtype:
        """What `--dtype auto` computes in here."""
        return pick_dtype("auto", self.device, self.shape.hidden_size)[0]

    @property
    def dtypes(self) -> list[torch.dtype]:
        """The compute types that make sense on this device."""
        if self.on_gpu and self.dtype == torch.float32:
            return [torch.float32]
        return [torch.float32, torch.bfloat16]

    def why_no_kernel(self, dtype: torch.dtype, head_size: int) -> str:
        """Why attention is written out here; "" where the kernel is taken."""
        if has_packed_kernel(self.device, dtype, head_size):
            return ""
        if not self.on_gpu:
            return "a kernel of GPUs"
        return f"no kernel for {short(dtype)} and heads of {head_size} on this GPU"

    def subject(self, model: lm.Transformer, folder: str = "") -> Subject:
        """What the rows of `bench.py cuda` are measured on, with these sizes."""
        sizes = self.sizes
        settings = RowsConfig(
            prompts=sizes.prompts,
            group=sizes.group,
            rollouts=str(sizes.prompts * sizes.group),
            prompt_tokens=sizes.prompt_tokens,
            max_new_tokens=sizes.max_new_tokens,
            token_budget=sizes.token_budget,
            device=self.device.type,
        )
        return Subject(settings, model, self.tokenizer, None, [], None, folder)

    @cached_property
    def tokenizer(self):
        """The embedded base's."""
        return lm.load("base")[1]

    def base(self, dtype: torch.dtype) -> lm.Transformer:
        """The embedded base."""
        model = lm.load("base", self.device, dtype)[0]
        return model.requires_grad_(False)

    def random(self, dtype: torch.dtype, layers: int = 0) -> lm.Transformer:
        """Random weights of the shape, or of its first `layers`."""
        shape = self.shape
        if layers:
            shape = replace(shape, num_hidden_layers=min(layers, shape.num_hidden_layers))
        model = random_model(shape, CONTEXT, self.device, dtype)
        return model.requires_grad_(False)


def short(dtype: torch.dtype) -> str:
    """The name of a compute type."""
    return {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]
