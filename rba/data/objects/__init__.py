"""Objects seen from several sides, the input of refinement shards: layouts, pairs, the loader."""

from rba.data.objects.choice import PairChoice, PairList
from rba.data.objects.layouts import LAYOUTS, list_pairs
from rba.data.objects.loader import PairLoader, PairSettings
from rba.data.objects.views import ObjectViews, View, ViewPair

__all__ = [
    "LAYOUTS",
    "ObjectViews",
    "PairChoice",
    "PairList",
    "PairLoader",
    "PairSettings",
    "View",
    "ViewPair",
    "list_pairs",
]
