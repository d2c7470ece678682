"""A real pre-trained model, SmolLM2-135M-Instruct: what transformers computes, and one training step."""

import dataclasses
import os

import pytest
import torch
import transformers
from conftest import varied
from tokenizers import Tokenizer

import model as lm
import reward
import sample
import tasks
import train
from config import UserError
from engine import attention
from engine.attention import Cached
from sample import Sampling

FOLDER = os.environ.get("ONEZERO_MODEL")
pytestmark = pytest.mark.skipif(
    not FOLDER,
    reason="needs a real model: python -m storage.smollm2 FOLDER, then ONEZERO_MODEL=FOLDER",
)

QUESTION = tasks.Problem("data", "What is the capital of France?", "", "")
CHAT = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
    "<|im_start|>assistant\n"
)
TEXTS = {
    "plain": "The history of mathematics begins with counting, and counting begins with fingers.",
    "digits": "It's 1234+56 = 1290.\n\n2. Then 3  4,\t007 and 3.14159:\n 8",
    "unicode": "Naïve cafés cost x² €, 中文 \n",
    "chat": CHAT,
    "special": "<|im_start|>a<|im_end|><|endoftext|> <file_sep>b<|im_end|>",
}
LIMIT = 1e-3  # of a difference that rounding makes; logits are as large as 30
# Prompts of different lengths, and what might be answered.
PROMPTS = ["What is 17 + 25?", "Once upon a time", "2 + 2 ="]
RESPONSES = [" It is 42.<|im_end|>", " there was a small model that liked to count sheep.", " 4"]


@pytest.fixture(scope="module")
def theirs():
    model = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def their_tokenizer():
    return transformers.AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def pair():
    """(model, tokenizer) as they are loaded here."""
    return lm.load(FOLDER)


@pytest.fixture(scope="module")
def ours(pair):
    return pair[0]


@pytest.fixture(scope="module")
def our_tokenizer(pair):
    """Not `tokenizer`, which is the embedded base's."""
    return pair[1]


def ids_of(text, tokenizer) -> torch.Tensor:
    """[1, T]"""
    return torch.tensor([tokenizer(text)["input_ids"]])


def largest(a, b) -> float:
    assert a.shape == b.shape
    return (a - b).abs().max().item()


# ---------------------------------------------------------------- the weights and their shape


def test_the_folder_holds_the_model_that_it_is_said_to_hold(ours):
    found = ours.config
    assert (found.model_type, found.num_hidden_layers, found.hidden_size) == ("llama", 30, 576)
    assert (found.num_attention_heads, found.num_key_value_heads, found.head_size) == (9, 3, 64)
    assert (found.intermediate_size, found.vocab_size) == (1536, 49152)
    assert (found.rope_theta, found.max_position_embeddings) == (1e5, 8192)
    assert found.rms_norm_eps == pytest.approx(1e-5, rel=1e-6)
    assert found.tie_word_embeddings and not hasattr(ours, "lm_head")
    assert sum(p.numel() for p in ours.parameters()) == 134_515_008


def test_config_and_every_tensor_are_those_of_transformers(ours, theirs):
    for name in ("head_dim", "num_key_value_heads", "rms_norm_eps", "tie_word_embeddings"):
        assert getattr(ours.config, name) == getattr(theirs.config, name)
    assert ours.config.rope_theta == theirs.config.rope_parameters["rope_theta"]
    assert torch.equal(theirs.model.rotary_emb.inv_freq, lm.rope_frequency(ours.config))
    found = lm.checkpoint_tensors(ours)
    state = dict(theirs.named_parameters())  # a tied head is not among them
    assert found.keys() == state.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, state[name]) and tensor.std() > 0, name


# ---------------------------------------------------------------- text and ids


@pytest.mark.parametrize("kind", TEXTS)
def test_ids_are_those_of_transformers_and_of_the_file(our_tokenizer, their_tokenizer, kind):
    text = TEXTS[kind]
    ids = our_tokenizer(text)["input_ids"]
    assert ids == their_tokenizer(text)["input_ids"]
    assert ids == Tokenizer.from_file(f"{FOLDER}/tokenizer.json").encode(text).ids
    assert our_tokenizer.decode(ids) == text and len(set(ids)) > 3


def test_digits_are_cut_out_one_by_one_and_before_anything_else(our_tokenizer):
    """As in the original; GPT-2's rule alone would cut the two line ends apart."""
    assert our_tokenizer.tokenize("1.\n\n23  4") == ["1", ".", "ĊĊ", "2", "3", "ĠĠ", "4"]


def test_the_chat_template_is_that_of_transformers_and_its_special_tokens_stand_once(
    our_tokenizer, their_tokenizer
):
    text = tasks.prompt(QUESTION, "chat", our_tokenizer)
    assert text == CHAT
    ids = tasks.encode(text, "chat", our_tokenizer, 49152)
    messages = [{"role": "user", "content": QUESTION.question}]
    expected = their_tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    assert ids == expected["input_ids"]
    assert (ids.count(1), ids.count(2), ids[0]) == (3, 2, 1)  # <|im_start|>, <|im_end|>


def test_the_stop_token_is_the_one_that_ends_a_turn(ours, our_tokenizer):
    assert ours.stop_ids == (2,) and our_tokenizer.convert_ids_to_tokens(2) == "<|im_end|>"


# ---------------------------------------------------------------- logits and log-probs


@torch.no_grad()
@pytest.mark.parametrize("kind", TEXTS)
def test_logits_are_those_of_transformers(ours, theirs, our_tokenizer, kind):
    ids = ids_of(TEXTS[kind], our_tokenizer)
    expected = theirs(ids).logits
    difference = largest(ours(ids), expected)
    print(f"largest difference of a logit: {difference:.1e} of {expected.abs().max():.0f}")
    assert difference < LIMIT and expected.std() > 1


@torch.no_grad()
@pytest.mark.parametrize("change", [dict(rope_theta=1e4), dict(rms_norm_eps=1e-3)])
def test_another_number_in_the_config_would_show(ours, theirs, our_tokenizer, change):
    with torch.device("meta"):
        other = lm.Transformer(dataclasses.replace(ours.config, **change))
    other.load_state_dict(ours.state_dict(), assign=True)
    ids = ids_of(TEXTS["plain"], our_tokenizer)
    assert largest(other(ids), theirs(ids).logits) > 0.1


@torch.no_grad()
def test_cached_logits_are_those_of_the_full_forward(ours, our_tokenizer):
    ids = ids_of(TEXTS["chat"], our_tokenizer)
    T = ids.shape[1]
    full = ours(ids)
    cache = ours.cache(1, T)
    chunks = [1] * 4 + [T - 8] + [1] * 4
    cached = torch.cat([ours(part, cache) for part in ids.split(chunks, 1)], 1)
    assert largest(cached, full) < LIMIT
    cache.lengths -= 1  # the last id once more
    cache.kv[5, 1] *= 1.01  # the fault: the cache holds other values of one layer
    assert largest(ours(ids[:, -1:], cache), full[:, -1:]) > LIMIT


def log_probs_and_a_gradient(model, tokenizer):
    """(log-probs [B, T] of the responses, the gradient of their sum in the first layer)."""
    prompts = [tokenizer(text)["input_ids"] for text in PROMPTS]
    responses = [tokenizer(text)["input_ids"] for text in RESPONSES]
    logprobs, _ = lm.response_logprobs(model, prompts, responses)
    weight = model.layers[0].self_attn.qkv_proj.weight
    return logprobs.detach(), torch.autograd.grad(logprobs.sum(), weight)[0]


def test_packed_rows_have_the_log_probs_and_gradients_of_padded_ones(
    ours, our_tokenizer, monkeypatch
):
    padded, padded_gradient = log_probs_and_a_gradient(ours, our_tokenizer)
    monkeypatch.setattr(lm.Transformer, "packs", True)
    packed, gradient = log_probs_and_a_gradient(ours, our_tokenizer)
    scale = padded_gradient.abs().max()
    assert largest(packed, padded) < LIMIT and padded.std() > 0.5
    assert largest(gradient, padded_gradient) < LIMIT * scale
    exact = attention.attend_one_by_one

    def as_one_row(q, k, v, lengths, key_lengths):
        """The fault of packed rows that see each other."""
        return exact(q, k, v, [sum(lengths)], [sum(key_lengths)])

    monkeypatch.setattr(attention, "attend_one_by_one", as_one_row)
    packed, gradient = log_probs_and_a_gradient(ours, our_tokenizer)
    assert largest(packed, padded) > 0.1
    assert largest(gradient, padded_gradient) > 0.1 * scale


# ---------------------------------------------------------------- generation


def test_greedy_rollouts_of_a_ragged_batch_are_those_of_transformers(ours, theirs, our_tokenizer):
    prompts = [our_tokenizer(text)["input_ids"] for text in (CHAT, *PROMPTS[:2])]
    sampling = Sampling(10, temperature=0)
    rollouts = sample.generate(ours, our_tokenizer, prompts, sampling, slots=2)
    for prompt, rollout in zip(prompts, rollouts):
        found = theirs.generate(torch.tensor([prompt]), max_new_tokens=10, do_sample=False)
        assert rollout.response == found[0, len(prompt) :].tolist()
        assert rollout.finished == (rollout.response[-1] == 2)
    assert "Paris" in sample.text_of(ours, our_tokenizer, rollouts[0].response)
    assert rollouts[0].finished
    assert len({tuple(rollout.response) for rollout in rollouts}) == len(prompts)


# ---------------------------------------------------------------- saved and loaded again


@torch.no_grad()
def test_a_folder_saved_here_loads_here_and_there_bit_for_bit(
    ours, theirs, our_tokenizer, tmp_path
):
    lm.save(tmp_path / "saved", ours, our_tokenizer)
    again, tokenizer = lm.load(str(tmp_path / "saved"))
    assert again.config == ours.config and again.stop_ids == ours.stop_ids
    for p, q in zip(again.parameters(), ours.parameters(), strict=True):
        assert torch.equal(p, q)
    assert tokenizer(TEXTS["digits"]) == our_tokenizer(TEXTS["digits"])
    assert tasks.prompt(QUESTION, "chat", tokenizer) == CHAT
    there = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "saved", dtype=torch.float32
    )
    assert there.config.eos_token_id == 2 and type(there) is type(theirs)
    ids = ids_of(CHAT, our_tokenizer)
    expected = theirs(ids).logits
    assert torch.equal(there(ids).logits, expected)
    there.model.layers[7].mlp.down_proj.weight[0, 0] += 0.1  # one weight of 134 million
    assert not torch.equal(there(ids).logits, expected)


# ---------------------------------------------------------------- one training step


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training on arithmetic problems in the model's own chat template, before its first step."""
    with pytest.MonkeyPatch.context() as patch:
        # The rule "varied" pays the responses of a group differently, so that they train.
        patch.setitem(reward.REWARDS, "varied", varied)
        settings = train.TrainConfig(
            model=FOLDER,
            task="arithmetic",
            template="chat",
            answer_style="last-number",
            reward="varied",
            steps=1,
            prompts_per_step=2,
            group_size=2,
            max_new_tokens=12,
            eval_problems=1,
            device="cpu",
            dtype="fp32",
            out=str(tmp_path_factory.mktemp("real") / "run"),
        )
        run = train.open_run(settings)
        yield run
        run.lock.release()


def test_a_sampler_that_computes_something_else_stops_the_step(run, monkeypatch):
    """Before the next test: a refused step moves no weight."""
    exact = Cached.attend

    def attend(self, layer, q, k, v):
        return exact(self, layer, q, k, 1.01 * v)

    monkeypatch.setattr(Cached, "attend", attend)
    with pytest.raises(UserError, match="disagree before the first update.*0.001 is allowed"):
        train.train_step(run)


def test_sampler_and_trainer_agree_in_a_training_step(run, ours):
    line, _ = train.train_step(run)
    print(f"largest gap of a log-prob: {line['logprob_gap_max']:.1e}")
    assert line["equal_groups"] < 1  # or there was nothing to train on
    assert line["logprob_gap_max"] < 1e-3
    assert line["grad_norm"] > 0
    for moved, before in zip(run.model.parameters(), ours.parameters(), strict=True):
        assert 0 < largest(moved.detach(), before.detach()) < 1e-3  # Adam's step is of size lr
