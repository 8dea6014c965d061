"""Convolutions computed together with the normalization behind them."""
