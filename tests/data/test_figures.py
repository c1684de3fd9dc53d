import dataclasses
import sys

import numpy as np
import pytest
from ml_collections import ConfigDict

from lisa_jax.data.conditions.openpose import KEYPOINTS
from lisa_jax.data.conditions.registry import get_condition
from lisa_jax.data.embedded.figures import load_figures
from lisa_jax.data.embedded.figures.body import PART, PARTS
from lisa_jax.data.embedded.figures.poses import POSES
from lisa_jax.data.embedded.figures.rendering import FLOOR, WALL, Camera, Scene, keypoints, render
from lisa_jax.data.embedded.figures.scenes import sample_scene
from lisa_jax.data.embedded.figures.shapes import Shape, box, ellipsoid
from lisa_jax.data.embedded.load import load_embedded
from lisa_jax.data.pipeline import Batches
from lisa_jax.experiments.splits import load_split
from lisa_jax.families.family import Setup
from lisa_jax.families.registry import load_family

RED = (1.0, 0.0, 0.0)
# Odd: the middle pixel's centre lies on the camera's axis.
SIZE = 17


def scene_of(*shapes, joints=((0.0, 1.0, 0.0),), depths=(0.5,)):
    """From 4 m before the origin and 1 m above the floor, a picture as high as it is far; the wall is 6 m away."""
    camera = Camera(np.array([0.0, 1.0, -4.0]), np.eye(3), 2 * np.arctan(0.5))
    return Scene(
        shapes=shapes,
        camera=camera,
        wall_z=2.0,
        wall_colour=(0.2, 0.4, 0.6),
        floor_colour=(0.5, 0.5, 0.5),
        light=np.array([0.0, 0.0, -1.0]),
        ambient=0.5,
        diffuse=0.5,
        contacts=np.zeros((0, 3)),
        joints=np.array(joints),
        joint_depths=np.array(depths),
        caption="",
        pose="",
    )


BALL = ellipsoid(np.array([0.0, 1.0, 0.0]), (0.5, 0.5, 0.5), np.eye(3), RED, PART["solid"])


def test_depth_of_a_known_ball_before_a_wall_above_a_floor():
    rendering = render(scene_of(BALL), SIZE)
    middle = SIZE // 2
    assert rendering.depth[middle, middle] == pytest.approx(3.5, abs=1e-6)
    # A ray that starts one pixel aside has the slope 1/17: |(x t, 0, t - 4)| = .5.
    slope = 1 / SIZE
    t = (4 - np.sqrt(16 - (1 + slope**2) * 15.75)) / (1 + slope**2)
    assert rendering.depth[middle, middle + 1] == pytest.approx(t, abs=1e-6)
    assert rendering.depth[middle - 1, middle] == pytest.approx(t, abs=1e-6)
    # Along the axis, the whole wall is 6 m away; the floor, 1 m below, where a ray has sunk by 1 m.
    assert rendering.depth[0, 0] == pytest.approx(6.0, abs=1e-6)
    assert rendering.depth[-1, 0] == pytest.approx(SIZE / middle, abs=1e-6)
    labels = rendering.labels[[middle, 0, -1], [middle, 0, 0]]
    assert labels.tolist() == [PART["solid"], WALL, FLOOR]


def test_light_falls_by_lamberts_law():
    image = render(scene_of(BALL), SIZE).image
    # Light comes from the camera: full on the wall and on the ball's middle, from nowhere but around on the floor.
    assert image[0, 0].tolist() == [51, 102, 153]
    assert image[-1, 0].tolist() == [64, 64, 64]
    middle = SIZE // 2
    assert image[middle, middle, 0] > 250 and image[middle, middle, 1] == 0
    assert image[middle, middle + 1, 0] < image[middle, middle, 0]


def test_joints_are_hidden_by_what_is_in_front_and_outside():
    scene = scene_of(BALL, joints=[(0, 1, 0), (0.5, 1.25, 0), (9, 1, 0), (0, 1, 1)], depths=[0.5, 0, 0, 0])
    points = keypoints(scene, 34)
    np.testing.assert_allclose(points[0], [17, 17, 1], atol=1e-5)
    # Half a metre to the right and a quarter up, 4 m away, is an eighth and a sixteenth of the picture's side.
    np.testing.assert_allclose(points[1], [17 + 34 / 8, 17 - 34 / 16, 1], atol=1e-5)
    assert points[2, 2] == 0  # outside
    assert points[3, 2] == 0  # behind the ball
    screen = box(np.array([0.0, 1.0, -1.0]), (0.2, 0.2, 0.1), np.eye(3), RED, PART["solid"])
    hidden = keypoints(dataclasses.replace(scene, shapes=(BALL, screen)), 34)
    assert hidden[:, 2].tolist() == [0, 1, 0, 0]
    np.testing.assert_array_equal(hidden[:, :2], points[:, :2])


INSIDE = {
    "ball": lambda x, y, z, extra: x**2 + y**2 + z**2 <= 1,
    "box": lambda x, y, z, extra: np.maximum(np.maximum(abs(x), abs(y)), abs(z)) <= 1,
    "capsule": lambda x, y, z, extra: x**2 + (y - np.clip(y, 0, extra)) ** 2 + z**2 <= 1,
    "frustum": lambda x, y, z, extra: (x**2 + z**2 <= (1 + (extra - 1) * y) ** 2) & (y >= 0) & (y <= 1),
}


@pytest.mark.parametrize(
    ("kind", "extra"), [("ball", 1), ("box", 1), ("capsule", 1.7), ("frustum", 0), ("frustum", 1), ("frustum", 1.5)]
)
def test_rays_meet_shapes_where_marching_meets_them(kind, extra):
    rng = np.random.default_rng(0)
    shape = Shape(kind, np.array([0.2, 0.1, 0.3]), np.eye(3) + 0.3 * rng.normal(size=(3, 3)), RED, 0, extra)
    origin = np.array([0.5, 0.8, -6.0])
    # At points around the shape, so that about half of the rays hit.
    directions = shape.centre + rng.uniform(-1.4, 1.4, (150, 3)) - origin
    t, normals = shape.hit(origin, directions)

    def inside(points):
        return INSIDE[kind](*np.moveaxis((points - shape.centre) @ np.linalg.inv(shape.axes).T, -1, 0), extra)

    ticks = np.linspace(0, 2.5, 4001)
    met = inside(origin + ticks[None, :, None] * directions[:, None])
    marched = np.where(met.any(1), ticks[met.argmax(1)], np.inf)
    hits = np.isfinite(t) & np.isfinite(marched)
    assert hits.sum() > 20 and (~np.isfinite(t)).sum() > 10
    # A ray that only grazes a surface may slip through between two ticks.
    assert (np.isfinite(t) != np.isfinite(marched)).sum() <= 1
    assert np.abs(t[hits] - marched[hits]).max() < 2.5 / 4000 + 1e-9
    points = origin + t[hits, None] * directions[hits]
    np.testing.assert_allclose(np.linalg.norm(normals[hits], axis=1), 1)
    assert inside(points - 1e-3 * normals[hits]).mean() > 0.95
    assert not inside(points + 1e-3 * normals[hits]).any()


@pytest.fixture(scope="module")
def scenes():
    return [sample_scene("train", index) for index in range(60)]


@pytest.fixture(scope="module")
def renderings(scenes):
    return [render(scene, 48) for scene in scenes]


def test_a_number_gives_one_scene_in_any_order(scenes, renderings):
    again = sample_scene("train", 7)
    assert again.caption == scenes[7].caption
    for field in dataclasses.fields(renderings[7]):
        np.testing.assert_array_equal(getattr(render(again, 48), field.name), getattr(renderings[7], field.name))
    # Golden: other scenes under the same version would be taken for those that a base was trained on.
    assert scenes[0].caption == "a person in a white shirt and yellow trousers dancing beside a white cone"


def test_train_and_test_share_no_scene(scenes):
    joints = {scene.joints.tobytes() for scene in scenes}
    assert len(joints) == len(scenes)
    assert not joints & {sample_scene("test", index).joints.tobytes() for index in range(60)}


def test_every_pixel_has_a_depth_and_the_size_is_only_a_size(scenes, renderings):
    for scene, rendering in zip(scenes[:8], renderings, strict=False):
        assert rendering.depth.dtype == np.float32 and rendering.depth.min() > 0.5
        assert rendering.depth.max() < 20
        small = render(scene, 16)
        # The centre of each third pixel's middle third: the same rays.
        np.testing.assert_allclose(small.depth, rendering.depth[1::3, 1::3], rtol=1e-6)
        np.testing.assert_allclose(small.keypoints[:, :2] * 3, rendering.keypoints[:, :2], rtol=1e-5)


def test_people_fill_the_picture(renderings):
    share = [np.ptp(np.flatnonzero((r.labels > PART["solid"]).any(1))) / 48 for r in renderings]
    assert 0.65 < np.median(share) < 0.9
    assert np.min(share) > 0.4


# The parts that may be seen at a key point; where something lies closely in front of it, it may be another.
OWN = {
    "shoulder": ("{} upper arm", "torso", "hair"),
    "elbow": ("{} upper arm", "{} forearm"),
    "wrist": ("{} forearm",),
    "hip": ("torso", "{} thigh", "skirt"),
    "knee": ("{} thigh", "{} shin", "skirt"),
    "ankle": ("{} shin",),
    "eye": ("head", "hair"),
    "ear": ("head", "hair"),
}


def test_visible_key_points_lie_on_their_own_limb(renderings):
    right, total = dict.fromkeys(OWN, 0), dict.fromkeys(OWN, 0)
    for rendering in renderings:
        for name, (x, y, visible) in zip(KEYPOINTS, rendering.keypoints, strict=True):
            side, _, joint = name.partition(" ")
            if visible and joint:
                seen = PARTS[rendering.labels[int(y), int(x)]]
                total[joint] += 1
                right[joint] += seen in [part.format(side) for part in OWN[joint]]
    shares = {joint: right[joint] / total[joint] for joint in OWN}
    print(shares)
    assert min(total.values()) > 50
    assert min(shares.values()) > 0.85


def test_captions_say_what_is_seen(scenes):
    assert {scene.pose for scene in scenes} <= set(POSES)
    for scene in scenes:
        assert scene.caption.startswith("a person in a") and scene.pose in scene.caption
        # With its two ends it must fit into a text encoder of 24 tokens.
        assert len(scene.caption.split()) <= 22
    assert any(" near " in scene.caption for scene in scenes) and any(" behind " in scene.caption for scene in scenes)


def test_examples_are_what_was_rendered(tiny_figures):
    train, test = load_figures(16, "train", tiny_figures), load_figures(16, "test", tiny_figures)
    assert (len(train), len(test)) == (48, 8)
    for source, split in ((train, "train"), (test, "test")):
        scenes = {scene.caption: scene for scene in (sample_scene(split, index) for index in range(len(source)))}
        for index in range(len(source)):
            example = source[index]
            assert source.category_names[example["category"]] in example["caption"]
            rendering = render(scenes.pop(example["caption"]), 16)
            for field in dataclasses.fields(rendering):
                expected = getattr(rendering, field.name)
                assert example[field.name].dtype == expected.dtype
                np.testing.assert_array_equal(example[field.name], expected)
    assert "tensorflow" not in sys.modules


def test_batches_hold_the_condition_and_no_further_fields(tiny_figures):
    def inputs(example):
        return {"pose": get_condition("pose")(example)}

    batch = Batches(load_figures(16, "train", tiny_figures), inputs, 4, seed=0).batch_at(0)
    assert batch.keys() == {"inputs", "caption", "index"}
    assert batch["inputs"]["pose"].shape == (4, 16, 16, 3) and batch["inputs"]["pose"].any()


def test_a_split_gives_what_training_and_fidelity_read(tiny_base, tiny_figures, monkeypatch):
    monkeypatch.setenv("LISA_JAX_DATA", str(tiny_figures))
    family = load_family(tiny_base, Setup(frozen_dtype="float32", compute_dtype="float32"))
    config = ConfigDict({"data": {"name": "figures", "image_size": 16, "condition": "depth"}})
    split = load_split(config, family, "test")
    batch = next(split.ordered_batches(3))
    assert batch["inputs"].keys() == {"image", "context", "condition"}
    assert split.contexts(batch).shape[0] == 3
    truth = split.truth(batch)
    assert truth["keypoints"].shape == (3, 18, 3) and truth["depth"].shape == (3, 16, 16)
    np.testing.assert_array_equal(truth["depth"][1], split.source[1]["depth"])
    # Nearest is white.
    condition = split.conditions(batch)["depth"]
    np.testing.assert_array_equal(condition[2, ..., 0] == 255, truth["depth"][2] == truth["depth"][2].min())


def test_bad_requests(tiny_figures, monkeypatch):
    monkeypatch.setenv("LISA_JAX_DATA", str(tiny_figures))
    assert len(load_embedded("figures", 16, "test")) == 8
    with pytest.raises(ValueError, match="image_size is 8, but figures need at least 16 pixels"):
        load_figures(8, "train")
    with pytest.raises(
        ValueError, match=r"Unknown data\.name 'figurines': there are openmoji, figures, .* and prepared"
    ):
        load_embedded("figurines", 16, "train")
