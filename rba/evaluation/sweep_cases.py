"""Rendered cases under chosen conditions: one thing at a time is made harder, all else is equal."""

import dataclasses

import numpy as np

from rba.case import Case
from rba.draws import keyed_generator
from rba.errors import InputError
from rba.evaluation.rendered_bench import GENERATOR, MaskLimits, draw_masks
from rba.masks.profile import load_profile
from rba.rendering.crowding import occlude, repeat
from rba.rendering.defects import DEFECTS, make_defect_of
from rba.rendering.glyphs import glyphs_of
from rba.rendering.pair import RenderedPair
from rba.rendering.scene import render_scene
from rba.rendering.scene_settings import Look, SceneSettings
from rba.rendering.style import PrintStyle
from rba.rendering.textures import load_textures

_ATTEMPTS = 20
_FILL = 0.85  # of the larger of the two views
_TINT = 0.6  # largest change of a colour channel where light is 1
_LIMITS = MaskLimits(smallest_truth=0.0005, smallest_matched=0.9, largest_of_object=1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
    """What a sweep varies.

    Attributes:
        view_angle: How far the object turns between image and reference, degrees in [0, 90].
        scale: Size of the object on the reference over its size on the image, in [0.2, 5].
        light: Change of light and colour on the image, in [0, 1]; the reference's light stays.
        texture_difference: Share of another print in the image's print, in [0, 1].
        occlusion: Share of the reference's object that is hidden, in [0, 0.9]; never what matches.
        mask_area: Share of the image that the artifact mask covers where the object is large, in
            [0.0005, 0.5]; its share of the object stays where ``scale`` makes that small.
        equal_objects: How often the reference shows the object, 1 to 16.

    Raises:
        InputError: If a value is out of its range.
    """

    view_angle: float = 15.0
    scale: float = 1.0
    light: float = 0.25
    texture_difference: float = 0.0
    occlusion: float = 0.0
    mask_area: float = 0.02
    equal_objects: int = 1

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float]] = {
            "view_angle": (0, 90),
            "scale": (0.2, 5),
            "light": (0, 1),
            "texture_difference": (0, 1),
            "occlusion": (0, 0.9),
            "mask_area": (0.0005, 0.5),
            "equal_objects": (1, 16),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} {getattr(self, name)}: give {low:g} to {high:g}")
        if self.equal_objects != int(self.equal_objects):
            raise InputError(f"equal_objects {self.equal_objects}: give a whole number")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepCase:
    """A case and every region of its reference that is right.

    Attributes:
        case: Its correspondence mask is the first of the regions.
        regions: hxw bool each, one for each time that the reference shows the object.
    """

    case: Case
    regions: tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """What is the same at all points.

    Attributes:
        split: ``all``, ``train`` or ``heldout`` photographs, letters and logos.
        textures: Folder of photographs; None = those inside the scikit-image wheel.
        shapes: Kinds of solids.
        style: How surfaces are printed.
        profile: Of the artifact masks; the area alone is set by the condition.
        roll_degrees: Largest turn of each view about the viewing axis.
        size: Side of the image in pixels; the reference is larger where it shows equal objects.
        seed: Keys everything.
    """

    split: str = "train"
    textures: str | None = None
    shapes: tuple[str, ...] = ("box", "cylinder", "card", "sheet")
    style: PrintStyle = dataclasses.field(default_factory=PrintStyle)
    profile: str = "pal"
    roll_degrees: float = 5.0
    size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not 48 <= self.size <= 2048:
            raise InputError(f"size {self.size}: give 48 to 2048 pixels")
        SceneSettings(shapes=self.shapes, roll_degrees=self.roll_degrees)
        glyphs_of(self.split)


class SweepRenderer:
    """Makes cases: each a pure function of settings, condition and number.

    Equal numbers show the same object in the same surroundings at all points.

    Args:
        settings: Photographs and profile are read at once.

    Raises:
        InputError: If they cannot be read.
    """

    def __init__(self, settings: SweepSettings) -> None:
        self.settings = settings
        self._textures = load_textures(settings.textures, settings.split)
        self._profile = load_profile(settings.profile)
        self._glyphs = glyphs_of(settings.split)

    def render(self, condition: Condition, number: int) -> SweepCase:
        """Render one case.

        Raises:
            InputError: If none of 20 scenes takes a mask.
        """
        settings, scene = self.settings, self._scene(condition)
        fill = scene.image.fill[0]
        profile = self._profile.with_area(condition.mask_area * (fill / _FILL) ** 2)
        for attempt in range(_ATTEMPTS):
            rng, mask_rng = (
                keyed_generator(settings.seed, f"{purpose}-{attempt}", "robustness", number)
                for purpose in ("scene", "mask")
            )
            pair = render_scene(self._textures, rng, settings.size, scene, self._glyphs)
            masks = draw_masks(pair, profile, _LIMITS, mask_rng)
            if masks is not None:
                return self._case(condition, number, pair, masks)
        raise InputError(f"{condition}: none of {_ATTEMPTS} scenes has a mask that both views show")

    def _scene(self, condition: Condition) -> SceneSettings:
        image, reference = min(1.0 / condition.scale, 1.0), min(condition.scale, 1.0)
        return SceneSettings(
            shapes=self.settings.shapes,
            rotation_degrees=(condition.view_angle, condition.view_angle),
            roll_degrees=self.settings.roll_degrees,
            image=Look(
                fill=(_FILL * image, _FILL * image),
                backdrop="blurred",
                light=condition.light,
                tint=_TINT * condition.light,
            ),
            reference=Look(fill=(_FILL * reference, _FILL * reference), light=0.25),
            smallest_overlap=0.15,
            texture_difference=condition.texture_difference,
            style=self.settings.style,
        )

    def _case(
        self,
        condition: Condition,
        number: int,
        pair: RenderedPair,
        masks: tuple[np.ndarray, np.ndarray],
    ) -> SweepCase:
        (mask, truth), seed = masks, self.settings.seed
        turns = [DEFECTS[(number + step) % len(DEFECTS)] for step in range(len(DEFECTS))]
        defect_rng = keyed_generator(seed, "defect", "robustness", number)
        image, defect = make_defect_of(turns, pair.first.image, mask, defect_rng, self._glyphs)
        rng = keyed_generator(seed, "occlusion", "robustness", number)
        picture, known = occlude(
            pair.second.image, pair.second.mask, truth, condition.occlusion, rng
        )
        count = int(condition.equal_objects)
        (large, places), (large_mask, _) = repeat(picture, count), repeat(known, count)
        regions = [np.zeros(large.shape[:2], bool) for _ in places]
        for region, place in zip(regions, places, strict=True):
            region[place] = truth
        case = Case(
            id=f"{number:04d}",
            image=image,
            artifact_mask=mask,
            references=(large,),
            reference_masks=(large_mask,),
            truth=pair.first.image,
            correspondence_mask=regions[0].astype(np.float32),
            task="robustness",
            generator=GENERATOR,
            metadata={"object": f"{number:04d}", "defect": defect, "shape": pair.shape},
        )
        return SweepCase(case=case, regions=tuple(regions))
