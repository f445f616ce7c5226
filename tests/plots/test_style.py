"""Series are told apart by looks that depend on nothing but their labels."""

from itertools import combinations

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import rgb_to_hsv, to_rgb

from lib.errors import UserError
from lib.plots import style

SLIM = [f"{name}, SF {sf}" for name in ("OAT slim", "FLOAT slim", "FLOATS slim") for sf in (1, 0.5)]
SETS = ["OAT {0, 1}", "OAT {0, 0.2, 0.7, 1}", "OAT {0, 0.5, 1}", "OAT {1}", "OAT {0}", "OAT"]


@pytest.mark.parametrize(
    ("label", "method"),
    [
        ("SMART [D D S S] 0.25", "SMART"),
        ("FLOAT, λ_th 0.5", "FLOAT"),
        ("FLOAT slim", "FLOAT slim"),
        ("FLOAT slim, SF 0.5", "FLOAT slim"),
        ("FLOATS slim, SF 1", "FLOATS slim"),
        ("FLOATS-i", "FLOATS-i"),
        ("OAT {0, 1}", "OAT"),
        ("PNI channel-wise", "PNI"),
    ],
)
def test_a_label_belongs_to_the_longest_method_it_begins_with(label, method):
    assert style.method(label) == method


def test_strangers_get_colours_and_markers_that_nobody_else_has():
    labels = ["FLOAT", *(f"mine {i}" for i in range(7)), "mine 0, half", "PGD-AT"]
    faces = style.faces(labels)
    assert style.method("mine 0, half") == "mine 0"
    assert len({face.colour for face in faces.values()} | set(style.COLOURS.values())) == (
        len(style.COLOURS) + 8
    )
    assert len({face.marker for face in faces.values()}) == len(labels)


def test_methods_that_stand_alone_have_their_own_colour_and_marker():
    for label, face in style.faces(list(style.COLOURS)).items():
        assert face == style.Face(style.COLOURS[label], style.MARKERS[label], "-", face.colour)
    assert (
        style.faces(["SMART [D D S S] 0.25"])["SMART [D D S S] 0.25"].colour
        == (style.COLOURS["SMART"])
    )


@pytest.mark.parametrize("labels", [SLIM, SETS, ["FLOAT", "FLOAT, λ_th 0.5", "FLOAT, λ_th 0"]])
def test_no_two_series_of_a_figure_share_a_colour_or_a_marker(labels):
    faces = style.faces(labels)
    assert list(faces) == labels
    for one, other in combinations(faces.values(), 2):
        assert one.colour != other.colour
        assert one.marker != other.marker


def test_variants_keep_the_hue_of_their_method_and_differ_in_dashes():
    faces = style.faces(["FLOAT, λ_th 0.5", "FLOAT, λ_th 0"])
    hue = rgb_to_hsv(to_rgb(style.COLOURS["FLOAT"]))[0]
    for face in faces.values():
        assert rgb_to_hsv(to_rgb(face.colour))[0] == pytest.approx(hue, abs=0.01)
    assert len({face.line for face in faces.values()}) == 2


def test_the_bare_name_keeps_the_look_of_its_method_wherever_it_stands():
    for labels in (SETS, SETS[::-1]):
        face = style.faces(labels)["OAT"]
        assert (face.colour, face.marker) == (style.COLOURS["OAT"], style.MARKERS["OAT"])


@pytest.mark.parametrize("labels", [SLIM, SETS])
def test_words_in_the_colour_of_a_series_are_dark_enough_to_read(labels):
    def contrast(colour):  # WCAG 2.2: relative luminance against white
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)

    for face in style.faces(labels).values():
        assert contrast(to_rgb(face.ink)) > 2.8


def test_more_variants_than_looks_are_refused():
    with pytest.raises(UserError, match="7 of OAT"):
        style.faces([f"OAT {{{i}}}" for i in range(7)])


def test_a_tint_goes_towards_white_or_black():
    assert style.tinted("#204060", 0) == "#204060"
    assert style.tinted("#204060", 1) == "#ffffff"
    assert style.tinted("#204060", -0.5) == "#102030"


@pytest.mark.parametrize("width", [style.NARROW, style.WIDE])
@pytest.mark.parametrize("number", [1, 4, 5, 7])
def test_a_legend_is_no_wider_than_its_figure_and_keeps_every_entry(width, number):
    labels = [f"a rather long label, number {i}" for i in range(number)]
    figure, _ = plt.subplots(figsize=(width, 3), layout="constrained")
    style.legend(figure, [plt.Line2D([], [], label=label) for label in labels])
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == labels
    assert legend.get_window_extent().width <= figure.bbox.width
    plt.close(figure)
