"""The journal: a ring in memory, and a file behind it for those who want one."""
