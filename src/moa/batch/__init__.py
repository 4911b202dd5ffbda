"""Batches of prompts for one mixture: from file to file, resumable; or as a step of a data engine."""

from typing import TYPE_CHECKING

from moa._lazy_imports import lazy_names

if TYPE_CHECKING:
    from moa.batch._runner import BatchProgress, BatchResult, arun, run
    from moa.batch._transform import MixtureTransform

__all__ = ["BatchProgress", "BatchResult", "MixtureTransform", "arun", "run"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {"._runner": ("BatchProgress", "BatchResult", "arun", "run"), "._transform": ("MixtureTransform",)},
)
