"""A ControlNet of videos for poses on moving people at 8 x 32 x 32 beside their embedded base, with the LISA loss.

    python -m lisa_jax train --config=configs/figures_video_pose.py --workdir=runs/video_pose

The code of Stable Video Diffusion on any CPU: the condition is a clip of skeletons, and the base makes the frames from
the first one. 400 steps of 8 clips: about 8 minutes of one CPU core. Expect a validation loss of .144 and, from
`lisa_jax evaluate --num=64`, a share of key points within .1 of the box diagonal (pck_0.1) of .88 with control against
.79 without, for the first frame tells much (real clips reach .995, other ones .28). The clips are as grainy as what the
base draws.
Plain ControlNet training, for comparison: add --config.lisa.lam=0.
"""

from pathlib import Path

from ml_collections import ConfigDict

import lisa_jax
from lisa_jax.configs import figures_pose


def get_config() -> ConfigDict:
    """Config of `lisa_jax train`."""
    config = figures_pose.get_config()
    config.update(batch_size=8, num_steps=400)
    config.optimizer.learning_rate = 3e-3
    # This base ships with the package.
    config.base = str(Path(lisa_jax.__file__).parent / "assets" / "figures_video_base")
    # One halving: the base sees squares of 2 x 2 pixels.
    config.condition_channels = (16, 32)
    data = config.data.to_dict() | {"name": "figures_video", "image_size": (8, 32, 32)}
    config.data = ConfigDict(data)
    config.sampling.update(sampler="euler", num_steps=15, guidance_scale=1.0)
    config.preview_count = 8
    return config
