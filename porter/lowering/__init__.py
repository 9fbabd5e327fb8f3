"""What the NPU compiler's front end makes of a port, on a machine without an NPU.

    installation    a private copy of torch_npu, matched to the installed torch; never in the user's environment
    stand_ins       libraries in place of CANN's, so that torch_npu loads where there is no CANN
    process         a process of its own for all that: here torch_npu is never imported
    worker, host, record, steps   what runs in that process
    handed, named   the graphs whole, as plain data, with names for what they read and write: `graph` executes them
    count, lower, contribution    what comes of it: converted or not, kernels a layer, what each rule contributes

Contract: importing this package loads neither torch nor torch_npu. That a graph lowers says nothing about what a kernel
computes on a device: no kernel is run.

Takes:    a port's folder.
Gives:    kernels a layer, what was not converted, what each rule contributes.
Imported: by `graph`, `matrix`, `report` and `cli`.
"""
