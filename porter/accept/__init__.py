"""A port on a device, beside porter's kernels and its source on the host: the first hour with a card, in one command.

    calls, draws, forbidden     what the port asks of each op, with values; what the contract forbids
    sides, judge, ops           one op on the device against its kernel on the host, by the error rule
    reports                     what people saw on devices, each a probe of its own
    model, layers, steps, ...   the port on the device against its source
    record, plan, run           every probe in a process of its own; the record beside the port

Takes:    a port's folder, a kind of device, a configuration.
Gives:    a record with an entry for every probe: what agreed, what not, what was not run and why.
Imported: by `report`, `cli`.
"""
