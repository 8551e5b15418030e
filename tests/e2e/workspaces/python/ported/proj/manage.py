try:
    import plain
except ImportError:
    print("without plain")
else:
    print("plain of", plain.__file__.split("/")[-4:])
