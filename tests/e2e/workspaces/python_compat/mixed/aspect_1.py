NAME = "aspect_1"
