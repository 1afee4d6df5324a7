"""The search for a better configuration: trials of one, each with other values (docs/tuning.md)."""
