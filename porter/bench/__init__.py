"""Figures: a port against its source, and a small checkpoint to run both on.

Takes:    the name of a port, shapes.
Gives:    times of port and source in turns, as ratios.
Imported: by `cli`.
"""
