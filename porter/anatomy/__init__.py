"""A parsed module -> which class is what, and what is known of the configuration it is built from.

Takes:    the `Tree` of a modeling file, and of the configuration beside it.
Gives:    an `Anatomy` (roles, members, bases, sites), `ConfigDefaults`, `SplitPoints`.
Imported: by `match` and all further on. It needs `tree`.
"""

from porter.anatomy.configuration import ConfigDefaults, defaults_of
from porter.anatomy.conversions import converted_parameters
from porter.anatomy.data import Anatomy, Member, Site
from porter.anatomy.read import read_anatomy
from porter.anatomy.split_points import SplitPoints, find_split_points

__all__ = [
    "Anatomy",
    "ConfigDefaults",
    "Member",
    "Site",
    "SplitPoints",
    "converted_parameters",
    "defaults_of",
    "find_split_points",
    "read_anatomy",
]
