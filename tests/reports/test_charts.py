import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from onebody.reports import charts
from onebody.reports.charts import Chart, Line


@pytest.mark.parametrize("decades", [0.3, 1, 2, 2.9, 4, 6])
def test_labels_of_a_logarithmic_axis_stay_apart(decades):
    samples = np.geomspace(4_000, 4_000 * 10**decades, 10).tolist()
    chart = Chart("Return", [Line("omni", samples, samples)], "real samples", "return", log_x=True)
    figure = Figure(figsize=(4.8, 3.1), layout="constrained")
    FigureCanvasAgg(figure)
    chart.draw(figure, charts.PRINT_COLORS)
    figure.canvas.draw()
    (low, high), ticks = figure.axes[0].get_xlim(), figure.axes[0].xaxis.get_major_ticks()
    shown = [tick.label1.get_window_extent() for tick in ticks if low <= tick.get_loc() <= high]
    assert len(shown) >= 2
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(shown))
