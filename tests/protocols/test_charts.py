from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from resight.evidence.figures import Axis, Chart, Interval, Line
from resight.protocols.charts import standalone, standalone_intervals
from resight.types import MetricValue

_SVG = "{http://www.w3.org/2000/svg}"


def test_charts_are_documents_of_their_own() -> None:
    lines = (Line("plain & simple", np.arange(3.0), np.arange(3.0), "second"),)
    chart = Chart("20 layers", Axis("Epoch", 0, 2), Axis("Loss", 0, 2), lines)
    root = ET.fromstring(standalone("Losses < 1", [("20", chart), ("32", chart)]))
    assert root.tag == _SVG + "svg"
    assert "prefers-color-scheme: dark" in "".join(root.itertext())
    names = [text.text for text in root.iter(_SVG + "text")]
    assert names.count("plain & simple") == 1
    assert {"20", "32"} <= set(names)


def test_panels_of_intervals_lie_below_each_other_with_every_name_whole() -> None:
    name = "linear probe on ResNet-50 with CT weights, third stage"
    rows = [Interval(name, MetricValue(0.8, 0.7, 0.9), note="0.800"), Interval("other", MetricValue(0.6))]
    panels = [("validation", rows), ("folds", rows[:1])]
    root = ET.fromstring(standalone_intervals("AUROC", panels, Axis("AUROC", 0.5, 1.0)))
    texts = [text.text for text in root.iter(_SVG + "text")]
    assert texts.count(name) == 2
    assert {"validation", "folds"} <= set(texts)
    places = [float(panel.attrib["y"]) for panel in root.findall(_SVG + "svg")]
    heights = [float(panel.attrib["height"]) for panel in root.findall(_SVG + "svg")]
    assert places[1] >= places[0] + heights[0]
    assert float(root.attrib["height"]) >= places[1] + heights[1]
    dots = [float(dot.attrib["cx"]) for dot in root.iter(_SVG + "circle")]
    assert dots[0] == pytest.approx(dots[2])
    assert dots[1] < dots[0]
