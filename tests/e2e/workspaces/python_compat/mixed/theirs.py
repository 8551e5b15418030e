NAME = "theirs"
