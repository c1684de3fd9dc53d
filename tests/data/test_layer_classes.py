import numpy as np

from lisa_jax.data.embedded.openmoji import load_openmoji
from lisa_jax.data.embedded.openmoji.layer_classes import CLASS_COLOURS, CLASSES, render_layer_classes, segmentation

SVG = """<svg viewBox="0 0 72 72" xmlns="http://www.w3.org/2000/svg">
  <g id="color"><rect width="36" height="72" fill="#ffffff"/></g>
  <g id="skin"/>
  <g id="skin-shadow"><rect x="36" width="36" height="36" fill="#f1b31c"/></g>
  <g id="line-supplement"><rect width="9" height="72" fill="#000000"/></g>
  <g id="color-foreground"><rect width="72" height="9" fill="#ea5a47"/></g>
</svg>"""


def test_the_topmost_layer_decides():
    classes = render_layer_classes(SVG, 8)
    assert classes.shape == (8, 8) and classes.dtype == np.uint8
    expected = np.full((8, 8), CLASSES.index("background"))
    expected[:, :4] = CLASSES.index("color")  # white, and yet covered
    expected[:4, 4:] = CLASSES.index("skin")
    expected[:, :1] = CLASSES.index("line")
    expected[:1] = CLASSES.index("color")
    assert (classes == expected).all()


def test_segmentation_of_a_drawing_covers_what_is_drawn(tiny_data):
    example = load_openmoji(16, "train", tiny_data)[0]
    condition = segmentation(example)
    assert condition.shape == example["image"].shape and condition.dtype == np.uint8
    assert {tuple(pixel) for pixel in condition.reshape(-1, 3)} <= {tuple(colour) for colour in CLASS_COLOURS}
    # What shows a colour in the middle of a pixel's area is covered by some layer.
    coloured = example["image"].min(-1) < 100
    assert (condition[coloured] > 0).any(-1).mean() > 0.9
