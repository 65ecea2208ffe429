"""The four stages of integration as interchangeable schedulers."""
