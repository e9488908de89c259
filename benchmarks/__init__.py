"""Measurements: ratios against named peers on the same work in one run, and longer calibrations than tests afford.

Run as modules from the repository's root, `python -m benchmarks.NAME`: as scripts, files here that are called like the
packages they measure would stand in those packages' way.
"""
