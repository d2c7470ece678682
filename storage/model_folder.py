"""Folders of Hugging Face models: config.json, safetensors in one file or in parts, tokenizer.

A folder here, or a hub id that is fetched once. Strict: a folder that asks for something that
model.py does not compute is refused by name. Nothing in this file knows a model class: it returns
and takes plain fields and named tensors.
"""

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import torch

from config import NotFinite, UserError
from storage.folders import write_file, writing

FAMILIES = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}
PROJECT = Path(__file__).parents[1]
EMBEDDED = "base"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
GENERATION = "generation_config.json"  # how the model's makers sample, and its stop tokens
ADAPTER = "adapter_config.json"
HEAD = "lm_head.weight"
EMBEDDING = "model.embed_tokens.weight"
LFS_POINTER = b"version https://git-lfs"  # how a file begins that a clone without Git LFS left
# Other types are quantised: their numbers mean nothing without a scale.
FLOATING = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# What a hub id is fetched for; repositories also hold the same weights in other formats.
WANTED = [
    "config.json",
    GENERATION,
    ADAPTER,
    "model*.safetensors",
    INDEX,
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template*",
    "additional_chat_templates/*",
]


# ---------------------------------------------------------------- where a model is


def find(path: str) -> Path:
    """The folder of a path or of a hub id (`owner/name`); UserError says what to do if there is
    none.

    A path that does not exist here is looked for in the project's own folder, where the embedded
    `base` is.
    """
    folder = local(path)
    if folder and folder.suffix == ".gguf":
        raise UserError(
            f"{path} is a GGUF file, with rounded weights and another program's tokenizer: give "
            "the Hugging Face folder, or the hub id, that it was made from"
        )
    if folder:
        return folder
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", path):
        raise UserError(
            f"{path} is not a model folder: it does not exist (and is no hub id, owner/name)"
        )
    return fetch(path)


def local(path: str) -> Path | None:
    """The folder that a path means here, None if there is none (it may be a hub id)."""
    for folder in (Path(path), PROJECT / path):
        if folder.exists():
            return folder
    return None


def lasting_name(path: str) -> str:
    """What --model is called from any folder: a local one's absolute path, a hub id as it is.

    The embedded base, which every copy of the project has, keeps its name.
    """
    folder = local(path)
    if folder is None:
        return path
    if folder.resolve() == (PROJECT / EMBEDDED).resolve():
        return EMBEDDED
    return str(folder.resolve())


def fetch(hub_id: str) -> Path:
    """The local copy of a model of huggingface.co: the cache's, without asking the network, or a
    new one.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=WANTED, local_files_only=True))
        # A download that was broken off leaves a folder, too; an adapter never is a whole one.
        if not missing_files(folder) or adapter_files(folder):
            return folder
    except LocalEntryNotFoundError:
        pass
    try:
        # Ten seconds; alone the next line would wait for a silent network without end.
        HfApi().model_info(hub_id, timeout=10)
        return Path(snapshot_download(hub_id, allow_patterns=WANTED))
    except GatedRepoError:
        raise UserError(
            f"{hub_id} is gated: accept its licence at https://huggingface.co/{hub_id} and log "
            f"in with "
            "`hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{hub_id} is neither a folder here nor a model on huggingface.co: check the "
            f"spelling, or log in "
            "with `hf auth login` if it is private"
        ) from None
    except (
        Exception
    ) as error:  # no network fails in many ways, by the version of the library and of what it calls
        cause = error.__cause__ or error
        reason = f"{type(cause).__name__}: {cause}".splitlines()[0]
        raise UserError(
            f"{hub_id} is not a folder here and could not be fetched from huggingface.co "
            f"({reason}): check the "
            f"spelling and the network, or run `hf download {hub_id} --local-dir FOLDER` "
            f"elsewhere and give the "
            "folder's path"
        ) from None


def missing_files(folder: Path) -> list[str]:
    """Names of the files that a model folder needs and this one lacks."""
    return [name for name in needed_files(folder) if not (folder / name).is_file()]


def needed_files(folder: Path) -> list[str]:
    """Names of the files without which a folder is no model."""
    return ["config.json", "tokenizer.json", *weight_files(folder)]


def weight_files(folder: Path) -> list[str]:
    """Names of the files that hold a model's weights: one, or the parts that an index names."""
    if (folder / INDEX).is_file() and not (folder / WEIGHTS).is_file():
        return sorted(set(weight_map(folder).values()))
    return [WEIGHTS]


def weight_map(folder: Path) -> dict[str, str]:
    """Tensor name to file name, from the index of a folder in parts."""
    found = read_json(folder / INDEX).get("weight_map")
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and Path(name).name == name for name in found.values()
    ):
        raise UserError(
            f"{folder}/{INDEX}: no weight_map of tensor names to file names in it; fetch it again"
        )
    return found


# ---------------------------------------------------------------- reading


def read_json(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, brackets without end
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a JSON object")
    return found


def read_config(folder: Path) -> dict:
    """The fields of config.json, in the spelling of transformers 4 or 5, under the names of 4.

    Refused if it asks for something that is not computed. `rope_scaling` is None or the fields of
    Llama 3.1's; values are checked by whoever reads them.
    """
    raw = read_json(folder / "config.json")
    family = raw.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UserError(f"{folder}: model_type {family!r} is not supported ({known} are)")
    if raw.get("quantization_config"):
        raise UserError(
            f"{folder}: quantised weights (quantization_config) are not supported: "
            "take the model in bf16"
        )
    if raw.get("hidden_act", "silu") != "silu":
        raise UserError(f"{folder}: activation {raw['hidden_act']!r} is not supported (silu is)")
    kinds = raw.get("layer_types") or []
    if not isinstance(kinds, list):
        raise UserError(f"{folder}: layer_types = {kinds!r} is not a list")
    other_kinds = [kind for kind in kinds if kind != "full_attention"]
    if raw.get("use_sliding_window") or other_kinds:
        raise UserError(
            f"{folder}: sliding-window attention is not supported (use_sliding_window, layer_types)"
        )
    raw["rope_theta"], raw["rope_scaling"] = read_rope(raw, folder)
    if raw.get("num_key_value_heads") is None:
        raw["num_key_value_heads"] = raw.get("num_attention_heads")
    if family == "qwen3":
        raw.setdefault("head_dim", 128)  # what transformers takes it for
    # Where a family has no such field, transformers does not read it either.
    raw["attention_bias"] = family != "qwen2" and raw.get("attention_bias", False)
    raw["mlp_bias"] = family == "llama" and raw.get("mlp_bias", False)
    return raw


SCALING_FIELDS = (
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
)


def read_rope(raw: dict, folder: Path) -> tuple[float, dict | None]:
    """(rope_theta, fields of the scaling) of a raw config.

    transformers 4 keeps them apart, 5 keeps both in `rope_parameters`.
    """
    rope = raw.get("rope_scaling") or raw.get("rope_parameters") or {}
    if not isinstance(rope, dict) or any(isinstance(value, dict) for value in rope.values()):
        raise UserError(
            f"{folder}: rope parameters {rope} are not supported (one set for all layers is)"
        )
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ("default", "llama3"):
        raise UserError(f"{folder}: rope scaling {kind!r} is not supported (llama3 is)")
    for part in (rope, raw):
        if part.get("partial_rotary_factor", 1.0) != 1.0:
            raise UserError(f"{folder}: partial_rotary_factor is not supported")
    theta = rope.get("rope_theta", raw.get("rope_theta", 10000.0))
    if kind == "default":
        return theta, None
    return theta, {name: rope[name] for name in SCALING_FIELDS if name in rope}


def read_tensors(folder: Path, shapes: dict[str, tuple], tied: bool, device):
    """(name, tensor) of each of the tensors that `shapes` names, one after another.

    Only one of them is in memory at a time. A UserError names what is missing, surplus, misshapen,
    damaged or no floating-point number. tied: the head is the embedding, and a second copy of it is
    passed over, if it is one.
    """
    from safetensors import SafetensorError, safe_open

    file_name = WEIGHTS
    try:
        if (folder / WEIGHTS).is_file():
            with safe_open(str(folder / WEIGHTS), "pt") as file:
                files = dict.fromkeys(file.keys(), WEIGHTS)
        else:
            files = weight_map(folder)
        # Some folders store the tied head a second time, or the rotary frequencies, which are
        # computed.
        names = {name for name in files if not name.endswith("rotary_emb.inv_freq")}
        second_head = tied and HEAD in names
        if second_head:
            names.discard(HEAD)
        for problem, found in (
            ("missing", shapes.keys() - names),
            ("surplus", names - shapes.keys()),
        ):
            if found:
                raise UserError(
                    f"{folder}: {problem} tensor {min(found)} ({len(found)} {problem} in all)"
                )
        for name in sorted(names):
            file_name = files[name]
            # Opened anew for each tensor: the file's pages are let go with it.
            with safe_open(str(folder / file_name), "pt", device=str(device)) as file:
                shape = tuple(file.get_slice(name).get_shape())
                if shape != shapes[name]:
                    raise UserError(
                        f"{folder}: tensor {name} has shape {shape}, config.json says "
                        f"{shapes[name]}"
                    )
                tensor = file.get_tensor(name)
            if tensor.dtype not in FLOATING:
                raise UserError(
                    f"{folder}: tensor {name} is of type {tensor.dtype}, which looks quantised, "
                    "but config.json does not say how: take the model in bf16"
                )
            if second_head and name == EMBEDDING:
                file_name = files[HEAD]
                check_head(folder, file_name, tensor)
            yield name, tensor
    except SafetensorError as error:
        raise UserError(
            f"{folder}/{file_name} is damaged ({error}); fetch or save it again"
        ) from None


def check_head(folder: Path, file_name: str, embedding: torch.Tensor) -> None:
    """A UserError if the head that a folder with a tied one stores is not the embedding.

    transformers 4 drops such a head and 5 takes it, so its maker has to say which is meant.
    """
    from safetensors import safe_open

    with safe_open(str(folder / file_name), "pt", device=str(embedding.device)) as file:
        head = file.get_tensor(HEAD)
    if not torch.equal(head, embedding.to(head.dtype)):
        raise UserError(
            f"{folder}: config.json ties the head to the embedding (tie_word_embeddings), but "
            f"{HEAD} holds other numbers: set tie_word_embeddings to false if they are the head's, "
            "or take that tensor out"
        )


def check_finite(name: str, tensor: torch.Tensor, advice: str) -> None:
    """NotFinite if a number of a tensor is NaN or infinite."""
    # Without a temporary tensor; NaN is both the least and the largest.
    least, largest = tensor.aminmax()
    if not (least.isfinite() and largest.isfinite()):
        raise NotFinite(f"{name} holds numbers that are not finite (NaN or infinite): {advice}")


def read_tokenizer(folder: Path):
    """The tokenizer of a folder, which cuts text as its tokenizer.json says."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    probe = "It's 1234+56 = 1290.\n\n  Naïve cafés: x²,\t中文 \n"
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        exact = (
            Tokenizer.from_file(str(folder / "tokenizer.json"))
            .encode(probe, add_special_tokens=False)
            .ids
        )
        # transformers 5 cuts text by the family's own rule, whatever the file says: wrong for
        # DeepSeek's distilled models
        if tokenizer(probe, add_special_tokens=False)["input_ids"] != exact:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder))
        return tokenizer
    except Exception as error:  # a damaged file fails in many ways, none of them its own
        raise UserError(f"{folder}: the tokenizer cannot be read ({error})") from None


def read_stop_ids(folder: Path, tokenizer, vocab_size: int) -> tuple[int, ...]:
    """All ids that end a response: those of config.json, of generation_config.json and of the
    tokenizer.
    """
    stops = listed_stop_ids(read_source(folder), tokenizer)
    if not stops:
        raise UserError(
            f"{folder}: the tokenizer has no stop token (eos_token); responses could never end"
        )
    for i in stops:
        if type(i) is not int or not 0 <= i < vocab_size:
            raise UserError(
                f"{folder}: stop token {i!r} (eos_token_id) is no id of a vocabulary of "
                f"{vocab_size}"
            )
    return tuple(sorted(set(stops)))


def listed_stop_ids(source: "Source", tokenizer) -> list:
    """What a folder and its tokenizer name as stop tokens, whatever it is; some twice."""
    listed = [tokenizer.eos_token_id]
    for said in (source.config, source.generation or {}):
        found = said.get("eos_token_id")
        listed += found if isinstance(found, list) else [found]
    return [i for i in listed if i is not None]


@dataclass(frozen=True)
class Source:
    """What the folder that a model was loaded from says of it, word for word."""

    config: dict  # config.json
    generation: dict | None  # generation_config.json; None: there is none


def read_source(folder: Path) -> Source:
    generation = None
    if (folder / GENERATION).is_file():
        generation = read_json(folder / GENERATION)
    return Source(read_json(folder / "config.json"), generation)


def adapter_files(folder: Path) -> list[str]:
    """Names of the files of an adapter (LoRA) in a folder."""
    names = (ADAPTER, "adapter_model.safetensors", "adapter_model.bin")
    return [name for name in names if (folder / name).is_file()]


def about_adapter(folder: Path, file: str, alone: bool) -> str:
    """What is wrong with a folder that holds an adapter, and what to do; file: one of its files."""
    of_base = ""
    if (folder / ADAPTER).is_file():
        base = read_json(folder / ADAPTER).get("base_model_name_or_path")
        of_base = f" of {base}" if base else ""
    merge = "with peft's merge_and_unload, as docs/real-models.md says"
    if alone:
        return (
            f"{folder} is an adapter (LoRA){of_base}, not a model ({file}): merge it into its base "
            f"{merge}"
        )
    return (
        f"{folder} holds an adapter (LoRA){of_base} beside the model, which would be ignored "
        f"({file}): merge it {merge}, or move it away"
    )


def check_complete(folder: Path) -> None:
    """A UserError if this is not a model folder with all its files, or holds an adapter."""
    missing = missing_files(folder)
    adapter = adapter_files(folder)
    if adapter:
        raise UserError(about_adapter(folder, adapter[0], alone=bool(missing)))
    if not missing:
        check_contents(folder)
        return
    more = ""
    if (folder / "checkpoints").is_dir():
        more = f" (this is a run: give one of its models, {folder}/checkpoints/step-N)"
    elif len(missing) > 1 and (folder / "config.json").is_file():
        more = f" ({len(missing)} files are missing: the download did not end? fetch it again)"
    raise UserError(f"{folder} is not a model folder: no {missing[0]} in it{more}")


def others_in(folder: Path) -> list[str]:
    """Names of what a folder holds beside a model's files."""
    known = [pattern.partition("/")[0] for pattern in WANTED]
    others = []
    for path in folder.iterdir():
        if not any(fnmatch(path.name, pattern) for pattern in known):
            others.append(path.name)
    return sorted(others)


def check_contents(folder: Path) -> None:
    """An OSError that names a needed file which cannot be read, a UserError for one of Git LFS.

    safetensors says of a file without permission that there is none.
    """
    for name in needed_files(folder):
        with open(folder / name, "rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise UserError(
                    f"{folder / name} is a pointer of Git LFS: git lfs pull fetches the file itself"
                )


# ---------------------------------------------------------------- writing


def config_json(fields: dict, stop_ids: tuple[int, ...], tokenizer, dtype: torch.dtype) -> dict:
    """What config.json says of a model, in the spelling of transformers 4, which 5 reads as well.

    fields: as `read_config` returns them, head_dim always said: transformers takes Qwen3's for 128
    otherwise.
    """
    fields = dict(fields)
    family = fields["model_type"]
    of_qwen = {} if family == "llama" else {"use_sliding_window": False}
    if family == "qwen2":
        del fields["attention_bias"]
    if family != "llama":
        del fields["mlp_bias"]
    if fields["rope_scaling"]:
        fields["rope_scaling"] = {"rope_type": "llama3", **fields["rope_scaling"]}
    return {
        "architectures": [FAMILIES[family]],
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        **of_qwen,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": one_or_list(stop_ids),
        "torch_dtype": str(dtype).removeprefix("torch."),
        **fields,
    }


def one_or_list(stop_ids: tuple[int, ...]) -> int | list[int]:
    """Stop tokens as a config names them."""
    return list(stop_ids) if len(stop_ids) > 1 else stop_ids[0]


def kept(source: Source, stop_ids: tuple[int, ...], tokenizer, dtype: torch.dtype) -> Source:
    """What is said of a model that was loaded: what its source says, but for what has changed.

    That is the type of its numbers and, where they are others now, its stop tokens.
    """
    config = dict(source.config)
    type_field = "dtype" if "dtype" in config else "torch_dtype"  # transformers 5 or 4
    config[type_field] = str(dtype).removeprefix("torch.")
    generation = source.generation
    if set(stop_ids) != set(listed_stop_ids(source, tokenizer)):
        stops = {"eos_token_id": one_or_list(stop_ids)}
        config |= stops
        generation = (generation or {}) | stops
    return Source(config, generation)


def write(
    folder: Path,
    fields: dict,
    stop_ids: tuple[int, ...],
    tensors: dict[str, torch.Tensor],
    tokenizer,
    source: Source | None = None,
) -> None:
    """The files of a model: config.json, generation_config.json, model.safetensors, tokenizer's.

    source: what the folder says that it was loaded from; None for a new model. NotFinite if a
    tensor holds a number that is not finite.
    """
    from safetensors.torch import save_file

    for name, tensor in tensors.items():
        check_finite(f"tensor {name}", tensor, "nothing is saved")
    dtype = next(iter(tensors.values())).dtype
    if source is None:
        config = config_json(fields, stop_ids, tokenizer, dtype)
        said = Source(config, {"eos_token_id": config["eos_token_id"]})
    else:
        said = kept(source, stop_ids, tokenizer, dtype)
    write_json(folder / "config.json", said.config)
    if said.generation is not None:
        write_json(folder / GENERATION, said.generation)
    with writing(folder):
        tokenizer.save_pretrained(folder)
    whole = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    with writing(folder / WEIGHTS):
        save_file(whole, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes it for its owner alone


def write_json(path: Path, content: dict) -> None:
    write_file(path, json.dumps(content, indent=2) + "\n")
