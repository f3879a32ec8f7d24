"""What a person at a terminal sees, on a real pseudo-terminal: the progress bar, the passphrase prompt.
And what a log file sees instead."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import unittest

import cli


class Terminal:
    """A program whose stdin, stdout, stderr and controlling terminal are one pseudo-terminal."""

    def __init__(self, *args, cwd, columns=80, program=cli.AMALGAM):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.text = ""
        self.slave = slave  # kept open, so that its settings can be looked at after the program's end

        def control():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen([program, *map(str, args)], cwd=cwd, stdin=slave, stdout=slave,
                                        stderr=slave, env=cli.environment(), preexec_fn=control)

    def read(self, until=None, seconds=60):
        """Reads until a text appears, or to the program's end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ready, _, _ = select.select([self.master], [], [], 0.05)
            if ready:
                self.text += os.read(self.master, 65536).decode("utf-8", "replace")
            elif until is None and self.process.poll() is not None:
                return self.text
            if until is not None and until in self.text:
                return self.text
        raise AssertionError(f"waited for {until!r}, saw {self.text!r}")

    def type(self, text):
        os.write(self.master, text.encode())

    def echoes(self):
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def end(self):
        """Reads the rest; the exit code."""
        self.read()
        os.close(self.master)
        os.close(self.slave)
        cli.check_sanitizers(self.text)
        return self.process.wait()


# Long enough for some reports, which come every 0.1 s, in each epoch.
TRAINING = ("--epochs", 3, "--batch", 1, "--threads", 1)


def screen(text):
    """The lines that were shown, each state of a line redrawn with \\r on its own."""
    return [re.sub(r"\x1b\[K", "", s) for line in text.split("\n") for s in line.split("\r") if s]


class Progress(cli.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cli.write_idx(cls.path("long"), (1, 6, 6), 3, train=20000)
        cls().obfuscate("job", train="long@train[0:10000]", pool="long@train[10000:20000]")

    def train(self, columns):
        t = Terminal("train", "job", *TRAINING, cwd=self.dir, columns=columns)
        self.assertEqual(t.end(), 0, t.text)
        return t.text

    def test_a_bar_with_all_its_parts(self):
        text = self.train(120)
        bars = [s for s in screen(text) if s.startswith("[")]
        self.assertTrue(bars, text)
        full = r"^\[#*\.*\] train  epoch \d/3  step (\d+)/30000  loss \d+\.\d{4}  accuracy [\d.]+ %  " \
               r"\d+ samples/s(  ETA \d+m\d\ds)?$"
        for bar in bars:
            self.assertRegex(bar, full)
        with_eta = [b for b in bars if "ETA" in b]
        self.assertTrue(with_eta, bars)
        steps = [int(re.match(full, b).group(1)) for b in bars]
        self.assertEqual(steps, sorted(steps))
        last = re.match(r"\[(#*)(\.*)\]", bars[-1])
        self.assertGreater(len(last.group(1)), len(last.group(2)))
        epochs = [s for s in screen(text) if re.match(r"train  epoch \d/3  step \d0000/30000  loss", s)]
        self.assertEqual(len(epochs), 3, "one line of each epoch stays")
        self.assertNotIn("[#", text[text.rindex("epoch 3/3  step 30000/30000  loss"):],
                         "no bar is left behind the last epoch")

    def test_the_bar_never_wraps(self):
        for columns in (40, 80):
            with self.subTest(columns=columns):
                drawn = [p[:-len("\x1b[K")] for p in self.train(columns).split("\r")
                         if p.endswith("\x1b[K") and len(p) > len("\x1b[K")]
                self.assertTrue(drawn)
                for part in drawn:
                    self.assertLess(len(part), columns, part)

    def test_interrupted_it_says_how_to_go_on(self):
        t = Terminal("train", "job", "--epochs", 100000, "--batch", 1, "--threads", 1, cwd=self.dir)
        t.read(until="loss")
        t.type("\x03")  # Ctrl-C at the keyboard
        self.assertEqual(t.end(), 1)
        self.assertRegex(t.text, r"amalgam: error: training: stopped on request after step \d+ of 1000000000")
        self.assertIn("amalgam: hint: resume to go on from here", t.text)

    def test_a_log_file_gets_plain_lines(self):
        r = cli.run("train", "job", "--epochs", 3, "--batch", 5000, "--threads", 1, cwd=self.dir)
        self.assertEqual(r.rc, 0)
        self.assertNotRegex(r.stdout + r.stderr, "[\r\x1b]")
        self.assertEqual(len(r.stderr.splitlines()), 3)
        for i, line in enumerate(r.stderr.splitlines()):
            self.assertRegex(line, rf"^train  epoch {i + 1}/3  step {2 * i + 2}/6  loss [\d.]+  accuracy")
        self.assertEqual(cli.run("train", "job", "--quiet", "--batch", 16, "--threads", 1,
                                 cwd=self.dir).stderr, "")

    def test_validation_is_on_the_epoch_s_line(self):
        self.obfuscate("val", "--val", "data@test[0:8]", pool="data@train[25%-100%:seed=3]")
        r = cli.run("train", "val", "--epochs", 2, "--batch", 16, "--threads", 1, cwd=self.dir)
        for line in r.stderr.splitlines():
            self.assertRegex(line, r"^train  epoch .*  validation loss \d\.\d{4}  accuracy [\d.]+ %$")
        self.assertEqual(len(r.stderr.splitlines()), 2)
        self.assertRegex(r.stdout, r"val top-1")


class Passphrase(cli.Case):
    def begin(self, name):
        return Terminal("obfuscate", "--model", "model.onnx", "--train", self.TRAIN, "--decoys-from", self.POOL,
                        "--key", f"{name}.key", "-o", name, "--passphrase", cwd=self.dir)

    def test_it_is_asked_twice_and_never_shown(self):
        t = self.begin("asked")
        t.read(until="passphrase: ")
        self.assertFalse(t.echoes())
        t.type("open sesame\n")
        t.read(until="once more: ")
        t.type("open sesame\n")
        self.assertEqual(t.end(), 0, t.text)
        self.assertNotIn("sesame", t.text)
        t = Terminal("extract", "--key", "asked.key", "--weights", "asked/weights.safetensors", "-o",
                     "asked.onnx", cwd=self.dir)
        t.read(until="passphrase: ")
        t.type("open sesame\n")
        self.assertEqual(t.end(), 0, t.text)
        self.assertNotIn("once more", t.text)

    def test_two_that_differ_make_no_key(self):
        before = cli.snapshot(self.dir)
        t = self.begin("differ")
        t.read(until="passphrase: ")
        t.type("open sesame\n")
        t.read(until="once more: ")
        t.type("open sesami\n")
        self.assertEqual(t.end(), 1)
        self.assertIn("amalgam: error: passphrase: the two differ", t.text)
        self.assertEqual(cli.snapshot(self.dir), before)

    def test_a_signal_at_the_prompt_gives_the_echo_back(self):
        for name, send, number in (("ctrl-c", lambda t: t.type("\x03"), signal.SIGINT),
                                   ("kill", lambda t: t.process.terminate(), signal.SIGTERM)):
            with self.subTest(name):
                t = self.begin(name)
                t.read(until="passphrase: ")
                self.assertFalse(t.echoes())
                send(t)
                self.assertEqual(t.process.wait(timeout=60), -number)
                self.assertTrue(t.echoes())
                t.end()


if __name__ == "__main__":
    unittest.main()
