# For the interpreter of this workspace, which is a shell.
here=${0%/*}
site_packages=$here/_server.venv/lib/python3.11/site-packages
for file in \
  "$site_packages/six.py" \
  "$site_packages/certifi/cacert.pem" \
  "$site_packages/numpy/__init__.py" \
  "$site_packages/numpy/core/_umath.so" \
  "$site_packages/unpacked/deep/file.txt" \
  "$here/../../at_the_root/hidden.txt"; do
  read -r line < "$file" || exit
  echo "$line"
done
