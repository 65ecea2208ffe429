"""What the hardware of a device says and takes."""
