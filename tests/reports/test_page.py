"""The page is self-contained, escapes text, and draws the values that exist."""

import math
import re
from html.parser import HTMLParser

import pytest

from onebody.reports import charts, page
from onebody.reports.charts import Chart, HeatMap, Line

ROWS = [
    {"iteration": i, "real/samples": 4000 * i, "real/return": -300.0 / i, "imagined/return": -250.0 / i}
    | {"model/validation_error": 1.0 / i}
    for i in range(1, 6)
]


class Reader(HTMLParser):
    """Keeps what a browser would fetch, the ids, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.fetched, self.ids = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)
        values = dict(attrs)
        self.fetched += [values[name] for name in ("src", "href", "xlink:href") if name in values]
        self.ids += [values["id"]] if "id" in values else []

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in ("meta", "img", "link", "br"):
            assert self.open.pop() == tag


def whole(tmp_path):
    drawn = charts.svg(charts.learning_curve(ROWS)), charts.svg(charts.model_error(ROWS)), charts.svg(heat_map())
    body = (
        page.figures(*((chart, "caption") for chart in drawn), (page.picture(b"webp", "moves"), "a picture"))
        + page.table(("task", "return"), [("0.4", "-1.0")])
        + page.command("onebody list")
        + page.facts({"jax": "1"})
    )
    path = page.write(tmp_path / "new" / "report.html", "Title", "Lead.", [page.Section("Section", body)])
    return path.read_text(encoding="utf-8")


def test_needs_nothing_else(tmp_path):
    text = whole(tmp_path)
    reader = Reader(text)
    assert not reader.open
    assert all(
        source.startswith(("#", "data:image/webp;base64,", "data:image/png;base64,")) for source in reader.fetched
    )
    assert not re.search(r"https?://|url\((?!#)|@import|<script", text)
    assert len([name for name in tmp_path.rglob("*") if name.is_file()]) == 1


def test_references_inside_the_page_lead_somewhere_and_only_there(tmp_path):
    text = whole(tmp_path)
    reader = Reader(text)
    used = [source[1:] for source in reader.fetched if source.startswith("#")] + re.findall(r"url\(#([^)]+)\)", text)
    assert set(used) <= set(reader.ids)
    assert len(set(reader.ids)) == len(reader.ids)


def test_the_same_data_give_the_same_bytes(tmp_path):
    assert whole(tmp_path) == whole(tmp_path)


@pytest.mark.parametrize(
    "piece",
    [
        lambda text: page.page(text, text, [page.Section(text, "")]),
        lambda text: page.table((text,), [(text, text)]),
        lambda text: page.facts({text: text}),
        lambda text: page.command(text),
        lambda text: page.figures(("", text)),
        lambda text: page.picture(b"", text),
        lambda text: page.paragraph(text),
        lambda text: charts.svg(Chart(text, [Line(text, [0.0], [1.0]), Line("b", [0.0], [1.0])], text, text)),
        lambda text: charts.svg(Chart(text, [], text, text)),
    ],
)
def test_text_is_escaped(piece):
    written = piece('<script>alert("1")</script> & more')
    assert "<script" not in written
    assert "&lt;script&gt;" in written
    assert 'alert("1")</' not in written


@pytest.mark.parametrize("draw", [charts.learning_curve, charts.model_error])
def test_a_curve_of_nothing_is_a_note(draw):
    nothing = [{"iteration": 1, "real/samples": 4000}, {"iteration": 2, "real/samples": 8000, "real/return": math.nan}]
    for rows in ([], nothing):
        assert charts.svg(draw(rows)).startswith("<p class=note>")


@pytest.mark.parametrize("draw", [charts.learning_curve, charts.model_error])
def test_a_curve_of_one_row_shows_it(draw):
    svg = charts.svg(draw(ROWS[:1]))
    assert svg.startswith("<svg") and svg.endswith("</svg>")
    assert "<use" in svg  # a marker: a line of one point has no length
    assert ">4k<" in svg


def test_a_curve_names_its_lines_and_axes_and_takes_the_colors_of_the_page():
    svg = charts.svg(charts.learning_curve(ROWS))
    for text in ("real", "imagined", "real samples", "return per episode", "20k"):
        assert f">{text}<" in svg
    assert "var(--line-0)" in svg and "var(--line-1)" in svg
    assert not re.search(r"#0[0-9]0[0-9]0[0-9]\b", svg)


def test_a_logarithmic_axis_has_numbers_whatever_it_spans():
    for last, shown in ((4000.0, "4k"), (90000.0, "20k")):
        drawing = Chart("c", [Line("a", [3000.0, last], [1.0, 2.0])], "x", "y", log_x=True)
        assert f">{shown}<" in charts.svg(drawing)


def test_values_that_are_missing_are_gaps():
    rows = [*ROWS, {"iteration": 6, "real/samples": 24000, "real/return": None, "imagined/return": math.nan}]
    assert ">24k<" not in charts.svg(charts.learning_curve(ROWS))
    assert "nan" not in charts.svg(charts.learning_curve(rows)).lower()


def heat_map(points=((0.0, 0.0), (1.0, 0.0), (0.0, 2.0), (1.0, 3.0))):
    return HeatMap("map", points, [1.0, 2.0, 3.0, 4.0][: len(points)], "speed", "angle", "return", (1.0, 4.0))


def test_a_heat_map_shows_every_point_with_or_without_triangles_between():
    for points in (heat_map().points, ((0.0, 0.0), (1.0, 1.0), (2.0, 2.0)), ((0.0, 0.0),)):
        text = charts.svg(heat_map(points))
        assert all(f">{label}<" in text for label in ("speed", "angle", "return"))
        assert text.count("<use") >= len(points)
    assert charts.svg(heat_map(())).startswith("<p class=note>")


@pytest.mark.parametrize("drawing", [heat_map(), charts.learning_curve(ROWS)])
def test_a_drawing_is_saved_as_a_picture_and_its_numbers(drawing, tmp_path):
    charts.save(drawing, tmp_path / "new" / "figure")
    assert (tmp_path / "new" / "figure.png").read_bytes().startswith(b"\x89PNG")
    header, *rows = (tmp_path / "new" / "figure.csv").read_text().splitlines()
    assert len(rows) == (4 if isinstance(drawing, HeatMap) else 2 * len(ROWS))
    assert header == (
        "speed,angle,return" if isinstance(drawing, HeatMap) else "line,real samples,return per episode,low,high"
    )
    assert rows[1] == ("1.0,0.0,2.0" if isinstance(drawing, HeatMap) else "real,8000.0,-150.0,,")
