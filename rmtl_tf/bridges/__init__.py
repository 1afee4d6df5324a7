"""What lets models of other libraries use critics and weights of this one."""
