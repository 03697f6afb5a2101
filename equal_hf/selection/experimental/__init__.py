"""Policies and rewards that the ablation found no better than the defaults."""
