"""Measured figures, each printed with its limit beside it: `python -m benchmarks [NAMES] [--events N]`.

Machines differ, so what is judged is ratios within one run; absolute figures are printed for the reader, never failed.
"""
