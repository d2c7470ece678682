"""Files of problems as people have them: what is read, what is passed over aloud, what is refused."""

import json
import sys
from decimal import Decimal

import pytest

import reward
import tasks
import train
from config import UserError
from tasks import Problem
from tasks.data import in_one_spelling


def write(tmp_path, rows, name="d.jsonl"):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / name).write_text(text, encoding="utf-8")
    return str(tmp_path / name)


def read(tmp_path, *rows, **more):
    return tasks.read_rows(write(tmp_path, rows), **more)


def good_rows(n=60):
    return [{"question": f"What is {i}+1?", "answer": i + 1} for i in range(n)]


# ---------------------------------------------------------------- one spelling on both sides

SAME = [
    ("−5", "-5"),
    ("–5", "-5"),
    ("１２", "12"),
    ("１，２５０", "1250"),
    ("e\u0301tale", "étale"),
    ("fo\u200brty", "forty"),
    ("\ufeffforty two", "forty\u00a0two"),
    ("don’t", "don't"),
    ("𝑥+1", "x+1"),
    ("ﬁve", "five"),
    ("5。", "5"),
    ("３／４", "3/4"),
    ("-\u20605", "-5"),
]
OTHER = [
    ("−5", "5"),
    ("１２", "21"),
    ("10²", "102"),
    ("5½", "51/2"),
    ("x₂", "x2"),
    ("2⁵", "25"),
    ("①②", "12"),
    ("ℝ", "R"),
    ("été", "ete"),
    ("f(A)", "f(a)"),
    ("3×4", "34"),
    ("2\u206211", "211"),  # an invisible multiplication sign
    ("5‰", "5"),
    ("1∕3", "13"),
]


def is_right(task, answer, gold):
    return tasks.check(answer, Problem(task, "q", gold, "k"))[0]


@pytest.mark.parametrize("task", ["data", "math"])
@pytest.mark.parametrize("a, b", SAME)
def test_one_answer_in_other_characters_is_the_same_answer(task, a, b):
    assert is_right(task, a, b) and is_right(task, b, a)
    assert is_right(task, a, a) and is_right(task, b, b)


@pytest.mark.parametrize("task", ["data", "math"])
@pytest.mark.parametrize("a, b", OTHER)
def test_a_wrong_answer_stays_wrong_in_one_spelling(task, a, b):
    assert not is_right(task, a, b) and not is_right(task, b, a)


def test_a_set_of_numbers_keeps_its_sign_for_the_grader():
    assert is_right("math", "ℝ", r"\mathbb{R}") and is_right("math", "x²", "x^2")


def test_a_text_in_one_spelling_stays_as_it_is():
    for a, b in SAME + OTHER:
        for text in (a, b):
            spelled = in_one_spelling(text)
            assert in_one_spelling(spelled) == spelled
    assert in_one_spelling("  a \t b ") == "a b"


@pytest.mark.parametrize(
    "answer, gold, right",
    [
        ("True", "true", True),
        ("FALSE", "false", True),
        ("true", "false", False),
        ("yes", "true", False),
        ("2", "['2']", True),
        ("['2']", "2", True),
        ('["2"]', "['2']", True),
        ("3", "['2']", False),
        ("2", "['2', '3']", False),
        ("['2', '3']", "['2', '3']", True),
        ("'2'", "2", False),
    ],
)
def test_truths_and_lists_of_one_text(answer, gold, right):
    assert is_right("data", answer, gold) is right


# ---------------------------------------------------------------- golds that no response matches


@pytest.mark.parametrize(
    "task, gold",
    [
        ("data", "x" * 1001),
        ("data", "a </answer> b"),
        ("data", "<think>5</think>"),
        ("math", "x" * 2001),
        ("math", "?"),
        ("math", "{"),
        ("math", "-"),
    ],
)
def test_a_gold_that_no_response_can_match_is_found(task, gold):
    assert not reward.can_be_right(Problem(task, "q", gold, "k"))


@pytest.mark.parametrize("style", reward.STYLES)
@pytest.mark.parametrize("task", ["data", "math"])
@pytest.mark.parametrize("gold", ["5", "-1,250", "Paris", "\\frac{1}{2}", "(1, 2)", "true"])
def test_a_gold_of_its_own_kind_can_be_matched_in_every_style(task, gold, style):
    assert reward.can_be_right(Problem(task, "q", gold, "k"), style)


def test_what_can_be_matched_depends_on_where_the_answer_is_read():
    brace = Problem("data", "q", "{", "k")
    assert reward.can_be_right(brace, "answer-tag") and not reward.can_be_right(brace, "boxed")
    sentence = Problem("data", "q", "Yes.", "k")
    assert not reward.can_be_right(sentence, "last-number")  # a full stop is no part of it


def test_golds_that_no_response_can_match_are_passed_over_aloud_with_the_first_three(
    tmp_path, capsys
):
    rows = good_rows()
    for i, gold in enumerate(["...", "?\u200b", "2", "{", "~"]):
        rows.insert(11 * i, {"question": f"inserted {i}", "answer": gold})
    problems = read(tmp_path, *rows, task="math")
    inserted = [p.question for p in problems if p.question.startswith("inserted")]
    assert inserted == ["inserted 2"] and len(problems) == 61
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith(
        "passed over 4 of its rows, with an answer that no response can match: "
        r"line 1 ('...'), line 12 ('?\u200b'), line 34 ('{') and 1 more"
    )


@pytest.mark.parametrize("gold", ["proof", "notfound", "Not Found", "nan"])
def test_what_stands_for_no_answer_in_a_file_of_maths_is_none(tmp_path, gold, capsys):
    rows = [{"problem": "p", "answer": "1"}, {"problem": "q", "answer": gold}]
    assert [p.question for p in read(tmp_path, *rows)] == ["p"]
    assert "passed over 1 of its rows, without an answer: line 2" in capsys.readouterr().err
    assert len(read(tmp_path, *rows, task="data")) == 2  # a text like any other


def test_a_file_of_which_nothing_is_left_is_one_line(tmp_path, capsys):
    with pytest.raises(
        UserError, match=r"no problem in it; passed over 2 of its rows.*line 1 \('\?'\)"
    ):
        read(tmp_path, {"problem": "p", "answer": "?"}, {"problem": "q", "answer": "-"})
    assert not capsys.readouterr().err


def test_both_programs_pass_over_what_their_answer_style_cannot_read(tmp_path, capsys):
    rows = good_rows()
    rows += [{"question": f"Which bracket opens line {i}?", "answer": "{"} for i in range(60)]
    path = write(tmp_path, rows)
    config = train.TrainConfig(data=path, answer_style="boxed")
    training, held_out, _ = train.find_problems(config)
    assert len(training) + len(held_out) == 60
    assert "60 of its rows, with an answer that no response can match" in capsys.readouterr().err
    training, held_out, _ = train.find_problems(train.TrainConfig(data=path))
    assert len(training) + len(held_out) == 120


# ---------------------------------------------------------------- the same question twice


def test_questions_with_different_answers_are_passed_over_aloud(tmp_path, capsys):
    rows = good_rows()
    rows += [{"question": "What is 3+1?", "answer": 5}, {"question": "What is 7+1?", "answer": "8"}]
    sides = tasks.read_jsonl(write(tmp_path, rows))
    found = sides["train"] + sides["held-out"]
    assert len(found) == 59 and "What is 3+1?" not in {p.question for p in found}
    line = "passed over 1 of its questions, with different answers: 'What is 3+1?' ('4' and '5')"
    assert line in capsys.readouterr().err


def test_one_answer_in_two_spellings_is_no_contradiction(tmp_path, capsys):
    rows = [{"question": f"q{i}", "answer": "0.5"} for i in range(60)]
    rows += [{"question": f"q{i}", "answer": "\\frac12"} for i in range(60)]
    sides = tasks.read_jsonl(write(tmp_path, rows), task="math")
    assert sum(map(len, sides.values())) == 60
    assert not capsys.readouterr().err


# ---------------------------------------------------------------- files as people have them


def as_array(rows):
    return json.dumps(rows, indent=1).encode()


def as_lines(rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + as_lines(good_rows()),
        as_lines(good_rows()) + b"\n\n  \r\n",
        as_lines(good_rows()).replace(b"\n", b"\r\n"),
        as_lines(good_rows()).rstrip(),
        b"\n \r\n" + as_array(good_rows()),
        b"\xef\xbb\xbf" + as_array(good_rows()) + b"\n",
        b"\xef\xbb\xbf\n" + as_array(good_rows()),
    ],
)
def test_what_carries_nothing_is_passed_over(tmp_path, content):
    (tmp_path / "d.txt").write_bytes(content)
    found = tasks.read_rows(str(tmp_path / "d.txt"), task="data")
    assert found == read(tmp_path, *good_rows(), task="data")


@pytest.mark.parametrize(
    "content, says",
    [
        ('{"question": "q", "answer": 1}'.encode("utf-16"), "UTF-16"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b'{"question": "q",\n "answer": 1}\n', "line 1: not JSON"),
        (as_lines(good_rows(3)) + b"\n" + as_lines(good_rows(3)), "line 4: empty"),
        (b'{"question": "q\\ud800", "answer": 1}\n', "line 1: not JSON"),
        (b"\x00" * 100, "line 1: not JSON"),
        (b"question,answer\n1+1,2\n", "line 1: not JSON"),
    ],
)
def test_other_files_are_refused_by_what_they_are(tmp_path, content, says):
    (tmp_path / "d.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=says):
        tasks.read_rows(str(tmp_path / "d.jsonl"))


CHAT = [{"role": "user", "content": " q "}]
VERL = {
    "data_source": "openai/gsm8k",
    "prompt": [{"content": "q", "role": "user"}],
    "ability": "math",
    "reward_model": {"ground_truth": "72", "style": "rule"},
    "extra_info": {"answer": "48/2 = 24\n#### 72", "index": 0, "question": "q", "split": "train"},
}


@pytest.mark.parametrize(
    "row, answer",
    [
        ({"problem": None, "question": "q", "answer": "7"}, "7"),
        ({"problem": "  ", "question": "q", "answer": "7"}, "7"),
        ({"problem": 3 * [None], "answer": "7"}, None),
        ({"question": "q", "answer": None, "final_answer": "7"}, "7"),
        ({"question": "q", "answer": ["5"]}, "5"),
        ({"question": "q", "answer": [5.0]}, "5"),
        ({"question": "q", "answer": "['2']"}, "2"),
        ({"question": "q", "answer": '["\\\\frac{1}{2}"]'}, "\\frac{1}{2}"),
        ({"question": "q", "answer": "[1, 2]"}, "[1, 2]"),
        ({"question": "q", "answer": "<answer> 5 </answer>"}, "5"),
        ({"question": "q", "answer": "so $\\boxed{5}$"}, "5"),
        ({"question": "q", "answer": True}, "true"),
        (VERL, "72"),
        ({**VERL, "reward_model": {"ground_truth": ["72"], "style": "rule"}}, "72"),
        ({**VERL, "reward_model": {"ground_truth": '["72"]'}}, "72"),
        ({"prompt": CHAT, "solution": "$\\frac{63}{400}$"}, "\\frac{63}{400}"),
        ({"prompt": CHAT, "solution": "0"}, "0"),
        ({"prompt": CHAT, "solution": "So \\boxed{\\text{odd}}."}, "\\text{odd}"),
        ({"prompt": "q", "ground_truth": "0"}, "0"),
    ],
)
def test_rows_as_other_programs_have_them(tmp_path, row, answer):
    if answer is None:
        with pytest.raises(UserError, match="line 1: field 'problem' is a list, but not of chat"):
            read(tmp_path, row)
        return
    (problem,) = read(tmp_path, row)
    assert (problem.question, problem.answer) == ("q", answer)


def test_rows_with_several_answers_are_passed_over_aloud(tmp_path, capsys):
    rows = [{"question": "p", "answer": ["5"]}, {"question": "q", "answer": ["5", "6"]}]
    for task in ("data", "math"):
        assert [p.question for p in read(tmp_path, *rows, task=task)] == ["p"]
        assert "passed over 1 of its rows, with several answers: line 2" in capsys.readouterr().err


def test_a_field_within_a_field_is_named_with_dots(tmp_path):
    row = {"a": {"b": [{"c": "q"}], "d.e": 0}, "x": {"y": {"z": 5}}, "x.w": 6, "answer": "1"}

    def one(question, answer):
        (problem,) = read(tmp_path, row, question_field=question, answer_field=answer)
        return problem.question, problem.answer

    assert one("a.b.0.c", "x.y.z") == ("q", "5")
    assert one("a.b.0.c", "x.w") == ("q", "6")  # a name with a dot in it comes first
    for answer in ("x.y", "x.y.q", "x.y.z.0", "a.b.1", "a.b.c", "x.", ".", "a.b.-1"):
        with pytest.raises(UserError, match="line 1: no text in field"):
            one("a.b.0.c", answer)


@pytest.mark.parametrize(
    "messages, says",
    [
        ([{"role": "user", "content": ""}], "one user message with text"),
        ([{"role": "assistant", "content": "x"}], "messages of assistant"),
        (2 * CHAT, "messages of user, user"),
        ([*CHAT, {"role": "assistant", "content": "x"}], "messages of user, assistant"),
        ([{"role": "user", "content": [{"type": "image"}]}], "not of chat messages"),
        ([{"role": "user"}], "not of chat messages"),
        (["q"], "not of chat messages"),
    ],
)
def test_conversations_that_are_no_question_are_refused_by_line(tmp_path, messages, says):
    good = {"prompt": CHAT, "answer": "1"}
    with pytest.raises(UserError, match=f"line 2: field 'prompt' .*{says}"):
        read(tmp_path, good, {"prompt": messages, "answer": "1"})


def test_a_system_message_goes_into_the_chat_template_and_is_named_for_the_others(
    tmp_path, capsys, tokenizer
):
    system = {"role": "system", "content": "Be brief."}
    row = {"prompt": [system, *CHAT], "answer": "1"}
    (problem,) = read(tmp_path, row)
    assert (
        "1 of its questions have a system message: --template chat alone" in capsys.readouterr().err
    )
    asked = []

    class Chatty:
        chat_template = "any"

        def apply_chat_template(self, messages, **more):
            asked.append(messages)
            return ""

    tasks.prompt(problem, "chat", Chatty())
    assert asked == [[system, {"role": "user", "content": "q"}]]
    assert tasks.prompt(problem, "none", tokenizer) == "q"


def test_parquet_is_read_where_pyarrow_is_installed(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="no pyarrow: parquet is not read")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{**VERL, "prompt": [{"content": f"q{i}", "role": "user"}]} for i in range(60)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    assert tasks.read_rows(str(tmp_path / "d.parquet")) == read(tmp_path, *rows)
    exact = [{"question": "q", "answer": Decimal("1.50")}]
    parquet.write_table(pyarrow.Table.from_pylist(exact), tmp_path / "e.parquet")
    assert tasks.read_rows(str(tmp_path / "e.parquet"))[0].answer == "1.50"
    whole = (tmp_path / "d.parquet").read_bytes()
    for damaged in (whole[:-20], whole[:200] + whole[:200], b"PAR1"):
        (tmp_path / "d.parquet").write_bytes(damaged)
        with pytest.raises(UserError, match="d.parquet: a damaged parquet file"):
            tasks.read_rows(str(tmp_path / "d.parquet"))


def test_parquet_without_pyarrow_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "d.jsonl").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="is a parquet file: pip install pyarrow"):
        tasks.read_rows(str(tmp_path / "d.jsonl"))


# ---------------------------------------------------------------- a validation file of one's own


def two_files(tmp_path, training, held_out, **more):
    config = train.TrainConfig(
        data=write(tmp_path, training, "t.jsonl"),
        eval_data=write(tmp_path, held_out, "v.jsonl"),
        **more,
    )
    problems, evaluated, _ = train.find_problems(config)
    return problems, evaluated


def test_a_file_to_evaluate_on_is_taken_whole_and_all_of_the_other_trained_on(tmp_path, capsys):
    mine = [{"question": f"Mine {i}?", "answer": i} for i in range(7)]
    problems, evaluated = two_files(tmp_path, good_rows(3), mine)
    assert [p.question for p in problems] == [row["question"] for row in good_rows(3)]
    assert [p.question for p in evaluated] == [row["question"] for row in mine]
    assert not capsys.readouterr().err
    assert len(two_files(tmp_path, good_rows(3), mine, eval_problems=2)[1]) == 2


def test_a_training_problem_that_is_evaluated_on_is_not_trained_on_aloud(tmp_path, capsys):
    held_out = [{"question": "WHAT  is 3+1?", "answer": 4}, {"question": "Mine?", "answer": 1}]
    problems, evaluated = two_files(tmp_path, good_rows(), held_out, eval_problems=1)
    assert len(problems) == 59 and len(evaluated) == 1
    assert "What is 3+1?" not in {p.question for p in problems}
    line = "t.jsonl: passed over 1 of its problems, which --eval-data has too: 'What is 3+1?'"
    assert line in capsys.readouterr().err
    with pytest.raises(UserError, match="nothing to train on"):
        two_files(tmp_path, good_rows(), good_rows())


@pytest.mark.parametrize(
    "flags, says",
    [
        ({"eval_data": "v.jsonl"}, "name both"),
        ({"data": "d.jsonl", "eval_data": "nowhere.jsonl"}, "--eval-data nowhere.jsonl: there is"),
        ({"data": "d.jsonl", "eval_data": "gsm8k"}, "--eval-data gsm8k: this is a benchmark"),
    ],
)
def test_a_file_to_evaluate_on_that_cannot_be_meant_is_refused(tmp_path, monkeypatch, flags, says):
    write(tmp_path, good_rows())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        train.find_problems(train.TrainConfig(**flags))


def test_a_run_keeps_its_file_to_evaluate_on(tmp_path, tiny_folder, monkeypatch):
    write(tmp_path, good_rows())
    write(tmp_path, [{"question": f"Mine {i}?", "answer": i} for i in range(5)], "v.jsonl")
    monkeypatch.chdir(tmp_path)
    config = train.TrainConfig(
        model=tiny_folder,
        data="d.jsonl",
        eval_data="v.jsonl",
        out="run",
        steps=1,
        prompts_per_step=2,
        group_size=2,
        max_new_tokens=4,
        device="cpu",
    )
    train.train(config)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    flags = train.TrainConfig(resume=str(tmp_path / "run"), steps=2)
    run = train.open_run(train.resumed(flags, {"resume", "steps"}))
    run.lock.release()
    assert [p.question for p in run.held_out] == [f"Mine {i}?" for i in range(5)]
    assert len(run.problems) == 60
