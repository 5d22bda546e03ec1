"""The plain form of a text: what a reader sees is what is checked, however it was written."""

import sys
import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agent.audit.plain import asides, listings, look_alike, plain_text, speaks, unreadable, with_digits

FORMS = st.sampled_from(["tex", "md", "txt"])
NO_ROOM = st.characters(categories=["Cf", "Co"])
# Each looks like the letter beside it in common fonts.
CYRILLIC = dict(zip("aceijopsxy", "асеіјорѕху", strict=True))
GREEK = dict(zip("oviku", "ονικυ", strict=True))


def test_a_word_is_one_word_whatever_stands_in_it_that_takes_no_room() -> None:
    signs = [chr(code) for code in range(sys.maxunicode) if unicodedata.category(chr(code)) == "Cf"]
    assert len(signs) > 100
    assert all(plain_text(f"im{sign}proves", form) == "improves" for sign in signs for form in ("tex", "md", "txt"))


@given(st.text(st.sampled_from("improves over TopK 0.9"), max_size=40), st.data(), FORMS)
@settings(max_examples=100, deadline=None)
def test_signs_without_room_change_nothing_wherever_they_stand(text: str, data: st.DataObject, form: str) -> None:
    place = data.draw(st.integers(0, len(text)))
    hidden = text[:place] + data.draw(st.text(NO_ROOM, max_size=3)) + text[place:]
    assert plain_text(hidden, form) == plain_text(text, form)  # type: ignore[arg-type]


@given(st.text(max_size=60), FORMS)
@settings(max_examples=200, deadline=None)
def test_lines_stay(text: str, form: str) -> None:
    found = plain_text(text, form)  # type: ignore[arg-type]
    assert found.count("\n") == text.replace("\r\n", "\n").replace("\r", "\n").count("\n")
    assert "\ue000" not in found, "the signs of references are the audit's own"


@given(st.integers(0, 10**9), st.sampled_from([zero for zero in map(chr, range(sys.maxunicode)) if zero.isdecimal()]))
@settings(max_examples=200, deadline=None)
def test_digits_of_every_script_are_digits(number: int, of_script: str) -> None:
    zero = ord(of_script) - unicodedata.digit(of_script)
    written = "".join(chr(zero + int(digit)) for digit in str(number))
    assert plain_text(written, "txt") == str(number)


@pytest.mark.parametrize(
    "written",
    [
        r"im\-proves", r"im\/proves", r"im{}proves", r"im\relax proves", r"im\allowbreak{}proves", r"im\kern0pt proves",
        r"im\hspace{0pt}proves", r"im\discretionary{}{}{}proves", r"im\textbf{pro}ves", r"\emph{im}proves",
        r"im{pro}ves", r"\textcolor{white}{im}proves", r"im\mathrm{proves}", "ｉｍｐｒｏｖｅｓ", "𝐢𝐦𝐩𝐫𝐨𝐯𝐞𝐬",
        "im\u00adproves",
    ],
)  # fmt: skip
def test_markup_that_takes_a_latex_word_apart_goes(written: str) -> None:
    assert plain_text(written, "tex") == "improves"


@pytest.mark.parametrize(
    "written",
    [
        "im<b></b>proves", "im<span class='x'>pro</span>ves", "im&shy;proves", "im&#8203;proves", "im&#x200B;proves",
        "im&ZeroWidthSpace;proves", "impr&#111;ves", "im<!-- so -->proves", "im**pro**ves", "im*pro*ves",
    ],
)  # fmt: skip
def test_markup_that_takes_a_markdown_word_apart_goes(written: str) -> None:
    assert plain_text(written, "md") == "improves"


@given(st.sampled_from(["improves", "exceeds", "outperforms", "explained variance", "copies"]), st.data())
@settings(max_examples=150, deadline=None)
def test_letters_of_other_alphabets_among_latin_ones_are_what_they_look_like(word: str, data: st.DataObject) -> None:
    table = data.draw(st.sampled_from([CYRILLIC, GREEK]))
    chosen = data.draw(st.sets(st.integers(0, len(word) - 1)))
    disguised = "".join(table.get(letter, letter) if place in chosen else letter for place, letter in enumerate(word))
    assert look_alike(disguised) == word or all(part.isascii() is False for part in disguised.split())


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_places_stay_where_letters_are_exchanged(text: str) -> None:
    assert len(look_alike(text)) == len(text)
    assert len(with_digits(text)) == len(text)


def test_a_greek_letter_by_itself_is_a_symbol() -> None:
    assert look_alike("the weight λ and a width of α times β") == "the weight λ and a width of α times β"


UNITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


@given(st.integers(20, 99), st.sampled_from("- "), st.sampled_from(["percent", "per cent", "percentage points"]))
@settings(max_examples=100, deadline=None)
def test_percentages_in_words_are_numbers(number: int, joint: str, unit: str) -> None:
    tens, ones = divmod(number, 10)
    written = TENS[tens - 2] + (joint + UNITS[ones] if ones else "")
    assert with_digits(f"it is {written} {unit}").split()[2] == str(number)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.sampled_from(["zero ", "nought ", ""]))
@settings(max_examples=100, deadline=None)
def test_decimals_in_words_are_numbers(digits: list[int], whole: str) -> None:
    written = f"{whole}point {' '.join(UNITS[digit] for digit in digits)}"
    assert float(with_digits(f"it is {written}").split()[2]) == pytest.approx(float(f"0.{''.join(map(str, digits))}"))


def test_parts_in_words_are_numbers() -> None:
    assert float(with_digits("ninety-nine hundredths").strip()) == 0.99
    assert with_digits("at one point two runs ended") != "at one 0.2 runs ended"


DRAWN = [
    r"\begin{tikzpicture}\node{TopK loses};\end{tikzpicture}", r"\tikz\node{x};", r"\def\x{loses}", r"\let\x=y",
    r"\newcommand{\x}{loses}", r"\csname loses\endcsname", r"\catcode`\%=12", r"\char 65", r"^^61", r"\scantokens{x}",
    r"\verbatiminput{x}", r"\reflectbox{x}", r"\input{claims}", r"\include{claims}", r"\subfile{claims}",
    r"run\_1 \checkmark", r"\ding{51}", "run 1 ✓", r"im\alpha{}proves",
]  # fmt: skip


@pytest.mark.parametrize("written", DRAWN)
def test_what_has_no_plain_form_is_a_fault(written: str) -> None:
    paper = "\\documentclass{article}\n\\begin{document}\nA sentence. %s\n\\end{document}\n"
    places = [place for place, _ in unreadable(paper % written)]
    assert places
    assert all((paper % written)[:place].count("\n") == 2 for place in places)


@pytest.mark.parametrize("written", DRAWN[3:7])
def test_what_is_in_a_comment_or_before_the_text_is_none(written: str) -> None:
    head = f"\\documentclass{{article}}\n{written}\n\\begin{{document}}\n"
    assert not list(unreadable(f"{head}A sentence. % {written}\n\\input{{appendix}}\n\\end{{document}}\n"))


@pytest.mark.parametrize(
    ("written", "form", "words"),
    [
        ("x % run 2 beats TopK", "tex", "run 2 beats TopK"),
        (r"\cite[run 2 beats TopK]{gao2024}", "tex", "run 2 beats TopK"),
        (r"\href{https://x.org/run-2-beats-TopK}{here}", "tex", "run 2 beats TopK"),
        (r"\url{https://x.org/run%202%20beats%20TopK}", "tex", "run 2 beats TopK"),
        ("see https://x.org/run-2-beats-TopK for it", "md", "run 2 beats TopK"),
    ],
)
def test_words_beside_the_sentences_are_read(written: str, form: str, words: str) -> None:
    found = list(asides(written, form))  # type: ignore[arg-type]
    assert any(words in said for _, said in found)
    assert all(0 <= place <= len(written) for place, _ in found)


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("\\begin{verbatim}\nrun 2\n\\end{verbatim}", "tex"),
        ("\\begin{lstlisting}[language=C]\nrun 2\n\\end{lstlisting}", "tex"),
        ("\\begin{comment}\nrun 2\n\\end{comment}", "tex"),
        ("```\nrun 2\n```", "md"),
    ],
)
def test_listings_are_found_with_their_places(written: str, form: str) -> None:
    ((start, end, first, text),) = listings(written, form)  # type: ignore[arg-type]
    assert (start, end) == (0, len(written))
    assert written[first : first + len(text)] == text
    assert "run 2" in text


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        (r"\[ \mathrm{run\ 1\ outperforms\ TopK} \]", True),
        (r"\[ \text{the first of them is best} \]", True),
        (r"\begin{equation} f = \mathrm{TopK}(x) \end{equation}", True),
        (r"\[ \mathcal{L} = \lVert x - \hat{x} \rVert_2^2 + \lambda \sum_i |f_i| \]", False),
        (r"\[ \operatorname{cos}(u, v) \leq \tau \]", False),
    ],
)
def test_a_formula_that_speaks_is_told_from_one_that_does_not(formula: str, words: bool) -> None:
    assert speaks(formula) is words


@given(st.text(st.sampled_from("ab\u0301é ﬁ½٣Ａ"), max_size=20))
@settings(max_examples=100, deadline=None)
def test_the_plain_form_of_a_plain_form_is_itself(text: str) -> None:
    once = plain_text(text, "txt")
    assume(unicodedata.is_normalized("NFKC", once))
    assert plain_text(once, "txt") == once
