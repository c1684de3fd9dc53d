"""Poses of figures: ranges of the angles of their limbs."""

import dataclasses

Range = tuple[float, float]
# Degrees away from the body and forward, of the upper and of the lower limb; (0, 0) hangs straight down.
LimbAngles = tuple[Range, Range, Range, Range]

_HANG: LimbAngles = ((7, 18), (-8, 12), (1, 14), (0, 30))
_STAND: LimbAngles = ((2, 9), (-4, 4), (1, 7), (-6, 2))
_ON_HIP: LimbAngles = ((38, 52), (-18, -5), (-60, -42), (0, 15))
_UP: LimbAngles = ((125, 165), (-5, 20), (140, 190), (-5, 20))
_OUT: LimbAngles = ((70, 100), (-10, 20), (65, 110), (-5, 25))
_AHEAD: LimbAngles = ((0, 14), (55, 88), (-10, 8), (60, 92))
_ASIDE: LimbAngles = ((20, 55), (-10, 15), (15, 65), (0, 30))
_SIT: LimbAngles = ((5, 17), (70, 85), (2, 10), (-8, 6))
_CROUCH: LimbAngles = ((18, 35), (52, 72), (8, 20), (-45, -25))
_WIDE: LimbAngles = ((18, 30), (-4, 4), (16, 28), (-4, 2))


@dataclasses.dataclass(frozen=True)
class Pose:
    """Ranges of angles, of the limbs of one side and of the other; a coin decides which side is which.

    `sideways` is the trunk's lean towards the first side, `forward` its bend.
    """

    arms: tuple[LimbAngles, LimbAngles] = (_HANG, _HANG)
    legs: tuple[LimbAngles, LimbAngles] = (_STAND, _STAND)
    sideways: Range = (-3, 3)
    forward: Range = (-2, 4)


# By what the caption says.
POSES: dict[str, Pose] = {
    "standing": Pose(),
    "walking": Pose(
        arms=(((4, 10), (20, 40), (0, 10), (40, 65)), ((4, 10), (-40, -20), (0, 10), (-15, 10))),
        legs=(((1, 4), (-30, -15), (1, 4), (-60, -30)), ((1, 4), (18, 32), (1, 4), (5, 20))),
    ),
    "waving": Pose(arms=(((75, 120), (0, 25), (150, 195), (-5, 15)), _HANG)),
    "raising both arms": Pose(arms=(_UP, _UP)),
    "spreading both arms": Pose(arms=(_OUT, _OUT)),
    "pointing sideways": Pose(arms=(((75, 100), (-5, 15), (75, 100), (-5, 15)), _HANG)),
    "reaching forward": Pose(arms=(_AHEAD, _AHEAD)),
    "with hands on hips": Pose(arms=(_ON_HIP, _ON_HIP)),
    "leaning": Pose(arms=(_HANG, _ON_HIP), legs=(_WIDE, _STAND), sideways=(12, 25)),
    "with legs apart": Pose(arms=(_ASIDE, _ASIDE), legs=(_WIDE, _WIDE)),
    "kicking": Pose(arms=(_ASIDE, _OUT), legs=(((10, 45), (25, 55), (10, 45), (15, 45)), _STAND), sideways=(-10, 0)),
    "lifting a knee": Pose(arms=(_HANG, _AHEAD), legs=(((0, 12), (60, 88), (0, 8), (-15, 5)), _STAND)),
    "dancing": Pose(
        arms=(((60, 150), (-10, 30), (90, 200), (-5, 25)), ((30, 90), (-10, 30), (-50, 60), (0, 40))),
        legs=(((8, 25), (-5, 10), (4, 18), (-12, 0)), ((5, 25), (20, 60), (0, 12), (-45, -10))),
        sideways=(-10, 10),
    ),
    "sitting": Pose(arms=(((5, 16), (12, 32), (-10, 8), (40, 68)),) * 2, legs=(_SIT, _SIT), forward=(-5, 8)),
    "crouching": Pose(arms=(((8, 26), (38, 62), (-15, 6), (50, 80)),) * 2, legs=(_CROUCH, _CROUCH), forward=(8, 24)),
}
