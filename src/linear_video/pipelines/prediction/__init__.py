"""Predict, evaluate, draw."""
