"""Validation of session Examples against their schema, of sessions, and of drift (docs/validation.md)."""
