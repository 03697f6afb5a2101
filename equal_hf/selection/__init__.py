"""Selection: which clusters and documents the next calls are spent on, and what the last ones gave.

`selector.py` is a run's selection as a fold over its rounds. `bandits.py` chooses arms, `pair_value.py` says what
pairs are worth, `value_model.py` predicts what documents give, `rewards.py` holds the reward functions,
`reward_scaling.py` puts them on one scale, `optimal_transport.py` measures the distance to the target, `neighbours.py`
finds clusters that share rewards. No module here knows a model, a file or a network; `experimental/` holds what was
measured and is no better.
"""
