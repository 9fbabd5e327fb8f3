"""The GE graphs of a port, executed on the CPU: do they compute what the source computes.

    values       a graph as values: nodes with inputs, attributes and outputs by the operators' own names
    types        GE's data types
    kernels/     what each GE operator computes, by its own definition, a file a family
    call         a node and a kernel: inputs and attributes by name, and what a kernel does not take is refused
    run          a graph in the order of its edges
    generate     prefill and decode steps beside the source: logits and tokens
    execute      a port's folder -> what came of it

Contract: nothing here looks at the call that a node was made of; where the arithmetic is that of an op in `porter.npu`,
its kernel serves both. Executed on the CPU says nothing about a device's kernels.

Takes:    a port's folder; the graphs come from `lowering`'s process as plain data.
Gives:    an Execution, with figures, or where it stopped.
Imported: by `matrix`, `report` and `cli`.
"""
