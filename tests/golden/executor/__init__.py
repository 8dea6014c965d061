"""Replays integers that the vendor's executor returned: of single formulas, and of whole files."""
