"""Moving users and targets, and the loop that runs layers on their periods over them."""
