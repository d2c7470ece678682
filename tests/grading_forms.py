r"""Kinds of right answers that were missed once: for each, pairs that say the same and pairs that do not, both ways round.

The pairs are of our own making. ONE_WAY_FORMS are read in one direction only, since no gold is written like their
predictions, or since a gold may say more than an answer has to.
"""

# The formatter leaves the labelled texts as they stand: one subject a line.
# fmt: off
FORMS = {
    # kind: (the same, different)
    "a sign behind a plus": (
        [("4 + -7i", "4-7i"), ("y + -3", "y-3"), ("a - -b", "a+b"), ("2x^2 + -5x + +1", "2x^2-5x+1")],
        [("4 + -7i", "4+7i"), ("y - -3", "y-3"), ("7+-", "7"), ("7--", "7"), ("7 + - 2", "9")],
    ),
    "regions with a point": (
        [
            (r"y=-5 \text{ or } 2\le y\le 4", r"\{-5\}\cup[2,4]"), (r"x>6 \text{ or } x=0", r"\{0\}\cup(6,\infty)"),
            ("x=1 or x>7", r"x>7 \text{ or } x=1"), (r"t=0 \text{ or } 3<t<5", r"\{0\}\cup(3,5)"),
        ],
        [
            (r"y=-5 \text{ or } 2\le y\le 4", "[2,4]"), (r"x>6 \text{ or } x=0", r"[0,\infty)"), ("x=7 or x>7", "x>7"),
            ("x=2, x>1", r"(1,\infty)"), (r"x=0 \text{ and } x>6", r"\{0\}\cup(6,\infty)"), ("x=1 or x>7", "y>7 or x=1"),
        ],
    ),
    "several choices": (
        [("B, D, E", "BDE"), (r"\text{A and D}", "AD"), ("(C), (D)", "CD"), ("B、C", "BC"), ("ABD", "(A), (B) and (D)")],
        [("B, D", "BDE"), ("A, B, D, E", "BDE"), ("A or D", "A"), ("C, D", "D"), ("A, C", "CA"), ("D, E", "E")],
    ),
    "kinds of numbers in words": (
        [
            (r"\text{odd } m", r"m \text{ is odd}"), ("all even integers n", "n is even"), (r"\text{all odd } k", r"\text{odd } k"),
            (r"p \text{ is prime}", r"\text{prime } p"),
        ],
        [
            (r"\text{odd } m", r"m \text{ is even}"), (r"\text{odd } m", r"\text{odd } n"), (r"m \text{ is not odd}", r"\text{odd } m"),
            (r"\text{odd primes } p", r"\text{primes } p"), ("even", "odd"),
        ],
    ),
    "series and solutions in words": (
        [
            ("divergent", r"\text{diverges}"), ("The series converges", "convergent"), ("does not converge", "divergent"),
            (r"\text{no solution}", r"\varnothing"), ("There are no solutions", r"\emptyset"), ("no real solutions", r"\{\}"),
            ("the empty set", r"\emptyset"),
        ],
        [
            ("divergent", "convergent"), ("does not converge", "converges"), (r"\emptyset", "0"), (r"\emptyset", r"\{0\}"),
            ("no solution", "one solution"), ("no", "no solution"), (r"\varnothing", "all real numbers"),
        ],
    ),
    "named sets": (
        [
            (r"\mathbb{Z}^+", r"\text{positive integers}"), (r"\mathbb{Z}_{>0}", r"\mathbb{Z}^{+}"), (r"\mathbf{Q}", r"\mathbb{Q}"),
            ("all natural numbers", r"\mathbb{N}"), (r"\mathbb{R}_{\ge 0}", r"[0,\infty)"), (r"\mathbb{R}^-", "x<0"),
            (r"\mathbb{R}_{>0}", r"\text{positive real numbers}"), (r"\mathbb{R}^*", r"\mathbb{R}\setminus\{0\}"),
        ],
        [
            (r"\mathbb{Z}^+", r"\mathbb{Z}"), (r"\mathbb{Z}^-", r"\mathbb{Z}^+"), (r"\mathbb{Q}", r"\mathbb{Z}"), (r"\mathbb{R}^+", r"[0,\infty)"),
            (r"\mathbb{R}_{\ge 0}", r"(0,\infty)"), ("negative integers", r"\mathbb{Z}_{>0}"), (r"\mathbb{C}", r"\mathbb{R}"),
        ],
    ),
    "qualifiers that say nothing": (
        [
            (r"h(x)=3x \text{ for all real } x", "h(x)=3x"), (r"h(x)=3x, \forall x\in\mathbb{R}", "h(x)=3x"), (r"\forall x, h(x)=3x", "h(x)=3x"),
            (r"y=Ce^{x}, \text{ where } C \text{ is an arbitrary constant}", "y=Ce^x"), (r"y=Kx \text{ for any constant } K", "y=Kx"),
            (r"g(n)=5 \text{ for every integer } n", "g(n)=5"),
        ],
        [
            (r"h(x)=3x \text{ for all real } x", "h(x)=4x"), (r"\forall x<0, h(x)=3x", "h(x)=3x"),
            (r"5 \text{ for some } x>0", "5"), ("5 except for x", "5"), ("5, x", "5"),
        ],
    ),
    "conditions": (
        [
            (r"g(x)=bx \text{ for some } b>2", "g(x)=bx, b>2"), (r"\frac{3}{x}, x\ne 0", r"\frac{3}{x} (x \neq 0)"),
            (r"y=x^3 \text{ where } x>1", r"y=x^3,\ x>1"), (r"g(x)=x^b, 0<b<1", r"g(x)=x^b \text{ with } 1>b>0"),
        ],
        [
            (r"g(x)=bx \text{ for some } b>2", "g(x)=bx, b>3"), ("g(x)=bx", "g(x)=bx, b>2"), (r"y=x^3, x>1", "y=x^3"),
            ("x^2=9, x>0", "x^2=9"), ("x>1, x<4", "x>1"), (r"g(x)=x^b, b<1", r"g(x)=x^b, b>1"),
        ],
    ),
    "families of whole letters": (
        [
            (r"\frac{\pi}{5}+m\pi, m\in\mathbb{Z}", r"\frac{\pi}{5}+k\pi, k\in\mathbb{Z}"), (r"x=4n\pi \text{ for integer } n", r"x=4k\pi,\ k\in\mathbb{Z}"),
            (r"7m+2 \ (m\in\mathbf{Z})", r"7k+2, k\in\mathbb{Z}"), (r"3\ell-1, \ell\in\mathbb{N}", r"3n-1, \text{ where } n \text{ is a positive integer}"),
            (r"\pm\frac{\pi}{7}+2n\pi, n\in\mathbb{Z}", r"2k\pi\pm\frac{\pi}{7}, k\in\mathbb{Z}"),
        ],
        [
            (r"m\pi, m\in\mathbb{Z}", r"2k\pi, k\in\mathbb{Z}"), ("7m+2", "7k+2"), (r"7x+2, k\in\mathbb{Z}", r"7k+2, k\in\mathbb{Z}"),
            (r"k\pi, k\in\mathbb{N}", r"k\pi, k\in\mathbb{Z}"), (r"mk, m\in\mathbb{Z}", r"km+m, k\in\mathbb{Z}"),
        ],
    ),
    "congruences": (
        [
            (r"m\equiv 2\pmod 7", r"m \equiv 2 \pmod{7}"), ("m ≡ 2 (mod 7)", r"m\equiv 2\pmod 7"), (r"2\bmod 7", r"2 \pmod{7}"),
            (r"m \equiv 2 \ (\text{mod } 7)", r"m\equiv 2\pmod{7}"), (r"g(x)\equiv 3", "g(x)=3"),
            ("m≡2(mod7)", r"m\equiv 9\pmod{7}"), (r"-1\pmod 4", r"3\pmod 4"),
        ],
        [
            (r"m\equiv 2\pmod 7", r"m\equiv 2\pmod 8"), (r"m\equiv 3\pmod 7", r"m\equiv 2\pmod 7"), ("2", r"m\equiv 2\pmod 7"),
            ("2 mod 7", "2"), (r"m\equiv 2\pmod 7", "m=2"),
        ],
    ),
    "marks over letters": (
        [(r"\overline{x}-1", r"\bar{x}-1"), (r"\widehat{p}", r"\hat p"), (r"\widetilde{u}", r"\tilde{u}"), (r"3\ell+1", "3l+1")],
        [(r"\overline{x}", "x"), (r"\hat p", r"\bar p"), (r"\overline{x}", r"\overline{y}"), (r"\ell", "1")],
    ),
    "e and i as names": (
        [("(c,d,e)=(4,5,6)", "(4,5,6)"), ("e=9", "9"), ("i=12", "12"), (r"e=\frac{\sqrt5}{3}", r"\frac{\sqrt5}{3}")],
        [("(c,d,e)=(4,5,6)", "(4,6,5)"), ("e=9", "8"), ("e=9", "x=9"), ("e=9", "e"), ("2+i=12", "12")],
    ),
    "degrees in a sum": (
        [
            (r"90^\circ-\beta", r"90-\beta"), (r"\frac{180^\circ-x}{2}", r"\frac{180-x}{2}"), (r"90°-\beta", r"\frac{\pi}{2}-\beta"),
            (r"(90-2x)^\circ", r"90^\circ-2x"),
        ],
        [(r"90^\circ-\beta", r"90+\beta"), (r"90^\circ-\beta", r"80-\beta"), (r"\sin 20^\circ", r"\sin 20"), (r"90^\circ-\beta", r"\beta")],
    ),
    "percent and units": (
        [
            ("35 pct", r"35\%"), (r"35\text{ percentage}", "0.35"), ("8 (blue cars)", "8"), (r"8\text{ (cars)}", "8 cars"),
            (r"12\text{ N}\cdot\text{m}", r"12\text{ N-m}"), ("12 N-m", "12"), (r"\$8 - \$3 = \$5", "5"), ("40度", r"40^\circ"), ("25元", "25"),
        ],
        [
            ("35 pct", "35 cm"), ("8 (not cars)", "8"), ("8 (nine)", "8"), ("8 (blue cars)", "9"), ("12 N-m", "12 J"), (r"\$8 - \$3", "8"),
            ("40度", "50"), ("8 (bus)", "8 (blue cars)"),
        ],
    ),
    "vectors in i, j, k": (
        [
            (r"4\mathbf{i}+\mathbf{j}-2\mathbf{k}", "(4,1,-2)"), (r"3\hat{i}-5\hat{j}", r"\langle 3,-5\rangle"), ("4i+j-2k", r"4\vec{i}+\vec{j}-2\vec{k}"),
            (r"\frac{\mathbf{i}-\mathbf{j}}{\sqrt2}", r"\frac{1}{\sqrt2}\mathbf{i}-\frac{1}{\sqrt2}\mathbf{j}"),
            (r"a\hat{i}+b\hat{j}", "(a,b)"), (r"4\mathbf{i}+\mathbf{j}-2\mathbf{k}", r"\begin{pmatrix}4\\1\\-2\end{pmatrix}"),
        ],
        [
            (r"4\mathbf{i}+\mathbf{j}-2\mathbf{k}", "(4,1,2)"), (r"3\hat{i}-5\hat{j}", "(-5,3)"), ("3+5i", "(5,3)"),
            (r"3\hat{i}-5\hat{j}", r"3\hat{j}-5\hat{i}"), (r"3\mathbf{i}+\mathbf{j}", "(3,1,1)"),
        ],
    ),
    "intervals with letters": (
        [
            ("p<x<q", "(p,q)"), (r"[m-2,m+2]", r"m-2\le x\le m+2"), (r"x\ge c", r"[c,\infty)"), (r"\{t \mid t<2s\}", r"(-\infty,2s)"),
            (r"y\in(p,q]", r"p<y\le q"),
        ],
        [("p<x<q", "[p,q)"), (r"[m-2,m+2]", r"m-2\le x<m+2"), (r"x>c", r"[c,\infty)"), ("p<x<q", "(q,p)"), ("x<c", r"(c,\infty)")],
    ),
    "brackets turned away": (
        [("]2,5[", "(2,5)"), ("[2,5[", "[2,5)"), (r"]-\infty,3]", r"x\le 3"), (r"]p,q[\cup[r,+\infty[", r"(p,q)\cup[r,\infty)"),
         (r"\sqrt[4]{2}, -\sqrt[4]{2}", r"\pm\sqrt[4]{2}"), (r"\left]0;1\right[", "(0,1)")],
        [("]2,5[", "[2,5]"), ("[2,5[", "(2,5]"), ("]2,5]", "]2,5["), (r"]-\infty,3[", r"x\le 3"), ("]5[", "5")],
    ),
    "names of indices and constants": (
        [
            ("b_{i,j}", "b_{ij}"), (r"C_1\cos 2x+C_2\sin 2x", r"c_1\cos 2x+c_2\sin 2x"),
            ("y=C_1x^3+2", "y=c_1x^3+2"), (r"C_1+C_2x+C_3x^2+C_4x^3", "c_1+c_2x+c_3x^2+c_4x^3"),
        ],
        [
            ("b_{i,j}", "b_{ji}"), (r"C_1\cos 2x+C_1\sin 2x", r"c_1\cos 2x+c_2\sin 2x"), (r"p\cos 2x+q\sin 2x", r"c_1\cos 2x+c_2\sin 2x"),
            ("c_1x+c_3", "c_1x+c_2"), ("C_1x^3+2", "c_1x^2+2"),
        ],
    ),
    "cases": (
        [
            (r"\begin{cases} 2x & x>1 \\ 2 & x\le 1\end{cases}", r"\left\{\begin{array}{ll} 2, & \text{if } x\le 1, \\ x+x, & \text{if } 1<x\end{array}\right."),
            (r"f(t)=\begin{cases} 0, & t=0 \\ \frac1t, & t\ne 0.\end{cases}", r"\begin{cases} t^{-1} & \text{if } t\neq0 \\ 0 & \text{if } t=0\end{cases}"),
            (r"\begin{cases} 1 & n \text{ is odd} \\ 2 & \text{otherwise}\end{cases}", r"\begin{cases} 1, & n \text{ is odd}, \\ 2, & \text{otherwise}.\end{cases}"),
            (r"\begin{cases} 0 & x=5 \\ 1 & \text{otherwise}\end{cases}", r"\begin{cases} 1 & x\ne 5 \\ 0 & x=5\end{cases}"),
            (r"\begin{cases} 3 & 0<x<1 \\ 4 & x\ge 1\end{cases}", r"\begin{cases} 3 & \text{for } 1>x>0 \\ 4 & \text{for } 1\le x\end{cases}"),
        ],
        [
            (r"\begin{cases} 2x & x>1 \\ 2 & x\le 1\end{cases}", r"\begin{cases} 2 & x>1 \\ 2x & x\le 1\end{cases}"),
            (r"\begin{cases} 2x & x>1 \\ 2 & x<1\end{cases}", r"\begin{cases} 2x & x>1 \\ 2 & x\le 1\end{cases}"),
            (r"\begin{cases} 2x & x>1 \\ 2 & x\le 1\end{cases}", "2x"),
            (r"\begin{cases} 1 & n \text{ is odd} \\ 2 & n \text{ is even}\end{cases}", r"\begin{cases} 1 & n \text{ is even} \\ 2 & n \text{ is odd}\end{cases}"),
            (r"\begin{cases} 0 & x=5 \\ 1 & \text{otherwise}\end{cases}", r"\begin{cases} 1 & x>5 \\ 0 & x=5\end{cases}"),
            (r"\begin{cases} 2x & x>1\end{cases}", r"\begin{cases} 2x & x>1 \\ 2 & x\le 1\end{cases}"),
        ],
    ),
    "and so on": (
        [
            (r"3,5,\ldots,21", r"3,5,7,\dots,21"), (r"\{3,5,7,...,21\}", r"3,5,\ldots,21"), (r"1,2,\ldots,n", r"1,2,3,\ldots,n"),
            (r"4,8,\ldots", r"4,8,12,\ldots"), ("2,3,4,5", r"2,3,\ldots,5"),
        ],
        [
            (r"3,5,\ldots,21", r"3,5,\ldots,23"), (r"3,5,\ldots,21", r"3,4,\ldots,21"), (r"4,8,\ldots", "4,8"), (r"3,5,9,\ldots,21", r"3,5,\ldots,21"),
            (r"3,5,\ldots,20", r"3,5,\ldots,20.5"), (r"1,2,\ldots,n", r"1,2,\ldots,m"),
        ],
    ),
    "pairs of names": (
        [
            ("a=1, b=6; a=2, b=3", "(1,6),(2,3)"), (r"x=4,y=0 \text{ or } x=0,y=4", "(4,0),(0,4)"),
            (r"p=3, q=8 \text{ and } p=8, q=3", "p=8,q=3; p=3,q=8"), ("a=1,b=6;a=2,b=3", "a=2,b=3;a=1,b=6"),
        ],
        [
            ("a=1, b=6; a=2, b=3", "(1,3),(2,6)"), ("a=1, b=6; a=2, b=3", "(1,6)"), (r"x=4,y=0 \text{ or } x=0,y=4", "(4,0),(4,0)"),
            ("a=1, b=6; a=2, b=3", "(1,6,2,3)"),
        ],
    ),
    "Chinese": (
        [
            ("3 或 7", "3,7"), ("3和7", "7,3"), ("x>3 或 x<1", r"(-\infty,1)\cup(3,\infty)"), ("①④", r"\textcircled{1}\textcircled{4}"),
            (r"\textcircled{1}, \textcircled{4}", "①④"), ("12平方厘米", "12"),
        ],
        [("3 或 7", "3"), ("3和7", "37"), ("①④", "①③"), ("①④", "①"), ("①", "1"), ("3 不是", "3"), ("12平方厘米", "12 cm")],
    ),
    "formulas and their names": (
        [("D(h)=6h+1", "D(x)=6x+1"), ("V=9r", "9r"), (r"(g,h)=(2,3)", "(2,3)"), (r"\left|\begin{array}{cc}1&2\\3&4\end{array}\right|=-2", "-2")],
        [("D(h)=6h+1", "E(x)=6x+1"), ("V=9r", "W=9r"), ("D(h)=6h+1", "D(x)=6x+2"), (r"\left|\begin{array}{cc}1&2\\3&4\end{array}\right|=-2", "2")],
    ),
}
ONE_WAY_FORMS = {
    "the domain of a function": (
        [
            ("S(t)=5t", r"S(t)=5t, 0\le t\le 6"), (r"S(t)=5t,\ 0\le t\le 6", r"S(t)=5t, 0\le t\le 6"), ("5t", r"S(t)=5t, t\ge 0"),
            (r"f(x)=x^2 \text{ for } x>0", "f(x)=x^2, x>0"),
        ],
        [("S(t)=5t, t>0", "S(t)=5t"), ("S(t)=5t, t>1", "S(t)=5t, t>0"), ("S(t)=6t", "S(t)=5t, t>0"), ("f(x)=ax", "f(x)=ax, a>0"),
         (r"h(x)=3x, \forall x>2", "h(x)=3x")],
    ),
    "letters for constants of integration": (
        [
            (r"A\cos 2x+B\sin 2x", r"c_1\cos 2x+c_2\sin 2x"), (r"B\cos 2x+A\sin 2x", r"c_1\cos 2x+c_2\sin 2x"), ("Kx^3", "c_1x^3"),
            (r"k_1e^x+k_2", "C_1e^x+C_2"),
        ],
        [
            (r"A\cos 2x+A\sin 2x", r"c_1\cos 2x+c_2\sin 2x"), (r"A\cos 2x", r"c_1\cos 2x+c_2\sin 2x"), ("rx^3", "c_1x^3"), ("5x^3", "c_1x^3"),
            ("c_2x^3+c_1", "c_1x^3+c_3"),
        ],
    ),
    "a gold that says it twice": (
        [(r"(2,6]", r"2<x\le6: (2,6]"), (r"2<x\le 6", r"2<x\le6: (2,6]"), (r"x\ge4", r"x \geq 4:[4, \infty)"), (r"(-\infty,1)", r"x<1:(-\infty,1)")],
        [("(2,6)", r"2<x\le6: (2,6]"), (r"[2,6]", r"2<x\le6: (2,6]"), (r"2<x<6: (2,6]", "(2,6]"), (r"[4,5)", r"x \geq 4:[4, \infty)")],
    ),
    "running text": (
        [
            ("The answer is 48, which is the sum.", "48"), ("The total is 48 cookies, altogether.", "48"), ("The answer is 48 km, so she is late.", "48"),
            ("The cost is $9,000 - $2,500 = $6,500.", "6500"), ("$9,000 + $2,500 = $11,500.", "11500"), ("_75°_", "75"),
            ("So it is _75°_.", r"75^\circ"), ("I think it's (B).", "B"), ("I believe that's (E).", "E"),
        ],
        [
            ("The answer is 48, or 49.", "48"), ("The answer is 48, which is wrong.", "48"), ("The answer is 48, so it cannot be 47.", "48"),
            ("The cost is $9,000 - $2,500 = $6,500.", "2500"), ("The cost is $9,000 or $6,500.", "6500"), ("I think it's (B).", "A"),
            ("It's not (B).", "B"), ("The answer is 48, but I am not sure.", "48"),
        ],
    ),
}
# fmt: on
