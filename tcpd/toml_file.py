"""A TOML file, and the line on which each of its keys stands."""

from __future__ import annotations
