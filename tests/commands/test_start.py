import logging
import sys

from tqdm import tqdm

from lisa_jax.commands._start import BesideBars


def test_what_is_told_stands_on_a_line_of_its_own_beside_a_bar(capsys):
    with tqdm(total=3, file=sys.stderr) as bar:
        BesideBars().emit(logging.makeLogRecord({"msg": "compiling %s ...", "args": ("the sampler",)}))
        bar.update(3)
    assert "compiling the sampler ..." in capsys.readouterr().err.replace("\r", "\n").splitlines()
