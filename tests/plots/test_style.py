"""Series are told apart by looks that depend on nothing but their labels."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

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
        ("FLOATS slim, SF 1", ""),
        ("OAT {0, 1}", "OAT"),
        ("PNI channel-wise", "PNI"),
        ("FLOT slim", ""),
    ],
)
def test_a_label_belongs_to_the_longest_method_it_begins_with(label, method):
    assert style.method(label) == method


def test_methods_keep_their_colour_and_marker_and_no_two_share_one():
    colours, markers = style.COLOURS.values(), style.MARKERS.values()
    assert len({*colours}) == len({*markers}) == len(colours)
    assert not {*style.FREE, style.PAPER} & set(style.COLOURS.values())
    for label, face in style.faces(list(style.COLOURS)).items():
        assert (face.colour, face.marker) == (style.COLOURS[label], style.MARKERS[label])
    (face,) = style.faces(["SMART [D D S S] 0.25"]).values()
    assert face.colour == style.COLOURS["SMART"]


@pytest.mark.parametrize(
    "labels", [SLIM, SETS, ["FLOAT", "FLOAT slim", "FLOATS-i", "a stranger", "FLOATS-c", "PNI"]]
)
def test_every_label_of_a_figure_has_a_colour_and_a_marker_of_its_own(labels):
    faces = style.faces(labels)
    assert list(faces) == labels
    for one, other in combinations(faces.values(), 2):
        assert one.colour != other.colour
        assert one.marker != other.marker


@pytest.mark.parametrize(
    "relatives",
    [
        ("FLOAT", "FLOAT slim", "FLOATS-i"),
        ("OAT", "OAT slim"),
        ("FLOAT, λ_th 0.5", "FLOAT, λ_th 0"),
    ],
)
def test_lines_of_relatives_differ_whatever_stands_between_them(relatives):
    faces = style.faces([label for name in relatives for label in (name, f"not {name}")])
    assert len({str(faces[label].line) for label in relatives}) == len(relatives)


RED_GREEN = {  # what is left of linear RGB without one kind of cones (Machado et al. 2009)
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
}


def lab(colour, cones):
    """Return a colour as it is seen without some cones, in CIE Lab."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(RED_GREEN[cones]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ seen / (0.9505, 1.0, 1.089)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("cones", RED_GREEN)
@pytest.mark.parametrize(
    "labels",
    [["FLOAT", "FLOAT slim", "FLOATS-i", "FLOATS-c"], ["OAT", "OAT slim"], SLIM[::2], SETS[:3]],
)
def test_colour_blind_readers_part_relatives_by_colour_alone(labels, cones):
    faces = style.faces(labels).values()
    for one, other in combinations((lab(face.colour, cones) for face in faces), 2):
        assert np.linalg.norm(one - other) > 20  # 2 to 3 can just be seen


def test_the_bare_name_keeps_the_look_of_its_method_wherever_it_stands():
    for labels in (SETS, SETS[::-1]):
        face = style.faces(labels)["OAT"]
        assert (face.colour, face.marker) == (style.COLOURS["OAT"], style.MARKERS["OAT"])


@pytest.mark.parametrize("shift", [0.0, 20.0])
def test_every_seed_stands_inside_the_axes_however_far_out(shift):
    axes, face = plt.Figure().subplots(), style.Face("#204060", "o", "")
    values = [58.2, 61.2, 23.2, 54.0, 57.2]
    each = {"metric": "robust_acc", "n": 600, "ci_low": 0.0, "ci_high": 100.0, "seed": range(5)}
    rows = pd.DataFrame({"value": values, **each})
    style.estimate(axes, 1.0, rows, face, shift)
    low, high = axes.get_ylim()
    assert low < min(values) and max(values) < high


def test_more_labels_than_colours_are_refused():
    with pytest.raises(UserError, match="there are 11"):
        style.faces([f"OAT {{{i}}}" for i in range(12)])


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


def test_a_stamp_that_is_wider_than_its_figure_takes_further_lines_below_the_panels():
    @style.styled
    def draw():
        text = "flags: noise, but gradients of a single draw; " * 9
        return style.canvas(style.NARROW, 2.0, text)[0]

    figure = draw()
    box = figure.texts[0].get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.axes[0].get_tightbbox().y0 + 1
