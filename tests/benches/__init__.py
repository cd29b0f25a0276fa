"""Tests of `benches`: what it computes, and that its load generator believes nothing."""
