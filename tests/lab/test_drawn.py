"""Figures that a reader could not read are told of."""

import json
import subprocess
import sys

import matplotlib as mpl
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt

from lab.drawn import lacks


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def labelled(axes, x="Step", y="Loss"):
    axes.plot([0, 1], [1, 2])
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def test_a_labelled_figure_lacks_nothing():
    figure, axes = plt.subplots()
    labelled(axes)
    assert lacks(figure) == []


@pytest.mark.parametrize(("x", "y", "named"), [("", "Loss", "x"), ("Step", "  ", "y")])
def test_an_axis_without_a_label_is_named(x, y, named):
    figure, axes = plt.subplots()
    labelled(axes, x, y)
    assert lacks(figure) == [f"it has no label on the {named} axis"]


def test_panels_may_share_the_label_of_a_shared_axis_only():
    figure, (left, right) = plt.subplots(1, 2, sharey=True)
    labelled(left)
    labelled(right, y="")
    assert lacks(figure) == []
    figure, (left, right) = plt.subplots(1, 2)
    labelled(left)
    labelled(right, y="")
    assert lacks(figure) == ["panel 2 of 2 has no label on the y axis"]
    figure.supylabel("Loss")
    assert lacks(figure) == []


def test_a_colour_bar_wants_a_label_and_an_empty_panel_none():
    figure, (left, right) = plt.subplots(1, 2)
    image = left.imshow([[0, 1], [1, 0]])
    left.set_xlabel("Letter")
    left.set_ylabel("Run")
    bar = figure.colorbar(image, ax=left)
    assert lacks(figure) == ["its colour bar has no label"]
    bar.set_label("Absorption")
    assert lacks(figure) == []
    assert not right.has_data()


def test_an_empty_figure_is_said_to_be_empty():
    figure, _ = plt.subplots()
    assert lacks(figure) == ["nothing is drawn in it"]


def test_the_command_reports_on_each_file_and_lets_the_scripts_error_through(tmp_path):
    script = tmp_path / "plot.py"
    script.write_text(
        "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots()\naxes.plot([1, 2])\nfigure.savefig('a.png')\n"
        "axes.set_xlabel('x')\naxes.set_ylabel('y')\nplt.savefig('b.png')\nraise SystemExit('no more')\n"
    )
    command = [sys.executable, "-P", "-m", "lab.drawn", "--report", "seen.json", "plot.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"MPLBACKEND": "Agg", "HOME": str(tmp_path)}, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"no more" in done.stderr
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen == {"a.png": ["it has no label on the x axis", "it has no label on the y axis"], "b.png": []}
