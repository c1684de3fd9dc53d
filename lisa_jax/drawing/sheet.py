"""What stands on a grid of samples."""

from collections.abc import Sequence

import numpy as np

from lisa_jax.drawing.inputs import Drawing
from lisa_jax.drawing.output import SampleFolder


def columns_of(shown: Sequence[Drawing], out: SampleFolder, bare: SampleFolder | None) -> dict[str, list[np.ndarray]]:
    """The columns of a grid by their titles.

    Args:
      shown: one for each row.
      out: the samples.
      bare: those without control, or None.

    Returns:
      conditions by their names, samples, those without control and, where there are any, the real pictures: title ->
      uint8 (*space, 3) each, of conditions (*space, channels).
    """
    columns = {name: [drawing.conditions[name] for drawing in shown] for name in shown[0].conditions}
    columns["with control"] = [out.read(drawing.index) for drawing in shown]
    if bare is not None:
        columns["without control"] = [bare.read(drawing.index) for drawing in shown]
    if shown[0].reference is not None:
        title = "reference (decoded)" if shown[0].decoded else "reference"
        columns[title] = [drawing.reference for drawing in shown]
    return columns
