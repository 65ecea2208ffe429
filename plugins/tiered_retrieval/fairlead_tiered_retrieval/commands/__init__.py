"""`fairlead vectors`: what a person does with a store."""
