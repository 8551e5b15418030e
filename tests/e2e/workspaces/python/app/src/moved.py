NAME = "moved"
