"""The sampler draws what it says, stops where it should, and does no work twice."""

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import model as lm
import sample
import tasks
from config import UserError
from engine import attention
from engine.attention import Filling
from engine.decoder import Decoder
from sample import Sampling, draw

LAST_BELOW_1 = 1 - 2**-24  # the largest number that torch.rand gives
PLAIN = Sampling()


def spread(logits, sampling=PLAIN, n=20_000):
    """(share of each id, log-prob of each id) when one row is drawn with n evenly spaced uniform numbers."""
    uniform = (torch.arange(n) + 0.5) / n
    ids, logprobs = draw(torch.as_tensor(logits).expand(n, -1), uniform, sampling)
    found = torch.full((len(logits),), -math.inf)
    found[ids] = logprobs
    return torch.bincount(ids, minlength=len(logits)) / n, found


# ---------------------------------------------------------------- one draw


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_ids_are_drawn_as_often_as_the_softmax_at_this_temperature_says(temperature):
    logits = torch.randn(40, generator=torch.Generator().manual_seed(0)) * 2
    share, logprobs = spread(logits, Sampling(temperature=temperature))
    expected = (logits.double() / temperature).softmax(0)
    assert (share - expected).abs().max() < 1e-4
    difference = logprobs.exp() - expected  # each comes with its log-prob
    assert difference[share > 0].abs().max() < 1e-6
    other = (logits.double() / temperature / 1.1).softmax(0)
    assert (share - other).abs().max() > 1e-3  # another temperature shows


PROBABILITIES = [0.05, 0.4, 0.1, 0.15, 0.3]


@pytest.mark.parametrize(
    "limits,kept",
    [
        (dict(top_k=1), {1}),
        (dict(top_k=2), {1, 4}),
        (dict(top_k=4), {1, 2, 3, 4}),
        (dict(top_k=99), {0, 1, 2, 3, 4}),
        (dict(top_p=0.01), {1}),
        (dict(top_p=0.35), {1}),
        (dict(top_p=0.65), {1, 4}),
        (dict(top_p=0.75), {1, 3, 4}),
        (dict(top_p=0.99), {0, 1, 2, 3, 4}),
        (dict(min_p=1.0), {1}),
        (dict(min_p=0.7), {1, 4}),
        (dict(min_p=0.3), {1, 3, 4}),
        (dict(min_p=0.2), {1, 2, 3, 4}),
        (dict(top_k=2, min_p=0.3), {1, 4}),
        (dict(top_k=4, min_p=0.3), {1, 3, 4}),
        (dict(top_k=3, top_p=0.8), {1, 4}),  # 0.4 + 0.3 is 0.82 of what top-k kept
    ],
)
def test_limits_keep_exactly_the_right_ids_and_log_probs_are_of_what_is_drawn_from(limits, kept):
    share, logprobs = spread(torch.tensor(PROBABILITIES).log(), Sampling(**limits))
    assert {i for i, s in enumerate(share) if s > 0} == kept
    for i in kept:
        exact = PROBABILITIES[i] / sum(PROBABILITIES[j] for j in kept)
        assert abs(share[i] - exact) < 1e-4 and abs(logprobs[i].exp() - exact) < 1e-5


def test_temperature_comes_before_top_p():
    # The squares of 0.4, 0.3, 0.15 have shares of 0.56, 0.32, 0.08.
    for top_p, kept in ((0.65, {1, 4}), (0.55, {1})):
        share, _ = spread(torch.tensor(PROBABILITIES).log(), Sampling(temperature=0.5, top_p=top_p))
        assert {i for i, s in enumerate(share) if s > 0} == kept


def test_each_row_has_limits_of_its_own():
    logits = torch.tensor([PROBABILITIES, PROBABILITIES[::-1]]).log().repeat(50, 1)
    for limits in (dict(top_k=2), dict(top_p=0.65), dict(min_p=0.7)):
        ids, _ = draw(logits, torch.arange(100) / 100, Sampling(**limits))
        assert set(ids[::2].tolist()) == {1, 4} and set(ids[1::2].tolist()) == {0, 3}


def test_temperature_0_takes_the_likeliest_id_and_reports_its_log_prob_at_temperature_1():
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    ids, logprobs = draw(logits, torch.full((6,), LAST_BELOW_1), Sampling(temperature=0))
    assert torch.equal(ids, logits.argmax(1))
    assert torch.allclose(logprobs, logits.log_softmax(1).max(1).values)


@pytest.mark.parametrize("limits", [dict(), dict(top_k=5), dict(top_p=0.9), dict(min_p=0.1)])
@pytest.mark.parametrize("uniform", [0.0, 2**-24, 0.5, LAST_BELOW_1])
def test_an_id_of_probability_0_is_never_drawn_even_at_the_ends(uniform, limits):
    logits = torch.randn(60, 3000, generator=torch.Generator().manual_seed(0)) * 3
    logits[:, [0, 1, 1500, 2998, 2999]] = -math.inf
    logits[:20, :2990] = -math.inf  # only a few ids near the end are left
    logits[20:40, 5] = 200.0  # all others underflow to 0
    ids, logprobs = draw(logits, torch.full((60,), uniform), Sampling(**limits))
    assert torch.isfinite(logits.gather(1, ids[:, None])).all() and torch.isfinite(logprobs).all()
    assert (ids[20:40] == 5).all()


@pytest.mark.parametrize(
    "wrong",
    [
        dict(max_new_tokens=0),
        dict(temperature=-1.0),
        dict(temperature=math.nan),
        dict(top_k=-1),
        dict(top_p=0.0),
        dict(top_p=1.1),
        dict(min_p=-0.1),
        dict(min_p=2.0),
        dict(stop_strings=("",)),
    ],
)
def test_a_setting_without_a_meaning_is_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong)).replace("stop_strings", "stop string")):
        Sampling(**wrong)


# ---------------------------------------------------------------- the end of a response


def force(model, monkeypatch, follow):
    """Make the model continue each id with follow(id), its work as always.

    Returns the (ids, attention) of its calls; the attention is None where the ids were decoded, a
    row each.
    """
    calls = []
    hidden = model.hidden
    logits = Decoder.logits

    def prefill(ids, attention):
        if isinstance(attention, Filling):
            calls.append((ids, attention))
        return hidden(ids, attention)

    def forced(decoder, spans):
        logits(decoder, spans)
        ids = decoder.pending[: sum(slots for slots, _ in spans)].clone()
        calls.append((ids, None))
        nothing = torch.full((len(ids), model.config.vocab_size), -math.inf)
        return nothing.scatter(1, torch.tensor([[follow(i)] for i in ids.tolist()]), 0.0)

    monkeypatch.setattr(model, "hidden", prefill)
    monkeypatch.setattr(Decoder, "logits", forced)
    return calls


def says(model, tokenizer, monkeypatch, text, strings, limit=100):
    """What is sampled from a model that wants to say `text`, and then `text` again, for ever."""
    script = iter(tokenizer(text * 20)["input_ids"])
    force(model, monkeypatch, lambda _: next(script))
    return sample.generate(model, tokenizer, [[7]], Sampling(limit, stop_strings=strings))[0]


@pytest.mark.parametrize(
    "string,ends",
    [
        ("+", "12+"),
        (" yes", "12+34=46 yes"),
        ("=46 y", "12+34=46 yes"),  # the last spans tokens and ends inside of one
        ("s\nso</th", "12+34=46 yes\nso</think>"),
        ("</answer>", "12+34=46 yes\nso</think> <answer>6</answer>"),
        ("6</answer>é", "12+34=46 yes\nso</think> <answer>6</answer>é"),
        ("é!", "12+34=46 yes\nso</think> <answer>6</answer>é!"),
    ],
)
def test_the_token_that_completes_a_stop_string_ends_a_response_and_stays(
    tiny, tokenizer, monkeypatch, string, ends
):
    text = "12+34=46 yes\nso</think> <answer>6</answer>é!"
    got = says(tiny, tokenizer, monkeypatch, text, (string,))
    assert tokenizer.decode(got.response) == ends
    assert got.finished
    assert len(got.logprobs) == len(got.response)


def test_the_first_of_several_stop_strings_ends_it_and_one_that_never_comes_does_not(
    tiny, tokenizer, monkeypatch
):
    got = says(tiny, tokenizer, monkeypatch, "12+34=46 yes", (" yes", "+3", "-"))
    assert tokenizer.decode(got.response) == "12+34" and got.finished
    got = says(tiny, tokenizer, monkeypatch, "12+34=46 yes", ("yes 12", "6yes"), limit=30)
    assert len(got.response) == 30 and not got.finished


def test_a_stop_string_of_long_characters_ends_a_response(tiny, tokenizer, monkeypatch):
    string = "。" * 6  # three tokens a character
    got = says(tiny, tokenizer, monkeypatch, "46。。。。。。。。", (string,))
    assert tokenizer.decode(got.response) == "46。。。。。。" and got.finished


@pytest.fixture(scope="module")
def stop_test(tokenizer):
    class Model:
        stop_ids = (tokenizer.eos_token_id,)
        device = torch.device("cpu")
        config = lm.ModelConfig(len(tokenizer), 8, 8, 1, 1, 1)

    return functools.cache(lambda string: sample.StopStrings(Model, tokenizer, (string,)))


@settings(max_examples=200, deadline=None)
@given(
    text=st.text("ab 12<é", max_size=25),
    string=st.sampled_from(["a", "ab", "bab", " a", "12", "2 1", "é", "aé", "<<", "a12<"]),
)
def test_any_stop_string_ends_a_response_at_the_first_token_that_completes_it(
    stop_test, tokenizer, text, string
):
    test = stop_test(string)
    ids = tokenizer(text)["input_ids"] if text else []
    completes = [n for n in range(1, len(ids) + 1) if string in tokenizer.decode(ids[:n])]
    found = [n for n in range(1, len(ids) + 1) if test.first_end(ids[:n], 1)]
    assert found[:1] == completes[:1]
    for new in (1, 3, len(ids)):  # looking at several at once finds the first of them
        if not completes or completes[0] > len(ids) - new:
            assert test.first_end(ids, min(new, len(ids))) == (completes[:1] or [None])[0]


def test_the_vocabulary_is_decoded_once_for_a_tokenizer_and_its_stop_strings(
    tiny, tokenizer, monkeypatch
):
    decoded = []
    batch_decode = tokenizer.batch_decode

    def counting(ids, **how):
        decoded.append(len(ids))
        return batch_decode(ids, **how)

    monkeypatch.setattr(tokenizer, "batch_decode", counting)
    for string in ("once only", "once only", "another", "once only"):
        sample.StopStrings(tiny, tokenizer, (string,))
    assert decoded == [len(tokenizer)] * 2
    sample.StopStrings(tiny, lm.load("base")[1], ("once only",))
    assert len(decoded) == 2


def test_an_id_that_the_tokenizer_does_not_know_can_be_drawn_and_has_no_text(
    tiny, tokenizer, monkeypatch
):
    # A vocabulary is rounded up: Qwen's has 271 rows more than its tokenizer.
    unknown = len(tokenizer)
    assert unknown < tiny.config.vocab_size
    script = iter([46, unknown, tiny.config.vocab_size - 1, 47, tiny.stop_ids[0]])
    force(tiny, monkeypatch, lambda _: next(script))
    got = sample.generate(tiny, tokenizer, [[7]], Sampling(9, stop_strings=("</answer>",)))[0]
    assert got.finished and len(got.response) == 5
    assert sample.text_of(tiny, tokenizer, got.response) == tokenizer.decode([46, 47])


def test_the_length_limit_ends_a_response_that_is_not_finished_then(tiny, tokenizer, monkeypatch):
    stop = tiny.stop_ids[0]
    force(tiny, monkeypatch, lambda i: i + 1 if i < 50 else stop)
    for limit in range(1, 8):  # the model says 46, 47, 48, 49, 50, stop
        got = sample.generate(tiny, tokenizer, [[9, 45]], Sampling(limit))[0]
        assert got.response == [46, 47, 48, 49, 50, stop][:limit]
        assert got.finished == (limit >= 6)  # also when the stop id is the very last token allowed


def test_any_of_the_models_stop_ids_ends_a_response(tiny, tokenizer, monkeypatch):
    tiny.stop_ids = (0, 48)
    force(tiny, monkeypatch, lambda i: i + 1)
    got = sample.generate(tiny, tokenizer, [[45]], Sampling(20))[0]
    assert got.response == [46, 47, 48] and got.finished


# ---------------------------------------------------------------- bookkeeping

PROMPTS = [[3, 20], [40], [7, 8, 60], [80], [9, 9, 9, 9, 100], [8, 120], [140]]
# The id after which the model stops, of a prompt that ends in a key.
ENDS = {20: 33, 40: 41, 60: 69, 80: 80, 100: 105, 120: 128, 140: 147}


@pytest.mark.parametrize("slots", [1, 2, 5, 100])
@pytest.mark.parametrize("prefill_tokens", [1, 8])
def test_rollouts_come_back_in_order_each_from_its_own_prompt(
    tiny, tokenizer, monkeypatch, slots, prefill_tokens
):
    calls = force(tiny, monkeypatch, lambda i: tiny.stop_ids[0] if i in ENDS.values() else i + 1)
    streamed = {}
    rollouts = sample.generate(
        tiny,
        tokenizer,
        PROMPTS,
        Sampling(30),
        n=3,
        slots=slots,
        prefill_tokens=prefill_tokens,
        on_token=lambda i, token: streamed.setdefault(i, []).append(token),
    )
    assert [r.prompt for r in rollouts] == [p for p in PROMPTS for _ in range(3)]
    for i, r in enumerate(rollouts):
        last = r.prompt[-1]
        assert r.response == [*range(last + 1, ENDS[last] + 1), tiny.stop_ids[0]]
        assert r.finished
        assert streamed[i] == r.response  # on_token saw exactly these ids
    prefilled = []
    for ids, filling in calls:
        rows = [] if filling is None else ids.view(filling.attention.rows, -1).tolist()
        prefilled += [[i for i in row if i] for row in rows]  # 0 pads; it is in none of the prompts
    prefilled = [row for row in prefilled if row]
    # Each prompt once, not once a member of its group.
    assert prefilled == [p[:-1] for p in PROMPTS if len(p) > 1]
    decoded = [len(ids) for ids, filling in calls if filling is None]
    assert sum(decoded) == sum(len(r.response) for r in rollouts)  # no row decodes after its end
    assert max(decoded) == min(slots, 21)


@pytest.mark.parametrize("prefill_tokens", [1, 12, 100])
def test_prompts_prefilled_without_padding_are_those_with_it(
    tiny, tokenizer, monkeypatch, prefill_tokens
):
    prompts = [[3, 20, 4], [40, 6], [7, 8, 60, 61, 62], [9, 9, 9, 9, 100], [8, 120]]
    expected = sample.generate(tiny, tokenizer, prompts, Sampling(20), n=2)
    sizes = []
    hidden = tiny.hidden
    monkeypatch.setattr(lm.Transformer, "packs", True)

    def counting(ids, attention):
        if isinstance(attention, Filling):
            sizes.append(ids.numel())
        return hidden(ids, attention)

    monkeypatch.setattr(tiny, "hidden", counting)
    found = sample.generate(
        tiny, tokenizer, prompts, Sampling(20), n=2, prefill_tokens=prefill_tokens
    )
    assert [r.response for r in found] == [r.response for r in expected]
    assert sum(sizes) == sum(len(p) - 1 for p in prompts)  # nothing is padding
    assert max(sizes) <= max(prefill_tokens, 4)
    one_by_one = attention.attend_one_by_one

    def all_as_one(q, k, v, lengths, key_lengths):
        """The fault of rows that see each other."""
        return one_by_one(q, k, v, [sum(lengths)], [sum(key_lengths)])

    monkeypatch.setattr(attention, "attend_one_by_one", all_as_one)
    found = sample.generate(tiny, tokenizer, prompts, Sampling(20), n=2, prefill_tokens=100)
    assert [r.response for r in found] != [r.response for r in expected]


@pytest.mark.parametrize("slots", [1, 2, 5, 100])
def test_each_rollout_is_reported_when_it_is_complete_and_not_before(
    tiny, tokenizer, monkeypatch, slots
):
    force(tiny, monkeypatch, lambda i: tiny.stop_ids[0] if i in ENDS.values() else i + 1)
    events = []
    rollouts = sample.generate(
        tiny,
        tokenizer,
        PROMPTS,
        Sampling(8),
        n=3,
        slots=slots,
        on_token=lambda i, token: events.append((i, token)),
        on_done=lambda i, r: events.append((i, list(r.response), len(r.logprobs), r.finished)),
    )
    done = {event[0]: (at, *event[1:]) for at, event in enumerate(events) if len(event) == 4}
    assert len(done) == sum(len(event) == 4 for event in events) == 21  # each once
    for i, r in enumerate(rollouts):
        at, *reported = done[i]
        assert reported == [r.response, len(r.response), r.finished]
        assert at > max(k for k, event in enumerate(events) if event[0] == i and len(event) == 2)
    # As they end, not all at the end.
    assert sorted(done, key=lambda i: done[i]) != sorted(done) or slots == 1
    last_token = max(k for k, event in enumerate(events) if len(event) == 2)
    assert min(at for at, *_ in done.values()) < last_token


@torch.no_grad()
@pytest.mark.parametrize("prompt", [[8], [9, 10], [11, 12, 13, 14, 15, 16, 17]])
def test_a_greedy_rollout_is_what_the_uncached_model_says_from_a_prompt_of_any_length(
    tiny, tokenizer, prompt
):
    ids = list(prompt)
    for _ in range(20):
        ids.append(int(tiny(torch.tensor([ids]))[0, -1].argmax()))
        if ids[-1] in tiny.stop_ids:
            break
    got = sample.generate(tiny, tokenizer, [[5, 6], prompt, [7]], Sampling(20, temperature=0), n=2)
    assert got[2].response == got[3].response == ids[len(prompt) :]


def test_a_prompt_and_its_response_may_fill_the_context_but_not_pass_it(tiny, tokenizer):
    context = tiny.config.max_position_embeddings
    assert sample.generate(tiny, tokenizer, [[5] * (context - 20), [6]], Sampling(20))[0].response
    message = f"{context - 19} tokens and 20 new ones do not fit.* context of {context}"
    with pytest.raises(UserError, match=message):
        sample.generate(tiny, tokenizer, [[6], [5] * (context - 19)], Sampling(20))
    with pytest.raises(UserError, match="empty prompt"):
        sample.generate(tiny, tokenizer, [[6], []], Sampling(20))


def test_the_same_seed_draws_the_same_and_another_seed_something_else(tiny, tokenizer):
    def draws(seed):
        rollouts = sample.generate(tiny, tokenizer, [[5, 6], [7]], Sampling(30), n=3, seed=seed)
        return [(r.response, r.logprobs) for r in rollouts]

    assert draws(3) == draws(3) != draws(4)
    # No two rollouts share their random numbers.
    assert len({tuple(response) for response, _ in draws(3)}) == 6


# ---------------------------------------------------------------- python sample.py


def test_the_command_line_prints_every_response_whole(tiny_folder, monkeypatch, capsys):
    flags = ["-n", "3", "--max-new-tokens", "60", "--seed", "4", "--device", "cpu"]
    question = "What is 3+4?"
    monkeypatch.setattr("sys.argv", ["sample.py", "--model", tiny_folder, question, *flags])
    sample.main()
    model, tokenizer = lm.load(tiny_folder)
    prompt = tokenizer("What is 3+4?\n<think>")["input_ids"]
    rollouts = sample.generate(model, tokenizer, [prompt], Sampling(60), n=3, seed=4)
    expected = ""
    for i, r in enumerate(rollouts, 1):
        text = sample.text_of(model, tokenizer, r.response).rstrip(
            "\ufffd"
        )  # half of a character is not shown
        expected += f"[{i}] {text}\n    ({len(r.response)} tokens{'' if r.finished else ', hit the limit'})\n"
    assert capsys.readouterr().out == expected


def test_own_stop_strings_end_what_the_command_line_prints_and_stay(monkeypatch, capsys):
    question = "Using 18, 20 and 3 exactly once each, make 26 with + - * /."
    flags = ["--temperature", "0", "--device", "cpu"]

    def shown(*stop):
        monkeypatch.setattr("sys.argv", ["sample.py", question, *flags, *stop])
        sample.main()
        return capsys.readouterr().out

    whole = shown()
    text, _, _ = whole.removeprefix("[1] ").partition("\n    (")
    newline = text.index("\n") + 1
    assert shown("--stop", "\n").startswith(f"[1] {text[:newline]}\n    (")
    assert shown("--stop", "never", "--stop", text[3:5]).startswith(f"[1] {text[:5]}\n    (")
    assert shown("--stop", "never") == whole


# ---------------------------------------------------------------- verdicts


QUESTION = "Using 3, 7 and 12 exactly once each, make 24 with + - * /."


@pytest.mark.parametrize(
    "argv,response,says",
    [
        ([QUESTION], "x</think> <answer>12*(7-3)/2</answer>", "wrong: uses 2, which is not given"),
        ([QUESTION], "x</think> <answer>12+7-3</answer>", "wrong: value is 16, not 24"),
        (["Using 3, 7 and 12 exactly once each, make 16 with + - * /."], None, "right"),
        (["What is 12 + 30?", "--answer", "42"], "x</think> <answer>42.0</answer>", "right"),
        (["What is 12 + 30?", "--answer", "42"], "x</think> <answer>41</answer>", "wrong"),
        (["What is 12 + 30?", "--answer", "42", "--answer-style", "last-number"], "42.", "right"),
        (["What is 12 + 30?"], "x</think> <answer>41</answer>", ""),
    ],
)
def test_each_answer_is_marked_right_or_wrong(
    monkeypatch, capsys, tokenizer, tiny_folder, argv, response, says
):
    ids = tokenizer(response or "x</think> <answer>12+7-3</answer>")["input_ids"]

    def drawn(model, tokenizer, prompts, sampling, n, seed, slots, on_token):
        whole = sample.Rollout(prompts[0], [*ids, tokenizer.eos_token_id], finished=True)
        cut = sample.Rollout(prompts[0], ids, finished=False)
        return [whole, cut]

    monkeypatch.setattr(sample, "generate", drawn)
    monkeypatch.setattr("sys.argv", ["sample.py", "--model", tiny_folder, *argv, "-n", "2"])
    sample.main()
    remarks = [line.strip() for line in capsys.readouterr().out.splitlines() if "tokens" in line]
    if says:
        assert remarks[0].startswith(f"({len(ids) + 1} tokens; {says}")
        assert remarks[1] == f"({len(ids)} tokens, hit the limit; wrong: hit the length limit)"
    else:
        assert remarks[0] == f"({len(ids) + 1} tokens)"


def test_countdown_questions_are_read_and_others_are_not():
    for problem in tasks.make_problems("countdown:2-6", "train", 0, 30):
        read = tasks.read_countdown(problem.question)
        assert read.facts == problem.facts and read.key == problem.key
        assert tasks.check(problem.answer, read) == (True, True, "right")
    for question in ("Using 3 exactly once each, make 4 with + - * /.", "make 24", QUESTION + " ?"):
        assert tasks.read_countdown(question) is None
