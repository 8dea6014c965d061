"""Device cases: networks imported, exported, checked and packed."""
