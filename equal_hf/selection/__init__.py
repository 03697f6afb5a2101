"""Selecting: which clusters are worth the next calls, and what the last ones were worth.

`bandit.py` chooses arms, `transport.py` measures distance to the target, `neighbours.py` says which clusters share
evidence, `rewards.py` holds the reward functions, `mixing.py` puts their values on one scale. No module here knows a
model, a file or a network.
"""
