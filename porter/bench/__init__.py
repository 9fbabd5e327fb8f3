"""Figures: a port against its source, and a small checkpoint to run both on."""
