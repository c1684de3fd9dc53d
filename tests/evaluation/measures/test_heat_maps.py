import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.evaluation.measures.heat_maps import heat_map_loss, read_points


def test_points_are_read_between_pixels_and_with_their_probability():
    logits = np.full((1, 6, 8, 3), -20.0, np.float32)
    logits[0, 2, 3, 0] = logits[0, 2, 4, 0] = 20.0  # between two pixels
    logits[0, 1, 0, 1] = 0.0  # as probable as not being there
    logits[0, 5, 7, 2] = -10.0
    logits[0, 0, 0, 2] = -10.5  # nearly as probable, but far away: no mean of the two
    points = np.asarray(read_points(jnp.asarray(logits)))[0]
    np.testing.assert_allclose(points[:, :2], [(4.0, 2.5), (0.5, 1.5), (7.5, 5.5)], atol=2e-2)
    np.testing.assert_allclose(points[:, 2], [1, 0.5, 0], atol=1e-3)


def test_the_loss_is_least_where_the_points_are_read_right():
    keypoints = np.zeros((1, 18, 3), np.float32)
    keypoints[0, 0] = (4.2, 2.5, 1)
    rows, columns = np.mgrid[0:6, 0:8] + 0.5
    loss = jax.jit(heat_map_loss)

    def logits_at(x, y):
        logits = np.full((1, 6, 8, 18), -40.0, np.float32)
        logits[0, ..., 0] = 20 - ((columns - x) ** 2 + (rows - y) ** 2) / (2 * 0.7**2)
        return logits

    right = loss(logits_at(4.2, 2.5), keypoints)
    np.testing.assert_allclose(jax.jit(read_points)(logits_at(4.2, 2.5))[0, 0], (4.2, 2.5, 1), atol=0.05)
    for x, y in ((5.2, 2.5), (4.2, 1.5), (3.9, 2.5)):
        assert loss(logits_at(x, y), keypoints) > right + 1e-3
    # A point that is hidden but seen with certainty costs most.
    keypoints[0, 0, 2] = 0
    assert loss(logits_at(4.2, 2.5), keypoints) > right + 0.9
