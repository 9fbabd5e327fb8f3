"""Proofs that need no NPU: rules by draws, ports by parity with their source. Each claim carries its figure.

    draw, error_rule, executable, prove  a rule's `after` computes its `before`
    tiny, port, pair, parity, brief     a port computes its source

That the kernels themselves compute the same on a device is another claim; nothing here makes it.

Takes:    a rule, or a port's folder.
Gives:    checks with figures; or why there are none.
Imported: by `lowering`, `graph`, `bench`, `matrix`, `report`, `cli`.
"""
