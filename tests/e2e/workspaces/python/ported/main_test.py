assert __name__ == "__main__"
