"""Whether two mathematical answers say the same. This room imports nothing from outside its folder.

    answer.py   the part of a text that is the answer
    compare.py  two answers beside each other: texts, choices, lists, tuples, units, equations
    parser.py   tokens to a tree: the grammar
    lexer.py    mathematical text to tokens; the names of units
    values.py   the value of a tree, exact or with 60 digits
    regions.py  sets of real numbers
    forms.py    answers of a form of their own: 1, 2, ..., 10; vectors in i, j, k; letters as ends
    wording.py  qualifiers behind an answer, and answers in words

`grade_answer(prediction, gold)` is the whole way; its rules stand in compare.py.
"""

from grader.answer import last_boxed
from grader.compare import grade_answer

__all__ = ["grade_answer", "last_boxed"]
