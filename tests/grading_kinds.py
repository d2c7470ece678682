r"""Kinds of wrong verdicts that were mended: for each, pairs that say the same and pairs that do not, both ways round.

The pairs are of our own making; where a kind came from is no pair here. ONE_WAY_KINDS are read in one direction only, since
no gold is written like their predictions.
"""

# The formatter leaves the labelled texts as they stand: one subject a line.
# fmt: off
KINDS = {
    # kind: (the same, different)
    "a function's value is no product": (
        [
            (r"\Psi(3)-\Psi(2)", r"-\Psi(2)+\Psi(3)"), ("G(d)-G(c)", "-G(c)+G(d)"), (r"2\zeta(5)", r"\zeta(5)+\zeta(5)"),
            (r"\frac{\Gamma(\frac13)}{2}", r"\Gamma(1/3)/2"), ("u(3t)+u(t)", "u(t)+u(3t)"), ("P(A)P(B)", "P(B)P(A)"),
            ("E[X]+E[Y]", "E[Y]+E[X]"), (r"\det(A)\det(B)", r"\det(B)\det(A)"), ("2f^{-1}(x)", "f^{-1}(x)+f^{-1}(x)"),
            ("Q(x)=x^2+1", "Q(t)=t^2+1"), ("Q(x)=x^2+1", "x^2+1"), ("P(B)=2/7", "2/7"), ("A(3,4)", "(3,4)"),
        ],
        [
            (r"\Psi(3)-\Psi(2)", r"\Psi(1)"), ("G(d)-G(c)", "G(d-c)"), ("P(C)+P(D)", "P(C+D)"), (r"\zeta(5)", r"5\zeta"),
            (r"\Gamma(1/3)", r"\Gamma(1)/3"), ("u(3t)-u(t)", "2u(t)"), ("T(2n+2)", "2T(n+1)"), ("V(x)", "xV"),
            (r"\Gamma(n+1)-\Gamma(n)", r"\Gamma(1)"), ("E[X]+E[Y]", "E[X+Y]"), (r"\det(3A)", r"3\det(A)"), ("f^{-1}(3x)", "3f^{-1}(x)"),
            (r"\Phi^{-1}(2x)", r"2\Phi^{-1}(x)"), ("P(B)=2/7", "P(C)=2/7"), ("f(2)=9", "f(4)=9"),
        ],
    ),
    "a product is no function's value": (
        [
            ("Q(1+s)", "Q+Qs"), (r"\lambda(x+2)", r"\lambda x+2\lambda"), ("x(x+3)+x(x-3)", "2x^2"), ("a(b+c)+a(d+e)", "ab+ac+ad+ae"),
            (r"\lambda^{-1}(x+1)", r"\frac{x+1}{\lambda}"), (r"\mu(m+M)g", r"\mu gm+\mu gM"), ("m(m+1)/2", r"\frac{m^2+m}{2}"),
        ],
        [("Q(1+s)", "Q+s"), (r"\lambda(x+2)", r"\lambda x+2"), ("x(x+3)+x(x-3)", "x^2"), ("m(m+1)/2", r"\frac{m^2+1}{2}")],
    ),
    "pieces": (
        [
            ("|x-6|", "|6-x|"), (r"\max(x,4)", r"\frac{x+4+|x-4|}{2}"), (r"\min(a,b)+\max(a,b)", "a+b"), (r"\sqrt{(x-6)^2}", "|x-6|"),
            ("|5x|", "5|x|"), (r"\max(2n,2m)", r"2\max(m,n)"),
        ],
        [
            ("|x-6|", "6-x"), ("|x+4|", "x+4"), (r"\max(x,4)", "4"), (r"\max(x,-4)", "x"), (r"\min(n,12)", "n"), (r"\min(x,2000000)", "x"),
            ("|2x-9|", "9-2x"), ("|x/3-8|", "8-x/3"), ("|x-30y|", "30y-x"), ("|x-5|+|x-9|", "4"), (r"\sqrt{(x-6)^2}", "6-x"),
            (r"\frac{|x|}{x}", "1"), (r"\arcsin(\sin x)", "x"), ("|x-6|+y=0", "6-x+y=0"),
        ],
    ),
    "whole points": (
        [
            (r"\lceil n/2\rceil", r"\lfloor (n+1)/2\rfloor"), (r"\lceil x\rceil", r"-\lfloor -x\rfloor"), (r"\gcd(n,n+1)", "1"),
            (r"\lfloor x/2\rfloor+\lfloor (x+1)/2\rfloor", r"\lfloor x\rfloor"), (r"\binom{n}{30}", r"\frac{n!}{30!(n-30)!}"),
            (r"\lfloor x+3\rfloor", r"\lfloor x\rfloor+3"),
        ],
        [
            (r"\lfloor n/30\rfloor", "0"), (r"\lfloor n/5000000\rfloor", "0"), (r"\lfloor y\rfloor+1", r"\lceil y\rceil"),
            (r"\lceil x\rceil", r"\lfloor x+1\rfloor"), (r"\lfloor n/4\rfloor", r"\lceil n/4\rceil-1"), (r"\binom{n}{30}", "0"),
            (r"\lfloor n/2\rfloor", r"\lfloor (n+1)/2\rfloor"), (r"\gcd(n,19)", "1"), (r"\lfloor\sqrt{n}\rfloor", "1"),
        ],
    ),
    "equal where both are real": (
        [
            (r"\sqrt{3-x}\sqrt{2-x}", r"\sqrt{(3-x)(2-x)}"), (r"\sqrt{a}\sqrt{b}", r"\sqrt{ab}"), (r"\ln(4-x)+\ln(7-x)", r"\ln((4-x)(7-x))"),
            (r"\sqrt{\frac{2-x}{2+x}}", r"\frac{\sqrt{4-x^2}}{2+x}"), ("e^{ix}", r"\cos x+i\sin x"),
        ],
        [
            (r"\sqrt{3-x}\sqrt{2-x}", r"-\sqrt{(3-x)(2-x)}"), (r"\sqrt{x^2}", "x"), (r"\sqrt{a^2b^2}", "ab"), ("e^{ix}", r"\cos x-i\sin x"),
        ],
    ),
    "small numbers": (
        [
            ("e^{-130}", r"\frac{1}{e^{130}}"), (r"\sqrt7/4^{1000}", r"\frac{\sqrt7}{2^{2000}}"), ("10^{-70}y", r"\frac{y}{10^{70}}"),
            (r"\sin\pi", "0"), (r"\sqrt2+\sqrt3-\sqrt{5+2\sqrt6}", "0"), (r"(2-\sqrt3)^{20}-(7-4\sqrt3)^{10}", "0"),
            (r"(\sin\pi,1)", "(0,1)"), (r"10^{40}(\sqrt2+\sqrt3)", r"10^{40}\sqrt{5+2\sqrt6}"),
        ],
        [
            ("e^{-130}", "0"), (r"\sqrt7/4^{1000}", r"\sqrt{11}/4^{1000}"), ("10^{-70}y", "0"), (r"\frac{1}{1800!}", r"\frac{1}{1801!}"),
            (r"\frac{\pi}{10^{80}}", r"\frac{e}{10^{80}}"), ("1+e^{-115}", "1"), ("(10^{-70},1)", "(0,1)"), ("x>10^{-70}", "x>0"),
        ],
    ),
    "an index behind a power": (
        [("v^2_0", "v_0^2"), (r"\frac{v^2_1}{3g}", r"\frac{v_1^2}{3g}"), ("x^2_1+x^3_{2}", "x_1^2+x_2^3"), ("(a^2_n)^2", "a_n^4")],
        [("v^2_0", "v_0"), ("x^2_1", "x_2^1"), ("x^2_1", "x^2"), ("2^3_4", "8")],
    ),
    "named ratios": (
        [("AB:CD=2:3", "2:3"), ("S_1:S_2=4:6", "2:3"), ("x:y=1:2", r"\frac12"), ("AB:CD=2:3", "AB:CD=4:6")],
        [("AB:CD=2:3", "3:2"), ("AB:CD=2:3", "CD:AB=2:3"), ("x:y=1:2", "2"), ("x:y=1:2=2:3", "1:2")],
    ),
    "a value called about": (
        [(r"x\approx 13", "13"), (r"\Delta v\approx\frac{h}{c}", r"\frac{h}{c}"), (r"L\approx 4.5", "4.5"), (r"y\approx 2\pi", r"2\pi")],
        [(r"x\approx 13", "13.1"), (r"6\approx 7", "7"), (r"\pi\approx 3.14", "3.14"), (r"x\approx 13", r"y\approx 13")],
    ),
    "degrees of heat, minutes of arc": (
        [
            (r"25^\circ C", "25"), (r"25^\circ\text{C}", r"25^\circ C"), (r"25\text{ degrees Celsius}", r"25^\circ C"),
            ("15'", "15"), (r"0.02^{\prime\prime}", "0.02"), (r"80^\circ\mathrm{F}", "80"),
        ],
        [(r"25^\circ C", r"25^\circ F"), ("15'", "15''"), ("5'10''", "50"), (r"25^\circ C", "25 m")],
    ),
    "double factorials": (
        [("5!!", "15"), ("8!!", "384"), ("(2m-1)!!", r"\frac{(2m)!}{2^m m!}"), ("(3!)!", "720")],
        [("5!!", "(5!)!"), ("4!!", "24!"), ("n!!", "(n!)!"), ("3!!!", "3"), ("6!!", "720")],
    ),
    "words that change a number": (
        [(r"7\text{ bags}", "7"), (r"7\text{ K}", "7"), (r"7\text{ thousand}", "7000"), (r"7\text{ cubes}", "7")],
        [
            ("7 below zero", "7"), ("7 degrees below zero", "7"), ("7 negative", "7"), (r"7\text{ reciprocal}", "7"), ("7 eight nine", "7"),
            ("7 k", "7"), (r"7\text{ k}", "7"), (r"7\text{ B}", "7"), ("0.7 repeating", "0.7"), ("7 doubled", "7"), ("7 per thousand", "7"),
            ("7 twice", "7"), ("7 under par", "7"),
        ],
    ),
}
ONE_WAY_KINDS = {
    "boxes": (
        [
            (r"\boxed{x=\boxed{7}}", "7"), (r"\boxed{\boxed{7}}", "7"), (r"\boxed{2}, \boxed{4} and $\boxed{7}$", "2,4,7"),
            (r"$\boxed{(1,2)}$ \quad \text{and} \quad $\boxed{(3,4)}$", "(1,2),(3,4)"), (r"\boxed{2}, no: \boxed{7}", "7"),
            (r"\boxed{1\frac12}, or \boxed{\frac32}", "1.5"), (r"\boxed  {7} it is", "7"), (r"\boxed{7}, \boxed{7}", "7"),
        ],
        [
            (r"\boxed{8 \boxed{7}}", "7"), (r"\boxed{8 \boxed{7}}", "8"), (r"\boxed{8 \boxed{7}}", "56"), (r"\boxed{7} or \boxed{8}", "8"),
            (r"\boxed{7} or \boxed{8}", "7"), (r"\boxed{7} \text{ and } \boxed{8}", "8"), (r"\boxed{2}, \boxed{4}", "2,4,7"), (r"\boxed{7", "7"),
        ],
    ),
    "a base that the gold lacks": (
        [("25_{10}", "25"), ("25", "25_7"), ("25_7", "25_7"), (r"25_{\text{seven}}", "25_7")],
        [("25_7", "25"), ("11_2", "11"), ("11_2", "3"), ("19", "25_7")],
    ),
    "an answer tag that is not closed": (
        [("<answer>7</answer>", "7"), ("so <answer> 7 </answer>", "7"), ("</think><answer>x=7</answer>", "7"), ("<answer>7</answer> done", "7")],
        [("<answer>7", "7"), ("so <answer>7\n", "7"), ("</think><answer>x=7<answer>", "7"), ("<answer>7</think>", "7")],
    ),
    "what holds only somewhere": (
        [("The value is f(x) = 4", "4"), ("so we get x = 4", "4"), ("Then the sum is 4", "4"), ("f(x) = 4", "f(x)=4")],
        [(r"\forall x>1, f(x)=4", "f(x)=4"), (r"\forall x>1, f(x)=4", "4"), (r"\exists x: x = 4", "4"), (r"\exists n, n=4", "n=4")],
    ),
}
# fmt: on
