"""What a mixture is: its file, its checks, its presets, and its prompts. Nothing here calls a model."""
