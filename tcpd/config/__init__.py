"""The configuration: frozen dataclasses, and how a TOML file becomes them."""
