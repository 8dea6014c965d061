"""Recognizing layers and operators in the equations of a staged model."""
