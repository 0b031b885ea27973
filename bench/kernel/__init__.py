"""What recording in the kernel costs."""
