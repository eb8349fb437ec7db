"""Reloading: what has changed in the configuration is applied while everything else serves on.

Rules:
- All or nothing. Whatever can fail is done first, beside what runs, and undone if anything fails.
- It is done in one turn of the loop: nobody is ever served by half of it.
"""
