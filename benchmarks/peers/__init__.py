"""Other engines, run beside ours where they are installed; none of them is needed, built or fetched by this project."""
