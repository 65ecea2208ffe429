"""Plans which neurons stay in fast memory under a budget, and says what that will give."""
