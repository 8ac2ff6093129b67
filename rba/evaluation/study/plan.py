"""Who is asked what, in which order, on which side: a pure function of the seed and the rater.

Question q of rater r has the draw number r * questions + q. Draws go round by round over the groups
of methods that are compared, so each group comes equally often; the u-th draw of a group takes the
u-th of its cases, and turns the group by one place from draw to draw, so each method stands at each
place equally often, for every group and, over the rounds, for every case.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from rba.draws import keyed_generator
from rba.errors import InputError

SECTIONS = ("realism", "fidelity")
"""The two sections of the study. [0] A.5, figures 9 and 10."""
Group = tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """How many are asked how much.

    Attributes:
        seed: Keys everything.
        raters: Number of raters, at least 1; they have the numbers 1 to that.
        questions: Questions of a rater in a section, without checks; None = as many as come near 30
            with every group equally often.
        checks: Attention checks of a rater in a section.
        at_once: Methods that are shown at once, 2 or more; None = all.
    """

    seed: int = 0
    raters: int = 24
    questions: int | None = None
    checks: int = 2
    at_once: int | None = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """What a rater sees at once.

    Attributes:
        section: One of `SECTIONS`.
        case: The case's id.
        shown: The methods in the order in which they stand; None = a picture with its tiles mixed.
        right: An attention check: the place of the only whole picture. None = no check.
    """

    section: str
    case: str
    shown: tuple[str | None, ...]
    right: int | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """The questions of every rater.

    Attributes:
        groups: What is compared, each with the cases for which it can be.
        questions: Questions of a rater in a section, without checks.
        settings: What it was made with.
    """

    groups: Mapping[Group, Sequence[str]]
    questions: int
    settings: PlanSettings

    def of_rater(self, rater: int) -> list[Question]:
        """Return a rater's questions, section after section.

        Args:
            rater: From 1.
        """
        asked: list[Question] = []
        for section in SECTIONS:
            part = [self._question(section, rater, n) for n in range(self.questions)]
            part += [self._check(section, rater, n) for n in range(self.settings.checks)]
            rng = keyed_generator(self.settings.seed, "study-order", section, rater)
            asked += [part[index] for index in rng.permutation(len(part))]
        return asked

    def _question(self, section: str, rater: int, number: int) -> Question:
        groups = list(self.groups)
        turn, place = divmod((rater - 1) * self.questions + number, len(groups))
        order = keyed_generator(self.settings.seed, "study-groups", section, turn)
        index = int(order.permutation(len(groups))[place])
        group = groups[index]
        cases = self._cases(section, group)
        epoch, position = divmod(turn, len(cases))
        # Groups begin at different cases, so that a rater meets as many cases as there are.
        case = cases[(position + index * len(cases) // len(groups)) % len(cases)]
        rng = keyed_generator(self.settings.seed, "study-sides", section, index)
        standing = [group[i] for i in rng.permutation(len(group))]
        turned = (position + epoch) % len(group)
        return Question(section=section, case=case, shown=(*standing[turned:], *standing[:turned]))

    def _check(self, section: str, rater: int, number: int) -> Question:
        draw = (rater - 1) * self.settings.checks + number
        groups = list(self.groups)
        rng = keyed_generator(self.settings.seed, "study-check", section, draw)
        group = groups[draw % len(groups)]
        case = self.groups[group][int(rng.integers(len(self.groups[group])))]
        right = (draw + draw // len(group)) % len(group)
        shown: list[str | None] = [None] * len(group)
        shown[right] = group[int(rng.integers(len(group)))]
        return Question(section=section, case=case, shown=tuple(shown), right=right)

    def _cases(self, section: str, group: Group) -> list[str]:
        every = sorted({case for cases in self.groups.values() for case in cases})
        rng = keyed_generator(self.settings.seed, "study-cases", section, 0)
        mixed = [every[index] for index in rng.permutation(len(every))]
        possible = set(self.groups[group])
        return [case for case in mixed if case in possible]


def make_plan(
    methods: Sequence[str], pictures: Mapping[str, Mapping[str, bytes]], settings: PlanSettings
) -> Plan:
    """Plan a study.

    Args:
        methods: Names, two or more.
        pictures: For each case the digest of each method's picture, where there is one. A group of
            methods is compared on the cases for which all have a picture and no two are equal.
        settings: Numbers.

    Raises:
        InputError: If a number is out of its range, a group has no case, or so many questions are
            asked for that a rater would meet one twice.
    """
    at_once = len(methods) if settings.at_once is None else settings.at_once
    check_settings(settings, len(methods))
    groups: dict[Group, list[str]] = {}
    for group in itertools.combinations(methods, at_once):
        cases = [case for case, found in pictures.items() if _differ(found, group)]
        if not cases:
            raise InputError(
                f"{' and '.join(group)} have no case on which both have a picture and these differ;"
                " leave one out"
            )
        groups[group] = cases
    fewest = min(map(len, groups.values()))
    usual = min(max(1, 30 // len(groups)), fewest) * len(groups)
    questions = usual if settings.questions is None else settings.questions
    rounds, rest = divmod(questions, len(groups))
    if rounds + (2 if rest else 0) > fewest:
        raise InputError(
            f"--questions {questions}: a rater would be asked the same twice; with {len(groups)} "
            f"comparisons over {fewest} cases give at most {fewest * len(groups)}, a multiple of "
            f"{len(groups)}"
        )
    return Plan(groups, questions, settings)


def check_settings(settings: PlanSettings, methods: int) -> None:
    """Refuse what is wrong without a look at the pictures.

    Args:
        settings: Numbers.
        methods: Number of methods.

    Raises:
        InputError: If a number is out of its range.
    """
    for option, value, least in (
        ("raters", settings.raters, 1),
        ("questions", settings.questions, 1),
        ("checks", settings.checks, 0),
    ):
        if value is not None and value < least:
            raise InputError(f"--{option} {value}; give {least} or more")
    if methods < 2:
        raise InputError("a comparison needs two methods; give --results NAME=DIR twice or more")
    if settings.at_once is not None and not 2 <= settings.at_once <= methods:
        raise InputError(f"--at-once {settings.at_once}; give 2 to {methods}, or all")


def _differ(found: Mapping[str, bytes], group: Group) -> bool:
    digests = [found.get(method) for method in group]
    return None not in digests and len(set(digests)) == len(digests)
