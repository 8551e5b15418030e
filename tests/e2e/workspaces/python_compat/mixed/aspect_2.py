NAME = "aspect_2"
