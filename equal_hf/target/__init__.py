"""The target task: the questions and answers that say what good data looks like.

A target has three disjoint parts: the *reference* pays the transport reward, the *validation* set pays the loss
reward, and the *test* set is touched by nothing but the final measurement. There may be several targets, each with a
name and a weight.
"""

from equal_hf.target.config import TargetConfig
from equal_hf.target.evaluation_sets import conversational, evaluation_sets
from equal_hf.target.items import Target, TargetItem, has_annotations, marked_result, without_annotations
from equal_hf.target.load import load_target, load_targets, read_items
from equal_hf.target.shares import target_shares, weighted_mean

__all__ = [
    "Target",
    "TargetConfig",
    "TargetItem",
    "conversational",
    "evaluation_sets",
    "has_annotations",
    "load_target",
    "load_targets",
    "marked_result",
    "read_items",
    "target_shares",
    "weighted_mean",
    "without_annotations",
]
