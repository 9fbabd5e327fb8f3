"""What the user named -> the text of one modeling file, and where it came from. Nothing is imported or run.

Takes:    a dotted module name, a `.py` file or a folder.
Gives:    a `Source`: text, encoding, sha256, version, the configuration's text, the files beside it; or why not.
Imported: by every room further on; itself it needs `diagnostics` alone.
"""

from porter.source.load import load_source
from porter.source.read import Companion, Source

__all__ = ["Companion", "Source", "load_source"]
