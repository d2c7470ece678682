"""Models from other hands: what a folder says without meaning it, and what no folder may hold."""

import copy
import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from conftest import make_tiny
from safetensors.torch import load_file, save_file
from test_checkpoint import edit_json, edit_tensors
from test_errors import refused
from tokenizers import AddedToken, processors

import eval as evaluation
import model as lm
import sample
import sft
import tasks
import train
from config import NotFinite, UserError, run_program
from sample import Sampling
from storage import model_folder, runs

BASE = Path(lm.__file__).parent / "base"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
QUESTION = tasks.Problem("data", "What is 3+4?", "7", "")
STEP = dict(prompts_per_step=2, group_size=2, max_new_tokens=4, eval_problems=4, device="cpu")


def refused_by_all(monkeypatch, capsys, tmp_path, *argv, text="What?") -> list[str]:
    """The lines with which the four programs refuse a model; nothing is written."""
    lines = []
    out = ["--out", tmp_path / "out", "--steps", 1]
    for program, more in ((evaluation, ["--n", 4]), (sample, [text]), (sft, out), (train, out)):
        lines.append(refused(monkeypatch, capsys, program, *more, *argv))
    assert not (tmp_path / "out").exists()
    return lines


def with_special_tags(tokenizer):
    """The same tokenizer, which has marked the tags as special tokens."""
    special = copy.deepcopy(tokenizer)
    special.add_special_tokens({"additional_special_tokens": list(TAGS)})
    return special


@pytest.fixture
def special_base(tmp_path):
    """The embedded base with tags that are special tokens."""
    model, tokenizer = lm.load(str(BASE))
    lm.save(tmp_path / "special", model, with_special_tags(tokenizer))
    return str(tmp_path / "special")


# ---------------------------------------------------------------- ids to text


def test_a_special_token_reaches_the_grader_and_the_logs(special_base, tmp_path):
    found = {}
    for name in (str(BASE), special_base):
        model, tokenizer = lm.load(name)
        found[name], graded = evaluation.evaluate(
            model,
            tokenizer,
            tasks.make_problems("countdown", "held-out", 0, 24),
            "short",
            "dr_grpo",
            1,
            Sampling(80),
            0,
        )
        texts = [group.responses[0].text for group in graded]
    assert "<think>" in tokenizer.all_special_tokens
    assert found[special_base] == found[str(BASE)] and found[special_base]["pass@1"] > 0
    assert sum("</think>" in text for text in texts) > 12
    assert graded[0].responses[0].marks[-1] == len(texts[0])
    config = train.TrainConfig(
        model=special_base, out=str(tmp_path / "run"), steps=1, **{**STEP, "max_new_tokens": 80}
    )
    train.train(config)
    logged = (tmp_path / "run" / "rollouts.jsonl").read_text()
    assert "</think>" in logged and "<answer>" in logged


def test_stop_and_padding_ids_are_dropped_and_nothing_else(tiny, tokenizer):
    special = with_special_tags(tokenizer)
    special.add_special_tokens({"pad_token": "<pad>"})
    pad = special.pad_token_id
    text = "3 , 4 . don't é </think> <answer>\n"
    ids = special(text)["input_ids"]
    assert sample.text_of(tiny, special, [pad, *ids, pad, *tiny.stop_ids]) == text
    # Between the two bytes of a character, too.
    first, second = special("é")["input_ids"]
    assert sample.text_of(tiny, special, [first, pad, second]) == "é"
    tiny.stop_ids = (0, ids[0])
    assert sample.text_of(tiny, special, ids) == text[1:]


def test_no_space_is_cleaned_up(tiny):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["</s>", "<unk>", "3", ",", "4", ".", "n't"])}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tidy = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", clean_up_tokenization_spaces=True
    )
    ids = [2, 3, 4, 5, 6]
    assert tidy.decode(ids) == "3, 4.n't"
    assert sample.text_of(tiny, tidy, ids) == "3 , 4 . n't"
    ends = sample.StopStrings(tiny, tidy, (" ,",))
    assert ends.first_end([2, 3], 1) == 2  # as the text is read, so it is stopped


def test_the_command_line_shows_special_tokens(special_base, monkeypatch, capsys):
    question = "Using 3, 7 and 12 exactly once each, make 24 with + - * /."
    monkeypatch.setattr("sys.argv", ["sample.py", "--model", special_base, question, "-n", "8"])
    sample.main()
    shown = capsys.readouterr().out
    assert "</think> <answer>" in shown and "<|endoftext|>" not in shown


# ---------------------------------------------------------------- numbers that are not finite

UP = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_tensor_that_is_not_finite_is_refused_by_name(
    tiny_folder, number, monkeypatch, capsys, tmp_path
):
    edit_tensors(tiny_folder, lambda state: state[UP].view(-1)[7].fill_(number))
    for line in refused_by_all(monkeypatch, capsys, tmp_path, "--model", tiny_folder):
        assert UP in line and "not finite" in line and "another model" in line


def test_a_number_that_is_finite_in_the_file_alone_is_refused(tiny_folder):
    edit_tensors(tiny_folder, lambda state: state.update({UP: state[UP].double() * 1e300}))
    with pytest.raises(UserError, match="up_proj.* not finite"):
        lm.load(tiny_folder)
    edit_tensors(tiny_folder, lambda state: state.update({UP: (state[UP] * 0).float() + 3.4e38}))
    lm.load(tiny_folder)
    with pytest.raises(UserError, match="up_proj.* not finite"):
        lm.load(tiny_folder, dtype=torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn])
def test_a_quantised_tensor_without_a_word_in_the_config_is_refused(tiny_folder, dtype):
    edit_tensors(tiny_folder, lambda state: state.update({UP: state[UP].to(dtype)}))
    with pytest.raises(UserError, match=r"up_proj\.weight is of type .* looks quantised"):
        lm.load(tiny_folder)


@pytest.mark.parametrize(
    "field,text", [("rms_norm_eps", "NaN"), ("rope_theta", "Infinity"), ("rope_theta", "1e999")]
)
def test_a_config_with_a_number_that_is_not_finite_is_refused(tiny_folder, field, text):
    path = Path(tiny_folder) / "config.json"
    fields = {**json.loads(path.read_text()), field: "HERE"}
    path.write_text(json.dumps(fields).replace('"HERE"', text))
    with pytest.raises(UserError, match="a number is not finite"):
        lm.load(tiny_folder)


@pytest.mark.parametrize("scale", [math.nan, 1e38])
@pytest.mark.parametrize("how", [{}, dict(temperature=0.0), dict(top_p=0.5), dict(top_k=3)])
def test_a_sampler_whose_logprobs_are_not_finite_says_so(tiny, tokenizer, scale, how):
    sample.generate(tiny, tokenizer, [[5, 6]], Sampling(8, **how))
    with torch.no_grad():
        for p in tiny.parameters():
            p.mul_(scale)
    with pytest.raises(NotFinite, match="log-probabilities are not finite"):
        sample.generate(tiny, tokenizer, [[5, 6]], Sampling(8, **how))


def test_a_model_that_is_not_finite_is_not_saved(tiny_folder, tokenizer):
    before = {path.name: path.read_bytes() for path in Path(tiny_folder).iterdir()}
    broken = make_tiny(tokenizer, seed=1)
    with torch.no_grad():
        broken.norm.weight[3] = math.inf
    with pytest.raises(NotFinite, match=r"model\.norm\.weight .*not finite.*nothing is saved"):
        lm.save(tiny_folder, broken, tokenizer)
    assert {path.name: path.read_bytes() for path in Path(tiny_folder).iterdir()} == before
    assert [path.name for path in Path(tiny_folder).parent.iterdir()] == ["tiny"]


def ended_by(monkeypatch, capsys, program, *argv) -> str:
    """The line with which a program ends that has begun its work, and shown how it goes."""
    monkeypatch.setattr("sys.argv", [program.__name__, *map(str, argv)])
    with pytest.raises(SystemExit) as stop:
        run_program(program.main)
    assert stop.value.code == 2
    *before, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("error: ") and not any("Error" in line for line in before)
    return last


def train_to_ruin(monkeypatch, capsys, model, folder, save_every) -> str:
    """A run whose learning rate is absurd: the line that it ends with."""
    flags = []
    for name, value in {**STEP, "reward": "varied", "save_every": save_every}.items():
        flags += ["--" + name.replace("_", "-"), value]
    flags += ["--lr", 1e38, "--steps", 4, "--eval-every", 9]
    return ended_by(monkeypatch, capsys, train, "--model", model, "--out", folder, *flags)


@pytest.mark.usefixtures("varied_reward")
def test_a_run_that_diverges_ends_with_advice_that_can_be_followed(
    monkeypatch, capsys, tmp_path, tiny_folder
):
    folder = tmp_path / "run"
    line = train_to_ruin(monkeypatch, capsys, tiny_folder, folder, save_every=9)
    assert "not finite" in line
    assert line.endswith(f"begin again with --resume {folder} and an --lr below 1e+38")
    assert not runs.checkpoints(folder)
    argv = ["train.py", "--resume", str(folder), "--lr", "1e-4"]
    monkeypatch.setattr("sys.argv", argv)
    train.main()
    lines = runs.read_lines(folder / runs.METRICS)
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4]
    assert lines[-1]["lr"] == pytest.approx(0.8e-4)  # the fourth of five steps of warm-up
    assert json.loads((folder / runs.CONFIG).read_text())["lr"] == 1e-4
    lm.load(runs.checkpoints(folder)[-1])


@pytest.mark.usefixtures("varied_reward")
def test_a_checkpoint_that_is_finite_and_ruined_is_named(
    monkeypatch, capsys, tmp_path, tiny_folder
):
    folder = tmp_path / "run"
    line = train_to_ruin(monkeypatch, capsys, tiny_folder, folder, save_every=1)
    ruined = runs.checkpoints(folder)[-1]
    assert f"remove {ruined}" in line and f"--resume {folder} and an --lr below" in line
    shutil.rmtree(ruined)
    monkeypatch.setattr("sys.argv", ["train.py", "--resume", str(folder), "--lr", "1e-4"])
    train.main()
    assert runs.step_of(runs.checkpoints(folder)[-1]) == 4


def test_a_supervised_training_that_diverges_is_one_line(
    monkeypatch, capsys, tmp_path, tiny_folder
):
    flags = ["--steps", 4, "--rows", 2, "--lr", 1e38, "--warmup", 0, "--out", tmp_path / "tuned"]
    line = ended_by(monkeypatch, capsys, sft, "--model", tiny_folder, *flags)
    assert "not finite" in line and "an --lr below 1e+38" in line
    assert not (tmp_path / "tuned").exists()


# ---------------------------------------------------------------- a tied head


@pytest.mark.parametrize("in_parts", [False, True])
def test_a_tied_head_that_is_stored_with_other_numbers_is_refused(tiny_folder, in_parts):
    head = load_file(f"{tiny_folder}/model.safetensors")["model.embed_tokens.weight"].clone()
    head[3, 4] += 1e-3
    if in_parts:
        state = load_file(f"{tiny_folder}/model.safetensors")
        save_file(state, f"{tiny_folder}/model-1.safetensors")
        save_file({"lm_head.weight": head}, f"{tiny_folder}/model-2.safetensors")
        (Path(tiny_folder) / "model.safetensors").unlink()
        names = dict.fromkeys(state, "model-1.safetensors")
        names["lm_head.weight"] = "model-2.safetensors"
        (Path(tiny_folder) / model_folder.INDEX).write_text(json.dumps({"weight_map": names}))
    else:
        edit_tensors(tiny_folder, lambda state: state.update({"lm_head.weight": head}))
    with pytest.raises(UserError, match="lm_head.weight holds other numbers: set tie_word_embed"):
        lm.load(tiny_folder)
    # Both ways out lead somewhere.
    edit_json(tiny_folder, "config.json", tie_word_embeddings=False)
    assert lm.load(tiny_folder)[0].lm_head.weight[3, 4] == head[3, 4]


# ---------------------------------------------------------------- tokenizers


def test_a_token_without_an_embedding_is_named_where_prompts_are_encoded(
    monkeypatch, capsys, tmp_path, tokenizer
):
    larger = copy.deepcopy(tokenizer)
    model = make_tiny(tokenizer)
    surplus = model.config.vocab_size - len(larger)
    larger.add_tokens([f"<unused{i}>" for i in range(surplus)])
    larger.add_tokens([AddedToken("exactly once", normalized=False)])
    lm.save(tmp_path / "m", model, larger)
    for line in refused_by_all(
        monkeypatch, capsys, tmp_path, "--model", tmp_path / "m", text="exactly once"
    ):
        assert "token 'exactly once' has the id 576, but the model has 576 embeddings" in line
    # Where it is not used there is nothing to complain of.
    model, larger = lm.load(str(tmp_path / "m"))
    assert tasks.encode_prompts([QUESTION], "short", larger, 576)
    with pytest.raises(UserError, match="'exactly once'"):
        sft.encode_pairs([("What?", "exactly once")], model, larger)


def ending_in_stop(tokenizer):
    """The same tokenizer, which puts the stop token behind every text."""
    ending = copy.deepcopy(tokenizer)
    ending._tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", tokenizer.eos_token_id)]
    )
    assert ending("a")["input_ids"][-1] == tokenizer.eos_token_id
    return ending


@pytest.mark.parametrize("template", ["short", "r1", "none"])
def test_no_stop_token_is_put_behind_a_prompt(tokenizer, template):
    ending = ending_in_stop(tokenizer)
    found, expected = (
        tasks.encode_prompts([QUESTION], template, kind, 576) for kind in (ending, tokenizer)
    )
    assert found == expected
    # One that the text itself ends with is the user's.
    said = tasks.encode("a<|endoftext|>", "none", ending, 576)
    assert said == tokenizer("a<|endoftext|>")["input_ids"] and said[-1] == 0


def test_a_pair_is_trained_with_one_stop_token_whoever_writes_it(tiny, tokenizer):
    pairs = [("a", text) for text in ("7", "7<|endoftext|>", "7<|endoftext|>\n<|endoftext|> ")]
    for kind in (tokenizer, ending_in_stop(tokenizer)):
        rows = sft.encode_pairs(pairs, tiny, kind)
        assert rows == [(tokenizer("a")["input_ids"], tokenizer("7")["input_ids"] + [0])] * 3
    # The stop token that the response has, where a model has several.
    tiny.stop_ids = (0, *tokenizer("</answer>")["input_ids"])
    rows = sft.encode_pairs([("a", "7</answer>")], tiny, tokenizer)
    assert rows[0][1] == tokenizer("7</answer>")["input_ids"]


def test_a_stop_token_within_a_response_is_refused(monkeypatch, capsys, tmp_path, tiny_folder):
    lines = [{"prompt": "a", "response": text} for text in ("7", "7<|endoftext|>8")]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    flags = ["--model", tiny_folder, "--data", tmp_path / "p.jsonl", "--out", tmp_path / "out"]
    line = refused(monkeypatch, capsys, sft, *flags)
    assert "pair 2: the stop token <|endoftext|> stands within its response" in line


# ---------------------------------------------------------------- what a saved folder says

OF_LLAMA = dict(
    bos_token_id=5,
    pad_token_id=6,
    unk_token_id=7,
    initializer_range=0.041666,
    transformers_version="4.40.0",
    pretraining_tp=1,
)
HOW_TO_SAMPLE = dict(
    temperature=0.6, top_p=0.9, do_sample=True, bos_token_id=5, eos_token_id=[0, 575]
)


@pytest.fixture
def llama_folder(tmp_path, tokenizer):
    """A Llama whose folder says more of it than is computed with."""
    lm.save(tmp_path / "llama", make_tiny(tokenizer, model_type="llama"), tokenizer)
    edit_json(tmp_path / "llama", "config.json", torch_dtype="bfloat16", **OF_LLAMA)
    edit_json(tmp_path / "llama", "generation_config.json", **HOW_TO_SAMPLE)
    return tmp_path / "llama"


def said_of(folder) -> list[dict]:
    """What the two configs of a folder say."""
    names = ("config.json", "generation_config.json")
    return [json.loads((Path(folder) / name).read_text()) for name in names]


def test_a_saved_folder_keeps_what_its_source_said(llama_folder, tmp_path):
    config, generation = said_of(llama_folder)
    assert "use_sliding_window" not in config  # Qwen's
    expected = [{**config, "torch_dtype": "float32"}, generation]
    start = dict(model=str(llama_folder), steps=1)
    sft.train(sft.SFTConfig(out=str(tmp_path / "tuned"), rows=2, device="cpu", **start))
    assert said_of(tmp_path / "tuned") == expected
    train.train(train.TrainConfig(out=str(tmp_path / "run"), **start, **STEP))
    assert said_of(tmp_path / "run" / "checkpoints" / "step-1") == expected
    again, _ = lm.load(str(tmp_path / "tuned"))
    assert again.config == lm.load(str(llama_folder))[0].config and again.stop_ids == (0, 575)


def test_what_has_changed_since_is_changed_in_the_saved_folder(llama_folder, tmp_path):
    model, tokenizer = lm.load(str(llama_folder))
    model.stop_ids = (0, 5)
    lm.save(tmp_path / "a", model, tokenizer)
    assert [said["eos_token_id"] for said in said_of(tmp_path / "a")] == [[0, 5], [0, 5]]
    assert lm.load(tmp_path / "a")[0].stop_ids == (0, 5)
    # A shape that is another one now is not what the source says.
    model.config = dataclasses.replace(model.config, max_position_embeddings=64)
    lm.save(tmp_path / "b", model, tokenizer)
    assert lm.load(tmp_path / "b")[0].config.max_position_embeddings == 64


def test_the_spelling_of_transformers_5_is_kept(llama_folder, tmp_path):
    rope = {"rope_type": "default", "rope_theta": 5e5}
    changes = dict(torch_dtype=None, dtype="bfloat16", rope_theta=None, rope_parameters=rope)
    edit_json(llama_folder, "config.json", **changes)
    (llama_folder / "generation_config.json").unlink()
    model, tokenizer = lm.load(str(llama_folder))
    lm.save(tmp_path / "a", model, tokenizer)
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config == {
        **json.loads((llama_folder / "config.json").read_text()),
        "dtype": "float32",
    }
    assert not (tmp_path / "a" / "generation_config.json").exists()
    assert lm.load(tmp_path / "a")[0].config == model.config


# ---------------------------------------------------------------- chat templates


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('a system turn comes first') }}",
        "{% if messages[0]['role'] != 'system' %}{{ messages[1]['content'] }}{% endif %}{{ x.y.z }}",
        "{% for m in messages %}{{ m['content'] }}",
        "{{ messages[0]['content'][0]['text'] + 1 }}",
        {"tool_use": "{{ messages }}", "rag": "{{ messages }}"},
    ],
)
def test_a_chat_template_that_fails_is_one_line_that_names_the_tokenizer(
    monkeypatch, capsys, tmp_path, tokenizer, template
):
    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = template
    lm.save(tmp_path / "chatty", make_tiny(tokenizer), chatty)
    flags = ["--model", tmp_path / "chatty", "--template", "chat"]
    for line in refused_by_all(monkeypatch, capsys, tmp_path, *flags):
        assert f"the chat template of {tmp_path / 'chatty'} fails" in line, line
        assert "choose another --template" in line


# ---------------------------------------------------------------- adapters

ADAPTER = {"peft_type": "LORA", "base_model_name_or_path": "owner/the-base"}


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_beside_a_model_is_not_passed_over(
    monkeypatch, capsys, tmp_path, tiny_folder, file
):
    (Path(tiny_folder) / file).write_text(json.dumps(ADAPTER))
    for line in refused_by_all(monkeypatch, capsys, tmp_path, "--model", tiny_folder):
        assert "holds an adapter (LoRA)" in line and file in line and "merge" in line


def test_a_folder_of_an_adapter_alone_says_what_it_is(tmp_path, tokenizer):
    folder = tmp_path / "lora"
    tokenizer.save_pretrained(folder)
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    says = r"lora is an adapter \(LoRA\) of owner/the-base, not a model .*merge_and_unload"
    with pytest.raises(UserError, match=says):
        lm.load(str(folder))
