"""What people and programs read about a run: one summary, drawn in several formats."""
