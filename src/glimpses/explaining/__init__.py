"""Attention as a measured result: where it looks, whether that matters, how it moves."""
