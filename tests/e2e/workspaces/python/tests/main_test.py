import os
import subprocess
import sys

from tests import counted

if __name__ == "__main__":
    assert counted.here() == "here"
    subprocess.check_call([sys.executable, "-c", "from tests import counted; counted.in_child()"])
    with open(os.path.join(os.environ["TEST_UNDECLARED_OUTPUTS_DIR"], "note.txt"), "w") as file:
        file.write("a note")
    sys.exit(int(os.environ.get("EXIT", 0)))
