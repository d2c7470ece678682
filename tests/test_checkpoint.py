"""A folder or a hub id is read strictly and written whole; the embedded base is what transformers thinks it is."""

import hashlib
import http.server
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from conftest import make_tiny
from safetensors.torch import load_file, save_file

import model as lm
import sft
import tasks
from config import UserError
from storage import model_folder
from storage.folders import new_folder
from tasks.pairs import generated_pairs

BASE = Path(lm.__file__).parent / "base"
needs_base = pytest.mark.skipif(
    not BASE.is_dir(), reason="there is no base/ yet: python sft.py --from-scratch --out base"
)


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


@pytest.mark.parametrize(
    "edit,says",
    [
        (lambda s: s.pop("model.norm.weight"), r"missing tensor model\.norm\.weight \(1 missing"),
        (
            lambda s: [s.pop(name) for name in list(s) if ".q_proj." in name],
            r"missing tensor .*q_proj.* \(4 missing",
        ),
        (
            lambda s: s.update({UP.replace("1", "2"): s[UP].clone()}),
            r"surplus tensor model\.layers\.2\.mlp\.up_proj\.weight \(1",
        ),
        (
            lambda s: s.update({"model.layers.0.self_attn.o_proj.bias": torch.zeros(32)}),
            r"surplus tensor .*o_proj\.bias",
        ),
        (lambda s: s.update({"lm_head.bias": torch.zeros(576)}), r"surplus tensor lm_head\.bias"),
        (
            lambda s: s.update({UP: s[UP].T.contiguous()}),
            r"layers\.1\.mlp\.up_proj\.weight has shape \(32, 48\).*\(48, 32\)",
        ),
        (
            lambda s: s.update({"model.norm.weight": torch.ones(1)}),
            r"tensor model\.norm\.weight has shape \(1,\)",
        ),
    ],
)
def test_a_missing_surplus_or_misshapen_tensor_is_refused_by_name(tiny_folder, edit, says):
    edit_tensors(tiny_folder, edit)
    with pytest.raises(UserError, match=says):
        lm.load(tiny_folder)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_file_of_weights_cut_anywhere_is_refused(tiny_folder, keep):
    path = Path(tiny_folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="damaged"):
        lm.load(tiny_folder)


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@pytest.mark.parametrize(
    "changes,says",
    [
        (
            dict(model_type="mistral"),
            "model_type 'mistral' is not supported .qwen2, qwen3, llama are",
        ),
        (dict(model_type="qwen3_moe"), "model_type 'qwen3_moe'"),
        (dict(model_type=None), "model_type None"),
        (dict(rope_scaling={"rope_type": "yarn", "factor": 4.0}), "rope scaling 'yarn'"),
        (dict(rope_scaling={"type": "linear", "factor": 2.0}), "rope scaling 'linear'"),
        (
            dict(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6}),
            "rope scaling 'dynamic'",
        ),
        (
            dict(rope_parameters={"full_attention": {"rope_type": "default"}}),
            "rope parameters .*full_attention",
        ),
        (dict(rope_scaling="llama3"), "rope parameters llama3"),
        (
            dict(rope_parameters={"rope_theta": 1e4, "partial_rotary_factor": 0.5}),
            "partial_rotary_factor",
        ),
        (dict(partial_rotary_factor=0.5), "partial_rotary_factor"),
        (
            dict(rope_scaling={"rope_type": "llama3", "factor": 8.0}),
            "config.json: .*low_freq_factor",
        ),
        (dict(rope_scaling={**LLAMA3, "factor": "8"}), "factor = '8' is not float"),
        (dict(rope_scaling={**LLAMA3, "factor": 0}), "has no meaning"),
        (dict(rope_scaling={**LLAMA3, "high_freq_factor": 1.0}), "has no meaning"),
        (dict(use_sliding_window=True), "sliding-window"),
        (
            dict(model_type="qwen3", layer_types=["full_attention", "sliding_attention"]),
            "sliding-window",
        ),
        (dict(hidden_act="gelu"), "activation 'gelu'"),
        (dict(quantization_config={"quant_method": "gptq", "bits": 4}), "quantised"),
        (dict(hidden_size=None), "config.json: .*hidden_size"),
        (dict(num_hidden_layers=0), "a size is not above 0"),
        (dict(head_dim=-8), "a size is not above 0"),
        (dict(head_dim=7), "a head's size is odd"),
        (dict(num_key_value_heads=3), "no multiple of num_key_value_heads"),
        (dict(rope_theta="1e6"), "rope_theta = '1e6'"),
    ],
)
def test_a_config_that_asks_for_what_is_not_computed_is_refused(tiny_folder, changes, says):
    edit_json(tiny_folder, "config.json", **changes)
    with pytest.raises(UserError, match=says):
        lm.load(tiny_folder)


@pytest.mark.parametrize(
    "changes",
    [
        dict(use_sliding_window=False, sliding_window=4, layer_types=["full_attention"] * 2),
        dict(quantization_config={}),
        dict(rope_scaling={"rope_type": "default"}),
        dict(hidden_act=None),
        dict(num_key_value_heads=None),
    ],
)
def test_a_config_that_names_such_a_thing_without_using_it_is_read(tokenizer, tmp_path, changes):
    lm.save(tmp_path / "m", make_tiny(tokenizer, num_key_value_heads=4), tokenizer)
    before = logits(lm.load(str(tmp_path / "m"))[0])
    edit_json(tmp_path / "m", "config.json", **changes)
    assert torch.equal(logits(lm.load(str(tmp_path / "m"))[0]), before)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_without_one_of_its_files_is_refused(tiny_folder, name):
    (Path(tiny_folder) / name).unlink()
    with pytest.raises(UserError, match=f"is not a model folder: no {name}"):
        lm.load(tiny_folder)


def test_a_config_that_is_not_json_is_refused(tiny_folder):
    (Path(tiny_folder) / "config.json").write_text('{"model_type": "qwen2",')
    with pytest.raises(UserError, match="config.json: not JSON"):
        lm.load(tiny_folder)


def test_the_stop_tokens_are_those_of_both_configs_and_of_the_tokenizer(tiny_folder, tokenizer):
    edit_json(tiny_folder, "generation_config.json", eos_token_id=[5, 3])
    edit_json(tiny_folder, "config.json", eos_token_id=7)
    assert tokenizer.eos_token_id == 0 and lm.load(tiny_folder)[0].stop_ids == (0, 3, 5, 7)
    (Path(tiny_folder) / "generation_config.json").unlink()
    edit_json(tiny_folder, "config.json", eos_token_id=[7, 0])
    assert lm.load(tiny_folder)[0].stop_ids == (0, 7)
    edit_json(tiny_folder, "config.json", eos_token_id=None)
    assert lm.load(tiny_folder)[0].stop_ids == (0,)


@pytest.mark.parametrize("wrong", [-1, 10**6, "</s>", [[1]]])
def test_a_stop_token_that_is_no_id_is_refused(tiny_folder, wrong):
    edit_json(tiny_folder, "generation_config.json", eos_token_id=wrong)
    with pytest.raises(UserError, match="stop token .* is no id of a vocabulary"):
        lm.load(tiny_folder)


def test_a_folder_in_bf16_is_loaded_as_the_same_values_in_fp32(tmp_path, tokenizer):
    model = make_tiny(tokenizer)
    lm.save(
        tmp_path / "m",
        model,
        tokenizer,
        {name: p.detach().bfloat16() for name, p in model.named_parameters()},
    )
    assert {t.dtype for t in load_file(tmp_path / "m" / "model.safetensors").values()} == {
        torch.bfloat16
    }
    loaded, _ = lm.load(str(tmp_path / "m"))
    for p, q in zip(model.parameters(), loaded.parameters()):
        assert q.dtype == torch.float32 and torch.equal(q, p.bfloat16().float())


def test_a_tied_head_that_is_stored_a_second_time_is_left_alone(tiny_folder):
    before = logits(lm.load(tiny_folder)[0])
    edit_tensors(
        tiny_folder, lambda s: s.update({"lm_head.weight": s["model.embed_tokens.weight"].clone()})
    )
    assert torch.equal(logits(lm.load(tiny_folder)[0]), before)


@torch.no_grad()
def test_the_base_of_the_rotary_angles_is_read_wherever_transformers_writes_it(tmp_path, tokenizer):
    from transformers import AutoModelForCausalLM

    ours, other = make_tiny(tokenizer, rope_theta=1e6), make_tiny(tokenizer)
    lm.save(tmp_path / "m", ours, tokenizer)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32)
    theirs = theirs(torch.arange(40, 80)[None]).logits
    for changes in (
        {},
        dict(rope_theta=None, rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
    ):
        edit_json(tmp_path / "m", "config.json", **changes)
        found = logits(lm.load(str(tmp_path / "m"))[0])
        assert (found - theirs).abs().max() < 1e-4 and torch.equal(found, logits(ours))
    assert (logits(other) - theirs).abs().max() > 1e-2  # another base shows


# ---------------------------------------------------------------- a folder in parts


@pytest.fixture
def parts_folder(tiny_folder, tmp_path):
    """The tiny model as transformers cuts it into parts."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(tiny_folder).save_pretrained(
        tmp_path / "parts", max_shard_size="40KB"
    )
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(tmp_path / "parts")
    assert len(list((tmp_path / "parts").glob("model-*.safetensors"))) >= 3
    return tmp_path / "parts"


def test_a_folder_in_parts_is_the_folder_in_one(tiny_folder, parts_folder):
    whole, parts = (lm.load(str(folder))[0] for folder in (tiny_folder, parts_folder))
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), parts.parameters()))


def test_a_download_that_did_not_end_is_one_line(parts_folder):
    first, second, *_ = sorted(parts_folder.glob("model-*.safetensors"))
    content = second.read_bytes()
    second.write_bytes(content[:-1])
    with pytest.raises(UserError, match=f"{second.name} is damaged .*; fetch or save it again"):
        lm.load(str(parts_folder))
    second.unlink()
    with pytest.raises(UserError, match=f"no {second.name} in it"):
        lm.load(str(parts_folder))
    first.unlink()
    with pytest.raises(UserError, match=f"no {first.name} in it .2 files are missing"):
        lm.load(str(parts_folder))


def edit_index(folder, edit):
    index = json.loads((folder / model_folder.INDEX).read_text())
    edit(index["weight_map"])
    (folder / model_folder.INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize(
    "edit,says",
    [
        (lambda m: m.pop("model.norm.weight"), r"missing tensor model\.norm\.weight"),
        (
            lambda m: m.update({"model.extra": m["model.norm.weight"]}),
            r"surplus tensor model\.extra",
        ),
        (
            lambda m: m.update({"model.norm.weight": m["model.embed_tokens.weight"]}),
            "damaged .*model.norm.weight",
        ),
        (lambda m: m.update({"model.norm.weight": "../model.safetensors"}), "no weight_map"),
        (lambda m: m.update({"model.norm.weight": 3}), "no weight_map"),
    ],
)
def test_an_index_that_does_not_fit_its_parts_is_refused(parts_folder, edit, says):
    edit_index(parts_folder, edit)
    with pytest.raises(UserError, match=says):
        lm.load(str(parts_folder))


# ---------------------------------------------------------------- memory while loading

LOAD = """
import re, sys, torch
import model as lm
from storage import model_folder
def kilobytes(field):
    with open("/proc/self/status") as status:
        return int(re.search(field + r":\\s+(\\d+)", status.read())[1])
def peak(dtype):
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the high-water mark begins anew
    before = kilobytes("VmRSS")
    weights, _ = lm.load(sys.argv[1], dtype=dtype)
    top = (kilobytes("VmHWM") - before) * 1024
    print(top / sum(p.numel() * p.element_size() for p in weights.parameters()))
lm.load(sys.argv[2])  # imports whatever loading imports
peak(torch.float32), peak(torch.bfloat16)
read = model_folder.read_tensors
def all_at_once(*args):  # the fault: everything in fp32 first
    return [(name, tensor.float()) for name, tensor in read(*args)]
model_folder.read_tensors = all_at_once
peak(torch.bfloat16)
"""


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK),
    reason="measures with Linux's /proc/self/clear_refs",
)
def test_loading_takes_little_more_memory_than_the_weights(tmp_path, tokenizer, tiny_folder):
    """Resident pages at their highest, those of the mapped file included, over the weights in the type asked for."""
    shape = dict(
        hidden_size=512, intermediate_size=4096, num_hidden_layers=12, max_position_embeddings=64
    )
    model = sft.new_model(
        {**shape, "num_attention_heads": 8, "num_key_value_heads": 2}, tokenizer, 0
    )  # 84 million
    lm.save(
        tmp_path / "m",
        model,
        tokenizer,
        {name: p.detach().bfloat16() for name, p in model.named_parameters()},
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(lm.__file__).parent),
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }  # what is freed goes back at once, and shows when it is taken again
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "m"), tiny_folder],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    as_fp32, as_bf16, fault = map(float, done.stdout.split())
    assert 0.8 < as_fp32 < 1.2 and 0.8 < as_bf16 < 1.2 and fault > 1.9, done.stdout


# ---------------------------------------------------------------- the tokenizer


@pytest.fixture
def digits_in_threes(tmp_path):
    """A folder of model_type qwen2 whose tokenizer cuts numbers in threes and begins a text with <s>, unlike Qwen's."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}{1,3}|[^\p{N}]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        ["123 456 7890 the"] * 9,
        trainers.BpeTrainer(
            special_tokens=["<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
    )
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        chat_template=("{{ bos_token }}{% for m in messages %}[{{ m['content'] }}]{% endfor %}"),
    )
    lm.save(tmp_path / "threes", make_tiny(tokenizer), tokenizer)
    return str(tmp_path / "threes")


@pytest.mark.parametrize("named", ["TokenizersBackend", "LlamaTokenizerFast", "Qwen2Tokenizer"])
def test_a_tokenizer_cuts_text_as_its_file_says_whatever_it_is_called(digits_in_threes, named):
    from tokenizers import Tokenizer

    edit_json(digits_in_threes, "tokenizer_config.json", tokenizer_class=named)
    exact = Tokenizer.from_file(digits_in_threes + "/tokenizer.json")
    _, tokenizer = lm.load(digits_in_threes)
    for text in ("the 123+7890 = 8013", " é\n\n中 <s>1</s>"):
        assert tokenizer(text)["input_ids"] == exact.encode(text).ids


def test_a_text_begins_with_bos_once_and_only_where_the_tokenizer_has_one(
    digits_in_threes, tokenizer
):
    problem, (_, threes) = tasks.Problem("data", "the 123", "", ""), lm.load(digits_in_threes)
    bare = threes("the 123", add_special_tokens=False)["input_ids"]
    assert (
        tasks.encode("the 123", "none", threes, 576)
        == [0] + bare
        == tasks.encode("<s>the 123", "none", threes, 576)
    )
    chat = tasks.encode(tasks.prompt(problem, "chat", threes), "chat", threes, 576)
    assert (
        chat == threes("<s>[the 123]", add_special_tokens=False)["input_ids"] and chat.count(0) == 1
    )
    assert (
        tasks.encode("the 123", "none", tokenizer, 576)
        == tokenizer("the 123", add_special_tokens=False)["input_ids"]
    )


def test_a_chat_template_is_kept(digits_in_threes, tmp_path):
    model, threes = lm.load(digits_in_threes)
    lm.save(tmp_path / "again", model, threes)
    assert lm.load(str(tmp_path / "again"))[1].chat_template == threes.chat_template != None  # noqa: E711


# ---------------------------------------------------------------- hub ids


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of its own, and a hub that answers with `answers[path]` or not at all; `asked` lists what was asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, headers, body = answers.get(
                self.path.split("?")[0], (404, {"X-Error-Code": "EntryNotFound"}, b"")
            )
            self.send_response(status)
            for name, value in {"Content-Length": len(body), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body if self.command == "GET" else b"")

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    answers, asked = {}, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    constants, url = huggingface_hub.constants, f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield answers, asked
    server.shutdown()
    server.server_close()


def serve(answers, hub_id, folder):
    """Let the hub have a model."""
    sha, files = "0123456789" * 4, {p.name: p.read_bytes() for p in Path(folder).iterdir()}
    about = json.dumps(
        {"id": hub_id, "sha": sha, "siblings": [{"rfilename": name} for name in files]}
    ).encode()
    tree = [
        {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        for name, data in files.items()
    ]
    for path in ("", "/revision/main"):
        answers[f"/api/models/{hub_id}{path}"] = 200, {}, about
    answers[f"/api/models/{hub_id}/tree/{sha}"] = 200, {}, json.dumps(tree).encode()
    for name, data in files.items():
        etag = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": sha}
        answers[f"/{hub_id}/resolve/{sha}/{name}"] = 200, etag, data


def test_a_hub_id_is_fetched_once_and_then_read_from_the_cache(hub, parts_folder):
    answers, asked = hub
    (parts_folder / "pytorch_model.bin").write_bytes(b"the same weights again")
    serve(answers, "owner/name-1.5B", parts_folder)
    first, _ = lm.load("owner/name-1.5B")
    assert not any("pytorch_model" in path for path in asked) and any(
        model_folder.INDEX in path for path in asked
    )
    answers.clear(), asked.clear()
    again, _ = lm.load("owner/name-1.5B")
    assert not asked and all(
        torch.equal(p, q) for p, q in zip(first.parameters(), again.parameters())
    )


def test_a_cache_that_lacks_a_part_is_completed(hub, parts_folder, tmp_path):
    answers, asked = hub
    serve(answers, "owner/name", parts_folder)
    lm.load("owner/name")
    asked.clear()
    part = next((tmp_path / "cache").rglob("model-00002-*.safetensors"))
    part.resolve().unlink(), part.unlink(missing_ok=True)
    lm.load("owner/name")
    assert sum(path.endswith(".safetensors") for path in asked) in (
        1,
        2,
    )  # asked about, then fetched: this one alone


def test_an_adapter_of_the_hub_says_that_it_is_one_with_and_without_a_network(hub, tmp_path):
    answers, asked = hub
    (tmp_path / "lora").mkdir()
    about = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "owner/base"})
    (tmp_path / "lora" / "adapter_config.json").write_text(about)
    (tmp_path / "lora" / "adapter_model.safetensors").write_bytes(b"")
    serve(answers, "owner/lora", tmp_path / "lora")
    for _ in range(2):
        with pytest.raises(UserError, match=r"is an adapter \(LoRA\) of owner/base, not a model"):
            lm.load("owner/lora")
        answers.clear()  # the second time there is the cache alone


@pytest.mark.parametrize(
    "code,says",
    [
        (
            "GatedRepo",
            "owner/name is gated: accept its licence at https://huggingface.co/owner/name and log in",
        ),
        ("RepoNotFound", "neither a folder here nor a model on huggingface.co: check the spelling"),
        ("", "could not be fetched from huggingface.co .*401"),
    ],
)
def test_a_hub_id_that_is_not_to_be_had_is_one_line(hub, code, says):
    for path in ("/api/models/owner/name", "/api/models/owner/name/revision/main"):
        hub[0][path] = 401, {"X-Error-Code": code} if code else {}, b""
    with pytest.raises(UserError, match=says) as refused:
        lm.load("owner/name")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("offline", [True, False])
def test_without_a_network_a_hub_id_is_one_line_at_once(hub, monkeypatch, offline):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(
        huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9"
    )  # nobody listens there
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(
        UserError,
        match="could not be fetched .*(refused|offline).*hf download owner/name --local-dir",
    ):
        lm.load("owner/name")
    assert sum(slept) < 10  # what it waits before it tries again, were it to


@pytest.mark.parametrize(
    "path", ["nowhere", "a/b/c", "./owner/name", "owner/", "/owner/name", "~/name"]
)
def test_a_path_that_is_no_hub_id_asks_no_network(hub, path):
    with pytest.raises(UserError, match="is not a model folder"):
        lm.load(path)
    assert not hub[1]


def test_a_gguf_file_is_refused_with_what_to_give_instead(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(UserError, match="is a GGUF file.*folder, or the hub id"):
        lm.load(str(file))


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
        bos_token_id = None

        def save_pretrained(self, folder):
            raise OSError(28, "No space left on device")

    before = content(tiny_folder)
    with pytest.raises(OSError):
        lm.save(tiny_folder, make_tiny(tokenizer, seed=1), Broken())
    assert content(Path(tiny_folder).parent) == {
        Path("tiny") / name: data for name, data in before.items()
    }


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
    model, _ = lm.load("base")
    assert sum(p.numel() for p in model.parameters()) <= 4_000_000
    assert sum(p.stat().st_size for p in BASE.rglob("*") if p.is_file()) <= 8 * 2**20


@needs_base
@torch.no_grad()
def test_the_embedded_base_is_found_from_anywhere_and_gives_the_logits_of_transformers(
    tmp_path, monkeypatch
):
    from transformers import AutoModelForCausalLM

    monkeypatch.chdir(tmp_path)
    model, tokenizer = lm.load("base")
    theirs = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    for prompt, response in generated_pairs(random.Random(0), 5):
        ids = torch.tensor([tokenizer(prompt + response)["input_ids"]])
        assert (theirs(ids).logits - model(ids)).abs().max() < 1e-4


@needs_base
def test_the_embedded_bases_tokenizer_is_the_same_in_every_program_and_the_one_that_sft_makes():
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    texts = [text for pair in generated_pairs(random.Random(0), 200) for text in pair]
    ids = lm.load("base")[1](texts)["input_ids"]
    assert AutoTokenizer.from_pretrained(BASE)(texts)["input_ids"] == ids
    assert [
        found.ids for found in Tokenizer.from_file(str(BASE / "tokenizer.json")).encode_batch(texts)
    ] == ids
    assert sft.new_tokenizer()(texts)["input_ids"] == ids
