"""What no list of cases covers: rewritings that keep a value keep the grade, changes lose it, and no text makes it raise.

EXAMPLES=100000 python -m pytest tests/test_grading_properties.py -k raise -s    # prints the slowest text
"""

import math
import os
import time
from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from grader import grade_answer, lexer, parser
from grader.compare import equal_or_raise
from grader.values import NOT_A_NUMBER

LIMITS = settings(max_examples=60, deadline=None)  # no deadline: the machine may be busy
INTS = st.integers(-(10**9), 10**9)
SMALL = st.integers(-40, 40)
ROUND = st.sampled_from(
    [
        r"\boxed{%s}",
        "$%s$",
        "The answer is $%s$.",
        "<think>hm</think><answer>%s</answer>",
        "%s",
        " %s ",
        "%s.",
        r"x = %s",
        r"\displaystyle %s",
        "#### %s",
        r"<think>\boxed{7}</think>\boxed{%s}",
    ]
)
PIECES = st.lists(
    st.sampled_from(
        r"""\frac \sqrt \boxed \text \left \right \pm \cup \cdot \infty \pi \binom \begin{pmatrix}
    \end{pmatrix} \\ { } ( ) [ ] | , ; : . = < > + - * / ^ _ ! % $ & ~ ' " 0 1 2 9 10 0.5 1e9 x y n e i sin \sin \log \ln
    \le \geq \in \mathbb{R} \overline \lfloor \rceil or and not <think> </think> <answer> </answer> ####
    √ ½ ² π ∞ ∪ ≤ − × ° inf nan answer is boxed""".split()
    )
    | st.just(" "),
    max_size=25,
).map("".join)
ANYTHING = (
    st.text(st.characters(exclude_categories=()), max_size=60)
    | PIECES  # with lone surrogates
    | st.binary(max_size=60).map(lambda b: b.decode("latin-1"))
)


@st.composite
def written(draw, value):
    """A Fraction in one of the ways in which people write it."""
    p, q, k = value.numerator, value.denominator, draw(st.integers(1, 9))
    ways = [
        rf"\frac{{{p}}}{{{q}}}",
        rf"\dfrac{{{p * k}}}{{{q * k}}}",
        f"{p}/{q}",
        rf"-\frac{{{-p}}}{{{q}}}",
        rf"{p} \div {q}",
        rf"\frac{{1}}{{{q}}} \cdot ({p})",
        rf"\frac{{{-p}}}{{{-q}}}",
        f"{p}*{q}^{{-1}}",
    ]
    if q == 1:
        ways += [
            str(p),
            f"{p:,}",
            f"{p}.0",
            f"{p:,}".replace(",", r",\!"),
            f"{p:,}".replace(",", "{,}"),
            rf"\text{{{p}}}",
            f"{p}e0",
        ]
    if 10**6 % q == 0:
        ways += [f"{float(value):.6f}"]
    if p > q > 1:
        ways += [rf"{p // q}\frac{{{p % q}}}{{{q}}}", f"{p // q} {p % q}/{q}"]
    return draw(st.sampled_from(ways))


FRACTIONS = st.builds(Fraction, SMALL, st.integers(1, 40))


@LIMITS
@given(st.data(), FRACTIONS | INTS.map(Fraction), ROUND)
def test_a_rational_is_itself_however_it_is_written(data, value, around):
    prediction, gold = data.draw(written(value)), data.draw(written(value))
    assert grade_answer(around % prediction, gold) is True


@LIMITS
@given(st.data(), FRACTIONS | INTS.map(Fraction), FRACTIONS, ROUND)
def test_two_rationals_differ_however_they_are_written(data, one, other, around):
    for wrong in (
        other,
        one + 1,
        -one,
        one * 10,
        1 / one if one else Fraction(2),
        one + Fraction(1, 1000),
    ):
        if wrong != one:
            assert (
                grade_answer(around % data.draw(written(wrong)), data.draw(written(one))) is False
            )


@LIMITS
@given(st.integers(1, 400), st.sampled_from([3, 7, 9, 11, 13, 21, 37]), st.integers(1, 15))
def test_a_rounded_fraction_is_not_the_fraction(p, q, places):
    assume(p % q)
    assert grade_answer(f"{p / q:.{places}f}", rf"\frac{{{p}}}{{{q}}}") is False


@LIMITS
@given(st.integers(1, 30), st.sampled_from([2, 3, 5, 6, 7, 10, 11, 13]), SMALL, ROUND)
def test_a_radical_is_itself_and_not_its_decimals(a, b, c, around):
    gold = rf"{a}\sqrt{{{b}}}+{c}" if c >= 0 else rf"{a}\sqrt{{{b}}}-{-c}"
    for same in (
        rf"{c}+\sqrt{{{a * a * b}}}",
        rf"\frac{{{a * b}}}{{\sqrt{{{b}}}}}+({c})",
        f"{c} + {a}*sqrt({b})",
        f"{c}+{a}√{b}",
        rf"\frac{{{2 * c}+{2 * a}\sqrt{{{b}}}}}{{2}}",
        rf"{a} \cdot {b}^{{1/2}} - ({-c})",
    ):
        assert grade_answer(around % same, gold) is True, same
    for wrong in (
        rf"{c}-{a}\sqrt{{{b}}}",
        rf"{c}+\sqrt{{{a * b}}}" if a > 1 else "0",
        rf"{c}+{a}\sqrt{{{b + 1}}}",
        rf"{c}+{a + 1}\sqrt{{{b}}}",
        repr(c + a * math.sqrt(b)),
        f"{c + a * math.sqrt(b):.3f}",
        rf"{c}\pm{a}\sqrt{{{b}}}",
    ):
        assert grade_answer(around % wrong, gold) is False, wrong


def polynomial(coefficients, name, power="^{%d}"):
    terms = [f"{c}{name}{power % i}" if i else str(c) for i, c in enumerate(coefficients)]
    return "+".join(terms).replace("+-", "-")


@LIMITS
@given(SMALL.filter(bool), SMALL, SMALL, st.permutations(range(3)), st.sampled_from("xntk"))
def test_a_polynomial_is_itself_expanded_factored_and_reordered(a, r, s, order, name):
    coefficients = [a * r * s, -a * (r + s), a]
    gold = polynomial(coefficients, name)
    terms = [f"({c})*{name}**{i}" for i, c in enumerate(coefficients)]
    for same in (
        f"{a}({name}-({r}))({name}-({s}))",
        rf"{a}\left({name}-({s})\right)\cdot({name}-({r}))",
        " + ".join(terms[i] for i in order),
        f"f({name})={gold}",
        rf"({gold})+{name}-{name}",
        rf"\frac{{2({gold})}}{{2}}",
    ):
        assert grade_answer(same, gold) is True, same
    for wrong in (
        gold + "+1",
        polynomial([*coefficients[:2], a + 1], name),
        polynomial(coefficients, "y"),
        f"-({gold})",
        polynomial(coefficients, name, "^{%d+1}"),
        f"({gold})^2",
        polynomial(coefficients[:2], name),
    ):
        assert grade_answer(wrong, gold) is False, wrong


@LIMITS
@given(st.lists(SMALL, min_size=2, max_size=5, unique=True), st.randoms(use_true_random=False))
def test_a_bare_list_and_a_set_have_no_order_and_a_tuple_has(values, random):
    mixed = random.sample(values, len(values))
    bare, other = ", ".join(map(str, values)), ", ".join(map(str, mixed))
    assert (
        grade_answer(other, bare) is True
        and grade_answer(rf"\{{{other}\}}", rf"\{{{bare}\}}") is True
    )
    assert grade_answer(f"({other})", f"({bare})") is (mixed == values)
    for wrong in (values[1:], values + [41], [-41] + values[1:]):
        for form in ("%s", r"\{%s\}", "(%s)"):
            assert grade_answer(form % ", ".join(map(str, wrong)), form % bare) is False


@LIMITS
@given(SMALL, st.integers(1, 40), st.sampled_from("(["), st.sampled_from(")]"))
def test_an_interval_is_itself_and_its_brackets_and_ends_count(low, width, left, right):
    high = low + width
    gold, less = rf"{left}{low},{high}{right}", {"(": "<", "[": r"\le", ")": "<", "]": r"\le"}
    for same in (
        rf"\left{left} {low}, {high} \right{right}",
        rf"{low} {less[left]} x {less[right]} {high}",
        rf"x \in {left}{low}.0,{high}{right}",
    ):
        assert grade_answer(same, gold) is True, same
    flipped = {"(": "[", "[": "(", ")": "]", "]": ")"}
    for wrong in (
        f"{flipped[left]}{low},{high}{right}",
        f"{left}{low},{high}{flipped[right]}",
        f"{left}{low - 1},{high}{right}",
        f"{left}{low},{high + 1}{right}",
        f"{left}{high},{low}{right}",
        rf"{left}{low},\infty)",
        str(low),
    ):
        assert grade_answer(wrong, gold) is False, wrong


@LIMITS
@given(
    st.lists(st.lists(SMALL, min_size=2, max_size=2), min_size=2, max_size=3),
    st.sampled_from(["pmatrix", "bmatrix"]),
)
def test_a_matrix_is_itself_and_not_its_transpose_or_its_numbers(rows, kind):
    def matrix(rows, kind=kind, form="%d"):
        return (
            rf"\begin{{{kind}}} "
            + r" \\ ".join(" & ".join(form % n for n in row) for row in rows)
            + rf" \end{{{kind}}}"
        )

    gold, turned = matrix(rows, "pmatrix"), [list(column) for column in zip(*rows)]
    assert (
        grade_answer(matrix(rows), gold) is True
        and grade_answer(matrix(rows, form=r"\frac{%d}{1}"), gold) is True
    )
    assert grade_answer(matrix(turned), gold) is (turned == rows)
    assert grade_answer(", ".join(str(n) for row in rows for n in row), gold) is False
    assert grade_answer(matrix(rows[:-1] + [[rows[-1][0], rows[-1][1] + 1]]), gold) is False


@LIMITS
@given(INTS, INTS)
def test_two_answers_are_no_answer(one, other):
    assume(one != other)
    for hedge in (
        "%d or %d",
        r"\boxed{%d \text{ or } %d}",
        "%d, %d",
        r"\{%d, %d\}",
        "The answer is either %d or %d.",
        "<answer>%d and %d</answer>",
    ):
        for both in ((one, other), (other, one)):
            assert grade_answer(hedge % both, str(one)) is False, hedge


def test_no_text_makes_the_grader_raise(capsys):
    slowest = [0.0, ""]

    @settings(max_examples=int(os.environ.get("EXAMPLES", 300)), deadline=None)
    @given(ANYTHING, ANYTHING)
    def one(prediction, gold):
        for said, wanted, error in (
            (prediction, gold, 0.0),
            (rf"\boxed{{{prediction}}}", "5", 0.1),
        ):
            try:
                right = equal_or_raise(said, wanted, error)
            except (
                *NOT_A_NUMBER,
                RecursionError,
            ):  # known ways of being no answer; grade_answer hides all others too
                right = False
            took = []
            for _ in range(2):  # the better of two: Python collects garbage now and then
                parser.parse_names.cache_clear()
                lexer.clean.cache_clear()
                began = time.thread_time()
                assert type(right) is bool and right is grade_answer(said, wanted, error)
                took.append(time.thread_time() - began)
            slowest[:] = max(slowest, [min(took), f"{said!r} against {wanted!r}"])

    one()
    with capsys.disabled():
        print(
            f" slowest {1000 * slowest[0]:.1f} ms: {slowest[1]}", end=""
        ) if "EXAMPLES" in os.environ else None
