"""Hugging Face folders in and out: config.json, safetensors, tokenizer.

Strict: a folder that asks for something that model.py does not compute is refused by name.
"""
import json
from dataclasses import asdict
from pathlib import Path

import torch

from config import Refusal, check_values
from files import new_folder
from model import ModelConfig, Transformer, rope_tables


def read_config(folder: Path) -> ModelConfig:
    """config.json, refused if it asks for something that this file does not compute."""
    raw = read_json(folder / "config.json")
    if raw.get("model_type") != "qwen2":
        raise Refusal(f"{folder}: model_type {raw.get('model_type')!r} is not supported (qwen2 is)")
    if raw.get("hidden_act", "silu") != "silu":
        raise Refusal(f"{folder}: activation {raw['hidden_act']!r} is not supported (silu is)")
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise Refusal(f"{folder}: rope scaling {rope} is not supported")
    if raw.get("use_sliding_window"):
        raise Refusal(f"{folder}: sliding-window attention is not supported")
    raw.setdefault("rope_theta", rope.get("rope_theta", 10000.0))
    try:
        config = ModelConfig(**check_values({name: raw[name] for name in ModelConfig.__dataclass_fields__ if name in raw},
                                            ModelConfig, f"{folder}/config.json"))
    except TypeError as error:  # a field is missing
        raise Refusal(f"{folder}/config.json: {error}") from None
    if min(value for value in asdict(config).values() if value is not config.tie_word_embeddings) <= 0:
        raise Refusal(f"{folder}/config.json: a size is not above 0")
    return config


def read_json(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refusal(f"{path}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise Refusal(f"{path}: not a JSON object")
    return found


def checkpoint_name(name: str) -> str:
    """The name of one of our parameters in a Hugging Face checkpoint."""
    return name if name.startswith("lm_head.") else "model." + name


def load(path: str, device="cpu", dtype=torch.float32):
    """(model, tokenizer) from a Hugging Face folder: config.json, model.safetensors, tokenizer.

    Strict: a missing, surplus or misshapen tensor, a damaged file or a tokenizer without a stop token is a Refusal that
    names it. A path that does not exist here is looked for beside this file, where the embedded `base` is.
    """
    from safetensors import SafetensorError, safe_open
    from transformers import AutoTokenizer
    folder = Path(path) if Path(path).exists() else Path(__file__).parent / path
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            sharded = (folder / f"{name}.index.json").is_file()
            raise Refusal(f"{path} is not a model folder: no {name} in it" + " (files in parts are not read yet)" * sharded)
    with torch.device("meta"):
        model = Transformer(read_config(folder))
    wanted = {checkpoint_name(name): (name, p) for name, p in model.named_parameters()}
    try:
        with safe_open(str(folder / "model.safetensors"), "pt", device=str(device)) as file:
            names = set(file.keys())
            if model.config.tie_word_embeddings:
                names.discard("lm_head.weight")  # some folders store the tied head a second time
            for problem, found in (("missing", wanted.keys() - names), ("surplus", names - wanted.keys())):
                if found:
                    raise Refusal(f"{path}: {problem} tensor {min(found)} ({len(found)} {problem} in all)")
            state = {}
            for name in sorted(names):
                shape, (ours, parameter) = tuple(file.get_slice(name).get_shape()), wanted[name]
                if shape != tuple(parameter.shape):
                    raise Refusal(f"{path}: tensor {name} has shape {shape}, config.json says {tuple(parameter.shape)}")
                state[ours] = file.get_tensor(name).to(dtype)
    except SafetensorError as error:
        raise Refusal(f"{path}/model.safetensors is damaged ({error}); fetch or save it again") from None
    model.load_state_dict(state, assign=True)
    model.cos, model.sin = rope_tables(model.config, device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:  # a damaged file fails in many ways, none of them its own
        raise Refusal(f"{path}: the tokenizer cannot be read ({error})") from None
    listed = read_json(folder / "generation_config.json").get("eos_token_id") \
        if (folder / "generation_config.json").is_file() else None
    listed = listed if isinstance(listed, list) else [listed]
    model.stop_ids = tuple(sorted({i for i in (*listed, tokenizer.eos_token_id) if i is not None}))
    if not model.stop_ids:
        raise Refusal(f"{path}: the tokenizer has no stop token (eos_token); responses could never end")
    return model, tokenizer


def save(path, model: Transformer, tokenizer, state: dict | None = None) -> None:
    """Write a Hugging Face folder, whole or not at all; `state` stands in for the model's own parameters."""
    with new_folder(path) as draft:
        write(draft, model, tokenizer, state)


def write(folder: Path, model: Transformer, tokenizer, state: dict | None = None) -> None:
    """The files of a Hugging Face folder: config.json, generation_config.json, model.safetensors, the tokenizer's."""
    from safetensors.torch import save_file
    state = state or {name: p.detach() for name, p in model.named_parameters()}
    dtype = str(next(iter(state.values())).dtype).removeprefix("torch.")
    stops = list(model.stop_ids) if len(model.stop_ids) > 1 else model.stop_ids[0]
    config = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu",
              "attention_dropout": 0.0, "use_sliding_window": False, "bos_token_id": None, "eos_token_id": stops,
              "torch_dtype": dtype, **asdict(model.config)}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": stops}, indent=2) + "\n")
    tokenizer.save_pretrained(folder)
    save_file({checkpoint_name(name): t.contiguous().cpu() for name, t in state.items()},
              folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes it for its owner alone
