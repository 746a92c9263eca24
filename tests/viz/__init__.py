"""Tests of `glimpses.viz`; a package, so that it does not clash with a benchmark of this name."""
