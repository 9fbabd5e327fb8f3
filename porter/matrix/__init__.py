"""Every causal language model of the installed transformers, a row each: what became of it, by levels.

    library             which models there are
    row                 what is known of one, and whether that is worse than what was known
    identity            what a level's result hangs on: while that stays, the result does
    task                one model's task
    findings, graphs    what each level finds of one model
    levels              one model, level by level
    processes           each model in a process of its own, with limits
    record              the rows on disk
    run                 all of it

Contract: a model that crashes, hangs or eats memory costs its own row only, which says so. The level `port` loads
neither torch nor transformers. Capture and lowering are claimed of whole files.

Takes:    names of models, a level, rows that are there already.
Gives:    rows, as they come.
Imported: by `report` and `cli`.
"""
