"""Work of a guest that shows whether each of its operations was done once: each fails when it is done
again, and its worker with it; and after an end at any point it is known what may be there."""
import re

# `work DIRECTORY ROUNDS`, in a shell with `set -e`. A line is printed when a round is on the server's
# disk; the log has a line for each.
SHELL = """
work() {
  mkdir $1
  i=0
  while [ $i -lt $2 ]; do
    i=$((i + 1))
    mkdir $1/dir-$i
    echo "content of $i" > $1/dir-$i/new
    mv $1/dir-$i/new $1/file-$i
    ln $1/file-$i $1/link-$i
    ln -s file-$i $1/soft-$i
    rm $1/file-$i
    rmdir $1/dir-$i
    sync $1/link-$i
    echo $i >> $1/log
    sync $1/log
    echo "round $1 $i."
  done
}
"""
# What a round that was cut short may have left.
_CUT_SHORT = [set(), {"dir"}, {"dir", "dir/new"}, {"dir", "file"}, {"dir", "file", "link"},
              {"dir", "file", "link", "soft"}, {"dir", "link", "soft"}, {"link", "soft"}]


def of_line(line):
    """(directory, round) of a line that work has printed; None: another."""
    found = re.fullmatch(r"round (\S+) ([0-9]+)\.", line.strip())
    return (found.group(1), int(found.group(2))) if found else None


def verify(test, directory, printed):
    """Of an exported directory that was worked in, where round `printed` was the last to be told: all
    rounds up to some n that is not less are there, once; of the next, a beginning; and nothing else.
    Returns n."""
    logged = (directory / "log").read_text().split() if (directory / "log").exists() else []
    done = len(logged)
    test.assertEqual(logged, [str(i) for i in range(1, done + 1)], directory)
    test.assertGreaterEqual(done, printed, directory)
    names = {str(path.relative_to(directory)) for path in directory.rglob("*")} - {"log"}
    complete = {f"{kind}-{i}" for kind in ("link", "soft") for i in range(1, done + 1)}
    test.assertEqual(complete - names, set(), directory)
    for i in range(1, done + 1):
        test.assertEqual((directory / f"link-{i}").read_text(), f"content of {i}\n", directory)
    rest = {name.replace(f"-{done + 1}", "") for name in names - complete}
    test.assertIn(rest, _CUT_SHORT, directory)
    return done
