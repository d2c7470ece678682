"""A second sample of hard pairs by an author who knew neither the grader nor its first corpus: (prediction, gold, same?, topic).

Graded once before anything was changed for it: 96.8 % of 1,152 right (3 wrong passes in 528, 34 right answers missed in 624;
one of the 3 was a label in dispute and is left out). So this
is about what to expect of the grader on notations that nobody thought of. What it found has been mended since, except KNOWN.
"""

SAMPLE = []


def t(topic, same=(), diff=()):
    SAMPLE.extend((p, g, True, topic) for p, g in same)
    SAMPLE.extend((p, g, False, topic) for p, g in diff)


# The formatter leaves the labelled texts as they stand: one subject a line.
# fmt: off
t("fractions", [
    (r"\frac12", "0.5"), (r"\frac 34", ".75"), (r"\frac9{19}", "9/19"), (r"\frac{270}7", r"\frac{270}7\text{ degrees}"),
    (r"\frac{3}{-8}", r"-\frac38"), (r"\frac{-1}{-2}", r"\dfrac12"), (r"{3 \over 4}", r"\tfrac34"), (r"\cfrac{5}{6}", "5/6"),
    (r"\frac1{\sqrt2}", r"\frac{\sqrt2}2"), (r"\frac{\frac12}{3}", "1/6"), (r"\frac{1}{\frac{2}{3}}", r"1.5"),
    (r"-\frac{1} { 4027}", "-1/4027"), (r"{7}/{8}", r"\frac{7}{8}"), (r"$\displaystyle\frac{11}{36}$", r"\frac{11}{36}"),
    (r"\left(\frac{3}{5}\right)", "0.6"), (r"\frac{ 50 }{ 3 }", r"16\frac{2}{3}"), (r"\frac{2017}{2016}", r"1 + \frac{1}{2016}"),
    (r"5\div 8", r"\frac58"), (r"1-\frac{1}{1024}", r"\frac{1023}{1024}"), (r"\frac{1}{2} \cdot \frac{3}{4}", r"\frac{3}{8}"),
], [
    (r"\frac12", r"\frac21"), (r"\frac{12}{3}", r"\frac{1}{23}"), (r"0.3333", r"\frac13"), (r"0.67", r"\frac23"),
    (r"\frac{35}{9}", r"-\frac{35}{9}"), (r"\sqrt{\frac32}", r"\frac{\sqrt3}{2}"), (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
    (r"4-\frac x5", r"\frac{4-x}{5}"), (r"\frac{8}{11}", r"\frac{11}{8}"), (r"\frac{17}{145}", r"\frac{17}{154}"),
    (r"3.142857", r"\frac{22}{7}"), (r"\frac{1}{\frac{2}{3}}", r"\frac{\frac12}{3}"), (r"\frac{505}{8076}", r"\frac{505}{8067}"),
    (r"2\frac{1}{4}", r"\frac{2}{4}"), (r"\frac{-1}{1997}", r"\frac{1}{1997}"), (r"\frac{a}{b+c}", r"\frac{a}{b}+c"),
])

t("mixed numbers", [
    (r"1\frac{4}{5}", r"\frac95"), (r"2 1/2", r"2.5"), (r"137 \frac{1}{2}", r"137.5"), (r"-3\frac{1}{4}", r"-\frac{13}{4}"),
    (r"$3\dfrac{1}{7}$", r"\frac{22}{7}"), (r"10\tfrac{1}{12}", r"\frac{121}{12}"), (r"1\ \frac{2}{3}", r"5/3"),
    (r"6\frac{2}{3}\text{ hours}", r"\frac{20}{3}"),
], [
    (r"1\frac{4}{5}", r"\frac45"), (r"2\frac{1}{2}", r"1"), (r"-3\frac14", r"-\frac{11}{4}"), (r"3\frac17", r"3.14"),
    (r"2\frac{1}{3}", r"\frac{7}{2}"), (r"5\frac{1}{2}", r"5.2"),
])

t("separators", [
    (r"10,\!080", "10080"), (r"11,\! 111,\! 111,\! 100", "11111111100"), (r"24{,}000", "24000"), ("1 000 000", "1000000"),
    (r"\$32,\!348", "32348"), (r"32{,}768", r"2^{15}"), (r"1,\!722", "1722.0"), (r"100,000", r"10^5"), (r"12\,345", "12345"),
    (r"1{,}234{,}567", r"1,\!234,\!567"), (r"\$306,\!956.63", "306956.63"), (r"3\,628\,800", "10!"), ("1,000,001", "1000001"),
    (r"-4,\!096", r"-2^{12}"), (r"65,536", r"4^8"), (r"1~024", r"1024"),
], [
    (r"10,080", "1080"), ("1,000", "1"), (r"24{,}000", "2400"), (r"100,000", "1000000"), ("3,4", "34"),
    ("12,345.6", "123456"), ("1,2", "1.2"), (r"10,\!010", "1010"), ("(1,234)", "(1,2,34)"), ("2,500", "2.5"),
])

t("percent", [
    (r"17.5\%", "17.5%"), (r"50\%", r"\frac12"), ("62.5", "62.5%"), (r"12.5\%", "0.125"), (r"32 \%", "32"), (r"6 percent", r"6\%"),
    (r"0.56 = 56\%", r"56\%"), (r"83\,\%", "83"), (r"\frac{100}{3}\%", r"33\frac13\%"), (r"44 \text{ percent}", r"44\%"),
    (r"\boxed{75\%}", "75"), (r"150\%", "1.5"), (r"98\\%", r"98\%"),
], [
    (r"5\%", r"0.5\%"), ("17.5%", "1.75%"), (r"33\%", r"33\frac13\%"), (r"0.6\%", r"60\%"), (r"125\%", r"25\%"), (r"-20\%", r"20\%"),
    (r"12.5\%", "1.25"), (r"66.7\%", r"\frac{2}{3}"), (r"98\%", r"2\%"),
])

t("units", [
    (r"15\mbox{ cm}^2", "15"), (r"15\text{ cm}^2", r"15\mbox{ cm}^2"), (r"864 \mbox{ inches}^2", r"864"), ("18", "18 apples"),
    (r"5.4 \text{ cents}", "5.4"), (r"12\sqrt{13}\text{ feet}", r"12\sqrt{13}"), (r"13.5\text{ pounds}", "27/2"),
    (r"4 \text{ units}", "4"), (r"240\text{ ways.}", "240"), (r"320000 \mbox{ acres}", r"320{,}000"), (r"60 km/h", "60"),
    (r"60\ \mathrm{km/h}", r"60 \text{ km/h}"), (r"3 \mathrm{~m}", "3"), (r"100 \mathrm{rad} / \mathrm{s}", "100"),
    (r"7.26\times 10^6 \mathrm{~m/s}", "7.26e6"), (r"8.64 \mathrm{~g} / \mathrm{cm}^{3}", "8.64"), (r"80\text{ square units}", "80"),
    (r"\frac{11}{15}\text{ days}", r"\frac{11}{15}"), (r"2400 cm^2", r"2400 \mbox{ cm}^2"), (r"9\text{ min}", "9 minutes"),
    (r"5225 \text{ in}^3", "5225"), (r"$36\pi$ cubic inches", r"36\pi"), (r"20 mph", "20"), (r"4.5 hours", r"4.5\text{ hours}"),
    (r"25\,\text{kg}", "25 kg"), (r"7 \text{ distinct integers}", "7"), (r"1.22 J", "1.22"), (r"21 dogs", r"21\text{ dogs}"),
], [
    ("5 cm", "5 m"), (r"5\text{ cm}", r"5\text{ cm}^2"), ("9 minutes", "9 hours"), ("20 mph", "20 km/h"), (r"12\text{ feet}", r"12\text{ inches}"),
    (r"15 \text{ cm}^2", r"15 \text{ cm}^3"), (r"14\text{ cm}", "147"), (r"3\text{ kg}", r"3\text{ g}"), (r"8\text{ days}", r"7\text{ days}"),
    (r"10 \mathrm{~m}", r"10 \mathrm{~mm}"), (r"12\sqrt{13}\text{ feet}", r"13\sqrt{12}\text{ feet}"), (r"320 acres", "320000 acres"),
    (r"441\text{ pounds}", r"414\text{ pounds}"), ("2 weeks", "2 days"), (r"3 \text{ m/s}", r"3 \text{ m/s}^2"), ("60 seconds", "60 minutes"),
])

t("money", [
    (r"\$18.90", "18.9"), (r"\$36", "36.00"), (r"\$ 54.60", "54.6"), (r"4319 \text{ dollars}", r"\$4319"), (r"1.85\ \text{USD}", "1.85"),
    (r"\$4813.24", r"4,813.24"), (r"$18", "18"), (r"\$1,\!657", "1657 dollars"), (r"\text{\$}23{,}000", "23000"), (r"£45", "45"),
    ("$3.50", r"\$3.5"), (r"€12.50", "12.5"), (r"382 dollars", r"382 \text{ dollars}"),
], [
    (r"\$18.90", "1890"), (r"\$3.47", r"\$3.74"), (r"5 dollars", "5 cents"), (r"\$36", r"\$360"), (r"-\$2", r"\$2"), (r"£45", r"\$45"),
    (r"\$0.80", r"\$8"), (r"\$15.17", r"\$15.71"),
])

t("degrees", [
    (r"90^\circ", "90"), (r"120^{\circ}", r"120^\circ"), (r"106°", r"106^\circ"), (r"7.5^\circ", r"\frac{15}{2}^\circ"),
    (r"137.5\text{ degrees}", r"137.5^\circ"), (r"18 degrees", "18"), (r"\angle ABC = 54^\circ", r"54^\circ"), (r"45^\circ, 60^\circ", r"60^{\circ},45^{\circ}"),
    (r"205 ^{\circ}", "205"), (r"75^\circ, 75^\circ", r"75^\circ,75^\circ"), (r"44^\circ \text{ or } 136^\circ", r"44^{\circ},136^{\circ}"),
], [
    (r"36^\circ", r"54^\circ"), (r"90^\circ", r"90\text{ radians}"), (r"180^\circ", r"18^\circ"), (r"\angle A=30^\circ", r"\angle B=30^\circ"),
    (r"45^\circ", r"45^\circ, 135^\circ"), (r"7^\circ 30'", r"7^\circ"), (r"810^\circ", r"90^\circ"), (r"72^{\circ}", r"7^{\circ}"),
])

t("scientific notation", [
    (r"4e33", r"4\times 10^{33}"), (r"6.5\times10^{-2}", "6.5e-2"), (r"2.26 \cdot 10^{-10}", "2.26e-10"), (r"1.77E-6", r"1.77\times 10^{-6}"),
    (r"3\times 10^8", "300000000"), (r"10^{-5}", "1e-5"), (r"5.89 \times 10^{-7} \text{ m}", "5.89e-7"), (r"0.5e3", "500"),
    (r"2 \times 10^{27}", "2e27"), (r"2.19 \times 10^{6}", r"2.19e6"), (r"-1.5 \times 10^{3}", "-1500"), (r"1.0\times10^{-3}", "0.001"), (r"6.02*10^23", "6.02e23"),
], [
    (r"4e33", r"4\times 10^{34}"), (r"6.5\times10^{2}", "6.5e-2"), (r"2.26e-10", "2.62e-10"), (r"3\times 10^8", r"3\times 8^{10}"),
    (r"1e5", "1e-5"), (r"10^{-5}", r"-10^{5}"), (r"2.19 \times 10^{6}", r"2.19"), (r"3^{10}", "3e10"), (r"1.5e3", "150"),
])

t("decimals", [
    ("0.50", r"\frac12"), (".125", "1/8"), ("3.0", "3"), ("-0.0", "0"), ("007", "7"), (r"0.\overline{3}", r"\frac13"), (r"0.\overline{142857}", r"1/7"),
    (r"0.1\overline{6}", r"\frac{1}{6}"), (r"1.\overline{27}", r"\frac{14}{11}"), (r"0.\bar{9}", "1"), ("-0.875", r"-\frac78"), ("+2", "2"),
    (r"-3./2", "-1.5"), ("12.", "12"), (r"2.5", r"\dfrac{5}{2}"), (r"0.{\overline{12}}", r"\frac{4}{33}"), ("0.0625", r"2^{-4}"),
], [
    ("0.05", "0.5"), (r"0.\overline{3}", "0.3"), (r"0.142857", r"1/7"), ("3.14", r"\pi"), ("1.414", r"\sqrt2"), ("2.718", "e"),
    (r"0.1\overline{6}", r"0.\overline{16}"), ("3.1", "3.01"), ("-0.5", "0.5"), ("1.20", "1.02"), ("0.999", "1"), ("99.99", "100"),
    ("0.866", r"\frac{\sqrt3}{2}"), ("12.0001", "12"), (r"0.\overline{12}", r"0.1\overline{2}"), ("1.618034", r"\frac{1+\sqrt5}{2}"),
])

t("radicals", [
    (r"\sqrt{12}", r"2\sqrt3"), (r"\sqrt 2", r"2^{1/2}"), (r"\!\sqrt{21}", r"\sqrt{21}"), (r"\sqrt[3]{16}", r"2\sqrt[3]{2}"), (r"11\sqrt2", r"\sqrt{242}"),
    (r"\frac{8}{\sqrt[3]{7}}", r"\frac{8\sqrt[3]{49}}{7}"), (r"\frac{1}{\sqrt3-\sqrt2}", r"\sqrt2+\sqrt3"), (r"\sqrt{3+2\sqrt2}", r"1+\sqrt{2}"),
    (r"\sqrt{5-2\sqrt6}", r"\sqrt3-\sqrt2"), (r"\frac{7 \sqrt{19}}{19}", r"\frac{7}{\sqrt{19}}"), (r"\sqrt[3]{7+5\sqrt2}", r"1+\sqrt2"),
    (r"\frac{2}{7} \sqrt{53}", r"\frac{2\sqrt{53}}{7}"), (r"2√3", r"2\sqrt{3}"), ("sqrt(5)", r"\sqrt5"), ("2*sqrt(10)", r"2\sqrt{10}"),
    (r"\sqrt{0.25}", r"\frac12"), (r"11(\sqrt5+1)", r"11 \sqrt{5} + 11"), (r"\sqrt{\sqrt{16}}", "2"), (r"\sqrt[4]{8}", r"2^{3/4}"),
    (r"8^{\frac{1}{3}}", "2"), (r"\frac{\sqrt{6}+\sqrt2}{4}", r"\frac{1}{\sqrt6-\sqrt2}"), (r"\sqrt{2-\sqrt3}", r"\frac{\sqrt6-\sqrt2}{2}"),
    (r"2^{-2/3}", r"\frac{1}{\sqrt[3]{4}}"), (r"\frac{\sqrt{21}}{5}", r"\sqrt{0.84}"), (r"\sqrt{75}+\sqrt{27}", r"8\sqrt3"), (r"\sqrt[3]{-8}", "-2"),
    (r"\frac{4}{\sqrt2}", r"\sqrt 8"), (r"\frac{-1+\sqrt{5}}{2}", r"\frac{2}{1+\sqrt5}"),
], [
    (r"\sqrt{12}", r"3\sqrt2"), (r"\sqrt{2}3", r"\sqrt{23}"), (r"\sqrt[3]{2}", r"3\sqrt2"), (r"\sqrt{2}+\sqrt{3}", r"\sqrt5"), (r"2\sqrt{5}", r"\sqrt{10}"),
    (r"\frac{8\sqrt{49}}{7}", r"\frac{8}{\sqrt[3]{7}}"), (r"1-\sqrt2", r"1+\sqrt2"), (r"\sqrt{a^2}", "a"), (r"\sqrt{3-2\sqrt2}", r"1-\sqrt2"),
    (r"\sqrt{1+\sqrt2}", r"1+\sqrt[4]{2}"), (r"11 \sqrt{5} + 1", r"11 \sqrt{5} + 11"), (r"\sqrt[4]{8}", r"\sqrt[3]{8}"), (r"\frac{\sqrt{3}}{3}", r"\frac{1}{3}"),
    (r"\sqrt{51}", r"\sqrt{53}"), (r"2\sqrt{113}", r"4\sqrt{113}"), (r"\sqrt{2}^3", r"\sqrt[3]{2}"), (r"3\sqrt{13}", "10.8167"), (r"6\sqrt{2}+6", r"6\sqrt{2}"),
])

t("intervals", [
    (r"(-\infty, 2) \cup (3, \infty)", r"(-\infty,2)\cup(3,+\infty)"), (r"[3,15]", r"3\le x\le 15"), (r"x \in [-2,7]", r"[-2, 7]"),
    (r"(3,\infty)\cup(-\infty,2)", r"(-\infty, 2) \cup (3, \infty)"), (r"\left[ \frac{\pi^2}{8}, \frac{5 \pi^2}{4} \right]", r"[\pi^2/8, 5\pi^2/4]"),
    (r"x<-4 \text{ or } x>4", r"(-\infty,-4)\cup (4,\infty)"), (r"x \neq 3", r"(-\infty, 3) \cup (3, \infty)"), (r"x \ge 8", r"[8,\infty)"),
    (r"\mathbb{R}\setminus\{1\}", r"(-\infty, 1)\cup(1, \infty)"), (r"[-0.5,0.5]", r"\left[-\frac12,\frac12\right]"), (r"0<x\leq 4", r"(0,4]"),
    (r"\left(\frac{3}{5},\frac{8}{3}\right]", r"(0.6,\tfrac83]"), (r"(-\infty,3]\cup[4,\infty)", r"(-\infty,3] \bigcup [4,\infty)"),
    (r"(-\infty, 0) \cup\{1\}", r"$(-\infty, 0) \cup\{1\}$."), (r"1 \leq y < 5", r"[1,5)"), (r"-9\le x\le9", r"[-9, 9]"), (r"|x|<5", r"(-5,5)"),
    (r"t>0", r"(0,\infty)"), (r"(-\infty,\infty)", r"\mathbb{R}"), (r"(2,12) \cup (12,102)", r"x\in(2,12)\cup(12,102)"), (r"(0,1)\cup[1,2)", r"(0,2)"),
], [
    (r"(2,3)", r"[2,3)"), (r"(-\infty, 2] \cup (3, \infty)", r"(-\infty, 2) \cup (3, \infty)"), (r"[0,\infty)", r"(0,\infty)"), (r"(5,\infty)", r"(-\infty,5)"),
    (r"(3,4]", r"[3,4)"), (r"x>4", r"x\ge 4"), (r"x<4", r"x>4"), (r"(-\infty,-4)\cap(4,\infty)", r"(-\infty,-4)\cup(4,\infty)"), (r"[1,4]", r"[1,4]\cup[5,6]"),
    (r"(0,9) \cup (9,36)", r"(0,36)"), (r"\left[ \frac{\pi}{4}, \frac{3 \pi}{4} \right]", r"\left[ \frac{\pi}{4}, \frac{5 \pi}{4} \right]"), (r"[3,15]", r"\{3,15\}"),
    (r"-2 < x < 7", r"-2 \le x \le 7"), (r"x\ne 3", r"x=3"), (r"(-\sqrt{3}, \sqrt{3})", r"(-3,3)"), (r"(2,\infty)", r"2"), (r"x \le -1 \text{ or } x\ge 3", r"-1\le x\le 3"),
    (r"(-\infty,-2) \cup (-1,0)", r"(-\infty,-2) \cup (-1,0)\cup (1, \infty)"), (r"(0,1)\cup(1,2)", r"(0,2)"), (r"t(0,4]", r"[0,4]"),
])

t("sets", [
    (r"\{4,5,7\}", r"\{7,5,4\}"), (r"\{1\pm\sqrt{5},-2\}", r"\{-2,1+\sqrt5,1-\sqrt5\}"), (r"\left\{ 1, 2 \right\}", "1,2"), (r"\{ 3 \}", "3"),
    (r"x\in\{-1,0,1\}", r"\{0,1,-1\}"), (r"\{(1,2),(2,1)\}", r"(1,2),(2,1)"), (r"\lbrace 2,3\rbrace", r"\{2,3\}"), (r"\{1,2,2,3\}", r"\{1,2,3\}"),
    (r"\{0\}\cup\{5\}", r"\{0,5\}"), (r"\{x \mid x > 2\}", r"(2,\infty)"), (r"\{x : -1 \le x \le 1\}", r"[-1,1]"), (r"S=\{2,4,8\}", r"\{2,4,8\}"), (r"{1,2,3}", r"\{1,2,3\}"),
    (r"\{\frac12, \frac13\}", r"\{1/3, 0.5\}"), (r"\{x\in\mathbb{R} : x\neq 0\}", r"(-\infty,0)\cup(0,\infty)"), (r"\{-3, 3\}", r"\pm 3"),
], [
    (r"\{4,5\}", r"\{4,5,7\}"), (r"\{4,5,7,9\}", r"\{4,5,7\}"), (r"\{(1,2)\}", r"\{(2,1)\}"), (r"\{x \mid x > 2\}", r"[2,\infty)"), (r"\{1,2\}", r"\{12\}"),
    (r"\{0,1\}", r"(0,1)"), (r"\{1,-1\}", r"\{1\}"), (r"\{\{1\},2\}", r"\{1,\{2\}\}"), (r"\{2, 3\}\cap\{3,4\}", r"\{2,3\}"), (r"\{x \mid x<2\}", r"\{x \mid x > 2\}"),
])

t("lists", [
    ("1,-2", "-2,1"), ("3, 5, 7", r"3,\,5,\,7"), ("5, 3 and 7", "3,5,7"), (r"5,\,-11", r"-11, 5"), (r"-2 \text{ or } -12", "-12, -2"), (r"6, 8\text{, and }10", "6,8,10"),
    (r"x=-1, x=-9", "-1,-9"), (r"$-1$, $2$, and $-2$", r"$-1$,$2$,$-2$"), (r"2^{-2 / 3}, 8", r"$2^{-2 / 3}$, $8$"), (r"\frac{1}{3}; 1; 9", r"$\frac{1}{3}, 1, 9$"),
    (r"4, 0, -4", "0, 4, -4"), (r"x = 2 \text{ or } x = 3", "2,3"), (r"352146,362145,452136,562134", r"$562134,352146,362145,452136$"), (r"23,-17", r"-17\text{ and }23"),
    (r"$10^{100}$,$10^{1 / 100}$", r"10^{\frac{1}{100}}, 10^{100}"), ("15, 5, 3, 1", "1, 3, 5, 15"), (r"a=3 \text{ and } b=4", r"a=3,b=4"),
    (r"2+2i,\,-2-2i,\,-2+2i,\,2-2i", r"2\pm 2i, -2\pm 2i"), (r"x_1=1, x_2=6", "1,6"), (r"\frac{3}{5}, -\frac{12}{5}", r"-2.4, 0.6"), (r"1, \frac{3 \pm \sqrt{21}}{2}", r"$1$,$\frac{3 + \sqrt{21}}{2}$,$\frac{3 - \sqrt{21}}{2}$"),
], [
    ("1", "1,2"), ("1,2,3", "1,2"), ("1 or 2", "1"), ("3, 5, 8", "3, 5, 7"), ("-1,-9", "1,9"), (r"5,\,11", r"5,\,-11"), (r"x=1 \text{ or } x=3", r"x=1"), ("4,6", "46"), (r"2,2,3", "2,3,3"),
    ("1,3,5", "1,3,5,15"), (r"$-1$,$2$", r"$-1$,$2$,$-2$"), (r"6, 8", r"6, 8\text{, and }10"), (r"-71, -27, -11, 9", r"-71, -27, 11, 9"), ("1 and 2", "3"), (r"\frac12, \frac13", r"\frac12, \frac14"),
])

t("tuples", [
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\pi/2)"), (r"(1,-16,-4,43)", r"( 1, -16, -4, 43 )"), (r"(6,3),(9,3),(9,5),(54,5)", r"(54,5),(9,5),(9,3),(6,3)"), (r"\left(\tfrac{15}{4},0\right)", "(3.75,0)"),
    (r"(x,y)=(3,-1)", "(3,-1)"), (r"(a,b,c) = (1,2,3)", "(1, 2, 3)"), (r"\big(2,4\big)", "(2,4)"), (r"(x, y) = (1,1) \text{ or } (3,2)", r"$(1,1), (3,2)$"), (r"(8\sqrt3, 14, 2, 4)", r" (8\sqrt3, 14, 2, 4)"),
    (r"\left(-4,-\frac{1}{2}\right)", r"(-4,-0.5)"), (r"P = (15,-29)", r"(15,-29)"), (r"(2,3)\text{ and }(3,2)", r"(3,2),(2,3)"), (r"\quad(2+\sqrt{2}, 1+\sqrt{2})", r"(2+\sqrt2,1+\sqrt2)"),
    (r"(-1,-9),(4\pm 2\sqrt2, 8)", r"$(-1,-9),(4+2 \sqrt{2}, 8),(4-2 \sqrt{2}, 8)$"), (r"\left( \frac{-16}{5}, 5.3 \right)", r"\left( -\frac{16}{5}, \frac{53}{10} \right)"), (r"\langle 1,2,3\rangle", r"\langle 1, 2, 3 \rangle"),
    (r"x=2, y=5", r"(x,y)=(2,5)"), (r"A(3,4)", "(3,4)"),
], [
    ("(1,2)", "(2,1)"), ("(3,-1)", "(-3,1)"), ("(1,2)", "(1,2,3)"), ("(6,3),(9,3)", "(6,3),(9,3),(9,5)"), ("(1,2),(3,4)", "(1,3),(2,4)"), ("(-2,1)", "(-2,-1)"), (r"\left( 3, \frac{\pi}{2} \right)", r"\left( 3, \frac{\pi}{3} \right)"),
    (r"(x,y)=(1,2)", r"(y,x)=(1,2)"), ("(2,4)", "2"), ("((1,2),3)", "(1,(2,3))"), (r"(8,-2)", r"(-2,8)"), (r"(\frac{3}{2}, -13)", r"(\frac{2}{3},-13)"), (r"(1,0),(\frac{1}{100},-8)", r"(1,0),(\frac{1}{100},8)"),
    (r"\left( 2, \frac{8 \pi}{7}, \frac{7 \pi}{9} \right)", r"\left( 2, \frac{7 \pi}{9}, \frac{8 \pi}{7} \right)"), ("(0.33, 0.67)", r"(\frac13,\frac23)"), (r"(x,y)=(2,5)", r"x=5, y=2"),
])

t("names and prefixes", [
    ("x=5", "5"), ("k=1", "$k=1$"), ("f(x)=2x", "$f(x)=2 x$"), ("2x", "f(x)=2x"), (r"n = 255", "255"), (r"m_{\max }=n^{2}-n-1", r"n^2-n-1"), (r"N(n)=\left\lfloor\frac{2 n}{3}\right\rfloor+1", r"\lfloor 2n/3\rfloor+1"),
    (r"M=2^{N-2}+1", r"2^{N-2}+1"), (r"AB = 12", "12"), (r"\text{Area} = 48\pi", r"48\pi"), (r"\cos\theta=\frac{4}{5}", r"\frac45"), ("b = -4", "-4"), (r"P(A\cap B)=\frac{1}{6}", r"\frac16"), (r"x+y = 7", "7"),
    (r"f^{-1}(x) = \frac{x-3}{2}", r"\frac{x-3}{2}"), (r"y=-2x+1", r"-2x+1"), (r"\text{Answer: } 42", "42"), (r"a_{10}=55", "55"), (r"|z|=\sqrt{13}", r"\sqrt{13}"), ("[ABC] = 24", "24"),
    (r"k = \frac{-33}{2}", "-16.5"), (r"S_n = \frac{n(n+1)}{2}", r"$\frac{n(n+1)}{2}$"), ("x = 3 = 3.0", "3"), (r"V=\frac{4}{3}\pi r^3=36\pi", r"36\pi"), (r"2+3=5", "5"),
], [
    ("x=5", "y=5"), ("f(x)=2x", "g(x)=2x"), ("k=1", "k=-1"), ("6=5", "5"), ("6=5", "6"), ("n = 255", "m=255"), ("2k+2", "2n+2"), (r"a=5", r"b=5"), (r"3=4", "4"), (r"x=5=6", "5"), (r"AB=12", r"AC=12"), (r"1+1=3", "3"),
    ("x=5", "x=-5"), (r"f(x)=x+1", r"f(x)=x-1"), (r"y=-2x+1", "y=-2x-1"), (r"\sin\theta=\frac45", r"\cos\theta=\frac45"), ("p", "q"), ("CD", "AB"),
])

t("assignments", [
    ("a=1,b=2", "a=1, b=2"), ("b=2, a=1", "a=1,b=2"), (r"AB=9, CD=4", r"CD=4, AB=9"), (r"x=\frac12,\ y=3", r"y=3, x=0.5"), (r"p=3 \text{ and } q=5", "p=3,q=5"), (r"f(n)=n, g(n)=1", r"$f(n)=n$, $g(n)=1$"), (r"a = 2; b = 3; c=-1", "a=2, b=3, c=-1"),
    (r"$x = 4$ and $y = -1$", r"x=4, y=-1"), (r"\begin{cases} x=1 \\ y=2 \end{cases}", "x=1,y=2"), (r"f(x)=x,f(x)=-x", r"f(x)=-x \text{ or } f(x)=x"), (r"\angle B E A_{1}=90^\circ,\angle A E B_{1}=90^\circ", r"$\angle B E A_{1}=90$,$\angle A E B_{1}=90$"),
], [
    ("a=2,b=1", "a=1,b=2"), ("a=1", "a=1,b=2"), ("a=1,b=2", "a=1,c=2"), ("a=1,b=2,c=3", "a=1,b=2"), (r"AB=4, CD=9", "AB=9, CD=4"), ("x=1,y=2", "x=1,y=3"), (r"f(n)=1, g(n)=n", r"f(n)=n, g(n)=1"), (r"a=1, a=2", r"a=1"), ("a=b=1", "a=1,b=2"),
])

t("equations", [
    ("y = 2x + 3", "2x - y + 3 = 0"), ("5x - 7y + 11z + 4 = 0", "-5x+7y-11z-4=0"), ("4x-2y+6z+16=0", "2x - y + 3z + 8 = 0"), (r"y^2 - 4x - 6y + 9 = 0", r"(y-3)^2=4x"), (r"x^2+y^2=25", r"y^2+x^2-25=0"), (r"y = -\frac{5}{2} x - \frac{29}{4}", "10x+4y+29=0"),
    (r"\frac{x^2}{4}+\frac{y^2}{9}=1", r"9x^2+4y^2=36"), (r"x+z=5-x", "2x + z - 5 = 0"), (r"y-3=-3(x-9)", "y = -3x + 30"), (r"x^2 + (y-1)^2 = 4", r"x^2+y^2-2y-3=0"), ("y=x+2", "x-y=-2"), ("49x^2 - 42xy + 9y^2 - 222x - 54y + 603 = 0", "0 = 603-54y-222x+9y^2-42xy+49x^2"),
], [
    ("y = 2x + 3", "2x + y + 3 = 0"), (r"x^2+y^2=5", r"x^2+y^2=25"), ("5x - 7y + 11z + 4 = 0", "5x - 7y + 11z - 4 = 0"), (r"\frac{x^2}{9}+\frac{y^2}{4}=1", r"\frac{x^2}{4}+\frac{y^2}{9}=1"), ("x=y^2", "y=x^2"),
    (r"(x+1)^2+(y-2)^2=9", r"(x-1)^2+(y+2)^2=9"), ("y=x+2", "y=2x"), ("x + y + z = 0", "x + y + z = 1"), ("3x+4y=0", "3x-4y=0"),
])

t("inequalities and chains", [
    (r"a \ge 5", r"5\le a"), (r"2<x<7", r"7>x>2"), (r"n\geq 3", r"n \geqslant 3"), (r"x \leqslant 2", r"x\le2"), (r"a>b>c", r"c<b<a"), (r"2x<6", r"x<3"), (r"-\frac{1}{2} \le k \le \frac12", r"|k|\le\frac12"), (r"p<q<r", r"r > q > p"), (r"x > 1 \text{ and } x<4", r"1<x<4"), (r"0<a\leq 1", r"a\in(0,1]"),
    (r"n\ge3", "n ≥ 3"), (r"k\neq 2", r"k \ne 2"), (r"m>-3/2", r"m > -1.5"),
], [
    (r"a \ge 5", r"a\le5"), (r"2<x<7", r"2<x\le7"), (r"a>b>c", r"a>c>b"), (r"n>3", r"n\geq3"), (r"x<3", r"y<3"), (r"x>3", "3"), (r"-2x<6", r"x<-3"), (r"1<x<4", r"x<1 \text{ or } x>4"), (r"x>1", r"1<x<4"), (r"k=2", r"k\ne2"), (r"p<r<q", r"p<q<r"), (r"x+y\le 4", r"x+y\ge 4"),
])

t("polynomials", [
    (r"(x+1)^2", "x^2+2x+1"), ("(t-7)(t+7)", "t^2-49"), ("(b+2)(a+5)", "(a+5)(b+2)"), ("x^3+3x-6", "-6+3x+x^3"), (r"(2) (x+2) (x-2)", "2x^2-8"), (r"29b(5b+1)", "145b^2+29b"), (r"(x^2+4)(x+2)(x-2)(x^4+16)", "x^8-256"), ("6r^2-4r-24", "2(3r^2-2r-12)"),
    (r"8n^2 + 4n + 1", r"8 n^{2}+4 n+1"), ("37a^2+111a", "37a(a+3)"), (r"\frac{x^2}{4} - 1", r"\frac{x^2-4}{4}"), ("5*r**5", "5r^5"), (r"(9x^2-x-2)(-9x^2-x-2)", r"(-9x^2+x+2)(9x^2+x+2)") , (r"-\frac{(n-1)}{2}", r"$-(n-1) / 2$"), ("n^2-n+1", r"n(n-1)+1"),
    (r"\frac{n(n+1)(2n+1)}{6}", r"\frac{2n^3+3n^2+n}{6}"), (r"(a + b)(b + c)(c+a)", r"(a + b)(a + c)(b + c)"), ("x(x+1)", r"x\cdot(x+1)"), (r"\frac{2}{x} + 4x^2", r"\frac{4x^3+2}{x}"), (r"\frac{11}{20}+\frac{9a}{20}", r"\frac{11+9a}{20}"), ("-x^5 + 1", "1-x^5"), ("3R^2", r"3 R^{2}"), ("x²+3x", "x^2+3x"),
], [
    ("(x+1)^2", "x^2+1"), ("(t-7)(t-7)", "(t-7)(t+7)"), ("(x-2)(x-3)", "x^2+5x+6"), ("x^3+3x-6", "x^3+3x+6"), ("6r^2-4r-24", "6x^2-4x-24"), ("2x^5", "(2x)^5"), ("3R^2", "3r^2") , ("37a(a+3)", "37a(a-3)"), (r"\frac{x^2}{4} - 1", r"\frac{x^2-1}{4}"),
    ("a+b+c+3x", "a+b+c+x^3"), (r"n^2-n+1", r"n^2-n-1"), (r"2 n^{2}-2 n+1", r"2 n^{2}+2 n+1"), ("x^8 + x^6 + x^4 + x^2 + 1", "x^8 + x^7 + x^6 + x^5 + x^4 + x^3 + x^2 + x + 1"), ("-13x+3", "-13x-3"), ("p - q", "q-p"),
    (r"\frac{2}{x+4x^2}", r"\frac{2}{x} + 4x^2"), (r"-3x^4+5x^2-8x", r"-3x^4+5x^2-8"),
])

t("complex", [
    ("1+2i", "2i+1"), (r"\frac{1+3i}{2}", r"\frac12+\frac32 i"), (r"-\frac{1}{13} - \frac{5}{13}i", r"\frac{-1-5i}{13}"), ("(1+i)^2", "2i"), (r"e^{i\pi}", "-1"), (r"\frac{1}{i}", "-i"), (r"6 - 5 \mathrm{i}", "6-5i"), ("1 - 12 i", "1-12i"), (r"2\left(\cos\frac{\pi}{3}+i\sin\frac{\pi}{3}\right)", r"1+i\sqrt3"),
    (r"\frac{2-14i}{25}", r"\frac{2}{25} - \frac{14}{25}i"), (r"\sqrt{-4}", "2i"), (r"z=3+4i", "3+4i"), (r"\pm i", "i,-i"), (r"2\pm 3i", "2+3i, 2-3i"), (r"e^{i\pi/4}", r"\frac{\sqrt2}{2}+\frac{\sqrt2}{2}i"),
], [
    ("1+2i", "1-2i"), ("2+i", "1+2i"), ("-2i", "2i"), ("i", "-i"), ("3+4i", "5"), ("4-4i", "4-4"), (r"\frac{1}{i}", "i"), (r"2\pm3i", "2+3i"), ("1+274i", "1+247i"), (r"6-5i", r"-5+6i"), (r"\sqrt{-4}", "-2"), (r"e^{i\pi/3}", r"e^{i\pi/6}"),
])

t("matrices", [
    (r"\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix}", r"\begin{bmatrix} -1 & 0 \\ 0 & -1 \end{bmatrix}"), (r"\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}", r"\begin{pmatrix} -\frac13 \\ \frac23 \\ \frac53 \end{pmatrix}"), (r"\begin{pmatrix}15\\10\end{pmatrix}", r"\begin{pmatrix} 15 \\ 10 \end{pmatrix}"),
    (r"\frac{1}{5}\begin{pmatrix} 3 & 1 \\ 3 & 1 \end{pmatrix}", r"\begin{pmatrix} \frac{3}{5} & \frac{1}{5} \\ \frac{3}{5} & \frac{1}{5} \end{pmatrix}"), (r"\left(\begin{array}{cc} 6 & -5 \\ 0 & 2 \end{array}\right)", r"\begin{pmatrix} 6 & -5 \\ 0 & 2 \end{pmatrix}"),
    (r"-5\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}", r"\begin{pmatrix} -5 & 0 \\ 0 & -5 \end{pmatrix}"), (r"\mathbf{A}=\begin{pmatrix} 1 & 0 \\ 2018 & 1 \end{pmatrix}", r"\begin{pmatrix} 1 & 0 \\ 2018 & 1 \end{pmatrix}"), (r"\begin{pmatrix} 2 & 4 \\ 1 & 2 \\ \end{pmatrix}", r"\begin{pmatrix} 2 & 4 \\ 1 & 2 \end{pmatrix}"),
    (r"\begin{pmatrix} \sqrt{2}/2 \\ 0 \\ -\sqrt{2}/2 \end{pmatrix}", r"\begin{pmatrix} 1/\sqrt{2} \\ 0 \\ -1/\sqrt{2} \end{pmatrix}"), (r"\left[\begin{matrix}7 & -2 \\ 3 & 1\end{matrix}\right]", r"\begin{pmatrix} 7 & -2 \\ 3 & 1 \end{pmatrix}"),
], [
    (r"\begin{pmatrix} -1 & 0 \\ 0 & 1 \end{pmatrix}", r"\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix}"), (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}"), (r"\begin{pmatrix} 15 \\ 10 \end{pmatrix}", r"\begin{pmatrix} 10 \\ 15 \end{pmatrix}"),
    (r"\begin{pmatrix} 1 & 2 & 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"), (r"\begin{pmatrix} 0 & 0 \\ 0 & 0 \end{pmatrix}", r"\begin{pmatrix} 0 & 0 & 0 \\ 0 & 0 & 0 \\ 0 & 0 & 0 \end{pmatrix}"), (r"\begin{pmatrix} 4/7 \\ 5/7 \\ 8/7 \end{pmatrix}", r"\begin{pmatrix} 4 \\ 5 \\ 8 \end{pmatrix}"),
    (r"\begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix}", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"), (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"-2"),
])

t("logs and exponentials", [
    (r"\log_2 8", "3"), (r"\ln 4", r"2\ln2"), (r"\frac{\log 2}{\log 2-\log 3}", r"\frac{\ln 2}{\ln(2/3)}"), (r"\log\left(\frac{2007}{2006}\right)", r"\log 2007 - \log 2006"), (r"\log_{10} 5", r"1-\log_{10}2"), (r"\frac{\ln 3}{\ln 2}", r"\log_2 3"), (r"e^{\ln 5}", "5"), (r"2^{100}-2", r"2(2^{99}-1)"),
    (r"\ln(x^2)-\ln x", r"\ln x") , (r"\left\lfloor\log _{2} n\right\rfloor+1", r"1+\lfloor \log_2 n\rfloor"), (r"3^x - 2^x", r"-2^x+3^x"), (r"e^{-t/2}", r"\exp(-t/2)"), (r"2^{27} - 2^{11}", "134215680"), (r"\frac{e^x+e^{-x}}{2}", r"\cosh x"), (r"I(0) e^{-\frac{t}{R C}}", r"I(0) e^{-t/(RC)}"), (r"\lg 100", "2"),
    (r"\log_4 8", r"\frac32"), (r"\frac{4 \cdot 999^{4}}{27}", r"4\cdot 27^{-1}\cdot 999^4"), (r"e^{2x}\cdot e^{3}", r"e^{2x+3}"),
], [
    (r"\log_2 8", r"\log_8 2"), (r"\ln 6", r"\ln2\ln3"), (r"\log_2 3", r"\log_3 2"), (r"\ln 2+3", r"\ln 5"), (r"2^{100}-2", r"2^{98}"), (r"e^{2x}", r"e^{x^2}"), (r"\ln 5", "1.609"), (r"3^x-2^x", "1"), (r"2^{n}-n-1", r"2^{n}-n+1"), (r"2^{k-1}", r"2^k-1"), (r"e^{-t}", r"e^t"), (r"\frac{\log 2}{\log 3}", r"\log\frac23"),
    (r"\log_2 n", r"\lfloor\log_2 n\rfloor"), (r"-e^{x}", r"e^{-x}"),
])

t("trig", [
    (r"\cot x", r"\frac{\cos x}{\sin x}"), (r"2 \sin 5x \cos x", r"\sin 6x+\sin 4x"), (r"\sin^2 t", r"1-\cos^2 t"), (r"3 \sec \frac{1}{2} \theta", r"\frac{3}{\cos(\theta/2)}"), (r"\sin 60^\circ", r"\frac{\sqrt3}{2}"), (r"\tan\frac{\pi}{4}", "1"), (r"\arctan 1", r"\frac{\pi}{4}"), (r"\cos 2\theta", r"2\cos^2\theta-1"), (r"\sin^{-1}\frac12", r"\arcsin\frac{1}{2}"),
    (r"\frac{\sqrt2}{4}\cos (t-\pi / 4)", r"\frac14(\cos t+\sin t)"), (r"(\sin x)^2", r"\sin^2 x"), (r"\tan x\sec x", r"\frac{\sin x}{\cos^2x}"), (r"\csc x", r"\frac1{\sin x}"), (r"\cos\frac{\pi}{5}", r"\frac{1+\sqrt5}{4}"), (r"2 \cos (\pi t+\pi / 3)", r"2\cos\left(\pi t+\frac{\pi}{3}\right)"), (r"\sin\left(\frac{\pi}{2}-x\right)", r"\cos x"), (r"4\sin\frac\pi{18}", r"4\sin 10^\circ"), (r"\text{cot}\, x", r"\cot x"),
], [
    (r"\cot x", r"\tan x"), (r"\sin^2 t", r"\sin t^2"), (r"\sin 2x", r"2\sin x"), (r"\cos x", r"\cos y"), (r"\sin^{-1} x", r"\frac{1}{\sin x}"), (r"2 \sin 5x \cos x", r"2 \sin x \cos 5x"), (r"\cos(x+\pi)", r"\cos x"), (r"\sec x", r"\csc x"), (r"\arctan 2", r"\arctan\frac12"), (r"\sin 30^\circ", r"\sin 60^\circ"), (r"\frac{\sqrt2}{4}\cos (t+\pi / 4)", r"\frac{\sqrt2}{4}\cos (t-\pi / 4)"), (r"\sin x+\cos x", r"1"),
])

t("pi", [
    (r"2\pi-4", r"-4+2\pi"), (r"\frac94\pi", r"\frac{9\pi}{4}"), (r"10 + \frac{15}{2}\pi", r"\frac{20+15\pi}{2}"), (r"4π", r"4\pi"), (r"\frac{\sqrt{3}}{4} - \frac{1}{24}\pi", r"\frac{6\sqrt3-\pi}{24}"), (r"25(4+3\pi)", r"100+75\pi"), (r"12*pi", r"12\pi"), (r"\frac{20000}{\pi}", r"20000\pi^{-1}"), (r"\pi/12", r"\frac{\pi}{12}"), (r"36 - 12\sqrt{3} - 4\pi", r"4(9-3\sqrt3-\pi)"), (r"\frac{67 \pi}{3}", r"22\frac{1}{3}\pi"),
], [
    (r"7\pi", "7"), (r"288\pi", "904.78"), (r"\frac{\pi}{6}", r"-\frac{\pi}{6}"), (r"12\pi", r"12+\pi"), (r"\pi^2", r"2\pi"), (r"400-100\pi", r"100\pi-400"), (r"\frac{22}{7}", r"\pi"), (r"18+2\pi", r"20\pi"), (r"\frac{3\sqrt{3}}{\pi}", r"\frac{3\sqrt3\pi}{1}"), (r"8\pi", "25.13"),
])

t("combinatorics", [
    (r"\binom{10}{3}", "120"), (r"\binom{2n}{n}", r"\frac{(2n)!}{(n!)^2}"), (r"{10 \choose 3}", "120"), ("5!", "120"), (r"\dbinom{7}{2}", "21"), (r"6!/3!", "120"), (r"\tbinom{5}{2}", "10"), (r"\binom{n}{2}", r"\frac{n(n-1)}{2}"), (r"(n+1)!", r"(n+1)\cdot n!"), (r"2021 \cdot 505 \cdot 337", r"343943885") , (r"\frac{20!}{10!10!}", "184756"), (r"\lfloor 3.7\rfloor", "3"), (r"\lceil 2.1\rceil", "3"), (r"\sum_{k=1}^{10} k", "55"), (r"m n-\lfloor m / 2\rfloor", r"mn-\left\lfloor\frac m2\right\rfloor"), (r"2^{10}\cdot 3", "3072"), (r"\left\lfloor \sqrt{n-1}\right\rfloor", r"$\lfloor\sqrt{n-1}\rfloor$"),
], [
    (r"\binom{10}{3}", r"\binom{10}{4}"), ("5!", "5"), (r"\binom{2n}{n}", r"\binom{n}{2n}"), (r"n!", r"n"), (r"\frac{10}{3}", r"\binom{10}{3}"), (r"\lfloor n/2\rfloor", r"n/2"), (r"\lfloor x\rfloor", r"\lceil x\rceil"), ("(2n)!", "2n!"), (r"\sum_{k=1}^{10} k", r"\sum_{k=1}^{9} k"), (r"6!", "620"), (r"m n-\lfloor m / 2\rfloor", r"m n-\lfloor n / 2\rfloor"), (r"\frac{3 m}{2}-1", r"\frac{3m-1}{2}"),
])

t("plus minus", [
    (r"1 \pm \sqrt{19}", r"1+\sqrt{19}, 1-\sqrt{19}"), (r"\pm 5", "5,-5"), (r"3 \pm 2 \sqrt{2}", r"3-2\sqrt2,3+2\sqrt2"), (r"\pm\sqrt2, \pm 1", r"1,-1,\sqrt2,-\sqrt2"), (r"1\pm2", "3,-1"), (r"x=\pm\frac12", r"x=\frac12 \text{ or } x=-\frac12"), (r"\frac{-1 \pm \sqrt5}{2}", r"\frac{\sqrt5-1}{2},-\frac{1+\sqrt5}{2}"), (r"±3", r"\pm3"), (r"\mp 4", r"\pm 4"), (r"0,\pm1", "-1,0,1"), (r"\pm\frac{3\sqrt2}{2}", r"\pm\frac{3}{\sqrt2}"),
], [
    (r"\pm 5", "5"), (r"5", r"\pm5"), (r"1\pm\sqrt{19}", r"1+\sqrt{19}"), (r"\pm\sqrt{2}", r"\pm2"), (r"1 \pm \sqrt{19}", r"-1\pm\sqrt{19}"), (r"3\pm2", "1"), (r"\frac{-1 \pm \sqrt5}{2}", r"\frac{1 \pm \sqrt5}{2}"), (r"0,\pm1", "1,-1"), (r"\pm1,\pm2", "1,2"),
])

t("parameters", [
    (r"x=\frac{\pi}{6}+k\pi, k\in\mathbb{Z}", r"\frac{\pi}{6}+k\pi"), (r"\frac{\pi}{4}+n\pi, n \in \mathbb{Z}", r"\frac{\pi}{4}+n\pi\ (n\in\mathbb{Z})"), (r"f(x)=ax+b", r"ax+b"), (r"2k+1, k \in \mathbb{Z}", r"2k+1, k\in \mathbf{Z}"), (r"C_1e^{t}+C_2e^{-t}", r"C_{1} e^{t}+C_{2} e^{-t}"), (r"\left(\frac{t^{2}}{2}-t+C\right) e^{-t}", r"e^{-t}(t^2/2-t+C)"),
    (r"x = 2\pi k + \frac{\pi}{3}, \text{ where } k \text{ is an integer}", r"\frac{\pi}{3}+2\pi k, k\in\mathbb{Z}"), (r"\frac{ab}{2}", r"$\frac{a b}{2}$"), (r"x_{0} \cos (\omega t)", r"x_0\cos\omega t"), (r"n=k+4", r"k+4"), (r"d=\frac{1+\sqrt{1+8 n}}{2}", r"\frac12\left(1+\sqrt{8n+1}\right)"), (r"\frac{1}{s+a}", r"(a+s)^{-1}"), (r"\lambda_{\text {red}} / \sqrt{2}", r"\frac{\lambda_{\text{red}}}{\sqrt2}"), (r"f(x)=cx \text{ for any constant } c", r"f(x)=cx"),
], [
    (r"\frac{\pi}{6}+2k\pi, k\in\mathbb{Z}", r"\frac{\pi}{6}+k\pi, k\in\mathbb{Z}"), (r"\frac{\pi}{6}", r"\frac{\pi}{6}+k\pi, k\in\mathbb{Z}"), (r"2k+1", r"2k, k\in\mathbb Z"), (r"f(x)=ax", r"f(x)=ax+b"), (r"C_1e^{t}+C_2e^{-t}", r"C_{1} e^{2t}+C_{2} e^{-t}"), (r"n=k+4", r"n=k-4"), (r"2n-2", r"2n"), (r"\lambda_{\text{blue}}", r"\lambda_{\text{red}}"), (r"x_0", r"x_1"), (r"\frac{1}{s-a}", r"\frac{1}{s+a}"), (r"\frac{N}{N+1}", r"\frac{1}{N+1}"),
])

t("absolute values", [
    (r"|x-3|", r"|3-x|"), (r"\left|-7\right|", "7"), (r"\sqrt{x^2}", "|x|"), (r"\lvert x\rvert", "|x|"), (r"2|a|", r"|2a|"), (r"|3+4i|", "5"), (r"\frac{|a|}{|b|}", r"\left|\frac ab\right|"),
], [
    ("|x|", "x"), (r"|x-3|", r"|x+3|"), (r"|x|-3", r"|x-3|"), (r"|-7|", "-7"), (r"\sqrt{x^2}", "x"), (r"|a+b|", r"|a|+|b|"),
])

t("text answers", [
    (r"\text{Evelyn}", "Evelyn"), (r"\text{east}", "East"), (r"\text{ellipse}", "an ellipse"), (r"\textbf{Navin}", r"\text{Navin}"), (r"\mathrm{even}", r"\text{even}"), ("Even", r"\text{even}"), (r"\mbox{four}", "four"), (r"\text{Wednesday}", "wednesday."), (r"\text{October 30}", "October 30"), (r"\text{ Tuesday }", r"\text{Tuesday}"),
    (r"\textit{gray}", "gray"), (r"\mbox{orange}", r"\text{orange}"), (r"four", "4"), (r"\text{A, D, F, G, H}", r"\text{A,D,F,G,H}"), (r"\text{H, E}", r"\text{E, H}"), ("The parabola", r"\text{parabola}"), (r"\textrm{neither}", "neither"), (r"\text{Sunday}", r"\mathrm{Sunday}"), (r"**gray**", r"\text{gray}"), (r"SRAC = LRAC", r"SRAC=LRAC"),
], [
    (r"\text{east}", r"\text{west}"), (r"\text{Evelyn}", r"\text{Evan}"), (r"\text{odd}", r"\text{even}"), (r"\text{Tuesday}", r"\text{Thursday}"), (r"\text{October 3}", r"\text{October 30}"), (r"\text{circle}", r"\text{ellipse}"), (r"\text{neither even nor odd}", r"\text{even}"), (r"\text{not even}", r"\text{even}"), (r"\text{red}", r"\text{gray}"), (r"August", r"\text{April}"), (r"\text{four}", "5"), (r"\text{five}", "4"), (r"Alice and Bob", "Alice"), (r"\text{north}", r"\text{northeast}"), (r"\text{ellipse or circle}", r"\text{ellipse}"), ("hyperbola", "parabola"), (r"\text{Monday}", r"\text{Monday, Tuesday}"),
])

t("choices", [
    (r"\text{(B)}", "B"), ("(C)", r"\text{C}"), (r"\textbf{(D)}", "D"), (r"\text{(E)},", "E"), ("A.", "A"), (r"\boxed{\textbf{(A)}\ 14}", "A"), (r"\textbf{(C) } 21", "21"), ("The answer is (D).", "D"), (r"\text{A,C}", "C, A"), (r"(\text{H})", "H"), ("B)", "B"), ("Option C", "C"), (r"\mathrm{(B)}\ 6", "B"), (r"\text{Choice (B)}", r"\text{(B)}"), ("The correct answer is **B**.", "B"), ("D: 42", "D"), (r"\text{A, B, C, D}", r"\text{A,B,C,D}"),
], [
    ("B", "C"), (r"\text{(B)}", r"\text{(E)}"), ("A or B", "A"), (r"\text{A,B}", "A"), (r"\text{A}", r"\text{A,B}"), (r"\textbf{(C)}\ 21", "B"), ("(A) and (C)", "(A)"), ("not B", "B"), (r"\text{A, D, F, G}", r"\text{A, D, F, G, H}"), ("E", "D"), (r"\textbf{(A)}\ 14", "41"), ("ABCD", "A"),
])

t("yes and no", [
    ("Yes", r"\text{yes}"), (r"\text{No}", "no"), ("True", r"\text{True}"), (r"\boxed{\text{Yes}}", "Yes"), ("yes.", "Yes"), (r"\text{false}", "False"), ("No.", r"\text{No}"),
], [
    ("Yes", "No"), ("No", r"\text{yes}"), ("True", r"\text{False}"), ("Yes and no", "Yes"), ("Yes or no", "No"), (r"\text{not true}", r"\text{true}"),
])

t("none, empty, infinity", [
    (r"\emptyset", r"\varnothing"), (r"\text{no solution}", r"\text{No solutions}"), (r"\{\}", r"\emptyset"), (r"\infty", r"+\infty"), (r"\text{no real solutions}", "no real solution"), (r"-\infty", r"- \infty"), (r"\text{undefined}", "undefined"), (r"\text{None}", "none"), (r"\text{infinitely many}", "infinitely many"), (r"\text{DNE}", r"\text{does not exist}"), (r"∅", r"\emptyset"), (r"\text{infinity}", r"\infty"),
], [
    (r"\infty", r"-\infty"), (r"\emptyset", "0"), (r"\{0\}", r"\emptyset"), (r"\text{no solution}", "0"), (r"\text{no solution}", "infinitely many solutions"), (r"\infty", "1000000"), (r"\text{undefined}", "0"), ("", "0"), (r"\boxed{}", "0"), (r"\mathbb{R}", r"\emptyset"), (r"x=2", r"\text{no solution}"), (r"\text{undefined}", r"\infty"), (" ", "5"),
])

t("ratios", [
    ("3:5", r"3 : 5"), ("3:5", r"\frac35"), (r"3\!:\!5", "3:5"), (r"6:10", "3:5"), (r"1:2:3", r"1 : 2 : 3"), (r"3 \text{ to } 5", "3:5"), (r"\sqrt2:1", r"\sqrt{2} : 1"),
], [
    ("3:5", "5:3"), ("3:5", "35"), ("1:2:3", "1:3:2"), ("2:3", "3:4"), ("3:5", "3.5"), ("1:2", "2"),
])

t("times and dates", [
    (r"4\!:\!51\!:\!06 \text{ p.m.}", "4:51:06 p.m."), (r"8\!:\!34 \text{ p.m.}", "8:34 PM"), ("10:30 a.m.", r"10\!:\!30\text{ a.m.}"), (r"\text{3:15 p.m.}", "3:15 pm"), ("12:45", r"12\!:\!45"), ("July 4", r"\text{July 4}"),
], [
    ("8:34 a.m.", "8:34 p.m."), ("4:51:06", "4:51:60"), ("10:30", "1030"), ("July 4", "July 14"), ("July 4", "June 4"), ("3:15", "3.15"), ("12:45", "12:54"), ("5:00", "5:30"),
])

t("bases", [
    ("204_5", "204_{5}"), ("40_9", "40"), (r"2516_8", r"2516_{8}"), (r"1101001_{2}", "1101001_2"), (r"\text{A5}_{11}", r"A5_{11}"), (r"(4210)_5", "4210_{5}"), ("24_{10}", "24"), (r"1204_{\text{nine}}", "1204_9"), (r"110001_{\text{two}}", "110001_2"), (r"66_{8}", "66"),
], [
    ("36", "40_9"), ("204_5", "204_6"), ("52_8", "25_8"), ("1101001_2", "110100_2"), ("54", "204_5"), ("2516_8", "2516_9"), (r"\text{B5}_{11}", r"\text{A5}_{11}"), ("33_4", "33_5"),
])

t("boxes", [
    (r"\boxed{42}", "42"), (r"So \boxed{7} was a try, but the answer is \boxed{9}.", "9"), (r"\boxed{\boxed{5}}", "5"), (r"\boxed{\frac{1}{2}}", "0.5"), (r"\fbox{12}", "12"), (r"\boxed {15}", "15"), (r"\boxed{x = 3}", "3"), (r"$\boxed{\text{(B)}}$", "B"), (r"\boxed{\$18.90}", "18.90"), (r"\boxed{\{1, 2\}}", "1,2"),
    (r"\boxed{1, 2}", "2,1"), (r"\boxed{\text{The answer is } 12}", "12"), (r"\boxed{10\text{ cm}}", "10"), (r"\boxed{90^\circ}", "90"), (r"The area is $\boxed{\dfrac{3\sqrt{3}}{4}}$ square units.", r"\frac{3\sqrt3}{4}"), (r"\boxed{\left(-\infty, 3\right]}", r"(-\infty,3]"), (r"$$\boxed{f(x)=x^2+1}$$", "x^2+1"), (r"\[ \boxed{\begin{pmatrix} 1 \\ 2 \end{pmatrix}} \]", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"), (r"\boxed{84}\%", "84"), (r"Thus $\boxed{41.8}^{\circ}$", "41.8"),
    (r"\boxed{\frac{a}{b} = \frac{3}{4}}", "3/4"), (r"Final Answer: $\boxed{2\sqrt{5}}$. I hope it is correct.", r"2\sqrt5"), ("\\boxed{\n  17\n}", "17"), (r"\boxed{-\frac{1}{3}}", r"-\frac{1}{3}"), (r"\boxed{\text{Yes}}.", "Yes"), (r"\boxed{18 \text{ apples}}", "18"), (r"\boxed{1{,}024}", "1024"),
], [
    (r"So \boxed{7} was a try, but the answer is \boxed{9}.", "7"), (r"\boxed{12} is not right, so \boxed{13}", "12"), (r"\boxed{1, 2}", "1"), (r"The answer is 5. \boxed{6}", "5"), (r"\boxed{}", "1"), (r"\boxed{5 \text{ or } 6}", "5"), (r"\boxed{\text{I don't know}}", "3"), (r"\boxed{3} \boxed{4}", "3"), (r"\boxed{x=5, y=2}", "5"), (r"\boxed{\text{between 3 and 4}}", "3"), (r"\boxed{\frac{1}{2}}", "2"), (r"\boxed{5\text{ cm}}", "5 m"), (r"\boxed{1/2} \ldots \boxed{?}", "1/2"), (r"\boxed{\boxed{5}+1}", "5"), (r"\boxed{12}3", "3"), (r"\boxed{6=5}", "5"), (r"\boxed{\text{not } 5}", "5"), (r"\boxed{7} or maybe \boxed{8}", "7"), (r"\boxed{\approx 0.33}", r"\frac13"), (r"\boxed{answer}", "4"), (r"\boxed{24 - 3}", "24"), (r"\boxed{(1,2)}", "(2,1)"),
])

t("whole responses", [
    ("Let $x$ be the number. Then $2x+3=11$, so $x=4$.\n\nThe final answer is $4$.", "4"), ("We have $a^2+b^2=c^2$, so $c=5$.\n\nTherefore the answer is $\\boxed{5}$.", "5"), ("First 16-3-4=9 eggs, then 9*2=18.\n#### 18", "18"), ("Step 1: $\\frac{3}{4}\\times 100 = 75$.\nStep 2: $75\\%$.\n\n**Answer:** $75\\%$", r"75\%"),
    ("<think>I guess \\boxed{3}. Hmm, no, it is 4.</think>\nThe answer is \\boxed{4}.", "4"), ("The solutions are $x=2$ and $x=3$. Hence the answer is $\\boxed{2, 3}$.", "3,2"), ("After simplification we get $$\\frac{\\sqrt{3}}{2}.$$ So the final answer is $\\frac{\\sqrt{3}}{2}$.", r"\frac{\sqrt3}{2}"), ("Answer: 12", "12"), ("ANSWER: \\frac{7}{8}", "7/8"),
    ("The answer is 3,200 dollars.", "3200"), ("Therefore, the domain is $(-\\infty, 3) \\cup (3, \\infty)$.\n\nFinal Answer: The final answer is $(-\\infty, 3) \\cup (3, \\infty)$. I hope it is correct.", r" (-\infty, 3) \cup (3, \infty) "), ("<think>long</think><answer>27</answer>", "27"), ("<think>2 or 3?</think> <answer> \\boxed{\\frac{2}{3}} </answer>", r"\frac{2}{3}"), ("The probability is\n\\[\n\\boxed{\\frac{79}{128}}.\n\\]", r"$\frac{79}{128}$"),
    ("Wait, I made a mistake: the sum is not 10. It is 12.\n\n\\boxed{12}", "12"), ("**Final Answer**\n\\boxed{\\text{(C)}}", "C"), ("Thus $f(x)=x$ or $f(x)=2-x$.\n\n$\\boxed{f(x)=x \\text{ or } f(x)=2-x}$", "$f(x)=x$,$f(x)=2-x$"), ("So the final answer is: $\\boxed{(-7,-1)}$", "(-7,-1)"), ("The answer is $x = \\frac{3}{2}$.", r"x = \frac{3}{2}"), ("Hence she makes $9 \\times 2 = \\$18$ per day. The answer is $18.", "18"), ("The final answer is: 1/2.", r"\frac{1}{2}"),
    ("### Answer\n\n$$n = 255$$\n\nThe answer is $n=255$.", "255"), ("<|im_start|>assistant\nThe answer is \\boxed{10}.<|im_end|>", "10"), ("Thus the answer is $\\boxed{\\frac{1}{6084}}$.\n\nLet me double check: $78^2=6084$. Correct.", r"\frac{1}{6084}"),
], [
    ("<think>The answer is \\boxed{4}.</think>", "4"), ("<think>It is \\boxed{4}.</think> So the answer is \\boxed{5}.", "4"), ("<think>It must be 4. \\boxed{4}", "4"), ("The answer is 4. No wait, the answer is 5.", "4"), ("#### 18\n#### 20", "18"), ("I am not sure, it could be 3, 4 or 5.", "4"), ("The answer is either 3 or 4.", "3"), ("We have $x=4$ and $y=3$. The final answer is $x+y=7$.", "4"), ("I cannot solve this problem.", "7"),
    ("Final Answer: $\\boxed{\\text{cannot be determined}}$", "12"), ("The answer is $\\boxed{12}$. Actually, rechecking, it is $\\boxed{14}$.", "12"), ("The answer is (B), or perhaps (C).", "B"), ("Answer: 1/3 (about 0.333)\nAnswer: 1/4", "1/3"), ("<think>2+2=4</think><answer>5</answer>", "4"), ("The answer is $2\\sqrt{3}$.", r"2\sqrt{5}"), ("The answer is not 7.", "7"), ("Let $x=5$. Then $2x=10$. The answer is 10.", "5"), ("So far \\boxed{3", "4"), ("1 2 3 4 5 6 7 8 9 10", "7"), ("\\boxed{1}\\boxed{2}\\boxed{3}\\boxed{4}", "2"), ("The answer is 42 or 43.", "42"), ("Answer: 5 cm", "5 kg"), ("My guess: 10, maybe 12, maybe 15", "12"), ("The value lies between 10 and 20.", "10"), ("The answer is approximately 0.333.", r"\frac13"), ("<answer>3</answer><answer>4</answer>", "3"),
    ("\\boxed{\\text{A}}\\text{ or }\\boxed{\\text{B}}", "A"), ("<think>\\boxed{8}</think>\nI ran out of time.", "8"),
])

t("whitespace and delimiters", [
    ("\u00a042\u00a0", "42"), ("x\u2009=\u20093", "3"), ("$ 42 $", "42"), (r"\( \frac{1}{2} \)", r"\frac12"), (r"\[ 3\sqrt{2} \]", r"3 \sqrt{2}"), ("$$17$$", "17"), ("\u22125", "-5"), ("2\u00d73", "6"), ("\t12\n", "12"), (r"~7~", "7"), (r"\displaystyle \frac{3}{4}", "3/4"), (r"\;5\;", "5"), (r"3\quad", "3"), ("\ufeff8", "8"), ("–3", "-3"), ("½", "0.5"), (r"{42}", "42"), (r"\mathbf{7}", "7"), (r"42\,", "42"), ("`15`", "15"), (r"{{{9}}}", "9"), ("5\u200b", "5"), (r"$\frac{1}{2}$.", r"1/2"), (r"\left(2,\,4\right).", "(2,4)"), (r"\mathrm{e}^2", "e^2"), (r"x^{\circ}", "x"),
], [
    ("\u22125", "5"), ("4 2", "42"), (r"\(3\)", r"\(-3\)"), ("$$", "0"), ("-", "-1"), (r"\frac{}{}", "0"), (r"\quad", "0"), ("...", "0"), (r"\ldots", "1"), ("?", "5"), ("2\u00d73", "5"), ("½", "2"), (r"x^2", "x2"), (r"\sqrt{}", "0"), ("x", "xy"),
])

t("systems and piecewise", [
    (r"f(x)=\begin{cases} x & x>0 \\ -x & x\le 0\end{cases}", r"\begin{cases} x & x>0 \\ -x & x\le 0\end{cases}"), (r"\begin{cases} 1 & \text{if } n \text{ is even} \\ 0 & \text{if } n \text{ is odd} \end{cases}", r"\begin{cases} 1, & \text{if } n \text{ is even} \\ 0, & \text{if } n \text{ is odd} \end{cases}"), (r"\begin{cases} x=2 \\ y=-1 \end{cases}", r"(x,y)=(2,-1)"), (r"\begin{array}{l} x=1 \\ y=4 \end{array}", "x=1, y=4"), (r"(x,y)=(1,2)\text{ or }(2,1)", "(1,2),(2,1)"), (r"(x,y,z) \in \{(1,2,3),(3,2,1)\}", "(1,2,3),(3,2,1)"),
], [
    (r"\begin{cases} x & x>0 \\ -x & x\le 0\end{cases}", r"\begin{cases} -x & x>0 \\ x & x\le 0\end{cases}"), (r"\begin{cases} x=2 \\ y=-1 \end{cases}", r"\begin{cases} x=-1 \\ y=2 \end{cases}"), (r"\begin{cases} 1 & n>2 \\ 0 & n\le 2\end{cases}", "1"), (r"(x,y)=(1,2)\text{ or }(2,1)", "(1,2)"), (r"\begin{cases} x & x>0 \\ -x & x\le 0\end{cases}", r"\begin{cases} x & x>1 \\ -x & x\le 1\end{cases}"), (r"(x,y,z) \in \{(1,2,3)\}", "(1,2,3),(3,2,1)"),
])

t("calculus and physics forms", [
    (r"\frac{1}{2a}\left(e^{at}-e^{-at}\right)", r"\frac{1}{2a}(\exp{a*t} - \exp{-a*t})"), (r"\frac{\sinh(at)}{a}", r"\frac{1}{2a}(e^{at}-e^{-at})"), (r"100\sqrt{p}", r"100 p^{\frac{1}{2}}"), (r"s^2+bs+1", r"s^{2}+b s+1"), (r"2\pi/\omega", r"\frac{2\pi}{\omega}"), (r"-t^2-t-3", r"-(t^2+t+3)"), (r"\frac{4}{3}\pi R^3", r"\frac{4\pi R^{3}}{3}"), (r"-\frac{\sin(3t)}{5}+C_1\sin(2t)+C_2\cos(2t)", r"-\sin (3 t) / 5+ C_{1} \sin (2 t)+C_{2} \cos (2 t)"), (r"\int_0^1 2x\,dx", "1"), (r"\alpha+\beta", r"\beta+\alpha"), (r"mgh", r"m g h"), (r"\hbar\omega", r"\hbar \omega"), (r"\mu_0 I/(2\pi r)", r"\frac{\mu_0 I}{2\pi r}"),
], [
    (r"\frac{1}{2}(e^{at}-e^{-at})", r"\frac{1}{2a}(\exp{a*t} - \exp{-a*t})"), (r"\frac{4}{3}\pi R^2", r"\frac{4\pi R^{3}}{3}"), (r"s^2-bs+1", r"s^{2}+b s+1"), (r"\omega/2\pi", r"2\pi/\omega"), (r"-\frac{\sin(3t)}{5}+C_1\sin(2t)+C_2\cos(2t)", r"\sin (3 t) / 5+ C_{1} \sin (2 t)+C_{2} \cos (2 t)"), (r"100p^2", r"100p^{\frac12}"), (r"\alpha", r"\beta"), (r"mgh", r"\frac12mv^2"), (r"f(t)\cos\theta(t)", r"f(t)\sin\theta(t)"), (r"\frac{d v}{d t}=-\frac{b}{m} v", r"\frac{d v}{d t}=\frac{b}{m} v"), (r"E_1, E_2", r"E_1"),
])

# Topics of which the sample wants more wrong answers: near misses of real golds.
t("near misses", [], [
    (r"\frac{20000}{\pi^2}", r"\frac{20000}{\pi}"), (r"\frac{1}{6}\pi+\pi k, \frac{1}{3}\pi+\pi k", r"x=\frac{1}{6} \pi+\pi k, \frac{1}{3} \pi+\pi k, \frac{2}{3} \pi+\pi k, \frac{5}{6} \pi+\pi k"), (r"(1,7,103,105)", "(1,7,103, 105), (3, 5, 101, 107)"), (r"\frac{2016}{2017}", r"\frac{2016}{2017^{2}}"), (r"1+\lfloor\log_2(n-1)\rfloor", r"\left\lfloor\log _{2} n\right\rfloor+1"),
    (r"\frac{15+8 \sqrt{3}}{33}", r"\frac{15-8 \sqrt{3}}{33}"), (r"-\sqrt{11}<x<-2", r"(-\sqrt{11},-2)\cup (\sqrt{11},9)"), (r"\frac{3-\sqrt2}{7}", r"\sqrt{2}-1,\frac{3-\sqrt{2}}{7}"), (r"f(x)=ax", r"f(x)=a x+b"), (r"2^{N-2}", r"M=2^{N-2}+1"), (r"137", r"137 \frac{1}{2}"), (r"15", "15, 3"), (r"11111111", r"11,\! 111,\! 111,\! 100"),
    (r"\begin{pmatrix} 16/49 \\ 48/49 \\ -24/49 \end{pmatrix}", r"\begin{pmatrix} 16/49 \\ 48/49 \\ 24/49 \end{pmatrix}"), (r"2\sin^2 t", r"\sin^2 t"), (r"x^2 + 33x + 33", r"x^2 + 33x - 33"), (r"(x+2)(x-2)", r"(2) (x+2) (x-2)"), (r"\left[ \frac{\pi^3}{32}, \frac{7 \pi^3}{8} \right)", r"\left[ \frac{\pi^3}{32}, \frac{7 \pi^3}{8} \right]"), (r"2^{98}", r"\frac{1}{2^{98}}"), (r"9y^2", "9y"),
    (r"\frac{\sqrt{15}}{15}", r"\frac{\sqrt{15}}{3}"), (r"(2,251,253)", r"$(2,251,252)$"), (r"(7,5,1,1,9,3,5,7,3,8,6,4,2,9,2,4,8,6)", "(7,5,1,1,9,3,5,7,3,8,6,4,2,9,2,4,6,8)"), (r"(1,2,3),(1,3,2),(2,1,3),(2,3,1),(3,1,2)", r"$(1,2,3),(1,3,2),(2,1,3),(2,3,1),(3,1,2),(3,2,1)$"), (r"10^{100}", r"$10^{100}$,$10^{1 / 100}$"), (r"10^{101}", r"10^{100}"), (r"2^{1000}+1", r"2^{1000}"), (r"1000000007", "1000000008"), (r"0.1234567890123", "0.1234567890124"),
    (r"10x\sqrt{21}", r"10x \sqrt{21x}"), (r"221\sqrt3+330", r"221 \sqrt{3} - 330"), (r"y=-\frac52x+\frac{29}{4}", r"y = -\frac{5}{2} x - \frac{29}{4}"), (r"\frac{7\pi}{9}", r"\frac{7\pi}{8}"), (r"k=2n+1", r"$k=2 n-1$"), (r"\frac{n(n+1)(n+2)}{6}", r"\frac{n(n+1)(2 n+1)}{6}"), (r"\frac{2n}{3}+1", r"N(n)=\left\lfloor\frac{2 n}{3}\right\rfloor+1"), (r"-1-2i,1+2i", r"1-2i,1+2i"), (r"\log_{10}2", r"\log_2 10"), (r"4\!:\!51\!:\!06 \text{ a.m.}", r"4\!:\!51\!:\!06 \text{ p.m.}"),
])
# Still graded otherwise, all of them missed: sums, integrals, an inequality to be solved, what no prefix rule covers; and
# a base that the gold lacks, on purpose: 66_8 is not 66
KNOWN = [
    ("x+y = 7", "7"), (r"|z|=\sqrt{13}", r"\sqrt{13}"), ("2x<6", "x<3"), (r"\sum_{k=1}^{10} k", "55"), (r"\int_0^1 2x\,dx", "1"),
    ("40_9", "40"), (r"66_{8}", "66"),
]
