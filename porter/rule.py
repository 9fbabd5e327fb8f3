"""What a rule file declares: `Rule` and `Edit`, plain data. Importing this module, or a rule file, registers nothing.

A rule file holds one assignment `rule = Rule(...)` and the functions it speaks of, real PyTorch in `before`/`after`
pairs, read by porting as text and run by proofs as Python. With one edit the functions are `before` and `after`; with
several, `before_<edit>` and `after_<edit>`. `__<variant>` behind a `before` is another spelling; its `after` is
`after...__<variant>` where there is one, else the plain one. A `before` whose docstring says why, and that has no
`after`, is a verdict: such code is right as it is. `given_<function>` is a function the module must define in
just that way, or in that of one of its variants; `not_<case>` is code that must not match; `proof` gives the arguments
a proof runs both sides with. `given_*` and `not_*` may be taken from a shared file: see `porter.rulebook.shared`.

The parameters of a `before` are metavariables: each stands for any expression, or for what its annotation says,
`mask: Argument` or `branch: Varying`. Said in one spelling of an edit, that holds in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

maybe: Any = None  # marks an optional part of a pattern: see `porter.rulebook.optional`; it is read, never run


class Argument:
    """Of a metavariable: a parameter of the function, as it came in. One that the edit binds anew may not be read
    before it."""


class Varying:
    """Of a metavariable: it depends on what the function is called with, not on `self` alone."""


ROLES = (
    *("norm", "rotary", "attention", "mlp", "experts", "router", "bias", "moe", "activation"),
    *("layer", "model", "causal"),
)
# Fields of a configuration, and their values with which a source looks at later tokens: a port's masks refuse them.
NOT_CAUSAL: dict[str, tuple[Any, ...]] = {"is_causal": (False,), "use_bidirectional_attention": (True, "all")}
# What rules of attention have in common: names that make another computation of it, without those of an encoder and
# with them; and what the attention interface does beside the function that is checked: it drops out whatever it is told
# to, and sdpa is causal only where the module is.
OTHER_ATTENTION = (
    *("create_chunked_causal_mask", "create_bidirectional_sliding_window_mask", "create_masks_for_generate"),
    *("AttentionInterface", "AttentionMaskInterface", "ALL_MASK_ATTENTION_FUNCTIONS"),
    *("update_conv_state", "update_recurrent_state", "update_indexer"),
)
OTHER_ATTENTION_OR_ENCODER = (*OTHER_ATTENTION, "create_bidirectional_mask", "EncoderDecoderCache")
PLAIN_INTERFACE: dict[str, tuple[Any, ...]] = {
    "dropout": (0.0, 0),
    "self.config._attn_implementation": ("eager", "sdpa"),
}
PLAIN_ATTENTION: dict[str, tuple[Any, ...]] = {**PLAIN_INTERFACE, "self.is_causal": (True,)}
NAMED: dict[str, Any] = {  # the values that a declaration may give by name, imported from here
    "OTHER_ATTENTION": OTHER_ATTENTION,
    "OTHER_ATTENTION_OR_ENCODER": OTHER_ATTENTION_OR_ENCODER,
    "PLAIN_INTERFACE": PLAIN_INTERFACE,
    "PLAIN_ATTENTION": PLAIN_ATTENTION,
}
UNITS = ("expression", "expressions", "statements", "function")
Split = tuple[str, int]
SPLITS = ("whole", "once", "pieces", "halves", "pairs")


@dataclass(frozen=True)
class Edit:
    """One place a rule changes.

    site:     `<role>.<method>` (`norm.forward`, `attention.__init__`), `*.<method>`, `function` (any module function),
              `*` (every function), or a class of PyTorch (`torch.nn.LayerNorm`), which a rule has no code of.
    unit:     `function` takes a whole body; `statements` a run of statements with `...` for what stays between;
              `expression` every occurrence; `expressions` several, each once, with statements to run before the first.
    answers:  needs of such sites that it answers. An edit that names none answers all that the rule's others do; a rule
              in which none does answers a need of its own name. A site is whole where every need that rules of its
              kind answer is answered by one of them, is closed or has a verdict.

    Three fields say of what the edit makes another kind of value, and what code that stays may still do with it:

    private:  locals of the pattern: nothing. What `after` does not bind at all is private by itself, and so is `_`.
    returned: local -> kinds of classes: return it, no more. Rules must answer the need of that name in every class of
              these kinds, and no class but these may hold the changed one.
    carried:  words: bind the value of an `expression` edit and pass it on, no more. A class of the model whose forward
              has a parameter with such a word in its name must be a layer, a model or edited.
    """

    name: str = ""
    site: str = "*"
    unit: str = "statements"
    answers: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    returned: dict[str, tuple[str, ...]] = field(default_factory=dict)
    carried: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """What a rule file declares. Its text gives the rest.

    edits:      all or none; by default one, of statements anywhere. Edits at one kind of class belong to one class,
                each class for itself; where they are at several kinds, every class of an edit's kind must take it, and
                something an `expression` edit, and one of module functions.
    attributes: attribute names in the patterns that stand for any attribute, the same one throughout.
    requires:   attribute -> rule, or need that a rule answers: one must take the forward of that attribute's class.
    on_demand:  apply only where another rule requires this one, and there in the place of those that do by themselves.
    supersedes: rules that yield to this one where both match.
    guards:     metavariable, or attribute of `self` -> the values the configuration's default must have. An attribute
                that hangs on the configuration is set by the rule itself, or hangs on fields of `NOT_CAUSAL` alone.
    absent:     names the model must not use: no code that its causal class reaches, and none that runs on import.
    closes:     why -> needs that no rule can answer in a class all of whose norms are of classes that this rule takes.
    merges:     linear -> the linears whose rows it holds, one after another. Parts of several sizes are split by
                `self.<linear>_sizes`, which an `after` sets. A part may be one of `attributes`.
    splits:     attribute of the class that the first edit changes, a weight or a linear -> how tensor parallelism
                splits it over ranks, and along which dimension: `pieces`, equal ones; `halves`, gate before up, each
                in pieces; `pairs`, gate and up side by side, never parted; `whole`, the same on every rank; `once`, on
                the first rank, zeros on the others: what is added to a sum over ranks. `name__<variant>` is that of
                another spelling. It may be one of `attributes`; one that a class has not is left out.
    room:       field of the configuration: tokens of a row, padding counted, behind which the source fails.
    """

    edits: tuple[Edit, ...] = (Edit(),)
    attributes: tuple[str, ...] = ()
    requires: dict[str, str] = field(default_factory=dict)
    on_demand: bool = False
    supersedes: tuple[str, ...] = ()
    guards: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    closes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    merges: dict[str, tuple[str, ...]] = field(default_factory=dict)
    splits: dict[str, Split] = field(default_factory=dict)
    room: str = ""
