"""Why what no rule changed is changed: words for each of `porter.rewrite.PARTS`."""

from __future__ import annotations

from porter.rewrite.ported import BASE_CLASS, DECORATOR, IMPORTS, UNUSED

WHY = {
    IMPORTS: "The header says where the port came from and how to make it again. The file stands outside its library, "
    "so its imports name that in full; what the rules write is imported, what nothing needs any more is not.",
    DECORATOR: "It would send calls to another kernel, past the code below it: a hub's, or a choice of experts'. "
    "Where a function got a parameter, the one goes that complains of parameters nobody documented.",
    BASE_CLASS: "The base class gives the port its static cache and its own loading of weights. Its attributes say "
    "what text it was made from, and which weights of a checkpoint are merged or divided.",
    UNUSED: "After the rules nothing in the file calls it.",
}
