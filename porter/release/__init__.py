"""Which releases porter works with, which are installed here, and which were tested.

Contract: a port is the source's text and porter's runtime, and both lean on the insides of one release of transformers:
masks, caches, loading, generation. So two things hold, and what they say is OtherRelease: `porter.runtime`, which no
port can do without, is imported beside a release of the window alone; and a port is loaded under the release it was
made under alone (`porter.runtime.made_from`). Everything here is read from metadata: neither torch nor transformers is
imported.

Takes:    nothing but the environment.
Gives:    versions, and sentences that say what is wrong with them.
Imported: by every room.
"""

from porter.release.window import (
    PYTHON,
    TRANSFORMERS,
    WINDOWS,
    OtherRelease,
    installed_transformers,
    is_within,
    made_under_another,
    other_release,
    release_of,
    require_known_release,
)

__all__ = [
    "PYTHON",
    "TRANSFORMERS",
    "WINDOWS",
    "OtherRelease",
    "installed_transformers",
    "is_within",
    "made_under_another",
    "other_release",
    "release_of",
    "require_known_release",
]
