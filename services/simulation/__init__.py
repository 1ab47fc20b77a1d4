"""A simulated Indonesian clinic: the same seed always makes the same traffic, byte for byte.

`traffic.simulate` is pure (no clock, no network, no log) and yields events in log order; `writing` puts them on a
log. Nobody in it exists: names are composed from lists, and identity numbers use sequences that are not issued.
"""
