NAME = "builtin"
