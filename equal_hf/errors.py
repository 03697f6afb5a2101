"""Errors a user can act on: each message states the fact, the setting it hangs on, and the remedy.

All derive from `EqualError`; each leaf also inherits the built-in exception that callers already catch.
"""

from __future__ import annotations


class EqualError(Exception):
    """Base of every error that `equal_hf` raises on purpose."""


class ConfigError(EqualError, ValueError):
    """A setting is unknown, missing, of the wrong kind, or at odds with another."""


class CorpusError(EqualError, ValueError):
    """A corpus cannot be read, built, or drawn from as asked."""


class TargetError(EqualError, ValueError):
    """The target task's questions and answers cannot be read, or lack a split or a column."""


class ExtractionError(EqualError, RuntimeError):
    """Extraction cannot start or go on."""


class EndpointError(ExtractionError, ConnectionError):
    """The endpoint refuses: nobody listens, the key or the model is wrong, or what answers is no model server."""


class ResumeError(EqualError, RuntimeError):
    """A run folder belongs to another run, or its records do not fit this configuration."""


class RecordError(EqualError, RuntimeError):
    """A record on disk is damaged or was not written by this library."""


class DiskError(EqualError, OSError):
    """A file cannot be written: the disk is full, or refuses."""


class PublishError(EqualError, RuntimeError):
    """The Hub refuses what a run is to publish."""


class MissingDependencyError(EqualError, ImportError):
    """An optional package is needed; the message holds the `pip install` line."""
