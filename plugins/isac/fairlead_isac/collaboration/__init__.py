"""Several cells that serve users and sense targets together: what each contributes is agreed by ADMM."""
