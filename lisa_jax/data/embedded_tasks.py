"""The tasks of the embedded data sets; imports nothing, for machines without the data packages."""

# Data set -> task -> its condition, as `lisa_jax.data.conditions.get_condition` finds it.
TASK_CONDITIONS = {
    "openmoji": {
        "lineart": "lineart",
        "lowres": "lowres",
        "segmentation": "lisa_jax.data.openmoji.layer_classes:segmentation",
    },
    "figures": {"pose": "pose", "depth": "depth"},
}
