"""Inline SVG follows the reader's theme and says exactly what it was given."""

from xml.etree import ElementTree

from matplotlib.figure import Figure

from tlpipe.report.figures import VARIABLES, comparison_figure, curves_figure, inline_svg

COMPARISON = {
    "champion": "a",
    "strategies": {
        "a": {
            "validation": {"accuracy": 0.8},
            "test": {"accuracy": {"value": 0.82, "low": 0.78, "high": 0.86}},
            "seeds": {
                "validation": {"accuracy": {"values": [0.8, 0.79, 0.81], "mean": 0.8, "low": 0.7, "high": 0.9}},
                "test": {"accuracy": {"values": [0.82, 0.8, 0.87], "mean": 0.83, "low": 0.79, "high": 0.88}},
            },
            "seconds": 83.0,
            "trainable_parameters": 51_000,
        },
        "b": {
            "validation": {"accuracy": 0.9},
            "test": {},
            "seeds": {"validation": {"accuracy": {"values": [0.9], "mean": 0.9}}, "test": {}},
            "seconds": 0.4,
            "trainable_parameters": 650,
        },
    },
}


def history(*phases: str) -> list[dict[str, str]]:
    values = {"train_loss": "0.5", "validation_loss": "0.6", "validation_accuracy": "0.9"}
    return [{"phase": phase, **values} for phase in phases]


def words(svg: str) -> list[str]:
    return [node.text for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_colours_are_css_variables():
    svg = inline_svg(comparison_figure(COMPARISON, "accuracy"), "strategies")
    assert "var(--accent)" in svg
    assert "var(--ink)" in svg
    assert not any(colour in svg for colour in vars(VARIABLES).values())


def test_equal_figures_are_equal_text_without_a_date():
    first, second = (inline_svg(comparison_figure(COMPARISON, "accuracy"), "strategies") for _ in range(2))
    assert first == second
    assert "metadata" not in first
    assert "<style" not in first


def test_names_are_escaped_and_never_mathematics():
    figure = Figure()
    figure.add_subplot().set_title("$x$ <script>", parse_math=False)
    svg = inline_svg(figure, 'a "quoted" <label>')
    assert "<script>" not in svg
    assert "$x$ <script>" in words(svg)
    assert 'aria-label="a &#34;quoted&#34; &lt;label&gt;"' in svg


def test_a_strategy_without_a_test_figure_keeps_its_row():
    assert {"a", "b"} <= set(words(inline_svg(comparison_figure(COMPARISON, "accuracy"), "x")))


def test_each_strategy_shows_its_cost_and_its_other_seeds():
    figure = comparison_figure(COMPARISON, "accuracy")
    said = {text.get_text() for text in figure.axes[0].texts}
    assert said == {"1 min 23 s, 51 k parameters trained", "0.4 s, 650 parameters trained"}
    dots = [list(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "."]
    assert dots == [[0.82, 0.8, 0.87]]
    mean, bar = (
        next(list(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == mark)
        for mark in ("o", "None")
    )
    assert (mean, bar) == ([0.83], [0.79, 0.88]), "the mean and its own interval, not the first training's"


def test_a_line_stands_where_a_phase_begins():
    figure = curves_figure(history("top 1", "top 1", "all"))
    marks = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert marks == [2.5]
    assert [text.get_text() for text in figure.axes[1].texts] == ["top 1", "all"]


def test_penalties_are_no_epochs():
    figure = curves_figure(history("penalty 1", "penalty 0.1"), staged=False)
    assert figure.axes[0].get_xlabel() == "penalty of the head"
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1", "0.1"]
    assert not figure.axes[0].texts
