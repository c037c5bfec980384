"""Apply all tasks to one video."""
