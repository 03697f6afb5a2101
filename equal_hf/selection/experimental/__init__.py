"""Policies and rewards that were measured and are no better than the defaults.

They stay because configurations may name them. Target-like pairs among the documents selected (GSM8K, two embedders,
5 % and 10 % of 9,295 documents, mean of 5 seeds, spreads 10 to 110; `tests/benchmarks/README.md` has all rows):

| in place of | | marks 5 % | marks 10 % | words 5 % | words 10 % | result |
|---|---|---|---|---|---|---|
| | UCB with the value reward (default) | 837 | 1,154 | 1,006 | 1,319 | |
| UCB | LinUCB | 745 | 1,082 | 1,020 | 1,327 | level, or up to 11 % fewer |
| UCB | EXP3 | 704 | 1,001 | 955 | 1,209 | 5 to 16 % fewer |
| value | value and marginal transport | 827 | 1,097 | 1,009 | 1,308 | within the spread |
| | UCB with the transport reward | 522 | 767 | 764 | 1,084 | |
| transport | debiased transport | 533 | 747 | 780 | 1,097 | within the spread |
| transport | pooled transport | 510 | 766 | 759 | 1,069 | within the spread |
| transport | transport and marginal transport | 506 | 777 | 792 | 1,078 | within the spread |

Loss attribution and influence need a model in training (`closed_loop`) and are not in that table. On planted problems
loss attribution tells good arms from bad ones after some 40 rounds, and influence ranks an arm like the validation set
first (`tests/selection`). On real text they changed 5 to 6 % of the documents, and the test loss by no more than its
standard error (`python -m tests.benchmarks.closed_loop`).
"""
