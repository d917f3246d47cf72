"""Runs all tests of this folder: each file in a process of its own, two at a time, for most of their time they wait for what Nova
does. What a file says comes in one piece when it ends.
"""

import concurrent.futures
import pathlib
import subprocess
import sys

# The longest first; what is new comes last.
ORDER = ['test_user', 'test_console', 'test_dashboard']
FOLDER = pathlib.Path(__file__).parent


def run(name):
    ended = subprocess.run([sys.executable, '-B', '-m', 'unittest', '--verbose', '--durations', '5', name],
                           cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(f'{name}.py\n{ended.stdout}', flush=True)
    return ended.returncode == 0


found = {path.stem for path in FOLDER.glob('test_*.py')}
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    passed = list(pool.map(run, [name for name in ORDER if name in found] + sorted(found.difference(ORDER))))
sys.exit(not all(passed))
