"""Instances that hold one copy of the model together: who decides, what each computes, where keys and values are."""
