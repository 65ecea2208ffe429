"""Keys and values that outlive their request, for prompts that begin alike."""
