"""A folder of rule files -> loaded rules. The form of a rule is in `porter.rule`.

Takes:    a folder: `rules/`, or one of the user's own.
Gives:    `LoadedRule`s in the order of their names, with their patterns and conditions; or why not, located.
Imported: by `match` and all further on, and by what proves rules. It needs `source` and `tree`.
"""

from porter.rulebook.folders import RuleFolder, package_folders
from porter.rulebook.load import load_rule, load_rules
from porter.rulebook.loaded import IDENTITIES, LoadedEdit, LoadedRule, Merge, names_to_prove, unknown_rule
from porter.rulebook.ops import OpFile
from porter.rulebook.pattern import Pattern
from porter.rulebook.unproved import ops_without_kernel

__all__ = [
    "IDENTITIES",
    "LoadedEdit",
    "LoadedRule",
    "Merge",
    "OpFile",
    "Pattern",
    "RuleFolder",
    "load_rule",
    "load_rules",
    "names_to_prove",
    "ops_without_kernel",
    "package_folders",
    "unknown_rule",
]
