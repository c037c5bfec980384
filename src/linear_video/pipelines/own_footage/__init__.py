"""From one video to all that can be said of it."""
