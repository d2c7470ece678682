"""Hugging Face models in and out: config.json, safetensors in one file or in parts, tokenizer; a folder or a hub id.

Strict: a folder that asks for something that model.py does not compute is refused by name.
"""
import json
import re
from dataclasses import asdict
from pathlib import Path

import torch

from config import Refusal, check_values
from files import new_folder
from model import ModelConfig, RopeScaling, Transformer

FAMILIES = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# What a hub id is fetched for; repositories also hold the same weights in other formats.
WANTED = ["config.json", "generation_config.json", "model*.safetensors", INDEX, "tokenizer*", "special_tokens_map.json",
          "added_tokens.json", "vocab.json", "merges.txt", "chat_template*"]


# ---------------------------------------------------------------- where a model is

def find(path: str) -> Path:
    """The folder of a path or of a hub id (`owner/name`); Refusal says what to do if there is none.

    A path that does not exist here is looked for beside this file, where the embedded `base` is.
    """
    for folder in (Path(path), Path(__file__).parent / path):
        if folder.exists():
            return folder
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", path):
        raise Refusal(f"{path} is not a model folder: it does not exist (and is no hub id, owner/name)")
    return fetch(path)


def fetch(hub_id: str) -> Path:
    """The local copy of a model of huggingface.co: the cache's, without asking the network, or a new one."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=WANTED, local_files_only=True))
        if not missing_files(folder):  # a download that was broken off leaves a folder, too
            return folder
    except LocalEntryNotFoundError:
        pass
    try:
        HfApi().model_info(hub_id, timeout=10)  # seconds; alone the next line would wait for a silent network without end
        return Path(snapshot_download(hub_id, allow_patterns=WANTED))
    except GatedRepoError:
        raise Refusal(f"{hub_id} is gated: accept its licence at https://huggingface.co/{hub_id} and log in with "
                      "`hf auth login`") from None
    except RepositoryNotFoundError:
        raise Refusal(f"{hub_id} is neither a folder here nor a model on huggingface.co: check the spelling, or log in "
                      "with `hf auth login` if it is private") from None
    except Exception as error:  # no network fails in many ways, by the version of the library and of what it calls
        cause = error.__cause__ or error
        reason = f"{type(cause).__name__}: {cause}".splitlines()[0]
        raise Refusal(f"{hub_id} is not a folder here and could not be fetched from huggingface.co ({reason}): check the "
                      f"spelling and the network, or run `hf download {hub_id} --local-dir FOLDER` elsewhere and give the "
                      "folder's path") from None


def missing_files(folder: Path) -> list[str]:
    """Names of the files that a model folder needs and this one lacks."""
    parts = [WEIGHTS]
    if (folder / INDEX).is_file() and not (folder / WEIGHTS).is_file():
        parts = sorted(set(weight_map(folder).values()))
    return [name for name in ("config.json", "tokenizer.json", *parts) if not (folder / name).is_file()]


def weight_map(folder: Path) -> dict[str, str]:
    """Tensor name to file name, from the index of a folder in parts."""
    found = read_json(folder / INDEX).get("weight_map")
    if not isinstance(found, dict) or not all(isinstance(name, str) and Path(name).name == name for name in found.values()):
        raise Refusal(f"{folder}/{INDEX}: no weight_map of tensor names to file names in it; fetch it again")
    return found


# ---------------------------------------------------------------- reading

def read_json(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refusal(f"{path}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise Refusal(f"{path}: not a JSON object")
    return found


def read_config(folder: Path) -> ModelConfig:
    """config.json in the spelling of transformers 4 or 5, refused if it asks for something that is not computed."""
    where, raw = f"{folder}/config.json", read_json(folder / "config.json")
    family = raw.get("model_type")
    if family not in FAMILIES:
        raise Refusal(f"{folder}: model_type {family!r} is not supported ({', '.join(FAMILIES)} are)")
    if raw.get("quantization_config"):
        raise Refusal(f"{folder}: quantised weights (quantization_config) are not supported: take the model in bf16")
    if raw.get("hidden_act", "silu") != "silu":
        raise Refusal(f"{folder}: activation {raw['hidden_act']!r} is not supported (silu is)")
    if raw.get("use_sliding_window") or set(raw.get("layer_types") or ()) - {"full_attention"}:
        raise Refusal(f"{folder}: sliding-window attention is not supported (use_sliding_window, layer_types)")
    raw["rope_theta"], raw["rope_scaling"] = read_rope(raw, folder)
    if raw.get("num_key_value_heads") is None:
        raw["num_key_value_heads"] = raw.get("num_attention_heads")
    if family == "qwen3":
        raw.setdefault("head_dim", 128)  # what transformers takes it for
    for name, has_it in (("attention_bias", family != "qwen2"), ("mlp_bias", family == "llama")):
        raw[name] = raw.get(name, False) if has_it else False  # transformers does not read it there either
    try:
        config = ModelConfig(**check_values({name: raw[name] for name in ModelConfig.__dataclass_fields__ if name in raw},
                                            ModelConfig, where))
    except TypeError as error:  # a field is missing
        raise Refusal(f"{where}: {error}") from None
    if min(v for v in (*vars(config).values(), config.head_size) if type(v) in (int, float)) <= 0:
        raise Refusal(f"{where}: a size is not above 0")
    if config.num_attention_heads % config.num_key_value_heads or config.head_size % 2:
        raise Refusal(f"{where}: num_attention_heads is no multiple of num_key_value_heads, or a head's size is odd")
    return config


def read_rope(raw: dict, folder: Path) -> tuple[float, RopeScaling | None]:
    """(rope_theta, scaling) of a raw config: transformers 4 keeps them apart, 5 keeps both in `rope_parameters`."""
    rope = raw.get("rope_scaling") or raw.get("rope_parameters") or {}
    if not isinstance(rope, dict) or any(isinstance(value, dict) for value in rope.values()):
        raise Refusal(f"{folder}: rope parameters {rope} are not supported (one set for all layers is)")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ("default", "llama3"):
        raise Refusal(f"{folder}: rope scaling {kind!r} is not supported (llama3 is)")
    for part in (rope, raw):
        if part.get("partial_rotary_factor", 1.0) != 1.0:
            raise Refusal(f"{folder}: partial_rotary_factor is not supported")
    theta = rope.get("rope_theta", raw.get("rope_theta", 10000.0))
    if kind == "default":
        return theta, None
    try:
        fields = {name: rope[name] for name in RopeScaling.__dataclass_fields__ if name in rope}
        scaling = RopeScaling(**check_values(fields, RopeScaling, f"{folder}/config.json"))
    except TypeError as error:  # a field is missing
        raise Refusal(f"{folder}/config.json: {error}") from None
    if min(asdict(scaling).values()) <= 0 or scaling.low_freq_factor >= scaling.high_freq_factor:
        raise Refusal(f"{folder}/config.json: {scaling} has no meaning")
    return theta, scaling


def checkpoint_name(name: str) -> str:
    """The name of one of our parameters in a Hugging Face checkpoint."""
    return name if name.startswith("lm_head.") else "model." + name


def read_weights(folder: Path, model: Transformer, device, dtype) -> dict[str, torch.Tensor]:
    """Our parameter names to tensors of `dtype`, one after another: besides them only one tensor is in memory."""
    from safetensors import SafetensorError, safe_open
    wanted = {checkpoint_name(name): (name, p) for name, p in model.named_parameters()}
    file_name, state = WEIGHTS, {}
    try:
        if (folder / WEIGHTS).is_file():
            with safe_open(str(folder / WEIGHTS), "pt") as file:
                files = dict.fromkeys(file.keys(), WEIGHTS)
        else:
            files = weight_map(folder)
        # Some folders store the tied head a second time, or the rotary frequencies, which are computed.
        names = {name for name in files if not name.endswith("rotary_emb.inv_freq")}
        if model.config.tie_word_embeddings:
            names.discard("lm_head.weight")
        for problem, found in (("missing", wanted.keys() - names), ("surplus", names - wanted.keys())):
            if found:
                raise Refusal(f"{folder}: {problem} tensor {min(found)} ({len(found)} {problem} in all)")
        for name in sorted(names):
            file_name, (ours, parameter) = files[name], wanted[name]
            # Opened anew for each tensor, and copied: the file's pages are let go with it.
            with safe_open(str(folder / file_name), "pt", device=str(device)) as file:
                shape = tuple(file.get_slice(name).get_shape())
                if shape != tuple(parameter.shape):
                    raise Refusal(f"{folder}: tensor {name} has shape {shape}, config.json says {tuple(parameter.shape)}")
                state[ours] = file.get_tensor(name).to(dtype, copy=True)
    except SafetensorError as error:
        raise Refusal(f"{folder}/{file_name} is damaged ({error}); fetch or save it again") from None
    return state


def read_tokenizer(folder: Path):
    """The tokenizer of a folder, which cuts text as its tokenizer.json says."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    probe = "It's 1234+56 = 1290.\n\n  Naïve cafés: x²,\t中文 \n"
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        exact = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(probe, add_special_tokens=False).ids
        # transformers 5 cuts text by the family's own rule, whatever the file says: wrong for DeepSeek's distilled models
        if tokenizer(probe, add_special_tokens=False)["input_ids"] != exact:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder))
        return tokenizer
    except Exception as error:  # a damaged file fails in many ways, none of them its own
        raise Refusal(f"{folder}: the tokenizer cannot be read ({error})") from None


def read_stop_ids(folder: Path, tokenizer, vocab_size: int) -> tuple[int, ...]:
    """All ids that end a response: those of config.json, of generation_config.json and of the tokenizer."""
    listed = [tokenizer.eos_token_id]
    for name in ("config.json", "generation_config.json"):
        found = read_json(folder / name).get("eos_token_id") if (folder / name).is_file() else None
        listed += found if isinstance(found, list) else [found]
    stops = [i for i in listed if i is not None]
    if not stops:
        raise Refusal(f"{folder}: the tokenizer has no stop token (eos_token); responses could never end")
    for i in stops:
        if type(i) is not int or not 0 <= i < vocab_size:
            raise Refusal(f"{folder}: stop token {i!r} (eos_token_id) is no id of a vocabulary of {vocab_size}")
    return tuple(sorted(set(stops)))


def load(path: str, device="cpu", dtype=torch.float32):
    """(model, tokenizer) from a Hugging Face folder or hub id.

    Strict: a missing, surplus or misshapen tensor, a damaged file or a tokenizer without a stop token is a Refusal that
    names it.
    """
    folder = find(str(path))
    if missing := missing_files(folder):
        begun = len(missing) > 1 and (folder / "config.json").is_file()
        more = f" ({len(missing)} files are missing: the download did not end? fetch it again)" if begun else ""
        if (folder / "checkpoints").is_dir():
            more = f" (this is a run: give one of its models, {folder}/checkpoints/step-N)"
        raise Refusal(f"{folder} is not a model folder: no {missing[0]} in it{more}")
    with torch.device("meta"):
        model = Transformer(read_config(folder))
    model.load_state_dict(read_weights(folder, model, device, dtype), assign=True)
    tokenizer = read_tokenizer(folder)
    model.stop_ids = read_stop_ids(folder, tokenizer, model.config.vocab_size)
    return model, tokenizer


# ---------------------------------------------------------------- writing

def config_json(model: Transformer, tokenizer, dtype: torch.dtype) -> dict:
    """What config.json says of a model, in the spelling of transformers 4, which 5 reads as well."""
    c = model.config
    values = asdict(c) | {"head_dim": c.head_size}  # said aloud: transformers takes Qwen3's for 128 otherwise
    if c.model_type == "qwen2":
        del values["attention_bias"]
    if c.model_type != "llama":
        del values["mlp_bias"]
    if c.rope_scaling:
        values["rope_scaling"] = {"rope_type": "llama3", **asdict(c.rope_scaling)}
    stops = list(model.stop_ids) if len(model.stop_ids) > 1 else model.stop_ids[0]
    return {"architectures": [FAMILIES[c.model_type]], "hidden_act": "silu", "attention_dropout": 0.0,
            "use_sliding_window": False, "bos_token_id": tokenizer.bos_token_id, "eos_token_id": stops,
            "torch_dtype": str(dtype).removeprefix("torch."), **values}


def save(path, model: Transformer, tokenizer, state: dict | None = None) -> None:
    """Write a Hugging Face folder, whole or not at all; `state` stands in for the model's own parameters."""
    with new_folder(path) as draft:
        write(draft, model, tokenizer, state)


def write(folder: Path, model: Transformer, tokenizer, state: dict | None = None) -> None:
    """The files of a Hugging Face folder: config.json, generation_config.json, model.safetensors, the tokenizer's."""
    from safetensors.torch import save_file
    state = state or {name: p.detach() for name, p in model.named_parameters()}
    config = config_json(model, tokenizer, next(iter(state.values())).dtype)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": config["eos_token_id"]}, indent=2) + "\n")
    tokenizer.save_pretrained(folder)
    save_file({checkpoint_name(name): t.contiguous().cpu() for name, t in state.items()},
              folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes it for its owner alone
