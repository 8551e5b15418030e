data = "own"
