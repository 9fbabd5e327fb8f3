"""How long a port's steps would take on a chip that is not here: an estimate, kernel by kernel.

    chips, workload       what is published of a chip; sequences, tokens and cards, in their ranges
    asked, worker         the process of `lowering`, with models at their real sizes to lower
    real, described       what runs there: models on the meta device, their first layers; graphs as plain data
    layers                which layers stand for all, and what all cost by these
    kernels               nodes -> bytes, multiply-adds and sums over ranks of each kernel (`tensors`, `products`)
    duration              a kernel, a chip and fitted constants (constants.json) -> seconds, and what keeps it
    steps                 kernels of a step -> milliseconds by kind
    predict, by_rule      a port's folder -> both steps, memory a card; what each rule is worth

Contract: no kernel is run, and nothing is allocated at the real sizes. tests/predict/fit.py makes the constants.

Takes:    a port's folder, a configuration and a workload.
Gives:    milliseconds by kernel, with what they are bound by.
Imported: by `report` and `cli`.
"""
