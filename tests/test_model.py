"""A folder is read strictly and written whole; the embedded base is small and is what transformers thinks it is."""
import json
import random
from pathlib import Path

import pytest
import torch
from conftest import make_tiny
from safetensors.torch import load_file, save_file

import checkpoint
import model as lm
import sft
from config import Refusal
from files import new_folder

BASE = Path(lm.__file__).parent / "base"
needs_base = pytest.mark.skipif(not BASE.is_dir(), reason="there is no base/ yet: python sft.py --from-scratch --out base")


def edit_json(folder, name, **changes):
    """Change keys of a JSON file; None takes a key out."""
    path = Path(folder) / name
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def edit_tensors(folder, edit):
    path = Path(folder) / "model.safetensors"
    state = {name: t.clone() for name, t in load_file(path).items()}
    edit(state)
    save_file(state, path, metadata={"format": "pt"})


def logits(model):
    with torch.no_grad():
        return model(torch.arange(40, 80)[None])


# ---------------------------------------------------------------- strict loading

UP = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize("edit,says", [
    (lambda s: s.pop("model.norm.weight"), r"missing tensor model\.norm\.weight \(1 missing"),
    (lambda s: [s.pop(name) for name in list(s) if ".q_proj." in name], r"missing tensor .*q_proj.* \(4 missing"),
    (lambda s: s.update({UP.replace("1", "2"): s[UP].clone()}), r"surplus tensor model\.layers\.2\.mlp\.up_proj\.weight \(1"),
    (lambda s: s.update({"model.layers.0.self_attn.o_proj.bias": torch.zeros(32)}), r"surplus tensor .*o_proj\.bias"),
    (lambda s: s.update({UP: s[UP].T.contiguous()}), r"layers\.1\.mlp\.up_proj\.weight has shape \(32, 48\).*\(48, 32\)"),
    (lambda s: s.update({"model.norm.weight": torch.ones(1)}), r"tensor model\.norm\.weight has shape \(1,\)")])
def test_a_missing_surplus_or_misshapen_tensor_is_refused_by_name(tiny_folder, edit, says):
    edit_tensors(tiny_folder, edit)
    with pytest.raises(Refusal, match=says):
        checkpoint.load(tiny_folder)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_file_of_weights_cut_anywhere_is_refused(tiny_folder, keep):
    path = Path(tiny_folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(Refusal, match="damaged"):
        checkpoint.load(tiny_folder)


@pytest.mark.parametrize("changes,says", [
    (dict(model_type="llama"), "model_type 'llama'"), (dict(model_type=None), "model_type None"),
    (dict(rope_scaling={"rope_type": "yarn", "factor": 4.0}), "rope scaling .*yarn"),
    (dict(rope_scaling={"type": "linear", "factor": 2.0}), "rope scaling .*linear"),
    (dict(rope_parameters={"rope_type": "llama3", "rope_theta": 1e6}), "rope scaling .*llama3"),
    (dict(use_sliding_window=True), "sliding-window"), (dict(hidden_size=None), "config.json: .*hidden_size")])
def test_a_config_that_asks_for_what_is_not_computed_is_refused(tiny_folder, changes, says):
    edit_json(tiny_folder, "config.json", **changes)
    with pytest.raises(Refusal, match=says):
        checkpoint.load(tiny_folder)


def test_another_activation_is_refused_and_not_silently_taken_for_silu(tiny_folder):
    edit_json(tiny_folder, "config.json", hidden_act="gelu")
    with pytest.raises(Refusal, match="gelu"):
        checkpoint.load(tiny_folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_without_one_of_its_files_is_refused(tiny_folder, name):
    (Path(tiny_folder) / name).unlink()
    with pytest.raises(Refusal, match=f"is not a model folder: no {name}"):
        checkpoint.load(tiny_folder)


def test_a_config_that_is_not_json_is_refused(tiny_folder):
    (Path(tiny_folder) / "config.json").write_text('{"model_type": "qwen2",')
    with pytest.raises(Refusal, match="config.json: not JSON"):
        checkpoint.load(tiny_folder)


def test_the_stop_tokens_are_those_of_the_folder_and_of_the_tokenizer(tiny_folder, tokenizer):
    edit_json(tiny_folder, "generation_config.json", eos_token_id=[5, 3])
    assert checkpoint.load(tiny_folder)[0].stop_ids == tuple(sorted({3, 5, tokenizer.eos_token_id}))
    (Path(tiny_folder) / "generation_config.json").unlink()
    assert checkpoint.load(tiny_folder)[0].stop_ids == (tokenizer.eos_token_id,)


def test_a_folder_in_bf16_is_loaded_as_the_same_values_in_fp32(tmp_path, tokenizer):
    model = make_tiny(tokenizer)
    checkpoint.save(tmp_path / "m", model, tokenizer, {name: p.detach().bfloat16() for name, p in model.named_parameters()})
    assert {t.dtype for t in load_file(tmp_path / "m" / "model.safetensors").values()} == {torch.bfloat16}
    loaded, _ = checkpoint.load(str(tmp_path / "m"))
    for p, q in zip(model.parameters(), loaded.parameters()):
        assert q.dtype == torch.float32 and torch.equal(q, p.bfloat16().float())


def test_a_tied_head_that_is_stored_a_second_time_is_left_alone(tiny_folder):
    before = logits(checkpoint.load(tiny_folder)[0])
    edit_tensors(tiny_folder, lambda s: s.update({"lm_head.weight": s["model.embed_tokens.weight"].clone()}))
    assert torch.equal(logits(checkpoint.load(tiny_folder)[0]), before)


@torch.no_grad()
def test_the_base_of_the_rotary_angles_is_read_wherever_transformers_writes_it(tmp_path, tokenizer):
    from transformers import AutoModelForCausalLM
    ours, other = make_tiny(tokenizer, rope_theta=1e6), make_tiny(tokenizer)
    checkpoint.save(tmp_path / "m", ours, tokenizer)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32)
    theirs = theirs(torch.arange(40, 80)[None]).logits
    for changes in ({}, dict(rope_theta=None, rope_parameters={"rope_type": "default", "rope_theta": 1e6})):
        edit_json(tmp_path / "m", "config.json", **changes)
        found = logits(checkpoint.load(str(tmp_path / "m"))[0])
        assert (found - theirs).abs().max() < 1e-4 and torch.equal(found, logits(ours))
    assert (logits(other) - theirs).abs().max() > 1e-2  # another base shows


# ---------------------------------------------------------------- writing

def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_inside_a_new_folder_leaves_the_old_one_as_it_was(tmp_path, error):
    with new_folder(tmp_path / "m") as draft:
        (draft / "a").write_text("old")
    with pytest.raises(error), new_folder(tmp_path / "m") as draft:
        (draft / "a").write_text("new")
        raise error
    assert content(tmp_path) == {Path("m/a"): b"old"}
    with pytest.raises(error), new_folder(tmp_path / "other"):
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_save_that_fails_half_way_leaves_the_old_model(tiny_folder, tokenizer):
    class Broken:
        def save_pretrained(self, folder):
            raise OSError(28, "No space left on device")
    before = content(tiny_folder)
    with pytest.raises(OSError):
        checkpoint.save(tiny_folder, make_tiny(tokenizer, seed=1), Broken())
    assert content(Path(tiny_folder).parent) == {Path("tiny") / name: data for name, data in before.items()}


def test_a_new_folder_replaces_the_old_one_whole_and_minds_no_leftover_of_a_kill(tmp_path):
    for name in ("m", ".m.new", ".m.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stale").write_text(name)
    with new_folder(tmp_path / "m") as draft:
        assert content(draft) == {}
        (draft / "a").write_text("new")
    assert content(tmp_path) == {Path("m/a"): b"new"}


# ---------------------------------------------------------------- the embedded base

@needs_base
def test_the_embedded_base_is_small():
    model, _ = checkpoint.load("base")
    assert sum(p.numel() for p in model.parameters()) <= 4_000_000
    assert sum(p.stat().st_size for p in BASE.rglob("*") if p.is_file()) <= 8 * 2 ** 20


@needs_base
@torch.no_grad()
def test_the_embedded_base_is_found_from_anywhere_and_gives_the_logits_of_transformers(tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM
    monkeypatch.chdir(tmp_path)
    model, tokenizer = checkpoint.load("base")
    theirs = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    for prompt, response in sft.generated_pairs(random.Random(0), 5):
        ids = torch.tensor([tokenizer(prompt + response)["input_ids"]])
        assert (theirs(ids).logits - model(ids)).abs().max() < 1e-4


@needs_base
def test_the_embedded_bases_tokenizer_is_the_same_in_every_program_and_the_one_that_sft_makes():
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer
    texts = [text for pair in sft.generated_pairs(random.Random(0), 200) for text in pair]
    ids = checkpoint.load("base")[1](texts)["input_ids"]
    assert AutoTokenizer.from_pretrained(BASE)(texts)["input_ids"] == ids
    assert [found.ids for found in Tokenizer.from_file(str(BASE / "tokenizer.json")).encode_batch(texts)] == ids
    assert sft.new_tokenizer()(texts)["input_ids"] == ids
