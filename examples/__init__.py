"""Programs to start from; `python -m examples.NAME` in the checkout."""
