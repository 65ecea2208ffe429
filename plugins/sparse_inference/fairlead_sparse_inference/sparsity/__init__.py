"""`fairlead sparse`: profile neurons, train predictors, plan placement, convert, and measure the price."""
