"""swatches: colors take turns and are named by the captions."""

from cleaner import load_data


def test_colors_take_turns() -> None:
    data = load_data("swatches", size=9)
    assert (len(data), data.labels.tolist()[:4]) == (9, [0, 1, 2, 0])
    assert data.images([0, 1]).shape == (2, 3, 64, 64)
    assert data.contains("red").sum() == 3
