"""What the gateway promises, at full size and as tests of a small one."""
