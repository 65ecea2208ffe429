"""The plugin's commands, loaded when they are called."""
