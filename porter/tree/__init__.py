"""Text -> a parsed module: LibCST's tree, and what is asked of it.

Takes:    the text of a file: a source, a configuration, a rule.
Gives:    a `Tree`: definitions, a walk of what is code and not layout, names and their versions, places; or why not.
Imported: by every room further on. It needs `source` for what Python itself says of a text.
"""

from porter.tree.fields import Function, Node, Statement
from porter.tree.module import Tree
from porter.tree.parse import parse, printed_as_read

__all__ = ["Function", "Node", "Statement", "Tree", "parse", "printed_as_read"]
