"""What attackers and models found: answers that say the same in other words, and texts that must not pass for an answer."""

import time

from grader import grade_answer

# The formatter leaves the labelled texts as they stand: one subject a line.
# fmt: off
SAME = [
    (r"$\frac{1}{2}$", "0.5"), (r"The answer is $\boxed{\text{(B)}\ 12}$", "12"), (r"\boxed{\textbf{(B)}\ 12}", "B"),
    ("(B) 12", "B"), (r"\boxed{x=5}", "5"), ("$1$, $2$ and $3$", "3,2,1"), ("1, 2, and 3", "1,2,3"), (r"10\%", "0.1"),
    ("10%", "10"), (r"x<2 \text{ or } x>3", r"$x \in (-\infty, 2) \cup (3, \infty)$"),
    ("x<2 or x>3", r"(-\infty, 2) \cup (3, \infty)"), ("1/sqrt(3)", r"\frac{\sqrt{3}}{3}"), ("2^{10}", "1024"),
    ("10^{-3}", "0.001"), (r"\dfrac{\pi}{2} \text{ rad}", r"\pi/2"), ("3.0", "3"), ("3.", "3"), ("+3", "3"),
    (r"\sqrt{16}", "4"), ("|-3|", "3"), (r"\frac{x^2-1}{x-1}", "x+1"), (r"\ln(e^2)", "2"), ("5!", "120"),
    (r"\binom{5}{2}", "10"), (r"\frac{x}{2}+3", r"y=\frac{1}{2}x+3"), ("2y=x+6", r"y=\frac{1}{2}x+3"),
    ("x^2+y^2-4=0", "x^2 + y^2 = 4"), ("{1,2,3}", r"\{3,2,1\}"), ("1,2,3", r"\{1,2,3\}"), ("x=1, y=2", "(1,2)"),
    ("(x,y)=(1,2)", "(1,2)"), (r"\frac{7}{8}\text{ inches}", r"\frac78"), (r"12\,345", "12345"), ("12 345", "12345"),
    ("1.234e5", "123400"), (r"1.5\times10^{3}", "1500"), ("1.5 x 10^3", "1500"), ("1.5×10³", "1500"),
    (r"\frac{-1}{2}", r"-\frac12"), ("−1/2", "-0.5"), (r"\frac{3}{-4}", "-0.75"), (r"\sqrt[3]{-8}", "-2"),
    ("3i+2", "2+3i"), (r"e^{i\pi}", "-1"), ("infinity", r"\infty"), (r"+\infty", r"\infty"),
    ("No solution", r"\text{no solution}"), (r"\varnothing", r"\emptyset"), (r"\{\}", r"\emptyset"),
    (r"0.\overline{3}", "1/3"), (r"0.3\overline{6}", r"\frac{11}{30}"), (r"2 \le x", r"[2,\infty)"),
    ("-1<x<1", "(-1,1)"), (r"\mathbb{R}", r"(-\infty,\infty)"), (r"x \neq 0", r"\mathbb{R} \setminus \{0\}"),
    (r"(-\infty,0)\cup(0,\infty)", r"\mathbb{R} \setminus \{0\}"),
    (r"\frac{\pi}{4} + k\pi, k \in \mathbb{Z}", r"\frac{\pi}{4}+k\pi"), (r"6\pi \approx 18.85", r"6\pi"),
    (r"5\,\mathrm{m/s}", "5 m/s"), ("5 m/s", "5"), ("5", "5 m/s"), (r"5 \text{ m}/\text{s}", r"5\text{ m/s}"),
    ("9.8 m/s^2", "9.8"), ("5 m", "5"), (r"x=1 \text{ and } y=2", "(1,2)"), (r"\angle A = 60^\circ", "60"),
    ("f^{-1}(x)=x+1", "x+1"), ("2sqrt2", r"\sqrt{8}"), ("2√2", r"\sqrt{8}"), (r"3 + \frac12", "3.5"),
    (r"25\pi\text{ cm}^2", r"25\pi"), ("yes.", r"\text{Yes}"), (r"3 \text{ or } 4", "3,4"), (r"x=\pm3", "3,-3"),
    ("**42**", "42"), ("The answer is **42**.", "42"), ("Answer: 42", "42"), ("ANSWER: 42", "42"), ("#### 42", "42"),
    ("So the answer is 42 apples.", "42"), ("Therefore, x = 42.", "42"), (r"\boxed 5", "5"),
    (r"\text{$\frac{1}{2}$}", "1/2"), (r"3/4 \text{ cup}", "0.75"), (r"\text{5 cm}", "5"),
    ("(1,2), (3,4)", "(3,4),(1,2)"), (r"1 < x < 2 \text{ or } x > 5", r"(1,2)\cup(5,\infty)"), ("1:2", "2:4"),
    (r"\frac12\%", "0.5%"), ("$x=2$ or $x=3$", "2,3"), (r"Thus we have $x = \frac{3}{4}$.", r"\frac{3}{4}"),
    ("<think>hm 5</think> <answer>7</answer>", "7"), ('<think>hm</think>\n\nThe final answer is: $\\boxed{7}$', "7"),
    ("The final answer is $7$. I hope it is correct.", "7"), (r"\[ x = 7 \]", "7"), (r"\(7\)", "7"),
    (r"7 \text{ units}", "7"), ("7 square units", "7"), ("The area is 12 cm².", "12"), ("1,000,000", "10^6"),
    ("1 million", "1000000"), (r"\text{east}", "east"), (r"\mathrm{A}", "A"), ("A.", "A"), ("(a)", "a"),
    (r"\frac{\sqrt{2}}{2}", r"\sin 45^\circ"), (r"\tan^{-1}(1)", r"\frac{\pi}{4}"), (r"\arctan 1", r"\pi/4"),
    (r"\log_2 8", "3"), (r"\log 100", "2"), ("x^{2}+2x+1", "(x+1)^2"),
    (r"\frac{a}{b}+\frac{c}{d}", r"\frac{ad+bc}{bd}"), (r"2^n\cdot 2", "2^{n+1}"), (r"\frac{n!}{(n-1)!}", "n"),
    ("x > 3", "3 < x"), (r"\left\{\frac12\right\}", "0.5"), ("x_1=2, x_2=1", "1,2"), ("frac{1}{2}", "0.5"),
    (r"\text{The answer is } 5", "5"), (r"\boxed{\text{Answer: }5}", "5"), (r"2\text{ cis }90^\circ", "2i"),
    (r"\$5 \text{ million}", "5000000"), (r"12\text{ sq. units}", "12"),
    (r"\text{all real numbers}", r"(-\infty,\infty)"), (r"x>1, x\ne 2", r"(1,2)\cup(2,\infty)"), (r"\text{\$}5", "5"),
    (r"\text{Area} = 12 \text{ cm}^2", "12"), ("x = 3, -3", r"\pm 3"), (r"\frac{13}{4}=3.25", "3.25"),
    (r"(-\infty; 2)", r"(-\infty,2)"), (r"x\in(1,2)\text{ or }x\in(3,4)", r"(1,2)\cup(3,4)"),
    ("100!", "93326215443944152681699238856266700490715968264381621468592963895217599993229915608941463976156518286253697920827223758251185210916864000000000000000000000000"),
    (r"10\text{ miles per hour}", "10 mph"), (r"\text{ }5", "5"), ("$$x=5$$", "5"), ("y=x^2, x>0", "y=x^2,x>0"),
    (r"\mathbf{A}", "A"), (r"\boxed{A}", r"\text{(A)}"), ("(A)", "A"), (r"\textbf{(A)}", "A"),
    ("-x+2y=3", "x-2y+3=0"), (r"\frac{3}{4}\pi", r"\frac{3\pi}{4}"), (r"\frac{2}{3}\,\text{hours}", "2/3"),
    ("1/3 + 2/3", "1"), (r"\frac{\pi}{3}, \frac{5\pi}{3}", r"\frac{5\pi}{3},\frac{\pi}{3}"),
    (r"1.0 \times 10^{5}", "100000"), ("twelve", "twelve"), (r"\text{Tuesday}", "Tuesday"),
    (r"\left(\frac{1}{2},\frac{3}{4}\right)", "(0.5,0.75)"), (r"\sqrt{2}/2", r"\frac{\sqrt2}{2}"),
    (r"1-\frac{1}{2^{n}}", "1-2^{-n}"), ("x^{-1}", "1/x"), (r"\displaystyle\frac{1}{2}", "1/2"), (r"\tfrac12", "1/2"),
    ("$-1$", "-1"), ("- 1", "-1"), ("1.", "1"), (r"\text{ 15 }", "15"), ("15 %", "15"), (r"\text{15\%}", r"15\%"),
    (r"\gcd(12,18)", "6"), (r"\text{lcm}(4,6)", "12"), (r"\mathbf{\frac{1}{2}}", "0.5"), (r"\boldsymbol{x+1}", "x+1"),
    (r"\color{red}{5}", "5"), (r"\textcolor{red}{5}", "5"), ("Option C", "C"), ("`5`", "5"), ("*5*", "5"),
    ("<b>5</b>", "5"), ("5<br>", "5"), (r"4210_{\text{five}}", "4210_5"), ("4210 base 5", "4210_5"), (r"-\$5", "-5"),
    (r"\$-5", "-5"), ("5 square cm", "5"), ("5 m s^{-1}", "5"),
    (r"-\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}-1\\-2\end{pmatrix}"),
    (r"\mathbb R-\{2\}", r"(-\infty,2)\cup(2,\infty)"), ("100,200", r"\{100,200\}"),
    ("The answer is clearly 5.", "5"), ("The correct option is B", "B"),
]
NOT_THE_SAME = [
    (r"\boxed{6=5}", "5"), (r"\boxed{6=5}", "6"), ("1 or 2", "1"), ("either 3 or 4", "3"), ("x=5", "y=5"),
    ("0.333", "1/3"), ("3.14", r"\pi"), ("5 cm", "5 m"), ("(1,2)", "[1,2]"), ("(2,1)", "(1,2)"), ("1,2", "(1,2)"),
    (r"\pm 3", "3"), ("", "5"), ("<think>5", "5"), (r"<think>\boxed{5}</think>", "5"), ("x", "5"), ("2n+2", "2k+2"),
    ("a", "A"), ("40_8", "40_9"), ("36", "40_9"), ("-5", "5"), (r"\boxed{}", "5"), (r"\boxed{5", "5"),
    (r"\frac{0}{0}", "0"), ("5 or maybe 6", "5"), ("5 million", "5"), ("not 5", "5"), ("5 is wrong", "5"),
    ("30", "30x"), (r"(3,\infty)", r"[3,\infty)"), (r"x\ge 3", "x>3"), ("1/2", "2"), ("12", "1 2"),
    (r"5\cdot\frac{x-x}{x-x}", "5"), ("The answer is 5 or 6", "5"), ("The answer is between 1 and 10", "5"),
    (r"\log x", r"\ln x"), ("|x|", "x"), ("5%", r"5\text{ cm}"), ("x^2", "x"), ("5x", "5y"),
    ("The answer is 7, or is it 8?", "8"), (r"\boxed{3,4}", "3"), ("50", "0.5"), ("50 cents", r"\$50"), ("0.5", "5"),
    (r"\text{(A)}", "B"), ("AB", "A"), ("ABCDE", "A"), ("A or B", "A"), ("A, B", "A"), ("5,5", "5"),
    (r"\frac{37}{4}", r"\frac{37}{4} m"), ("5+C", "5"), ("x_1=2, x_2=1", "(1,2)"), ("99!", "100!"),
    (r"5\text{ million}", "5"), (r"\{1,2\}", "(1,2)"), (r"x>1, x\ne 2", r"(1,\infty)"), ("1,2", "1"),
    ("100!+1", "100!"), ("1.41421356", r"\sqrt2"), ("2^{1000}", "2^{1001}"), ("x=1,y=2", "(2,1)"), ("0:0", "3:4"),
    (r"\infty:\infty", "3:4"), ("0x:0x", "3:4"), ("10:00", "5:00"), ("2:30", "1:15"), ("555_{10}", "4210_5"),
    (r"\text{not } = 5", "5"), ("not x=5", "5"), ("wrong answer = 5", "5"), (r"\text{anything but}=5", "5"),
    (r"\not x=5", "5"), (r"\neg x>2", "x>2"), (r"x\not>2", "x>2"), (r"x \not\in (2,3)", "(2,3)"),
    (r"\text{less than:}5", "5"), (r"\text{at most:}5", "5"), (r"\text{half of:}10", "10"),
    (r"\text{the answer isn't: }5", "5"), (r"\text{5 or:}6", "6"), (r"\text{5+=}6", "6"), ("2x+3=13", "x=5"),
    ("3x-6>0", "x>2"), ("x>2", "y>2"), ("x>1", "x>1, y>2"), (r"(-\infty,\infty)", "x>1, y<3"),
    ("x<3 and y>2", "(2,3)"), ("y=1, x=2", "(1,2)"), ("b=1,a=2", "1,2"), ("|xy|", "xy"), (r"\sqrt{x^2y^2}", "xy"),
    ("|x|+|y|=1", "x+y=1"), (r"\sqrt{x^2}=y", "x=y"), (r"\lfloor x\rfloor", "x"),
    (r"\lceil x\rceil", r"\lfloor x\rfloor"), ("|x|=5", "5"), ("|x|=5", "x=5"), ("(x,y)=5", "5"),
    (r"\overline{x}=5", "x=5"), (r"\overline{5}", "5"), ("5 lakh", "5"), ("5 crore", "5"), (r"5\text{ mil}", "5"),
    ("5 doesn't work", "5"), (r"5\text{ square cm wrong}", "5"), ("5:00 pm", "5:00 am"),
    ("The answer is 5. No wait, it is 6.", "5"), ('5\n\nbut actually 6', "5"), ("at least $5$", "5"),
    ("less than $5$", "5"), ("neither $5$ nor $6$", "6"), ("options $5$ and $6$", "6"), ("A: no, it is B", "A"),
    ("C) is wrong; D is right", "C"), (r"5 \approx 6", "5"), ("1,2,...", "1,2"), ("0.333...", "0.333"),
    (r"\boxed{5} or \boxed{6}", "6"), (r"\tag{or 6}5", "5"), ("f(x)=n", "f(n)=n"),
    ("0", r"$f(x)=a x+b$, where $b$ is an arbitrary integer, and $a$ is an arbitrary positive integer with $\mho(a)=0$"),
    ("5 or" + " " * 2100 + "6", "6"),
]
# fmt: on
SLOW = [
    "5" + " " * 200 + "6",
    "5" + "\n" * 400 + "6",
    "**a** " * 160000,
    "$A." + " " * 300,
    "x" * 900,
    "+".join(["x"] * 900),
    "+".join(f"1/{3 + k}^{{{9500 - k * 100}}}" for k in range(60)),
    ",".join(f"x\\ne {k}" for k in range(200)),
    r"\{" + ",".join(f"(x+{k})^{{x^3+9999}}!" for k in range(40)) + r"\}",
    ",".join(r"1\pm 1" for _ in range(100)),
    r"\{" + ",".join(f"x+y+{k}=x!" for k in range(40)) + r"\}",
    r"5\text{" + "m" * 1900 + "}",
    r"\pm" * 10**4,
    r"(-\infty,\infty)\setminus\{" + ",".join(map(str, range(500))) + r"\}",
    "9^9^9^9",
    "((999!)!)!",
    r"\sqrt" * 999 + "2",
]


def test_the_same_in_other_words():
    assert not [pair for pair in SAME if not grade_answer(*pair)]


def test_what_must_not_pass():
    assert not [pair for pair in NOT_THE_SAME if grade_answer(*pair)]


def test_texts_that_were_slow_once():
    """A guard against hanging: each took a second or more in some version, and takes milliseconds now."""
    for text in SLOW:
        for gold in ("5", r"\{1,2\}", "x^2", "x=5", "x>2", "(1,2)"):
            began = time.process_time()
            assert not grade_answer(text, gold), text[:60]
            assert time.process_time() - began < 2, text[:60]
