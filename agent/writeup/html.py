"""The paper as one HTML page, for where there is no LaTeX."""

import html
import re
from base64 import b64encode
from pathlib import Path

from agent.audit.bibliography import Entry
from agent.writeup.floats import argument, label_numbers, resolved
from agent.writeup.numbers import Number
from agent.writeup.paper import Paper, split_title

_HEADING = re.compile(r"\\(?P<level>(?:sub)*)section\*?\{(?P<title>[^{}]*)\}")
_MARK = "\ue010"
_ENVIRONMENT = re.compile(
    r"(?s)\\begin\{(?P<kind>figure|table|itemize|enumerate|equation|align)\*?\}(?:\[[^\]]*\])?(?P<body>.*?)"
    r"\\end\{(?P=kind)\*?\}"
)
_TABLE = re.compile(r"(?s)\\begin\{tabular[x*]?\}(?:\{[^{}]*\})+(?P<body>.*?)\\end\{tabular")
_RULE = re.compile(r"\\(?:toprule|midrule|bottomrule|hline|cmidrule(?:\([^)]*\))?\{[^{}]*\})")
_IMAGE = re.compile(r"\\includegraphics(?:\[[^\]]*\])?\{([^{}]*)\}")
_SCRIPT = re.compile(r"(?P<mark>[_^])(?P<inner>\{(?:[^{}]|\{[^{}]*\})*\}|\\[a-zA-Z]+|\w)")
NAMES_SHOWN = 6


def write_html(paper: Paper, numbers: list[Number], path: Path) -> None:
    """Write the paper as HTML, every number a link to the table at its end.

    Args:
        paper: The paper, made.
        numbers: What its references show.
        path: The file.
    """
    from agent.base.files import write_atomically

    title, abstract = split_title(paper.text(paper.sections[0]))
    body = [f"<h1>{_text(title, paper, numbers)}</h1>", f"<p class=abstract>{_text(abstract, paper, numbers)}</p>"]
    texts = [paper.text(section) for section in paper.sections[1:]]
    labels = label_numbers("\n".join(texts))
    for text in texts:
        body += _section(resolved(text, labels), paper, numbers)
    cited = _cited(paper)
    body.append(
        "<h2>References</h2><ol>" + "".join(f"<li id='ref-{e.key}'>{_reference(e)}</li>" for e in cited) + "</ol>"
    )
    body.append("<h2>Where each number comes from</h2>" + _sources(paper, numbers))
    style = "body{max-width:46rem;margin:2rem auto;padding:0 1rem;font:1rem/1.5 serif;color-scheme:light dark}"
    style += (
        "img{max-width:100%}figure{margin:1rem 0;overflow-x:auto}figcaption{font-style:italic}pre{white-space:pre-wrap}"
    )
    style += "table{border-collapse:collapse}td,th{padding:.2rem .6rem;text-align:left}"
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(title)}</title><style>{style}</style>{''.join(body)}</html>\n"
    )
    write_atomically(path, page)


def _section(text: str, paper: Paper, numbers: list[Number]) -> list[str]:
    made: list[str] = []
    place = 0
    for found in [*_HEADING.finditer(text), None]:
        end = found.start() if found else len(text)
        start = place
        for block in [*_ENVIRONMENT.finditer(text, place, end), None]:
            before = text[start : block.start() if block else end]
            made += [f"<p>{_text(one, paper, numbers)}</p>" for one in re.split(r"\n\s*\n", before) if one.strip()]
            if block:
                made.append(_environment(block["kind"], block["body"], paper, numbers))
                start = block.end()
        if found:
            level = 2 + len(found["level"]) // 3
            made.append(f"<h{level}>{html.escape(found['title'])}</h{level}>")
            place = found.end()
    return made


def _environment(kind: str, tex: str, paper: Paper, numbers: list[Number]) -> str:
    """A figure, a table, a list, or an equation as it was written."""
    if kind in ("equation", "align"):
        return f"<pre>{html.escape(tex.strip())}</pre>"
    if kind in ("itemize", "enumerate"):
        items = "".join(f"<li>{_text(one, paper, numbers)}</li>" for one in tex.split("\\item") if one.strip())
        name = "ul" if kind == "itemize" else "ol"
        return f"<{name}>{items}</{name}>"
    said = argument(tex, "caption")
    caption = f"<figcaption>{_text(said, paper, numbers)}</figcaption>" if said else ""
    images = "".join(_figure(paper, name) for name in _IMAGE.findall(tex))
    table = _TABLE.search(tex)
    if table is None:
        return f"<figure>{images}{caption}</figure>"
    rows = [
        "".join(f"<td>{_text(cell, paper, numbers)}</td>" for cell in re.split(r"(?<!\\)&", row))
        for row in _RULE.sub("", table["body"]).split("\\\\")
        if row.strip()
    ]
    return f"<figure>{images}{caption}<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table></figure>"


def _text(tex: str, paper: Paper, numbers: list[Number]) -> str:
    """TeX as HTML text: references and citations become links, the rest is what pylatexenc makes of it."""
    from pylatexenc.latex2text import LatexNodes2Text

    known = {number.reference: number for number in numbers}
    keys = [entry.key for entry in _cited(paper)]
    links: list[str] = []

    def keep(link: str) -> str:
        links.append(link)
        return f"{_MARK}{len(links) - 1}{_MARK}"

    def number(found: re.Match[str]) -> str:
        one = known.get(re.sub(r"\s+", " ", found[0].replace("\\_", "_")))
        if one is None:
            return keep(html.escape(found[0]))
        plain = LatexNodes2Text().latex_to_text(one.shown)
        return keep(f"<a href='#source-{one.sources[0]}'>{html.escape(plain)}</a>")

    def cite(found: re.Match[str]) -> str:
        places = [str(keys.index(key.strip()) + 1) for key in found["keys"].split(",") if key.strip() in keys]
        first = found["keys"].split(",")[0].strip()
        return keep(f"<a href='#ref-{html.escape(first)}'>[{', '.join(places)}]</a>")

    def script(found: re.Match[str]) -> str:
        name = "sub" if found["mark"] == "_" else "sup"
        inner = LatexNodes2Text().latex_to_text(f"${found['inner'].strip('{}')}$".replace("{", " {"))
        return keep(f"<{name}>{html.escape(inner)}</{name}>")

    tex = re.sub(r"\\(?:(?:res|verdict)\s*\{[^{}]*\}\s*\{[^{}]*\}|num\s*\{[^{}]*\})", number, tex)
    tex = re.sub(r"~?\\cite\w*\*?(?:\[[^\]]*\])*\{(?P<keys>[^{}]*)\}", cite, tex)
    tex = re.sub(r"(?<!\\)\$[^$]+\$", lambda found: _SCRIPT.sub(script, found[0]), tex)
    tex = re.sub(r"\\(?:paragraph|subparagraph)\*?\{([^{}]*)\}", lambda found: f"{found[1]} ", tex)
    plain = html.escape(LatexNodes2Text(math_mode="text").latex_to_text(tex).strip())
    return re.sub(rf"{_MARK}(\d+){_MARK}", lambda found: links[int(found[1])], plain)


def _cited(paper: Paper) -> list[Entry]:
    bibliography = paper.bibliography
    texts = "\n".join(paper.text(section) for section in paper.sections)
    keys = [
        k.strip()
        for found in re.finditer(r"\\cite\w*\*?(?:\[[^\]]*\])*\{([^{}]*)\}", texts)
        for k in found[1].split(",")
    ]
    return [bibliography[key] for key in dict.fromkeys(keys) if key in bibliography]


def _reference(entry: Entry) -> str:
    where = next(
        (entry.fields[n] for n in ("journal", "booktitle", "howpublished", "institution") if n in entry.fields), ""
    )
    where = where or (f"arXiv:{entry.fields['eprint']}" if "eprint" in entry.fields else "")
    title = entry.fields.get("title", "").strip("{}")
    return html.escape(f"{_authors(entry)}. {title}. {where}, {entry.year}.")


def _authors(entry: Entry) -> str:
    """Up to six surnames; that there are more is said."""
    known = [name for name in entry.surnames if name != "others"]
    more = len(known) > NAMES_SHOWN or len(known) < len(entry.surnames)
    return ", ".join(known[:NAMES_SHOWN]) + (" et al." if more else "")


def _figure(paper: Paper, name: str) -> str:
    path = paper.folder / name
    path = path if path.suffix else path.with_suffix(".png")
    if not path.is_file():
        return f"<p>[{html.escape(name)} is missing]</p>"
    return f"<img alt='{html.escape(path.stem)}' src='data:image/png;base64,{b64encode(path.read_bytes()).decode()}'>"


def _sources(paper: Paper, numbers: list[Number]) -> str:
    rows = []
    for source in dict.fromkeys(source for number in numbers for source in number.sources):
        own = next(number for number in numbers if source in number.sources)
        cells = [
            source,
            ", ".join(map(str, own.seeds)),
            ", ".join(w[:16] for w in own.weights),
            ", ".join(own.evaluators),
        ]
        rows.append(f"<tr id='source-{source}'>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return f"<table><tr><th>run<th>seeds<th>weights<th>evaluators</tr>{''.join(rows)}</table>"
