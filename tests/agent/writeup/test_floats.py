"""Numbers of figures, tables, equations and sections on the page that LaTeX does not make."""

from agent.writeup.floats import argument, label_numbers, resolved

TEXT = r"""\section{One}
\label{sec:one}
See Table~\ref{tab:b}, Eq.~\eqref{eq:a} and Section~\ref{sec:two}, not Figure~\ref{fig:none}.
\begin{equation}
a = b
\label{eq:a}
\end{equation}
\begin{table}
\caption{First.}
\end{table}
\section{Two}
\begin{table}
\caption{Second, of {\em braces}.}
\label{tab:b}
\end{table}
\label{sec:two}
"""


def test_labels_are_numbered_as_latex_does() -> None:
    assert label_numbers(TEXT) == {"sec:one": "1", "eq:a": "1", "tab:b": "2", "sec:two": "2"}


def test_references_captions_and_equations_show_their_numbers() -> None:
    shown = resolved(TEXT, label_numbers(TEXT))
    assert "Table~2, Eq.~(1) and Section~2, not Figure~?." in shown
    assert "\\caption{First.}" in shown
    assert "\\caption{Table 2: Second, of" in shown
    assert "\\quad (1)" in shown
    assert "\\label" not in shown


def test_the_argument_of_a_command_keeps_its_braces() -> None:
    assert argument(TEXT[TEXT.index("Two") :], "caption") == r"Second, of {\em braces}."
    assert argument(TEXT, "footnote") == ""
