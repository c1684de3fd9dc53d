from lisa_jax.studies.speedup import LOSS, steps_to_reach


def test_steps_to_reach_interpolates_and_knows_the_direction():
    curve = [{"step": 100, LOSS: 3.0, "f": 0.1}, {"step": 200, LOSS: 1.0}, {"step": 300, LOSS: 2.0, "f": 0.5}]
    assert steps_to_reach(curve, LOSS, 2.0) == 150
    assert steps_to_reach(curve, "f", 0.3) == 200
    assert steps_to_reach(curve, LOSS, 4.0) == 100
    assert steps_to_reach(curve, "f", 0.6) is None


def test_errors_are_reached_from_above():
    curve = [{"step": 100, "fidelity/depth_rmse": 0.5}, {"step": 200, "fidelity/depth_rmse": 0.1}]
    assert steps_to_reach(curve, "fidelity/depth_rmse", 0.3) == 150
    assert steps_to_reach(curve, "fidelity/depth/depth_rmse", 0.05) is None
