"""Indexing: a corpus of any size becomes a clustered one, stage by stage, on one process or many.

`pipeline.py` puts the stages together. What is done is on record (`workspace.py`), so an index that is killed goes on
where it was, and a later revision of the dataset takes over what has not changed.
"""
