"""The commands of pipeline.py, a file for each group: what they ask for and what they do."""
