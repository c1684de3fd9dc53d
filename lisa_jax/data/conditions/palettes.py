"""Colours of classes, for segmentation maps as conditions."""

import numpy as np

# The 150 classes of ADE20K scene parsing in their official order (wall, building, sky, ...), in the colours that
# mmsegmentation gives them and that the ControlNets for segmentation were trained on; as red, green, blue in
# hexadecimal. Road and skyscraper (labels 7 and 49) have the same grey there.
_ADE20K = """
    787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07
    e005ff ebff07 96053d 787846 08ff33 ff0652 8fff8c ccff04 ff3307 cc4603
    0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff
    08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207
    ff7a08 00ff14 ff0829 ff0599 0633ff eb0cff a09614 00a3ff 8c8c8c fa0a0f
    14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff
    0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00
    008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff
    ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2
    00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900 00ff0a ff7000
    8fff00 5200ff a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff
    00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3
    ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00
    00ccff 1400ff ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff
    4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
"""


def ade20k_palette() -> np.ndarray:
    """uint8 (151, 3): black for label 0 ("other" in ADE20K's annotations), then the colours of classes 1 to 150."""
    colours = np.frombuffer(bytes.fromhex(_ADE20K), np.uint8).reshape(150, 3)
    return np.concatenate([np.zeros((1, 3), np.uint8), colours])


def voc_palette() -> np.ndarray:
    """uint8 (256, 3): 256 distinct colours, label 0 black; neighbouring labels differ strongly.

    The colour map of the PASCAL VOC development kit: bit 3k + c of the label, counted from the lowest, is bit 7 - k of
    channel c.
    """
    labels = np.arange(256)
    channels = [sum((labels >> (3 * k + channel) & 1) << (7 - k) for k in range(3)) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


# In the order of `lisa_jax.data.embedded.figures.body.PARTS`; any two are 85 apart at least.
_FIGURE_PARTS = """
    000000 555555 ffffff ffaa55 aa5500 ffff00 ff0000 ff0080 00ff00 00ffaa 5500ff aa00ff 0080ff 00ffff aaaaff
"""


def figure_parts_palette() -> np.ndarray:
    """uint8 (15, 3): colours of the parts of figures; the wall is black."""
    return np.frombuffer(bytes.fromhex(_FIGURE_PARTS), np.uint8).reshape(-1, 3)
