"""The support matrix of the documentation, made by trying every operator on every platform.

``python -m tests.support_matrix`` writes docs/support_matrix.md.
"""
