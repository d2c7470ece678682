"""Where the answer stands, style by style: one place each, nothing from the thinking, and bounded time."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config import UserError
from grader.answer import LONGEST_BOX, last_boxed
from reward import LONGEST_NUMBER, STYLES, TAGS, extract_answer, read_response


@pytest.mark.parametrize(
    "response, answer",
    [
        (r"so \boxed{24}", "24"),
        (r"\boxed{1} no: \boxed{24} yes", "24"),
        (r"\fbox{24}", "24"),
        (r"\boxed {24}", "24"),
        (r"\boxed{1} \fbox{24}", "24"),
        (r"\fbox{1} \boxed{24}", "24"),
        (r"\fbox{24} \boxed{2", "24"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\text{a } b}", r"\text{a } b"),
        (r"\boxed{a\}}", r"a\}"),
        (r"\boxed{1}</think> \boxed{24}", "24"),
        (r"\boxed{1}</think> 24", None),
        (r"\boxed{24}<think>\boxed{1}", "24"),
        (r"work</think> <answer>\boxed{24}</answer>", "24"),
        ("work</think> <answer>24</answer>", None),
        (r"\boxed{ }", None),
        ("24", None),
        ("", None),
        (r"\boxed{24", None),
        (r"\boxed", None),
    ],
)
def test_boxed(response, answer):
    assert extract_answer(response, "boxed") == answer


@pytest.mark.parametrize(
    "response, answer",
    [
        ("work</think> <answer>24</answer>", "24"),
        ("work</think> <answer>\n 2  4\n</answer> and so on", "2 4"),
        (r"work</think> <answer>\boxed{24}</answer>", "24"),
        (r"work</think> \boxed{24}", None),
        (r"so \boxed{24}", None),
        ("<answer>24</answer>", None),
        ("it is <answer>24</answer></think>", None),
        ("it is <answer>24</answer></think> so", None),
        ("a <answer>1</answer></think> <answer>24</answer>", "24"),
        ("a</think><answer>1</answer><answer>24</answer>", None),
        ("a</think><answer>24", None),
        ("24", None),
        ("", None),
    ],
)
def test_answer_tag(response, answer):
    assert extract_answer(response, "answer-tag") == answer


@pytest.mark.parametrize(
    "response, answer",
    [
        ("2+2=4\n#### 72", "72"),
        ("#### 7\n#### 72", "72"),
        ("#### 1,250\nThat is all, 3 steps.", "1,250"),
        ("9\n#### 72.", "72"),
        ("9 ####", None),
        ("#### x = 5", "x = 5"),
        ("####\n\n 72", "72"),
        (r"#### \frac{1}{2}", r"\frac{1}{2}"),
        ("It is 72", "72"),
        ("It is 72.", "72"),
        ("It is 3.50.", "3.50"),
        ("$1,250.00!", "1,250.00"),
        ("1,250,000 apples", "1,250,000"),
        ("-3", "-3"),
        ("x = -3.", "-3"),
        ("x = −3", "-3"),
        ("x=-.5", "-.5"),
        ("10-3", "3"),
        ("f(x)-3", "3"),
        ("+7", "+7"),
        ("from 5,6,7", "7"),
        ("1,2345", "2345"),
        ("12,", "12"),
        ("50%", "50"),
        ("3.14.15", "15"),
        ("...5", "5"),
        ("none", None),
        ("", None),
        ("5</think> no number", None),
        ("5</think> it is 7", "7"),
        ("7 <think> 5", "7"),
        ("٣ ３", None),
        ("9" * LONGEST_NUMBER, "9" * LONGEST_NUMBER),
        ("9" * (LONGEST_NUMBER + 1), None),
        ("a " * 99 + "24", "24"),
    ],
)
def test_last_number(response, answer):
    assert extract_answer(response, "last-number") == answer


def test_an_unknown_style_is_refused_with_the_choices():
    with pytest.raises(UserError, match="'guess'.*auto, boxed, answer-tag, last-number"):
        extract_answer("24", "guess")


@pytest.mark.parametrize("style", ["boxed", "last-number"])
def test_the_styles_without_tags_know_no_format(style):
    right, none = read_response(r"work \boxed{24}", style), read_response("", style)
    assert (right.answer, right.fault, right.tagged) == ("24", "", False)
    assert (none.answer, none.fault) == (None, "no answer")
    assert read_response("<think>some</think> \\boxed{1} 1", style).thinking == "some"


PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [*TAGS, r"\boxed{", r"\fbox{", "{", "}", " ", "\n", "####", "1", ",", ".", "-"]
        ),
        st.text(max_size=4),
    ),
    max_size=16,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(PIECES)
@example("####\u2028.")
def test_any_text_has_an_answer_in_single_spaces_or_none(text):
    for style in STYLES:
        answer, reading = extract_answer(text, style), read_response(text, style)
        assert answer is None or (answer and answer == " ".join(answer.split()))
        assert (answer is None) == (reading.answer is None) and (
            answer is not None or reading.fault
        )


def test_a_box_has_a_longest_length():
    assert last_boxed(r"\boxed{" + "x" * LONGEST_BOX + "}") == "x" * LONGEST_BOX
    assert last_boxed(r"\boxed{" + "x" * (LONGEST_BOX + 1) + "}") is None


MEGA = 1_000_000
HUGE = {
    "numbers": "1 " * (MEGA // 2),
    "digits": "9" * MEGA,
    "commas": "1," * (MEGA // 2),
    "groups": "1,234" * (MEGA // 5),
    "stops": "1." * (MEGA // 2),
    "signs": "-" * MEGA,
    "marks": "#" * MEGA,
    "lines": "####\n" * (MEGA // 5),
    "one number first": "7" + " x" * (MEGA // 2),
    "boxes": r"\boxed{" * (MEGA // 7),
    "frames": r"\fbox{" * (MEGA // 6),
    "both": r"\boxed{\fbox{" * (MEGA // 13),
    "frames that never close": r"\fbox{{}" * (MEGA // 8),
    "boxes after a frame": r"\fbox{1}" + r"\boxed{{}" * (MEGA // 9),
    "spaced boxes": r"\boxed {" * (MEGA // 8) + "24}",
    "braces": "{}" * (MEGA // 2),
    "answers": "a</think>" + "<answer>" * (MEGA // 8),
    "thinks": "</think>" * (MEGA // 8),
}


@pytest.mark.parametrize("kind", HUGE)
@pytest.mark.parametrize("style", STYLES)
def test_a_megabyte_takes_under_a_tenth_of_a_second(style, kind):
    taken = []
    while len(taken) < 3 and min(taken, default=1) >= 0.1:  # processor time, best of three
        start = time.process_time()
        extract_answer(HUGE[kind], style)
        taken.append(time.process_time() - start)
    assert min(taken) < 0.1, f"{min(taken):.3f} s"
