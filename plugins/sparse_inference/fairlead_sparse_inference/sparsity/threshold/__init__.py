"""Thresholds that leave weak neurons of a stock model out (CATS, Lee et al. 2024; TEAL, Liu et al. 2025)."""
