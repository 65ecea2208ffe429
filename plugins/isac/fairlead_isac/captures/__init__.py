"""Recorded captures: readers of their files, detections in them and pictures."""
