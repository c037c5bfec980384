"""Synthesise endless sequences, evaluate, draw."""
