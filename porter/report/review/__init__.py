"""A port for its reviewer: what every rule changed, why, what is proved of it; in the terminal, as JSON, as one page.

opened    the folder of a port -> account, hunks, both texts
recorded  documents with figures -> what is known of this port
build     all of it -> a `Review`, a value
terminal  a `Review` -> text; `page` -> HTML; `data` -> JSON

Takes:    the folder of a port, rules, records.
Gives:    what `porter review` prints or writes. Nothing is executed, and the source need not be there.
"""
