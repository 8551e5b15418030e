import sys

print("main", sys.argv[1:], sys.flags.utf8_mode)
