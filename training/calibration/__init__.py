"""Calibration of scores, and the choice of operating points."""
