from mixed.flag import VALUE

print(VALUE)
