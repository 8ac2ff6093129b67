"""What Pixabay's API documents: its parameters, its limits and what a hit says.

[0] https://pixabay.com/api/docs/
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from rba.errors import InputError

MAX_QUERY_CHARACTERS = 100  # [0], parameter q
MAX_HITS = 500  # [0], totalHits: what is accessible a query
WINDOW_SECONDS = 60.0  # [0], "Rate Limit"
CACHE_SECONDS = 24 * 3600.0  # [0], "requests must be cached for 24 hours"; so long URLs are valid
# [0], response keys; the last two are only in the answers to accounts with full API access.
SIZE_KEYS = {
    "webformat": "webformatURL",  # at most 640 px
    "large": "largeImageURL",  # at most 1280 px
    "fullhd": "fullHDURL",  # at most 1920 px
    "full": "imageURL",  # the original
}
_APPROVED_SIZES = ("fullhd", "full")
# What Pixabay publishes is under this licence; older pictures (before 2019-01-09) are CC0 as well,
# but the answer does not tell which.
LICENSE = "Pixabay Content License"
LICENSE_URL = "https://pixabay.com/service/license-summary/"

_CHOICES = {
    "lang": "cs da de en es fr id it hu nl no pl pt ro sk fi sv tr vi th bg ru el ja ko zh",
    "image_type": "all photo illustration vector",
    "orientation": "all horizontal vertical",
    "category": "backgrounds fashion nature science education feelings health people religion "
    "places animals industry computer food sports transportation travel buildings business music",
    "colors": "grayscale transparent red orange yellow green turquoise blue lilac pink white gray "
    "black brown",
    "order": "popular latest",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filters:
    """Which pictures are asked for, in the API's own names ([0], "Search Images").

    Attributes:
        lang: Language of the queries.
        image_type: Photo, illustration, vector or all.
        orientation: Horizontal, vertical or all.
        category: One of the API's categories; None = any.
        colors: Any of the API's colours; empty = any.
        min_width: Of the original, pixels.
        min_height: Of the original, pixels.
        editors_choice: Only pictures with an Editor's Choice award.
        safesearch: Only pictures for all ages.
        order: Popular or latest first.

    Raises:
        InputError: If the API knows no such value.
    """

    lang: str = "en"
    image_type: str = "all"
    orientation: str = "all"
    category: str | None = None
    colors: tuple[str, ...] = ()
    min_width: int = 0
    min_height: int = 0
    editors_choice: bool = False
    safesearch: bool = False
    order: str = "popular"

    def __post_init__(self) -> None:
        for name, text in _CHOICES.items():
            given = getattr(self, name)
            values = given if isinstance(given, tuple) else () if given is None else (given,)
            for value in values:
                if value not in text.split():
                    raise InputError(f"{name}={value}; Pixabay knows {', '.join(text.split())}")
        for name in ("min_width", "min_height"):
            if getattr(self, name) < 0:
                raise InputError(f"{name}={getattr(self, name)}; give 0 or more pixels")

    def parameters(self) -> dict[str, str]:
        """Return the request's parameters; what is not set is not sent."""
        fields = dataclasses.asdict(self)
        fields["colors"] = ",".join(self.colors)
        sent = {name: value for name, value in fields.items() if value not in (None, "")}
        return {name: str(value).lower() for name, value in sent.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hit:
    """One picture of an answer.

    Attributes:
        id: Pixabay's number of the picture.
        url: Where its file of the wanted size lies, for 24 hours; None if the answer has none.
        facts: The whole hit as it was answered.
        query: What it was found with.
    """

    id: int
    url: str | None
    facts: Mapping[str, Any]
    query: str

    def flag(self, names: tuple[str, ...]) -> str | None:
        """Return the first of the given response keys that is true for this picture."""
        return next((name for name in names if self.facts.get(name) is True), None)

    def sidecar(self, **stored: Any) -> dict[str, Any]:
        """Return what is kept beside the file: source, author, licence, and what was searched.

        The keys ``source``, ``author``, ``license`` and ``license_url`` are those that go on into
        the record of a shard.

        Args:
            stored: Facts of the stored file.
        """
        user, user_id = self.facts.get("user"), self.facts.get("user_id")
        return {
            "source": self.facts.get("pageURL"),
            "author": user,
            "author_id": user_id,
            "author_url": f"https://pixabay.com/users/{user}-{user_id}/" if user else None,
            "license": LICENSE,
            "license_url": LICENSE_URL,
            "id": self.id,
            "type": self.facts.get("type"),
            "tags": [tag.strip() for tag in str(self.facts.get("tags", "")).split(",") if tag],
            "original_width": self.facts.get("imageWidth"),
            "original_height": self.facts.get("imageHeight"),
            "ai_generated": self.facts.get("isAiGenerated"),
            "query": self.query,
            **stored,
        }


def make_filters(settings: Mapping[str, Any]) -> Filters:
    """Return the filters of a configuration, which may hold more than them.

    Raises:
        InputError: If the API knows no such value.
    """
    given: dict[str, Any] = {
        field.name: settings[field.name] for field in dataclasses.fields(Filters)
    }
    given["colors"] = tuple(given["colors"])
    return Filters(**given)


def require_size(size: str) -> str:
    """Return a size's name if there is such a size.

    Raises:
        InputError: Otherwise.
    """
    if size not in SIZE_KEYS:
        raise InputError(f"size={size}; give one of {', '.join(SIZE_KEYS)}")
    return size


def read_hit(facts: Any, size: str, query: str) -> Hit | None:
    """Read one element of an answer's ``hits``; None where it is no hit.

    Raises:
        InputError: If the account gets no files of this size.
    """
    if not isinstance(facts, Mapping) or type(facts.get("id")) is not int:
        return None
    url = facts.get(SIZE_KEYS[size])
    if not url and size in _APPROVED_SIZES:
        raise InputError(
            f"size={size} needs an account that Pixabay approved for full API access; "
            "give size=large, or ask for it at https://pixabay.com/api/docs/ (answers stay in "
            "OUT/.pixabay for a day: remove that folder after the approval)"
        )
    return Hit(id=facts["id"], url=url or None, facts=facts, query=query)
