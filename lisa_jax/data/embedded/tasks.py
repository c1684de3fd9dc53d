"""The tasks of the embedded data sets; imports nothing."""

# Data set -> task -> its condition, as `lisa_jax.data.conditions.registry.get_condition` finds it.
TASK_CONDITIONS = {
    "openmoji": {
        "lineart": "lineart",
        "lowres": "lowres",
        "segmentation": "lisa_jax.data.embedded.openmoji.layer_classes:segmentation",
    },
    "figures": {"pose": "pose", "depth": "depth"},
    "figures_video": {"pose": "pose"},
    "openmoji_video": {"lineart": "lineart", "lowres": "lowres"},
}
# Those data sets whose examples are clips.
CLIPS = frozenset({"figures_video", "openmoji_video"})
# Those of them whose colours are classes.
CLASS_MAPS = frozenset({TASK_CONDITIONS["openmoji"]["segmentation"]})
