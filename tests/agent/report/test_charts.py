"""The charts: marks lie where the numbers say, and the numbers can be read off the axes."""

import re
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.report.review.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Curve, Level, Point, svg

NUMBERS = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8))
def test_every_point_lies_inside_in_the_order_of_its_value(pairs):
    chart = Chart("t", "x", "y", points=tuple(Point(x, y, f"({x}, {y})") for x, y in pairs))
    tree = ElementTree.fromstring(svg(chart))
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in tree.iter("circle")]
    assert len(dots) == len(pairs)
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in dots)
    for (x1, y1), (left1, top1) in zip(pairs, dots, strict=True):
        for (x2, y2), (left2, top2) in zip(pairs, dots, strict=True):
            assert left1 <= left2 or x1 > x2
            assert top1 >= top2 or y1 > y2


def test_texts_are_escaped_and_levels_have_their_band():
    level = Level(1.0, "topk <baseline>", "base0", margin=0.5)
    curve = Curve(((0, 0), (1, 2)), 'a "curve"', dashed=True)
    made = svg(Chart("a & b", "run", "score", (Point(1, 1, "r", label="1"),), (curve,), (level,), whole=True))
    tree = ElementTree.fromstring(made)
    assert tree.find("title").text == "a & b"
    assert [title.text for title in tree.iter("title")] == ["a & b", "topk <baseline>", 'a "curve"', "r"]
    band = tree.find(".//rect[@class='band']")
    line = tree.find(".//line[@class='level']")
    assert float(band.get("y")) < float(line.get("y1")) < float(band.get("y")) + float(band.get("height"))


def test_labels_that_would_cover_each_other_are_left_to_hovering():
    points = (Point(1, 1, "first", label="1"), Point(1, 1, "second", label="2"), Point(9, 9, "third", label="3"))
    made = svg(Chart("t", "x", "y", points))
    assert re.findall(r'class="label"[^>]*>(\d)', made) == ["1", "3"]
