"""Replays of cases, a module a kind of case."""
