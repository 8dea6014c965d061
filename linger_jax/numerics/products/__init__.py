"""Products: kept apart from sums, summed in a fixed order, or exact on integers."""
