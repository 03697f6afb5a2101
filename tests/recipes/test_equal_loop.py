"""The flat recipe runs, and its loss falls."""

import re
import sys

from recipes import equal_loop


def test_the_flat_loop_lowers_the_validation_loss(world, monkeypatch, capsys):
    sizes = {"CLUSTERS": 10, "ROUNDS": 2, "ARMS": 2, "DOCUMENTS": 4, "STEPS": 4, "BATCH": 4, "LENGTH": 128}
    for name, value in sizes.items():
        monkeypatch.setattr(equal_loop, name, value)
    monkeypatch.setattr(sys, "argv", ["equal_loop.py", "--assets", str(world)])
    equal_loop.main()
    losses = [float(number) for number in re.findall(r"validation loss ([\d.]+)", capsys.readouterr().out)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
