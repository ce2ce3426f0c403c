"""The code that a stage's result depends on, found without running it."""
