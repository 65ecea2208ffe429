"""How often, how strongly and how much together the neurons of a model fire on a text."""
